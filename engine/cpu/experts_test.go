package cpu

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"assay/engine/dsv4"
	"assay/engine/dsv4/dsv4test"
	"assay/engine/tensor"
	"assay/engine/token"
)

// goldenExperts loads one layer's experts of the tiny model.
func goldenExperts(t *testing.T, mem dsv4.Memory, w *dsv4test.Golden) *dsv4.Experts {
	t.Helper()
	matrix := func(name string) *tensor.Matrix {
		m, err := w.Matrix("layers.3.ffn." + name + ".weight")
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	e := &dsv4.Experts{}
	for name, dst := range map[string]*dsv4.Weight{"w1": &e.Shared.W1, "w3": &e.Shared.W3, "w2": &e.Shared.W2} {
		*dst, _ = mem.Load(matrix("shared_experts." + name))
	}
	var all []dsv4.ExpertMatrices
	for i := range 8 {
		at := fmt.Sprintf("experts.%d.", i)
		all = append(all, dsv4.ExpertMatrices{W1: matrix(at + "w1"), W3: matrix(at + "w3"), W2: matrix(at + "w2")})
	}
	var err error
	if e.Routed, err = mem.LoadExperts(all); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestExperts holds the feed-forward part against float64 for every expert, one
// that a token takes twice among them, in a batch and by decode. Sums of up to
// 32 products of figures up to 1 or so, three in a row, are within 1e-5.
func TestExperts(t *testing.T) {
	c, w := dsv4test.GoldenConfig(), dsv4test.NewGolden(dsv4test.GoldenConfig())
	const tokens = 40
	rng := rand.New(rand.NewPCG(51, 1))
	in := noise(rng, tokens*c.HiddenSize)
	picks, weights := make(ints, 2*tokens), floats(noise(rng, 2*tokens))
	for i := range picks {
		picks[i] = int32(rng.IntN(8))
	}
	picks[6], picks[7] = 5, 5
	want := naiveExperts(t, c, w, in, picks, weights)
	for _, set := range sets(t) {
		for _, threads := range []int{1, 3} {
			o := newOps(newBackend(t, Options{Kernels: set, Threads: threads}), c)
			e := goldenExperts(t, o, w)
			d := c.HiddenSize
			batch, single := floats(poison(len(in))), floats(poison(len(in)))
			o.Experts(&dsv4.Batch{Tokens: make([]token.ID, tokens)}, e, floats(in), picks, weights, batch)
			for i := range tokens {
				o.Experts(&dsv4.Batch{Tokens: make([]token.ID, 1), Decode: true}, e, floats(in[i*d:][:d]), picks[2*i:2*i+2], weights[2*i:2*i+2], single[i*d:][:d])
			}
			for i, x := range want {
				what := fmt.Sprintf("%s, %d threads, token %d, experts %v", set, threads, i/d, picks[i/d*2:][:2])
				within(t, what, batch[i], float64(x), 1e-5)
				within(t, what+" by decode", single[i], float64(x), 1e-5)
			}
		}
	}
}

// naiveExperts is the same in float64.
func naiveExperts(t *testing.T, c *dsv4.Config, w *dsv4test.Golden, in []float32, picks ints, weights floats) []float32 {
	t.Helper()
	n := &dsv4test.Naive{C: c}
	y, _ := n.NewArray(len(in))
	n.Experts(&dsv4.Batch{Tokens: make([]token.ID, len(picks)/2)}, goldenExperts(t, n, w), dsv4test.Floats(in), dsv4test.Ints(picks), dsv4test.Floats(weights), y)
	out := make([]float32, len(in))
	n.Read(out, y, 0)
	return out
}
