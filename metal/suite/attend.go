package suite

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"assay/engine/dsv4"
)

// attendShape is one call of Attend: a span at a position, with pooled entries,
// all of them or picked ones.
type attendShape struct {
	heads
	ratio, topk int
	pos, tokens int
	decode      bool
}

func (s attendShape) String() string {
	return fmt.Sprintf("%v/ratio=%d/topk=%d/pos=%d/tokens=%d/decode=%v", s.heads, s.ratio, s.topk, s.pos, s.tokens, s.decode)
}

// attendCases go around a window's edges, around tiles of 8 and 32 keys, over
// layers of every kind, and to the most keys of a chunk and more.
func attendCases() []Case {
	golden, ref, flash := heads{4, 80, 16, 8}, heads{8, 128, 32, 128}, heads{64, 512, 64, 128}
	shapes := []attendShape{
		{golden, 0, 0, 0, 1, true}, {golden, 0, 0, 6, 1, true}, {golden, 0, 0, 7, 1, true}, {golden, 0, 0, 8, 1, true}, {golden, 4, 3, 39, 1, true},
		{golden, 8, 0, 39, 1, true}, {golden, 4, 3, 2, 1, true}, {golden, 0, 0, 0, 1, false}, {golden, 0, 0, 0, 19, false}, {golden, 4, 3, 0, 40, false},
		{golden, 8, 0, 0, 40, false}, {golden, 8, 0, 13, 5, false}, {golden, 4, 3, 31, 9, false},
		{ref, 0, 0, 130, 3, false}, {ref, 4, 64, 300, 2, false}, {ref, 128, 0, 500, 2, false}, {ref, 4, 64, 320, 1, true}, {ref, 128, 0, 400, 1, true},
		{ref, 8, 0, 9000, 1, true}, {flash, 4, 512, 2100, 1, true}, {flash, 4, 512, 600, 1, false}, {flash, 128, 0, 1000, 1, true},
		{heads{1, 16, 2, 3}, 2, 0, 5, 4, false}, {heads{9, 32, 32, 5}, 3, 0, 11, 1, true}, {heads{20, 48, 16, 33}, 4, 7, 40, 3, false}, {heads{33, 288, 64, 9}, 0, 0, 4, 2, false},
		{heads{1, 16, 2, 3}, 4, 1100, 5000, 1, true}, // chunks of 64 keys, the last with less than a tile
	}
	var all []Case
	for _, s := range shapes {
		c := s.config()
		c.IndexTopK = max(s.topk, 1)
		all = append(all, Case{"attend/" + s.String(), c, func(b *Bench) error { return attend(b, s) }})
	}
	for _, h := range []heads{golden, {11, 32, 16, 6}} {
		c := h.config()
		c.IndexTopK = 3
		all = append(all, Case{"attend/alone/" + h.String(), c, attendAlone})
	}
	return all
}

// attendInputs are the arrays of one call. Keys are rounded to the activations'
// type, so that both engines see the same.
type attendInputs struct {
	q, kv, ring, entries, sinks []float32
	picks                       []int32
	Q, KV, Ring, Entries, Out   Pair
	Picks                       Pair
	Rope, Sinks                 Weights
}

func newAttendInputs(b *Bench, s attendShape) (*attendInputs, error) {
	d, w := s.dim, s.window
	x := &attendInputs{
		q: b.normal(s.tokens*s.n*d, 1), kv: b.normal(s.tokens*d, 1), ring: b.normal(w*d, 1), sinks: b.normal(s.n, 1),
	}
	visible := 0
	if s.ratio != 0 {
		visible = (s.pos + s.tokens) / s.ratio
	}
	x.entries = b.normal(max(visible, 1)*d, 1)
	// Some keys score far above those before them, so that a softmax's reference moves.
	for i := range d {
		x.kv[i] *= 30
		x.entries[len(x.entries)-1-i] *= 60
	}
	b.round(x.kv)
	if s.topk != 0 {
		for t := range s.tokens {
			x.picks = append(x.picks, b.pick((s.pos+t+1)/s.ratio, s.topk)...)
		}
	}
	var errs [7]error
	x.Q, errs[0] = b.Floats(x.q)
	x.KV, errs[1] = b.Floats(x.kv)
	x.Ring, errs[2] = b.Cached(x.ring)
	x.Entries, errs[3] = b.Cached(x.entries)
	x.Rope, errs[4] = b.Rope(s.ratio, s.pos+s.tokens)
	x.Sinks, errs[5] = b.Vector(x.sinks)
	x.Out, errs[6] = b.Poison(s.tokens * s.n * d)
	var err error
	if s.topk != 0 {
		x.Picks, err = b.Ints(x.picks)
	}
	return x, errors.Join(append(errs[:], err)...)
}

