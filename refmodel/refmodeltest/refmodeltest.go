// Package refmodeltest is what tests share of the reference model: its source,
// variants of it, and the project's own text as its tokens.
package refmodeltest

import (
	"sync"
	"testing"

	"assay/datasets"
	"assay/engine/checkpoint"
	"assay/engine/cpu/kernel"
	"assay/engine/dsv4"
	"assay/engine/token"
	"assay/engine/variant"
	"assay/refmodel"
)

// open opens the reference model, once: its digest takes a while.
var open = sync.OnceValues(func() (variant.Source, error) {
	ck, err := checkpoint.New(refmodel.Files())
	if err != nil {
		return variant.Source{}, err
	}
	return dsv4.Source(ck, ck.Digest)
})

// Source is the reference model.
func Source(t testing.TB) variant.Source {
	t.Helper()
	src, err := open()
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// Config is its config.
func Config(t testing.TB) *dsv4.Config {
	t.Helper()
	c, err := dsv4.ParseConfig(Source(t).Config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Variant makes a variant of it by name.
func Variant(t testing.TB, name string) *variant.Variant {
	t.Helper()
	r, err := variant.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	v, err := variant.New(Source(t), r)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Encode returns the tokens of a text.
func Encode(text string) ([]token.ID, error) {
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
		if toks, err = Encode(string(x.Data)); err != nil {
			return nil, err
		}
		ids = append(ids, toks)
	}
	return ids, err
})

// Heldout is the tokens of each stratum of the project's own text. It skips a
// test of a program that has no tokenizer.
func Heldout(t testing.TB) [][]token.ID {
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
