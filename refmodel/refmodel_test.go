//go:build !noembed

package refmodel_test

import (
	"testing"

	"assay/engine/checkpoint"
	"assay/engine/dsv4"
	"assay/engine/reference"
	"assay/engine/tensor"
	"assay/refmodel"
)

// digest is the identity of the weights; every record made of them names it.
const digest = "bd8e0bf5ed9d15508f3d6430399b29285e8307955b373374c839b2028b4861ca"

func TestEmbeddedFilesAreTheModel(t *testing.T) {
	src, err := checkpoint.New(refmodel.Files())
	if err != nil {
		t.Fatal(err)
	}
	if got := len(src.Names()); got != 1819 {
		t.Errorf("%d tensors, want 1819", got)
	}
	if got := src.TotalBytes(); got != 28107978 {
		t.Errorf("%d bytes, want 28107978", got)
	}
	if got, err := src.Digest(); err != nil || got != digest {
		t.Errorf("digest %s, %v, want %s", got, err, digest)
	}
	config, err := dsv4.ParseConfig(src.Config())
	if err != nil {
		t.Fatal(err)
	}
	ref, err := reference.New(src)
	if err != nil {
		t.Fatal(err)
	}
	if err := dsv4.Check(config, ref); err != nil {
		t.Error(err)
	}
}

func TestEveryWeightDecodes(t *testing.T) {
	src, err := checkpoint.New(refmodel.Files())
	if err != nil {
		t.Fatal(err)
	}
	ref, err := reference.New(src)
	if err != nil {
		t.Fatal(err)
	}
	parameters := int64(0)
	native := map[tensor.Native]int{}
	for _, name := range ref.Names() {
		decoded, err := ref.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		parameters += decoded.Elements()
		native[ref.Native(name)]++
	}
	if parameters != 33766741 {
		t.Errorf("%d parameters, want 33766741", parameters)
	}
	if native[tensor.FP8] != 67 || native[tensor.FP4] != 768 {
		t.Errorf("%d FP8 and %d FP4 matrices, want 67 and 768", native[tensor.FP8], native[tensor.FP4])
	}
}
