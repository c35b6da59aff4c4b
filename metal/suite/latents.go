package suite

import (
	"errors"
	"fmt"
	"math"

	"assay/engine/dsv4"
	"assay/engine/token"
)

// heads is the sizes of attention that cases run at: the golden model's, the
// reference model's, V4's, and some between.
type heads struct{ n, dim, rope, window int }

func (h heads) config() *dsv4.Config {
	c := *modelConfig()
	c.NumAttentionHeads, c.HeadDim, c.QKRopeHeadDim, c.SlidingWindow = h.n, h.dim, h.rope, h.window
	c.IndexHeadDim = max(h.rope, 32)
	return &c
}

func (h heads) String() string {
	return fmt.Sprintf("heads=%dx%d/rope=%d/window=%d", h.n, h.dim, h.rope, h.window)
}

// spans is a batch of pieces of sequences: positions of their first tokens, and
// lengths.
type spans [][2]int

func (s spans) batch(decode bool) *dsv4.Batch {
	b := &dsv4.Batch{Decode: decode}
	for _, x := range s {
		b.Spans = append(b.Spans, dsv4.Span{From: len(b.Tokens), Len: x[1], Pos: x[0]})
		b.Tokens = append(b.Tokens, make([]token.ID, x[1])...)
	}
	return b
}

// positions calls f for each token with its position.
func positions(b *dsv4.Batch, f func(t, pos int)) {
	for _, s := range b.Spans {
		for i := range s.Len {
			f(s.From+i, s.Pos+i)
		}
	}
}

// turned is v with its last channels at a position, in float64, and for each
// channel the size of the terms that it is the sum of.
func turned(c *dsv4.Config, ratio, pos int, v []float64, back bool) (out, size []float64) {
	out, size = append([]float64(nil), v...), make([]float64, len(v))
	for i, x := range v {
		size[i] = math.Abs(x)
	}
	first := len(v) - c.QKRopeHeadDim
	for i, f := range c.Frequencies(ratio) {
		sin, cos := math.Sincos(float64(float32(pos) * f))
		if back {
			sin = -sin
		}
		a, b := v[first+2*i], v[first+2*i+1]
		out[first+2*i], out[first+2*i+1] = a*cos-b*sin, a*sin+b*cos
		size[first+2*i], size[first+2*i+1] = math.Abs(a*cos)+math.Abs(b*sin), math.Abs(a*sin)+math.Abs(b*cos)
	}
	return out, size
}

// normed is the RMS norm of a row in float64.
func normed(x []float32, w []float32, eps float64) []float64 {
	var squares float64
	for _, v := range x {
		squares += float64(v) * float64(v)
	}
	r := 1 / math.Sqrt(squares/float64(len(x))+float64(float32(eps)))
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v) * r
		if w != nil {
			out[i] *= float64(w[i])
		}
	}
	return out
}

// normOff is by how much, of itself, a normed element of a row of n may differ: on
// both sides the squares round n times, the mean and its sum with eps twice, which
// the root halves, the root and its inverse twice, the products with it and the
// weight twice.
func normOff(n int) float64 { return 2 * (float64(n)/2 + 1 + 2 + 2) * u }

// turnOff is by how much, of its terms, a turned element may differ beyond what
// they do: two products, a sum, the table's numbers, on both sides.
const turnOff = 2 * 3 * u

// rounding is what kv_sim does to a row, by block: the quantum of each element at
// most, by which it may differ where the inputs of the rounding differ at all.
func fp8Quantum(v []float64) []float64 {
	out := make([]float64, len(v))
	for i := 0; i+64 <= len(v); i += 64 {
		top := 1e-4
		for _, x := range v[i:][:64] {
			top = max(top, math.Abs(x))
		}
		s := math.Exp2(math.Ceil(math.Log2(top / 448 * (1 + 1e-6)))) // of the two scales next to a boundary the larger
		for j, x := range v[i:][:64] {
			a := math.Abs(x) / s
			out[i+j] = s * max(math.Exp2(math.Floor(math.Log2(a*(1+1e-6)))-3), 0x1p-9)
		}
	}
	return out
}

func latentsCases() []Case {
	var all []Case
	for _, h := range []heads{{4, 80, 16, 8}, {8, 128, 32, 128}, {64, 512, 64, 128}, {1, 16, 2, 3}, {3, 192, 64, 5}} {
		for _, rank := range []int{16, 50, 1024} {
			for _, s := range []spans{{{0, 1}}, {{7, 3}, {0, 2}, {100, 1}}} {
				c := h.config()
				c.QLoraRank = rank
				all = append(all, Case{fmt.Sprintf("latents/%v/rank=%d/spans=%v", h, rank, s), c, func(b *Bench) error { return latents(b, s, 1) }})
			}
		}
		c := h.config()
		c.QLoraRank = 16
		all = append(all, Case{fmt.Sprintf("latents/%v/tiny", h), c, func(b *Bench) error { return latents(b, spans{{3, 2}}, 1e-6) }})
	}
	return all
}

// latents compares one call; keys are of about the given size.
func latents(b *Bench, s spans, size float64) error {
	c := b.Config
	batch := s.batch(false)
	t, rank, d := len(batch.Tokens), c.QLoraRank, c.HeadDim
	qs, ks, qw, kw := b.normal(t*rank, 2), b.normal(t*d, 3), b.normal(rank, 1), b.normal(d, size)
	qr, err1 := b.Floats(qs)
	kv, err2 := b.Floats(ks)
	qn, err3 := b.Vector(qw)
	kn, err4 := b.Vector(kw)
	rope, err5 := b.Rope(0, 128)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return err
	}
	b.Metal.Latents(batch, qn.Metal, qr.Metal, kn.Metal, rope.Metal, kv.Metal)
	b.CPU.Latents(batch, qn.CPU, qr.CPU, kn.CPU, rope.CPU, kv.CPU)

	qbound, kbound := make([]float64, t*rank), make([]float64, t*d)
	positions(batch, func(t, pos int) {
		for i, v := range normed(qs[t*rank:][:rank], qw, c.RMSNormEps) {
			qbound[t*rank+i] = math.Abs(v)*normOff(rank) + 0x1p-120
		}
		out, size := turned(c, 0, pos, normed(ks[t*d:][:d], kw, c.RMSNormEps), false)
		for i := range out {
			kbound[t*d+i] = size[i]*(normOff(d)+turnOff) + 0x1p-120
		}
		if b.KVSim {
			for i, q := range fp8Quantum(out[:d-c.QKRopeHeadDim]) {
				kbound[t*d+i] += q
			}
		}
	})
	err := errors.Join(b.Same("qr", qr, func(i int) float64 { return qbound[i] }), b.Same("kv", kv, func(i int) float64 { return kbound[i] }))
	if err != nil || !b.KVSim {
		return err
	}
	got, _, err := b.Read(kv)
	if err != nil {
		return err
	}
	for i := range t {
		if err := onFP8Grid(got[i*d:][:d], normed(ks[i*d:][:d], kw, c.RMSNormEps)[:d-c.QKRopeHeadDim]); err != nil {
			return fmt.Errorf("key %d: %w", i, err)
		}
	}
	return nil
}
