package cpu

import (
	"fmt"
	"slices"
	"testing"

	"assay/engine/cpu/kernel"
	"assay/engine/dsv4"
	"assay/engine/dsv4/dsv4test"
	"assay/engine/token"
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

// oddConfigs are shapes that the reference model does not have.
func oddConfigs() map[string]*dsv4.Config {
	out := map[string]*dsv4.Config{}
	add := func(name string, change func(*dsv4.Config)) {
		c := dsv4test.GoldenConfig()
		change(c)
		out[name] = c
	}
	add("window of 6", func(c *dsv4.Config) { c.SlidingWindow = 6 })
	add("window of 1, blocks that overlap in every layer", func(c *dsv4.Config) {
		c.SlidingWindow, c.CompressRatios = 1, []int{4, 4, 4, 4, 4, 4}
	})
	add("window beyond the text, blocks of 1, 2, 3 and 64", func(c *dsv4.Config) {
		c.SlidingWindow, c.CompressRatios = 64, []int{1, 2, 3, 4, 64, 0}
	})
	add("one head", func(c *dsv4.Config) { c.NumAttentionHeads, c.OGroups, c.OLoraRank, c.IndexNHeads = 1, 1, 16, 1 })
	add("12 heads, 5 of the indexer", func(c *dsv4.Config) { c.NumAttentionHeads, c.IndexNHeads = 12, 5 })
	add("more heads than a panel has lanes", func(c *dsv4.Config) { c.NumAttentionHeads, c.OGroups, c.IndexNHeads = 40, 4, 33 })
	add("one stream, no hash layer, one expert a token", func(c *dsv4.Config) {
		c.HCMult, c.NumHashLayers, c.NumExpertsPerTok = 1, 0, 1
	})
	add("seven streams, hash layers only, all experts", func(c *dsv4.Config) {
		c.HCMult, c.NumHashLayers, c.NumExpertsPerTok = 7, 6, 8
	})
	add("one block picked", func(c *dsv4.Config) { c.IndexTopK = 1 })
	return out
}

// TestOddConfigs holds the engine against float64 on shapes that the reference
// model does not have. Golden weights are made for any shape; their selections
// have gaps of their own, and what follows one that falls the other way is left.
func TestOddConfigs(t *testing.T) {
	toks := dsv4test.GoldenTokens()
	for name, c := range oddConfigs() {
		for _, chunks := range [][]int{{40}, {9, 1, 1, 2, 27}} {
			log := &dsv4test.Log{}
			want, err := dsv4test.Run(t.Context(), &dsv4test.Naive{C: c, Log: log}, c, dsv4test.NewGolden(c), toks, chunks)
			if err != nil {
				t.Fatal(err)
			}
			for _, set := range sets(t) {
				o := &dsv4test.Observer{Ops: newOps(newBackend(t, Options{Kernels: set}), c), C: c}
				got, err := dsv4test.Run(t.Context(), o, c, dsv4test.NewGolden(c), toks, chunks)
				if err != nil {
					t.Fatal(err)
				}
				what := fmt.Sprintf("%s, %s, chunks %v", name, set, chunks)
				first := flips(t, what, log.All, o.Log.All, [][]token.ID{toks})[0]
				for i := range first {
					if d := rms(got[i], want[i]); !(d < 2e-5) {
						t.Errorf("%s: position %d is off by RMS %.2e", what, i, d)
						break
					}
				}
			}
		}
	}
}

// sets returns the names of the kernel sets that this machine runs.
func sets(t testing.TB) []string {
	t.Helper()
	var out []string
	for _, name := range append(slices.Clone(kernel.Names), "plain") {
		b, err := New(Options{Kernels: name})
		if err != nil {
			continue
		}
		b.Close()
		out = append(out, name)
	}
	return out
}
