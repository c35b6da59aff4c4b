package msl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzParse wants no program to be read without an end or with a panic, and an
// extract of what is read to be readable.
func FuzzParse(f *testing.F) {
	for _, text := range []string{good, mutable, "kernel void f(", "template <int", "INSTANTIATE_KERNEL(\"a\", b, c", "struct", "enum {",
		"PROGRAM_TABLE(", "#define A(", "/*", "\"", "typedef", "using", "KERNEL_MAX(32) void f(uint a [[buffer(x)]]) { if (a < 3 ? b", "template kernel void f() {}",
		"struct A { uint } ;kernel void f(constant A& p [[buffer(0)]]) {}", "#line 7\n#line 99999999999999999999 \"x\"\nkernel void f() {}"} {
		f.Add(text)
	}
	if bad, err := os.ReadFile(filepath.Join("testdata", "bad.metal")); err == nil {
		f.Add(string(bad))
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		Lint(text)
		if err != nil {
			return
		}
		for _, m := range s.Mutants() {
			if strings.Count(m.Apply(text), "\n") != strings.Count(text, "\n") {
				t.Errorf("%s moves lines", m.Key())
			}
			s.Affected(m)
		}
		for _, in := range s.Instances {
			part, err := s.Extract(in.Name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Parse(part); err != nil {
				t.Errorf("the extract of %s: %v\n%s", in.Name, err, part)
			}
		}
		CPU(text)
		CUDA(text)
	})
}
