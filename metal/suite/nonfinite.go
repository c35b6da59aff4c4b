package suite

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"assay/engine/dsv4"
)

// operand is one array of an operation: what it holds, by row.
type operand struct {
	name        string
	rows, width int
	in, out     bool
	cached      bool // in the activations' type
	causal      bool // no row of a result may show what is bad in a later one: the twin multiplies it by 0
}

// operation is an operation whose inputs are made bad one by one.
type operation struct {
	name     string
	config   *dsv4.Config
	operands []operand
	prepare  func(b *Bench) (func(o dsv4.Ops, a []dsv4.Array), error)
}

// nonFiniteCases want what is bad to show: where the twin's result is not finite,
// so is Metal's, and a row in which the twin has only finite numbers has none else
// on Metal. Which of NaN and the infinities it is may differ.
func nonFiniteCases() []Case {
	all := []Case{{"nonfinite/attend/sink", modelConfig(), infiniteSink}, {"nonfinite/select/scores", modelConfig(), badScores}}
	for _, x := range slices.Concat(hyperOperations(), attentionOperations()) {
		for i, in := range x.operands {
			if !in.in {
				continue
			}
			all = append(all, Case{fmt.Sprintf("nonfinite/%s/%s", x.name, in.name), x.config, func(b *Bench) error { return x.bad(b, i) }})
		}
	}
	return all
}

// infiniteSink wants an infinite sink to show in its head, in both ways of
// attention: what it divides by is not a number.
func infiniteSink(b *Bench) error {
	for _, tokens := range []int{1, 3} {
		s := attendShape{heads{4, 80, 16, 8}, 0, 0, 9, tokens, tokens == 1}
		x, err := newAttendInputs(b, s)
		if err != nil {
			return err
		}
		x.sinks[2] = float32(math.Inf(1))
		if x.Sinks, err = b.Vector(x.sinks); err != nil {
			return err
		}
		x.run(b, s)
		if err := b.shows(operand{name: "o", rows: tokens * s.n, width: s.dim}, x.Out, 0); err != nil {
			return err
		}
	}
	return nil
}

// badScores wants blocks of infinite score and blocks of none that is a number to
// tie, and the lowest of them to be picked: a weight makes the products with some
// keys infinite, others hold a NaN.
func badScores(b *Bench) error {
	c := b.Config
	const tokens, blocks = 2, 13
	d, n := c.IndexHeadDim, c.IndexNHeads
	q, w, keys := make([]float32, tokens*n*d), make([]float32, tokens*n), make([]float32, blocks*d)
	for t := range tokens {
		q[t*n*d], w[t*n] = 1, 3e38
	}
	for i := range blocks {
		switch {
		case i == 2 || i == 5 || i == 6:
			keys[i*d] = 4096
		case i == 4 || i > 8:
			keys[i*d] = float32(math.NaN())
		}
	}
	qp, err1 := b.Floats(q)
	wp, err2 := b.Floats(w)
	entries, err3 := b.Cached(keys)
	rope, err4 := b.Rope(dsv4.OverlapRatio, 60)
	picks, err5 := b.Ints(slices.Repeat([]int32{-7}, tokens*c.IndexTopK))
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return err
	}
	for o, side := range map[dsv4.Ops]func(Pair) dsv4.Array{
		b.Metal: func(p Pair) dsv4.Array { return p.Metal }, b.CPU: func(p Pair) dsv4.Array { return p.CPU },
	} {
		batch := spans{{blocks*dsv4.OverlapRatio - 1, tokens}}.batch(false)
		batch.Spans[0].State = &dsv4.LayerState{Index: &dsv4.Pool{Entries: side(entries)}}
		o.Select(batch, b.side(o, rope), side(qp), side(wp), side(picks))
	}
	return b.SameInts("picks", picks)
}

