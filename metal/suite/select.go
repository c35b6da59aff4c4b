package suite

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"assay/engine/dsv4"
)

// selectShape is an indexer and a span.
type selectShape struct {
	heads, dim, rope, topk int
	pos, tokens            int
	decode                 bool
}

func selectCases() []Case {
	var all []Case
	for _, s := range []selectShape{
		{4, 32, 16, 3, 0, 1, true}, {4, 32, 16, 3, 11, 1, true}, {4, 32, 16, 3, 39, 1, true}, {4, 32, 16, 3, 0, 40, false},
		{4, 64, 32, 64, 250, 13, false}, {64, 128, 64, 512, 2047, 1, true}, {64, 128, 64, 512, 2060, 2, false}, {64, 128, 64, 512, 5000, 1, true},
		{1, 16, 16, 1, 9, 4, false}, {9, 48, 16, 7, 140, 3, false}, {33, 32, 16, 5, 600, 1, true}, {3, 32, 16, 40, 20000, 1, true},
	} {
		c := *modelConfig()
		c.IndexNHeads, c.IndexHeadDim, c.QKRopeHeadDim, c.IndexTopK, c.HeadDim = s.heads, s.dim, s.rope, s.topk, (s.rope+79)/16*16
		name := fmt.Sprintf("select/heads=%dx%d/topk=%d/pos=%d/tokens=%d/decode=%v", s.heads, s.dim, s.topk, s.pos, s.tokens, s.decode)
		all = append(all,
			Case{name, &c, func(b *Bench) error { return selectBlocks(b, s, false) }},
			Case{name + "/ties", &c, func(b *Bench) error { return selectBlocks(b, s, true) }})
	}
	return all
}

// selectBlocks wants the twin's picks. Where scores are drawn, the picks may differ
// in blocks whose scores are as close to the last of the picks as both engines'
// roundings allow. Where they tie, nothing rounds and nothing may differ: queries
// are zero but in a channel that is not rotated, small integers as the keys are.
func selectBlocks(b *Bench, s selectShape, ties bool) error {
	const ratio = dsv4.OverlapRatio
	blocks := (s.pos + s.tokens) / ratio
	q, w, keys := b.normal(s.tokens*s.heads*s.dim, 1), b.normal(s.tokens*s.heads, 1), b.normal(max(blocks, 1)*s.dim, 1)
	if ties {
		q, w, keys = b.tied(s, blocks)
	}
	qp, err1 := b.Floats(q)
	wp, err2 := b.Floats(w)
	entries, err3 := b.Cached(keys)
	rope, err4 := b.Rope(ratio, s.pos+s.tokens)
	picks, err5 := b.Ints(slices.Repeat([]int32{-7}, s.tokens*s.topk))
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return err
	}
	batch := spans{{s.pos, s.tokens}}.batch(s.decode)
	batch.Spans[0].State = &dsv4.LayerState{Index: &dsv4.Pool{Entries: entries.Metal}}
	b.Metal.Select(batch, rope.Metal, qp.Metal, wp.Metal, picks.Metal)
	batch.Spans[0].State = &dsv4.LayerState{Index: &dsv4.Pool{Entries: entries.CPU}}
	b.CPU.Select(batch, rope.CPU, qp.CPU, wp.CPU, picks.CPU)
	if ties {
		return b.SameInts("picks", picks)
	}
	got, want := make([]int32, picks.n), make([]int32, picks.n)
	if err := errors.Join(b.Metal.ReadInts(got, picks.Metal, 0), b.CPU.ReadInts(want, picks.CPU, 0)); err != nil {
		return err
	}
	for t := range s.tokens {
		row := func(v []int32) []int32 { return v[t*s.topk:][:s.topk] }
		score := b.scores(s, t, q, w, keys)
		if err := samePicks(row(got), row(want), (s.pos+t+1)/ratio, score); err != nil {
			return fmt.Errorf("token %d: %w", t, err)
		}
	}
	return nil
}

// tied makes inputs whose scores are small integers over a power of two, many of
// them equal: one head in four has a query, of one in its first channel.
func (b *Bench) tied(s selectShape, blocks int) (q, w, keys []float32) {
	q, w = make([]float32, s.tokens*s.heads*s.dim), make([]float32, s.tokens*s.heads)
	keys = make([]float32, max(blocks, 1)*s.dim)
	for i := range w {
		if i%s.heads%4 == 0 {
			q[i*s.dim], w[i] = 1, 1
		}
	}
	for i := range max(blocks, 1) {
		keys[i*s.dim] = float32(b.Rand.IntN(5) - 1)
	}
	if b.KVSim { // a query's transform is flat; so is a key's, up to its size
		for i := range max(blocks, 1) {
			copy(keys[i*s.dim:][:s.dim], slices.Repeat(keys[i*s.dim:][:1], s.dim))
		}
	}
	return q, w, keys
}

// scores returns, for token t, a block's score in float64 and by how much either
// engine may be off it. Products of d channels round 2d times, a query's channel is
// off by turnOff of its terms and, where kv_sim rounds, by a quantum where its
// input differs; max(0, ·) adds nothing, and a sum over heads rounds once a head
// and twice a term.
func (b *Bench) scores(s selectShape, t int, q, w, keys []float32) func(block int) (score, off float64) {
	scale := 1 / math.Sqrt(float64(s.heads*s.dim))
	type head struct{ v, off []float64 }
	var all []head
	for h := range s.heads {
		in := make([]float64, s.dim)
		for i, x := range q[(t*s.heads+h)*s.dim:][:s.dim] {
			in[i] = float64(x)
		}
		v, off := turned(b.Config, dsv4.OverlapRatio, s.pos+t, in, false)
		for i := range off {
			off[i] *= turnOff
		}
		if b.KVSim {
			hadamard(v)
			off = fp4Quantum(v) // what it may differ by, and be rounded by
		}
		all = append(all, head{v, off})
	}
	return func(block int) (score, off float64) {
		for h, x := range all {
			var dot, size, terms float64
			for i, k := range keys[block*s.dim:][:s.dim] {
				dot += x.v[i] * float64(k)
				size += math.Abs(x.v[i] * float64(k))
				terms += x.off[i] * math.Abs(float64(k))
			}
			weight := float64(w[t*s.heads+h]) * scale
			score += weight * max(dot, 0)
			off += math.Abs(weight) * (terms + float64(s.dim+s.heads+3)*u*size)
		}
		return score, off
	}
}

// samePicks: both are ascending and as long; a block that only one has scores as
// far from the least score of the others as both may be off.
func samePicks(got, want []int32, visible int, score func(int) (float64, float64)) error {
	n := min(visible, len(got))
	for i, x := range got {
		switch {
		case i >= n && x != -1:
			return fmt.Errorf("pick %d is %d, want -1 behind %d blocks", i, x, n)
		case i < n && (x < 0 || int(x) >= visible || i > 0 && x <= got[i-1]):
			return fmt.Errorf("picks are %v of %d blocks", got, visible)
		}
	}
	if visible <= len(got) {
		return nil
	}
	least, off := math.Inf(1), 0.0
	for _, x := range want {
		if v, e := score(int(x)); v < least {
			least, off = v, e
		}
	}
	check := func(a, b []int32) error {
		for _, x := range a {
			if v, e := score(int(x)); !slices.Contains(b, x) && math.Abs(v-least) > 2*(e+off) {
				return fmt.Errorf("block %d of score %g is picked by one engine, the last pick scores %g", x, v, least)
			}
		}
		return nil
	}
	return errors.Join(check(got, want), check(want, got))
}
