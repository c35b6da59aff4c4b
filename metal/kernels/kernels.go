// Package kernels is the model's kernels in Metal Shading Language, embedded,
// with the Go mirror of each argument struct and the instances that a format or
// a size asks for. It compiles nothing and builds anywhere.
package kernels

import (
	"embed"
	"slices"
	"strings"

	"assay/metal/host"
)

//go:embed *.metal
var files embed.FS

// Source is all kernels as one text: head, common, and the others by name.
func Source() string {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // embedded
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	rank := func(name string) string {
		switch name {
		case "head.metal":
			return "0"
		case "common.metal":
			return "1"
		}
		return "2" + name
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(rank(a), rank(b)) })
	var all strings.Builder
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			panic(err)
		}
		all.Write(text)
		all.WriteByte('\n')
	}
	return all.String()
}

// Program is the source that instantiates the given kernels.
func Program(instances []Instance) host.Program {
	var p host.Program
	var lines strings.Builder
	for _, i := range instances {
		p.Kernels = append(p.Kernels, i.Name())
		lines.WriteString("INSTANTIATE_KERNEL(\"" + strings.Join(append([]string{i.Name() + "\"", i.Function}, i.Args...), ", ") + ")\n")
	}
	p.Source = Source() + lines.String()
	return p
}