func hyperOperations() []operation {
	c := modelConfig()
	const tokens = 3
	n, d := c.HCMult, c.HiddenSize
	rows := (2 + n) * n
	weights := func(b *Bench, rows int) (*hyperInputs, error) {
		return newHyperInputs(b, hyperShape{n, d, tokens, false}, rows)
	}
	batch := spans{{0, tokens}}.batch(false)
	x := operand{name: "streams", rows: tokens, width: n * d, in: true}
	changed := x
	changed.out = true
	return []operation{
		{"hyperin", c, []operand{x, {name: "u", rows: tokens, width: d, out: true}, {name: "mix", rows: tokens, width: n + n*n, out: true}},
			func(b *Bench) (func(dsv4.Ops, []dsv4.Array), error) {
				h, err := weights(b, rows)
				return func(o dsv4.Ops, a []dsv4.Array) {
					o.HyperIn(batch, &dsv4.Hyper{Fn: b.side(o, h.Fn), Base: h.base, Scale: h.scale, Norm: b.side(o, h.Norm)}, a[0], a[1], a[2])
				}, err
			}},
		{"hyperout", c, []operand{changed, {name: "sublayer", rows: tokens, width: d, in: true}, {name: "mix", rows: tokens, width: n + n*n, in: true}},
			func(*Bench) (func(dsv4.Ops, []dsv4.Array), error) {
				return func(o dsv4.Ops, a []dsv4.Array) { o.HyperOut(batch, a[2], a[1], a[0]) }, nil
			}},
		{"headin", c, []operand{x, {name: "v", rows: tokens, width: d, out: true}},
			func(b *Bench) (func(dsv4.Ops, []dsv4.Array), error) {
				h, err := weights(b, n)
				return func(o dsv4.Ops, a []dsv4.Array) {
					o.HeadIn(batch, &dsv4.HyperHead{Fn: b.side(o, h.Fn), Base: h.base, Scale: 1}, b.side(o, h.Norm), a[0], a[1])
				}, err
			}},
	}
}

func attentionOperations() []operation {
	c := modelConfig()
	rank, d, heads, w, ratio := c.QLoraRank, c.HeadDim, c.NumAttentionHeads, c.SlidingWindow, dsv4.OverlapRatio
	all := []operation{{"latents", c, []operand{{name: "qr", rows: 3, width: rank, in: true, out: true}, {name: "kv", rows: 3, width: d, in: true, out: true}},
		func(b *Bench) (func(dsv4.Ops, []dsv4.Array), error) {
			q, err1 := b.Vector(b.normal(rank, 1))
			k, err2 := b.Vector(b.normal(d, 1))
			rope, err3 := b.Rope(0, 16)
			return func(o dsv4.Ops, a []dsv4.Array) {
				o.Latents(spans{{9, 3}}.batch(false), b.side(o, q), a[0], b.side(o, k), b.side(o, rope), a[1])
			}, errors.Join(err1, err2, err3)
		}}}
	for _, tokens := range []int{1, 3} {
		name := map[int]string{1: "attend one", 3: "attend rows"}[tokens]
		all = append(all, operation{name, c, []operand{
			{name: "q", rows: tokens, width: heads * d, in: true}, {name: "kv", rows: tokens, width: d, in: true, causal: true},
			{name: "window", rows: w, width: d, in: true, cached: true}, {name: "entries", rows: 6, width: d, in: true, cached: true},
			{name: "o", rows: tokens, width: heads * d, out: true}},
			func(b *Bench) (func(dsv4.Ops, []dsv4.Array), error) {
				rope, err1 := b.Rope(ratio, 32)
				sinks, err2 := b.Vector(b.normal(heads, 1))
				return func(o dsv4.Ops, a []dsv4.Array) {
					batch := spans{{22, tokens}}.batch(tokens == 1)
					batch.Spans[0].State = &dsv4.LayerState{Window: a[2], Main: &dsv4.Pool{Entries: a[3]}}
					o.Attend(batch, &dsv4.Attention{Sinks: b.side(o, sinks), Rope: b.side(o, rope), Ratio: ratio}, a[0], a[1], nil, a[4])
				}, errors.Join(err1, err2)
			}})
	}
	return append(all, operation{"compress", c, []operand{
		{name: "values", rows: 13, width: 2 * d, in: true}, {name: "gates", rows: 13, width: 2 * d, in: true}, {name: "entries", rows: 3, width: d, out: true, cached: true}},
		func(b *Bench) (func(dsv4.Ops, []dsv4.Array), error) {
			bias, err1 := b.Vector(b.normal(ratio*2*d, 1))
			norm, err2 := b.Vector(b.normal(d, 1))
			rope, err3 := b.Rope(ratio, 16)
			values, err4 := b.Floats(make([]float32, 2*ratio*2*d))
			gates, err5 := b.Floats(make([]float32, 2*ratio*2*d))
			return func(o dsv4.Ops, a []dsv4.Array) {
				pool := &dsv4.Pool{Values: values.CPU, Gates: gates.CPU, Slots: 2 * ratio, Entries: a[2]}
				if o == b.Metal {
					pool.Values, pool.Gates = values.Metal, gates.Metal
				}
				batch := spans{{0, 13}}.batch(false)
				batch.Spans[0].State = &dsv4.LayerState{Main: pool}
				o.Compress(batch, &dsv4.Compressor{Ratio: ratio, Width: d, Overlap: true, Bias: b.side(o, bias), Norm: b.side(o, norm), Rope: b.side(o, rope)},
					func(s *dsv4.LayerState) *dsv4.Pool { return s.Main }, a[0], a[1])
			}, errors.Join(err1, err2, err3, err4, err5)
		}})
}

