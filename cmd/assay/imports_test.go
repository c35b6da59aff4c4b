package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// levels orders the packages: a package imports only from levels below its own,
// tests excepted. Tests' own packages (…test) may import what they like.
var levels = map[string]int{
	"engine/tensor": 0, "engine/page": 0, "engine/token": 0, "engine/cpu/kernel": 0, "eval/stat": 0, "refmodel": 0, "metal/msl": 0,
	"engine/affine": 1, "engine/mx": 1, "engine/checkpoint": 1, "engine/reference": 1, "datasets": 1, "engine/shard": 1, "metal/host": 1,
	"engine/variant": 2, "engine/synth": 2, "metal/kernels": 2, "metal/host/emu": 2, "metal/host/cuda": 2, "metal/host/apple": 2, "metal/host/dry": 2,
	"engine": 3, "engine/bundle": 3,
	"engine/dsv4": 4, "engine/inspect": 4, "bench": 4,
	"engine/cpu": 5, "metal": 5, "eval": 5, "engine/dsv4/dsv4test": 5, // of which metal/suite, in the program, takes its model
	"results": 6, "eval/sweep": 6, "metal/suite": 6, "metal/timing": 6,
	"results/report": 7, "metal/mutate": 7, "bench/scaling": 7,
	"cmd/assay": 8,
}

func TestImportsGoDown(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := map[string]bool{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2 || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		from := filepath.ToSlash(rel)
		if _, imported := levels[from]; strings.HasSuffix(from, "test") && !imported {
			return nil
		}
		level, ok := levels[from]
		if !ok {
			t.Errorf("package %s has no level: give it one", from)
			return nil
		}
		seen[from] = true
		checkImports(t, file, from, level)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for p := range levels {
		if !seen[p] {
			t.Errorf("levels names %s, which is not there", p)
		}
	}
}

func checkImports(t *testing.T, file, from string, level int) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	for _, imp := range f.Imports {
		name, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			t.Error(err)
			continue
		}
		to, ok := strings.CutPrefix(name, "assay/")
		if !ok {
			continue
		}
		if other, ok := levels[path.Clean(to)]; !ok || other >= level {
			t.Errorf("%s: package %s (level %d) imports %s (level %d)", file, from, level, to, other)
		}
	}
}
