// Package kernels is the model's kernels in Metal Shading Language, embedded,
// with the Go mirror of each argument struct and the instances that a format or
// a size asks for. It compiles nothing and builds anywhere.
package kernels

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"slices"
	"strings"

	"assay/metal/host"
	"assay/metal/msl"
)

//go:embed *.metal
var files embed.FS

// shared are the files that others build on, in their order; the others follow
// by name.
var shared = []string{"contract.metal", "common.metal", "arith.metal", "rows.metal", "tile.metal"}

// Files is the kernels' sources: common ones first, the others by name.
func Files() []msl.File {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // embedded
	}
	var all []msl.File
	for _, e := range entries {
		text, err := files.ReadFile(e.Name())
		if err != nil {
			panic(err)
		}
		all = append(all, msl.File{Name: e.Name(), Text: string(text)})
	}
	rank := func(f msl.File) string {
		if i := slices.Index(shared, f.Name); i >= 0 {
			return string(rune('0' + i))
		}
		return f.Name
	}
	slices.SortFunc(all, func(a, b msl.File) int { return strings.Compare(rank(a), rank(b)) })
	return all
}

// Source is all kernels as one program without instances: msl's head, then Files.
func Source() string { return msl.Program(Files(), nil) }

// Digest names the kernels' source.
func Digest() string {
	sum := sha256.Sum256([]byte(Source()))
	return hex.EncodeToString(sum[:8])
}

// Program is the program that instantiates the given kernels.
func Program(instances []Instance) host.Program {
	var p host.Program
	var list []msl.Instance
	for _, i := range instances {
		p.Kernels = append(p.Kernels, i.Name())
		list = append(list, msl.Instance{Name: i.Name(), Kernel: i.Function, Args: i.Args})
	}
	p.Source = msl.Program(Files(), list)
	return p
}
