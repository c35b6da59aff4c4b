// Package msl reads the dialect of Metal Shading Language that the kernels are
// written in, holds it to its rules, and writes the wrappers by which a C++
// compiler and CUDA call the same kernels. It works on text alone: which kernels
// exist, how they are compiled and run, and every model are others' business.
//
// The dialect is Metal 3.1 with six macros, which stand in Head for Metal:
//
//	MSL_FN                           before every function that is no kernel
//	KERNEL_MAX(n)                    a kernel for at most n threads in a threadgroup
//	TG_ARRAY(T, name, n)             a threadgroup array, in a kernel's own scope
//	PROGRAM_TABLE(T, name, n) = {…}  a table of constants at namespace scope
//	MSL_UNROLL                       before a loop that must be unrolled
//	INSTANTIATE_KERNEL("name", f, …) the kernel f with template arguments
//
// Positions in messages follow #line directives, so that a program put together
// from files names the line of the file.
package msl

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// Head is what every program begins with: the headers and, for Metal, the macros.
//
//go:embed head.metal
var Head string

// Types is the C++ header that the CPU and the CUDA shim share: half, bfloat,
// vectors, and the scalar functions of the standard library.
//
//go:embed shim/types.h
var Types string

// File is a named piece of a program.
type File struct{ Name, Text string }

// InstancesLine stands before the instances of a program.
const InstancesLine = "#line 1 \"instances\"\n"

// Program puts Head, files and instantiations together, with #line directives
// between them.
func Program(files []File, instances []Instance) string {
	var b strings.Builder
	b.WriteString("#line 1 \"head.metal\"\n" + Head)
	for _, f := range files {
		fmt.Fprintf(&b, "#line 1 %q\n%s", f.Name, f.Text)
		if !strings.HasSuffix(f.Text, "\n") {
			b.WriteByte('\n')
		}
	}
	b.WriteString(InstancesLine)
	for _, in := range instances {
		if len(in.Args) > 0 {
			fmt.Fprintf(&b, "INSTANTIATE_KERNEL(%q, %s, %s)\n", in.Name, in.Kernel, strings.Join(in.Args, ", "))
		}
	}
	return b.String()
}

// Source is a parsed program.
type Source struct {
	Kernels   []*Kernel
	Instances []Instance
	Structs   []*Struct

	raw    string // as given
	text   string // the same, with comments, strings and preprocessor lines blank
	chunks []chunk
	marks  []mark
	errs   []Problem  // what parsing found
	mu     sync.Mutex // guards the words of chunks
}

// Kernel is a kernel function.
type Kernel struct {
	Name     string
	Template []string // names of the template parameters, none for a plain kernel
	Max      string   // the expression of KERNEL_MAX, empty without
	Params   []Param
	pos      int
}

// Kind is what a kernel's parameter is bound to.
type Kind int

// Kinds.
const (
	Builtin  Kind = iota // a value that the device knows, such as a position
	Read                 // a buffer that the kernel reads: device const T*
	Write                // a buffer that the kernel may write: device T*
	Constant             // the argument struct: constant T&
)

// Param is a parameter of a kernel.
type Param struct {
	Name, Type string
	Attribute  string // "buffer", or that of a builtin
	Index      int    // of a buffer
	pos        int
}

// Kind says what the parameter is bound to.
func (p Param) Kind() Kind {
	switch {
	case p.Attribute != "buffer":
		return Builtin
	case strings.HasPrefix(p.Type, "constant"):
		return Constant
	case strings.HasPrefix(p.Type, "device const ") || strings.HasPrefix(p.Type, "const device "):
		return Read
	}
	return Write
}

// Buffers returns the parameters that are bound, by index.
func (k *Kernel) Buffers() []Param {
	var out []Param
	for _, p := range k.Params {
		if p.Attribute == "buffer" && p.Index >= 0 {
			for len(out) <= p.Index {
				out = append(out, Param{Index: -1})
			}
			out[p.Index] = p
		}
	}
	return out
}

// Instance is a kernel with its template arguments, under the name that the
// host calls it by. A kernel without template is its own instance.
type Instance struct {
	Name, Kernel string
	Args         []string
	pos          int
}

// Struct is an argument struct's declaration.
type Struct struct {
	Name   string
	Fields []Field
	pos    int
}

// Field is one member of a struct.
type Field struct {
	Type, Name string
	pos        int
}

// Kernel returns the kernel of a name, nil where there is none.
func (s *Source) Kernel(name string) *Kernel {
	for _, k := range s.Kernels {
		if k.Name == name {
			return k
		}
	}
	return nil
}

// Instance returns the instance of a host name.
func (s *Source) Instance(name string) (Instance, bool) {
	for _, in := range s.Instances {
		if in.Name == name {
			return in, true
		}
	}
	return Instance{}, false
}

// Struct returns the struct of a name, nil where there is none.
func (s *Source) Struct(name string) *Struct {
	for _, t := range s.Structs {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// Arguments returns a kernel's argument struct, nil without one.
func (s *Source) Arguments(k *Kernel) *Struct {
	for _, p := range k.Params {
		if p.Kind() == Constant {
			return s.Struct(strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(p.Type, "constant"), "&")))
		}
	}
	return nil
}

// Problem is one thing that is wrong with a source.
type Problem struct {
	File string
	Line int
	Text string
}

func (p Problem) String() string { return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text) }

// problems is a list of them as an error.
type problems []Problem

func (p problems) Error() string {
	lines := []string{"msl: " + strconv.Itoa(len(p)) + " problems:"}
	for i, q := range p {
		if i == 20 {
			lines = append(lines, "…")
			break
		}
		lines = append(lines, q.String())
	}
	return strings.Join(lines, "\n")
}

// Failure makes one error of problems, nil of none.
func Failure(p []Problem) error {
	if len(p) == 0 {
		return nil
	}
	return problems(p)
}

// mark is a #line directive: from pos on, the text is that of file from line on.
type mark struct {
	pos  int
	file string
	line int
}

// Position names a place of the source.
func (s *Source) position(pos int) (file string, line int) {
	m := mark{file: "source", line: 1}
	for _, n := range s.marks {
		if n.pos > pos {
			break
		}
		m = n
	}
	return m.file, m.line + strings.Count(s.raw[m.pos:pos], "\n")
}

func (s *Source) problem(pos int, format string, args ...any) Problem {
	file, line := s.position(pos)
	return Problem{file, line, fmt.Sprintf(format, args...)}
}

// KernelFile names the file and line at which a kernel stands.
func (s *Source) KernelFile(k *Kernel) (file string, line int) { return s.position(k.pos) }
