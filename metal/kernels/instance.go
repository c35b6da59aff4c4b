package kernels

import "strings"

// Instance is one instantiation of a kernel function template.
type Instance struct {
	Function string   // such as "matvec"
	Args     []string // template arguments, such as "float", "4"
}

// Name is the instance's host name: the function and its arguments.
func (i Instance) Name() string {
	return strings.Join(append([]string{i.Function}, i.Args...), "_")
}