// pick chooses up to k of n blocks, ascending, then −1.
func (b *Bench) pick(n, k int) []int32 {
	all := b.Rand.Perm(n)[:min(n, k)]
	slices.Sort(all)
	out := make([]int32, k)
	for i := range out {
		out[i] = -1
		if i < len(all) {
			out[i] = int32(all[i])
		}
	}
	return out
}

// run attends on both sides.
func (x *attendInputs) run(b *Bench, s attendShape) {
	batch := spans{{s.pos, s.tokens}}.batch(s.decode)
	one := func(o dsv4.Ops, side func(Pair) dsv4.Array, rope, sinks dsv4.Weight) {
		state := &dsv4.LayerState{Window: side(x.Ring)}
		if s.ratio != 0 {
			state.Main = &dsv4.Pool{Entries: side(x.Entries)}
		}
		batch.Spans[0].State = state
		var picks dsv4.Array
		if s.topk != 0 {
			picks = side(x.Picks)
		}
		o.Attend(batch, &dsv4.Attention{Sinks: sinks, Rope: rope, Ratio: s.ratio}, side(x.Q), side(x.KV), picks, side(x.Out))
	}
	one(b.Metal, func(p Pair) dsv4.Array { return p.Metal }, x.Rope.Metal, x.Sinks.Metal)
	one(b.CPU, func(p Pair) dsv4.Array { return p.CPU }, x.Rope.CPU, x.Sinks.CPU)
}

func attend(b *Bench, s attendShape) error {
	x, err := newAttendInputs(b, s)
	if err != nil {
		return err
	}
	x.run(b, s)
	d := s.dim
	bound := make([]float64, s.tokens*s.n*d)
	for t := range s.tokens {
		keys := x.keys(s, t)
		for h := range s.n {
			at := (t*s.n + h) * d
			copy(bound[at:], attendOff(b.Config, s, x.q[at:][:d], keys, float64(x.sinks[h]), s.pos+t))
		}
	}
	got, want, err := b.ReadCached(x.Ring)
	if err == nil && !slices.Equal(got, want) {
		err = errors.New("the window's keys are not the twin's")
	}
	return errors.Join(b.Same("o", x.Out, func(i int) float64 { return bound[i] }), err)
}

// keys lists what token t of the span sees.
func (x *attendInputs) keys(s attendShape, t int) (keys [][]float32) {
	pos, d := s.pos+t, s.dim
	for p := max(pos-s.window+1, 0); p <= pos; p++ {
		if p < s.pos {
			keys = append(keys, x.ring[p%s.window*d:][:d])
		} else {
			keys = append(keys, x.kv[(p-s.pos)*d:][:d])
		}
	}
	if s.ratio == 0 {
		return keys
	}
	for e := range (pos + 1) / s.ratio {
		if s.topk == 0 || slices.Contains(x.picks[t*s.topk:][:s.topk], int32(e)) {
			keys = append(keys, x.entries[e*d:][:d])
		}
	}
	return keys
}

