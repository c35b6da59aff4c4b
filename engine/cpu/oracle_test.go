package cpu

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"assay/engine/checkpoint"
	"assay/engine/dsv4"
	"assay/engine/token"
	"assay/engine/variant"
	"assay/refmodel"
)

func source(t testing.TB) variant.Source {
	t.Helper()
	ck, err := checkpoint.New(refmodel.Files())
	if err != nil {
		t.Fatal(err)
	}
	src, err := dsv4.Source(ck)
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

func TestSharedOracle(t *testing.T) {
	dir := os.Getenv("ASSAY_SHARED")
	if dir == "" {
		t.Skip("ASSAY_SHARED does not name the folder of the shared oracle")
	}
	var o struct {
		IDs  []token.ID `json:"ids"`
		LogP []float64  `json:"transformers_5_17_fp32_logprobs"`
	}
	data, err := os.ReadFile(filepath.Join(dir, "refmodel", "oracle.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &o); err != nil {
		t.Fatal(err)
	}
	b, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	v := newVariant(t, "bf16")
	var windows [][]token.ID
	for i := range 4 {
		windows = append(windows, o.IDs[1024*i:1024*(i+1)])
	}
	start := time.Now()
	p, err := b.Pass(t.Context(), v, windows)
	if err != nil {
		t.Fatal(err)
	}
	for range p.Layers() {
		if err := p.Layer(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	hidden, err := p.Hidden(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(time.Since(start))
	h, err := b.Head(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]float32, 4096*h.Vocab())
	if err := h.LogProbs(t.Context(), hidden, dst); err != nil {
		t.Fatal(err)
	}
	t.Log(time.Since(start))
	for w := range 4 {
		var sum, most float64
		at := 0
		for j := range 1024 {
			i := 1024*w + j
			d := float64(dst[i*h.Vocab()+int(o.IDs[i+1])]) - o.LogP[i]
			sum += d * d
			if math.Abs(d) > most {
				most, at = math.Abs(d), j
			}
		}
		t.Logf("window %d: RMS %.2e max %.2e at %d", w, math.Sqrt(sum/1024), most, at)
	}
}
