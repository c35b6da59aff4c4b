package cpu

import (
	"math"
	"slices"
	"testing"

	"assay/engine/dsv4"
	"assay/engine/dsv4/dsv4test"
	"assay/engine/token"
)

// rms returns the root mean square of a − b.
func rms(a, b []float32) float64 {
	var s float64
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		s += d * d
	}
	return math.Sqrt(s / float64(len(a)))
}

// states takes windows through a model layer by layer and returns their final
// hidden states and their distributions.
func states(t testing.TB, ops dsv4.Ops, c *dsv4.Config, w dsv4.Weights, windows [][]token.ID) (hidden, logP []float32) {
	t.Helper()
	p, err := dsv4.NewPass(ops, c, windows)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if hidden, err = dsv4test.Hidden(t.Context(), p, w); err != nil {
		t.Fatal(err)
	}
	head, err := dsv4.NewHead(ops, c, w)
	if err != nil {
		t.Fatal(err)
	}
	logP = make([]float32, len(hidden)/c.HiddenSize*c.VocabSize)
	if err := head.LogProbs(t.Context(), hidden, logP); err != nil {
		t.Fatal(err)
	}
	return hidden, logP
}

// TestNaive runs the whole reference model in float64 and with every kernel
// set. 300 tokens are enough for the indexer to select, from token 259 on.
//
// The bounds: a sum of n products of independent sign is off by about √n·u of
// its root of squares. The widest sum of a sublayer has n = 1024 (the streams),
// so each of 16 sublayers leaves √1024·u = 1.9e-6 in the hidden states, which
// have a mean square of 1, or 4·1.9e-6 together. Logits have a spread of about 2.6, which
// carries that to 2e-5. Seen: a fifth of either.
func TestNaive(t *testing.T) {
	const hiddenBound, logBound = 8e-6, 2e-5
	windows := [][]token.ID{heldout(t)[0][:300], heldout(t)[2][:40]}
	c := config(t)
	for _, name := range []string{"bf16", "g32-n8-e4"} {
		v := newVariant(t, name)
		log := &dsv4test.Log{}
		wantHidden, want := states(t, &dsv4test.Naive{C: c, Log: log}, c, v, windows)
		for _, set := range sets(t) {
			if name != "bf16" && set != sets(t)[0] {
				continue
			}
			o := &dsv4test.Observer{Ops: newOps(newBackend(t, Options{Kernels: set}), c), C: c}
			gotHidden, got := states(t, o, c, v, windows)
			first := flips(t, name+", "+set, log.All, o.Log.All, windows)
			at := 0
			for i, w := range windows {
				d := rms(gotHidden[at*c.HiddenSize:(at+first[i])*c.HiddenSize], wantHidden[at*c.HiddenSize:])
				l := rms(got[at*c.VocabSize:(at+first[i])*c.VocabSize], want[at*c.VocabSize:])
				t.Logf("%s, %s, window %d: RMS %.2e of hidden states, %.2e of log-probabilities, over %d positions", name, set, i, d, l, first[i])
				if d > hiddenBound || l > logBound {
					t.Errorf("%s, %s, window %d: RMS %.2e and %.2e, want at most %.0e and %.0e", name, set, i, d, l, hiddenBound, logBound)
				}
				at += len(w)
			}
		}
	}
}

// flips is dsv4test.Flips for tests: it names them and errs on one that is no
// near tie.
func flips(t *testing.T, what string, want, got []dsv4test.Selection, windows [][]token.ID) (first []int) {
	t.Helper()
	first, named, err := dsv4test.Flips(want, got, windows)
	for _, s := range named {
		t.Logf("%s: a selection fell the other way: %s", what, s)
	}
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	return first
}

// TestNativeIsExact wants the lossless repack to give bf16's bits, with every
// vector kernel set. (Decode multiplies a group's sum, not its weights, with the
// scale, and so rounds otherwise.)
func TestNativeIsExact(t *testing.T) {
	w := [][]token.ID{heldout(t)[3][:300]}
	bf16, native := newVariant(t, "bf16"), newVariant(t, "native")
	for _, set := range vectorSets(t) {
		b := newBackend(t, Options{Kernels: set.Name()})
		want, _ := logProbs(t, b, bf16, w)
		got, _ := logProbs(t, b, native, w)
		if !slices.Equal(got, want) {
			t.Errorf("%s: RMS %.2e, want the same bits", set.Name(), rms(got, want))
		}
	}
}