// attendOff is by how much a head's output may differ. A query's channel is off
// by normOff and turnOff of its terms, a score s by that and, on both sides, the
// roundings of d products and sums, and of the scale: ε. The tops differ by the
// greatest ε, and so do the references; s − M and e^ of it round on both sides.
// Numerator and denominator are sums of n terms, of which up to 32 chunks, or
// moves of a reference, bring another product each. So a probability is off by
//
//	η = 2·(2·ε + 2u·max|s−M| + expMetal + u) + 2·(n + 2·32 + 4)·u
//
// of itself and the mean of keys by (η + 2n·u)·Σ p·|k|, before it is turned back.
// What e^(s−M) loses under 2^-126 is 2^-126 of a key.
func attendOff(c *dsv4.Config, s attendShape, q []float32, keys [][]float32, sink float64, pos int) []float64 {
	d, scale := len(q), 1/math.Sqrt(float64(len(q)))
	qs, size := turned(c, s.ratio, pos, normed(q, nil, c.RMSNormEps), false)
	scores, top, eps := make([]float64, len(keys)), sink, 0.0
	for i, k := range keys {
		var terms float64
		for j, v := range k {
			scores[i] += qs[j] * float64(v) * scale
			terms += size[j] * math.Abs(float64(v)) * scale
		}
		top = max(top, scores[i])
		eps = max(eps, terms*(normOff(d)+turnOff+2*float64(d+1)*u))
	}
	sum, far := math.Exp(sink-top), top-sink
	for _, v := range scores {
		sum += math.Exp(v - top)
		far = max(far, min(top-v, 100))
	}
	n := float64(len(keys))
	eta := 2*(2*eps+2*u*far+expMetal+u) + 2*(n+2*32+4)*u
	mean, off := make([]float64, d), make([]float64, d)
	for i, k := range keys {
		p := math.Exp(scores[i]-top) / sum
		for j, v := range k {
			mean[j] += p * float64(v)
			off[j] += (eta+2*n*u)*p*math.Abs(float64(v)) + 0x1p-120*math.Abs(float64(v))
		}
	}
	_, size = turned(c, s.ratio, pos, mean, true)
	out := make([]float64, d)
	first := d - c.QKRopeHeadDim
	for j := range out {
		out[j] = off[j] + turnOff*size[j] + 0x1p-120
		if j >= first {
			out[j] += off[first+(j-first)^1]
		}
	}
	return out
}

// attendAlone wants a query's bits to be its own: what it becomes in one call for
// a sequence, in pieces of it, and token by token through the same kernel.
func attendAlone(b *Bench) error {
	c := b.Config
	const tokens, ratio = 21, 4
	h := heads{c.NumAttentionHeads, c.HeadDim, c.QKRopeHeadDim, c.SlidingWindow}
	s := attendShape{h, ratio, c.IndexTopK, 0, tokens, false}
	x, err := newAttendInputs(b, s)
	if err != nil {
		return err
	}
	d := s.dim
	run := func(pieces []int) ([]float32, error) {
		ring, err1 := b.Cached(make([]float32, s.window*d))
		q, err2 := b.Floats(x.q)
		out, err3 := b.Poison(tokens * s.n * d)
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, err
		}
		at := 0
		for _, n := range pieces {
			batch := spans{{at, n}}.batch(false)
			batch.Spans[0].State = &dsv4.LayerState{Window: ring.Metal, Main: &dsv4.Pool{Entries: x.Entries.Metal}}
			piece := func(p Pair, width int) dsv4.Array { return b.Metal.Slice(p.Metal, at*width, n*width) }
			b.Metal.Attend(batch, &dsv4.Attention{Sinks: x.Sinks.Metal, Rope: x.Rope.Metal, Ratio: ratio},
				piece(q, s.n*d), piece(x.KV, d), piece(x.Picks, s.topk), piece(out, s.n*d))
			at += n
		}
		got := make([]float32, tokens*s.n*d)
		return got, b.Metal.Read(got, out.Metal, 0)
	}
	whole, err := run([]int{tokens})
	if err != nil {
		return err
	}
	for _, pieces := range [][]int{{7, 14}, slices.Repeat([]int{1}, tokens)} {
		parts, err := run(pieces)
		if err != nil {
			return err
		}
		for i := range whole {
			if math.Float32bits(whole[i]) != math.Float32bits(parts[i]) {
				return fmt.Errorf("token %d is %g in one call and %g in pieces of %v", i/(s.n*d), whole[i], parts[i], pieces)
			}
		}
	}
	return nil
}
