package cpu

import (
	"testing"

	"assay/engine/dsv4/dsv4test"
	"assay/engine/token"
	"assay/engine/variant"
	"assay/refmodel/refmodeltest"
)

// What tests here use of the reference model.
var (
	source     = refmodeltest.Source
	config     = refmodeltest.Config
	newVariant = refmodeltest.Variant
	heldout    = refmodeltest.Heldout
	encode     = refmodeltest.Encode
)

// hidden takes windows through a variant.
func hidden(t testing.TB, b *Backend, v *variant.Variant, windows [][]token.ID) []float32 {
	t.Helper()
	p, err := b.Pass(t.Context(), v, windows)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	h, err := dsv4test.Hidden(t.Context(), p, v)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// logProbs returns the distributions [tokens, vocab] of windows.
func logProbs(t testing.TB, b *Backend, v *variant.Variant, windows [][]token.ID) (p []float32, vocab int) {
	t.Helper()
	h := hidden(t, b, v, windows)
	head, err := b.Head(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	p = make([]float32, len(h)/head.Hidden()*head.Vocab())
	if err := head.LogProbs(t.Context(), h, p); err != nil {
		t.Fatal(err)
	}
	return p, head.Vocab()
}

func newBackend(t testing.TB, opt Options) *Backend {
	t.Helper()
	b, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}