// side is the weight of one of the two engines.
func (b *Bench) side(o dsv4.Ops, w Weights) dsv4.Weight {
	if o == b.Metal {
		return w.Metal
	}
	return w.CPU
}

// bad runs the operation with each kind of bad number in operand i, at a place in
// the middle of its second row, or of its only one.
func (x operation) bad(b *Bench, i int) error {
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		run, err := x.prepare(b)
		if err != nil {
			return err
		}
		at := min(x.operands[i].rows-1, 1)
		pairs := make([]Pair, len(x.operands))
		var metal, twin []dsv4.Array
		for j, p := range x.operands {
			data := b.normal(p.rows*p.width, 1)
			if j == i {
				data[at*p.width+b.Rand.IntN(p.width)] = float32(v)
			}
			put := b.Floats
			if p.cached {
				put = b.Cached
			}
			if pairs[j], err = put(data); err != nil {
				return err
			}
			metal, twin = append(metal, pairs[j].Metal), append(twin, pairs[j].CPU)
		}
		run(b.Metal, metal)
		run(b.CPU, twin)
		for j, p := range x.operands {
			if !p.out {
				continue
			}
			before := 0
			if x.operands[i].causal {
				before = at
			}
			if err := b.shows(p, pairs[j], before); err != nil {
				return fmt.Errorf("%v in %s: %w", v, x.operands[i].name, err)
			}
		}
	}
	return nil
}

// shows holds one result against what nonFiniteCases say; rows before some row
// must be finite, whatever the twin's are.
func (b *Bench) shows(p operand, pair Pair, before int) error {
	read := b.Read
	if p.cached {
		read = b.ReadCached
	}
	got, want, err := read(pair)
	if err != nil {
		return err
	}
	finite := func(x float32) bool { return x-x == 0 }
	for r := range p.rows {
		clean := true
		for c := range p.width {
			clean = clean && (r < before || finite(want[r*p.width+c]))
		}
		for c := range p.width {
			switch i := r*p.width + c; {
			case r >= before && !finite(want[i]) && finite(got[i]):
				return fmt.Errorf("%s[%d][%d] is %g, want %g", p.name, r, c, got[i], want[i])
			case clean && !finite(got[i]):
				return fmt.Errorf("%s[%d][%d] is %g in a row of finite numbers", p.name, r, c, got[i])
			}
		}
	}
	return nil
}
