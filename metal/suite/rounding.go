package suite

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"assay/engine/dsv4"
)

// roundingCases hold kv_sim's roundings to the bit: inputs get to them without a
// rounding before, so that both engines round the same numbers.
func roundingCases() []Case {
	h := heads{1, 192, 64, 5}
	c := h.config()
	c.RMSNormEps = 0x1p-10
	all := []Case{{Name: "rounding/fp8", Config: c, Run: fp8Exact}}
	for _, dim := range []int{32, 64, 128} {
		c := modelConfig()
		c.IndexHeadDim, c.IndexNHeads, c.IndexTopK = dim, 3, dim-5
		all = append(all, Case{Name: fmt.Sprintf("rounding/fp4/width=%d", dim), Config: c, Run: fp4Exact})
	}
	return all
}

// fp8Exact gives keys whose norm is exactly 1: 190 times 1, 1.25² and 0.5² have a
// mean of 1023/1024, and eps is the rest. So a channel is its weight, up to a sign,
// when it is rounded. Rotary channels are not compared.
func fp8Exact(b *Bench) error {
	c := b.Config
	const tokens = 2
	d, plain := c.HeadDim, c.HeadDim-c.QKRopeHeadDim
	for _, blocks := range b.fp8Blocks() {
		weight := b.normal(d, 1)
		copy(weight, blocks)
		keys := make([]float32, tokens*d)
		for i := range keys {
			keys[i] = float32(1 - 2*b.Rand.IntN(2))
			switch i % d {
			case d - 1:
				keys[i] = 1.25
			case d - 2:
				keys[i] = 0.5
			}
		}
		kv, err1 := b.Floats(keys)
		qr, err2 := b.Draw(tokens*c.QLoraRank, 1)
		qn, err3 := b.Vector(b.normal(c.QLoraRank, 1))
		kn, err4 := b.Vector(weight)
		rope, err5 := b.Rope(0, 8)
		if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
			return err
		}
		batch := spans{{3, tokens}}.batch(false)
		b.Metal.Latents(batch, qn.Metal, qr.Metal, kn.Metal, rope.Metal, kv.Metal)
		b.CPU.Latents(batch, qn.CPU, qr.CPU, kn.CPU, rope.CPU, kv.CPU)
		got, want, err := b.Read(kv)
		if err != nil {
			return err
		}
		for i := range got {
			if i%d < plain && got[i] != want[i] {
				return fmt.Errorf("%g is rounded to %g, want %g", weight[i%d], got[i], want[i])
			}
		}
	}
	return nil
}

// fp8Blocks are pairs of blocks of 64 channels: of all sizes down to what rounds
// to nothing, halfway between two values, at both sides of what makes the scale
// double, and so small that the floor of the scale counts.
func (b *Bench) fp8Blocks() [][]float32 {
	all := make([][]float32, 6)
	wide := func(top float64) []float32 {
		v := make([]float32, 64)
		for i := range v {
			v[i] = float32(top * math.Exp2(-20*b.Rand.Float64()))
		}
		v[b.Rand.IntN(64)] = float32(top)
		return v
	}
	half := make([]float32, 64)
	for i := range half {
		half[i] = float32((float64(i%16) + 0.5) * 0x1p-9) // of the least unit
		if i >= 16 {
			half[i] = float32((8.5 + float64(i%8)) * math.Exp2(float64(i/8-9)))
		}
	}
	half[0] = 448
	all[0] = append(wide(448), half...)
	all[1] = append(wide(1.7), wide(float64(math.Nextafter32(448, 0)))...)
	all[2] = append(wide(float64(math.Nextafter32(448, 500))), wide(449)...)
	all[3] = append(wide(0.9e-4), wide(3e-6)...)
	all[4] = append(make([]float32, 64), wide(1e30)...)
	all[5] = append(wide(448*0x1p-9), wide(447*0x1p-9)...)
	return all
}

// fp4Exact lets the picks show how a query was rounded: blocks are the unit
// vectors and their negatives, so that a block's score is a rounded channel, and
// the turn is by nothing. In 64 channels, whose transform is by 1/8, some queries
// are the transform of values halfway between two of FP4's.
func fp4Exact(b *Bench) error {
	c := b.Config
	const tokens = 7
	d, n, k := c.IndexHeadDim, c.IndexNHeads, c.IndexTopK
	blocks := 2 * d
	pos := blocks*dsv4.OverlapRatio - 1
	q, w := make([]float32, tokens*n*d), make([]float32, tokens*n)
	keys := make([]float32, (blocks+tokens)*d)
	for i := range blocks {
		keys[i*d+i/2] = float32(1 - 2*(i%2))
	}
	for t := range tokens {
		h := t % n
		w[t*n+h] = 1
		v := q[(t*n+h)*d:][:d]
		copy(v, b.normal(d, []float64{1, 1, 1e-3, 1e4, 0x1p-100, 0, 0}[t]))
		switch {
		case t == 0 && d == 64:
			copy(v, b.halfways())
		case t == 5: // every channel is 1.3·2^-125, whose scale is the floor's
			v[0] = float32(1.3 * 0x1p-125 * math.Sqrt(float64(d)))
			w[t*n+h] = 0x1p110
		}
	}
	qp, err1 := b.Floats(q)
	wp, err2 := b.Floats(w)
	entries, err3 := b.Cached(keys)
	rope, err4 := b.both(func(o dsv4.Ops) (dsv4.Weight, error) {
		return o.LoadRope(make([]float32, c.QKRopeHeadDim/2), pos+tokens)
	})
	picks, err5 := b.Ints(slices.Repeat([]int32{-7}, tokens*k))
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return err
	}
	batch := spans{{pos, tokens}}.batch(false)
	batch.Spans[0].State = &dsv4.LayerState{Index: &dsv4.Pool{Entries: entries.Metal}}
	b.Metal.Select(batch, rope.Metal, qp.Metal, wp.Metal, picks.Metal)
	batch.Spans[0].State = &dsv4.LayerState{Index: &dsv4.Pool{Entries: entries.CPU}}
	b.CPU.Select(batch, rope.CPU, qp.CPU, wp.CPU, picks.CPU)
	return b.SameInts("picks", picks)
}

// halfways are 64 channels whose transform is what lies halfway between values of
// FP4, with 6 in each block, so that the scale is 1.
func (b *Bench) halfways() []float32 {
	v := make([]float64, 64)
	for i := range v {
		v[i] = []float64{0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, -0.25, -0.75, -1.25, -1.75, -2.5, -3.5, -5, 0.5, 3}[b.Rand.IntN(16)]
	}
	v[7], v[40] = 6, -6
	hadamard(v) // multiples of 1/4, times 1/8
	out := make([]float32, 64)
	for i, x := range v {
		out[i] = float32(x)
	}
	return out
}
