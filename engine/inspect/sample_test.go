package inspect

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"assay/engine/tensor"
)

// pastEighth lets change rewrite the rows of a matrix but the first eight of
// each 128.
func pastEighth(name string, change func(row []byte)) func(*testing.T, folder) {
	return editing(func(all map[string]*tensor.Tensor) {
		b := all[name]
		rows := 1
		for _, d := range b.Shape[:len(b.Shape)-1] {
			rows *= d
		}
		width := len(b.Data) / rows
		for r := range rows {
			if r%b.Shape[len(b.Shape)-2]%128 >= 8 {
				change(b.Data[r*width:][:width])
			}
		}
	})
}

// interleave puts the last half of each head's rows in another order, as a
// converter does that takes the other convention of rotary embeddings.
func interleave(all map[string]*tensor.Tensor) {
	const head, rope = 64, 32
	for _, suffix := range []string{weightSuffix, scalesSuffix, biasesSuffix} {
		b := all[qb+suffix]
		rows := b.Shape[0]
		width := len(b.Data) / rows
		old := append([]byte{}, b.Data...)
		for r := range rows {
			if i := r%head - (head - rope); i >= 0 {
				from := r - i + i%2*rope/2 + i/2
				copy(b.Data[r*width:][:width], old[from*width:][:width])
			}
		}
	}
}

// entries gives a token table other numbers.
func entries(change func(i int, id uint64) uint64) func(*testing.T, folder) {
	return editing(func(all map[string]*tensor.Tensor) {
		b := all["model.layers.0.ffn.gate.tid2eid"].Data
		for i := 0; i < len(b); i += 8 {
			binary.LittleEndian.PutUint64(b[i:], change(i/8, binary.LittleEndian.Uint64(b[i:])))
		}
	})
}

// nvfp4 makes the experts over with scales of E4M3 for groups of 16.
func nvfp4(scale byte) func(*testing.T, folder) {
	return func(t *testing.T, f folder) {
		f.edit(t, func(all map[string]*tensor.Tensor) {
			s := all[experts+scalesSuffix]
			s.Shape[2] *= 2
			s.Data = make([]byte, 2*len(s.Data))
			for i := range s.Data {
				s.Data[i] = scale
			}
		})
		f.quantization(t, func(q map[string]any) {
			q[experts] = map[string]any{"group_size": 16, "bits": 4, "mode": "nvfp4"}
		})
	}
}

// oddWeights are weights with damage that only some rows or numbers show.
var oddWeights = []broken{
	{name: "NaN scales past the eighth row", from: grid, spoil: pastEighth(qb+scalesSuffix, func(row []byte) {
		words(row, func(int, uint16) uint16 { return 0x7fc0 })
	}), want: one("S18", Error, qb, "not finite")},
	{name: "noise past the eighth row", from: grid, source: true, spoil: pastEighth(qb+weightSuffix, func(row []byte) {
		r := rand.New(rand.NewPCG(1, 2))
		for i := range row {
			row[i] = byte(r.Uint32())
		}
	}), want: one("S17", Error, qb, "weights off by over 100 % of the source")},
	{name: "rotary rows interleaved", from: grid, source: true, spoil: editing(interleave), want: one("S17", Error, qb, "weights off by over 100 %")},
	{name: "codes of 5 bits in 8", from: grid, source: true, spoil: onWeight(qb, func(b []byte) {
		for i := range b {
			b[i] &^= 7
		}
	}), want: one("S17", Error, qb, "more error than 8 bits give")},
	{name: "experts' numbers that are too large", from: grid, spoil: entries(func(i int, id uint64) uint64 { return id + 8 }),
		want: one("X06", Error, "model.layers.0.ffn.gate.tid2eid", "too large")},
	{name: "experts' numbers of another model", from: grid, source: true, spoil: entries(func(i int, id uint64) uint64 { return (id + 1) % 8 }),
		want: one("S17", Error, "model.layers.0.ffn.gate.tid2eid", "other numbers")},
	{name: "nvfp4 with a scale of NaN", from: native, loader: "mlx-lm", spoil: nvfp4(0x7f),
		want: one("S18", Error, experts, "E4M3 scale of NaN")},
	{name: "nvfp4 without a source", from: native, loader: "mlx-lm", spoil: nvfp4(0x38)},
	{name: "scales in F8_E8M0", from: native, source: true, spoil: editing(func(all map[string]*tensor.Tensor) { all[experts+scalesSuffix].DType = tensor.F8E8M0 }),
		want: one("S07", Warning, experts, "F8_E8M0")},
}

// Every row of a matrix may be sampled.
func TestEveryRowMayBeSampled(t *testing.T) {
	p := &tensor.Param{Info: tensor.Info{Name: "w.weight", DType: tensor.BF16, Shape: []int{300, 32}}}
	seen := map[int]bool{}
	r := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		for _, row := range sampleRows(r, p) {
			seen[row] = true
		}
	}
	if len(seen) != 300 {
		t.Errorf("%d rows of 300 came up", len(seen))
	}
}

// An upstream checkpoint is held against its source too.
func TestUpstreamIsCompared(t *testing.T) {
	src := sourceOf(t)
	f := folder{}
	for name, data := range upstreamFolder(t) {
		f[name] = data
	}
	f.edit(t, func(all map[string]*tensor.Tensor) {
		a, b := all["layers.1.attn.wq_a.weight"], all["layers.2.attn.wq_a.weight"]
		a.Data, b.Data = b.Data, a.Data
		a, b = all["layers.3.ffn.experts.0.w1.weight"], all["layers.3.ffn.experts.1.w1.weight"]
		a.Data, b.Data = b.Data, a.Data
		a, b = all["layers.3.ffn.experts.0.w1.scale"], all["layers.3.ffn.experts.1.w1.scale"]
		a.Data, b.Data = b.Data, a.Data
	})
	checkFindings(t, verify(t, f, Options{Source: src}), []wanted{
		{"S17", Error, "layers.1.attn.wq_a", "weights off by"}, {"X05", Error, "layers.3.ffn.experts.", "another expert"}})
	f = folder{}
	for name, data := range upstreamFolder(t) {
		f[name] = data
	}
	r := verify(t, f, Options{Source: src})
	if len(r.Sampled.Errors) == 0 {
		t.Error("nothing was compared")
	}
	for _, e := range r.Sampled.Errors {
		if e.Relative != 0 {
			t.Errorf("upstream differs from itself: %+v", e)
		}
	}
}

// Tens, or a power of ten, rounded down.
func TestPercent(t *testing.T) {
	for part, want := range map[float64]string{2: "100 %", 1: "100 %", 0.47: "40 %", 0.0163: "1 %", 0.04: "1 %", 0.003: "0.1 %", 0.00099: "0.01 %"} {
		if got := percent(part); got != want {
			t.Errorf("%v is %s, want %s", part, got, want)
		}
	}
}
