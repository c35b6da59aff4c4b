package suite

import (
	"strings"
	"testing"

	"assay/metal"
)

// TestProgram wants the kernels of every operation, and none twice.
func TestProgram(t *testing.T) {
	p, err := Program(Cases(), metal.Options{Activations: "f32"})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	functions := map[string]bool{}
	for _, k := range p.Kernels {
		if seen[k] {
			t.Errorf("%s: twice", k)
		}
		seen[k] = true
		f, _, _ := strings.Cut(k, "_")
		functions[f] = true
	}
	t.Logf("%d kernels of %d functions", len(seen), len(functions))
	for _, f := range []string{"matvec", "matvecs", "matfew", "matmul", "embed", "experts", "tiles", "logprobs"} {
		if !functions[f] {
			t.Errorf("no %s", f)
		}
	}
}
