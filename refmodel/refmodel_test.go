//go:build !noembed

package refmodel_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strconv"
	"strings"
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

// The model card names what is here.
func TestModelCardIsOfTheseFiles(t *testing.T) {
	card, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	bytesOf := func(n int) string {
		s := strconv.Itoa(n)
		for i := len(s) - 3; i > 0; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s
	}
	for name, data := range refmodel.Files() {
		row := fmt.Sprintf("| `%s` | %s | `%x` |", name, bytesOf(len(data)), sha256.Sum256(data))
		if !strings.Contains(string(card), row) {
			t.Errorf("README.md has no row %s", row)
		}
	}
	if !strings.Contains(string(card), digest) {
		t.Errorf("README.md does not name the digest %s", digest)
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
	config, err := dsv4.ParseConfig(src.Config())
	if err != nil {
		t.Fatal(err)
	}
	parameters, native := map[tensor.Class]int64{}, map[tensor.Native]int{}
	for _, p := range dsv4.Params(config) {
		decoded, err := ref.Tensor(p.Name)
		if err != nil {
			t.Fatal(err)
		}
		if got := ref.Native(p.Name); got != p.Native {
			t.Errorf("%s is stored as %q, want %q", p.Name, got, p.Native)
		}
		parameters[p.Class] += decoded.Elements()
		parameters["all"] += decoded.Elements()
		native[p.Native]++
	}
	for class, want := range map[tensor.Class]int64{
		"all":               33766741,
		tensor.RoutedExpert: 25165824,
		tensor.SharedExpert: 786432,
		tensor.Attention:    3145728,
		tensor.Embedding:    1572864,
		tensor.Head:         1572864,
		tensor.Router:       65696 + 110592, // the tables are the second
	} {
		if parameters[class] != want {
			t.Errorf("%s: %d parameters, want %d", class, parameters[class], want)
		}
	}
	if n := parameters[tensor.Compressor] + parameters[tensor.Indexer]; n != 887808 {
		t.Errorf("compressors and indexers: %d parameters, want 887808", n)
	}
	if native[tensor.FP8] != 67 || native[tensor.FP4] != 768 {
		t.Errorf("%d FP8 and %d FP4 matrices, want 67 and 768", native[tensor.FP8], native[tensor.FP4])
	}
}
