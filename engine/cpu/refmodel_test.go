package cpu

import (
	"sync"
	"testing"

	"assay/datasets"
	"assay/engine/checkpoint"
	"assay/engine/cpu/kernel"
	"assay/engine/dsv4"
	"assay/engine/dsv4/dsv4test"
	"assay/engine/token"
	"assay/engine/variant"
	"assay/refmodel"
)

// refSource opens the reference model, once: its digest takes a while.
var refSource = sync.OnceValues(func() (variant.Source, error) {
	ck, err := checkpoint.New(refmodel.Files())
	if err != nil {
		return variant.Source{}, err
	}
	return dsv4.Source(ck, ck.Digest)
})

func source(t testing.TB) variant.Source {
	t.Helper()
	src, err := refSource()
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func newVariant(t testing.TB, name string) *variant.Variant {
	t.Helper()
	r, err := variant.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	v, err := variant.New(source(t), r)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// encode returns the tokens of a text.
func encode(text string) ([]token.ID, error) {
	tok, err := token.New(refmodel.Files()["tokenizer.json"])
	if err != nil {
		return nil, err
	}
	defer tok.Close()
	return tok.Encode(text)
}

// strata are the tokens of each stratum of the project's own text.
var strata = sync.OnceValues(func() (ids [][]token.ID, err error) {
	texts, err := datasets.Heldout()
	for _, x := range texts {
		var toks []token.ID
		if toks, err = encode(string(x.Data)); err != nil {
			return nil, err
		}
		ids = append(ids, toks)
	}
	return ids, err
})

// heldout returns the tokens of each stratum, which the caller must not change.
// It skips where there is no tokenizer.
func heldout(t testing.TB) [][]token.ID {
	t.Helper()
	if _, err := kernel.For(""); err != nil {
		t.Skip("this program is built without cgo, so without the tokenizer")
	}
	ids, err := strata()
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

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
