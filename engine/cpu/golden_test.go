package cpu

import (
	"fmt"
	"testing"

	"assay/engine/dsv4"
	"assay/engine/dsv4/dsv4test"
)

// TestGolden runs the tiny model with every kernel set of this machine. Float32
// adds about 1e-5 to the table's six decimals.
func TestGolden(t *testing.T) {
	for _, set := range sets(t) {
		for _, sim := range []bool{false, true} {
			for _, chunks := range dsv4test.Chunkings {
				t.Run(fmt.Sprintf("%s/sim=%v/%v", set, sim, chunks), func(t *testing.T) {
					c := dsv4test.GoldenConfig()
					b, err := New(Options{Kernels: set, Model: dsv4.Options{KVSim: sim}})
					if err != nil {
						t.Fatal(err)
					}
					defer b.Close()
					got, err := dsv4test.Run(t.Context(), newOps(b, c), c, dsv4test.NewGolden(c), dsv4test.GoldenTokens(), chunks)
					if err != nil {
						t.Fatal(err)
					}
					if err := dsv4test.CheckGolden(got, sim, 2e-5); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}

// sets returns the names of the kernel sets that this machine runs.
func sets(t testing.TB) []string {
	t.Helper()
	var out []string
	for _, name := range []string{"avx512", "avx2", "neon", "base", "plain"} {
		b, err := New(Options{Kernels: name})
		if err != nil {
			continue
		}
		b.Close()
		out = append(out, name)
	}
	return out
}
