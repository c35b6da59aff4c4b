package suite

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"assay/engine/dsv4"
	"assay/engine/token"
)

// routeShape is a router and a batch.
type routeShape struct {
	experts, picks, tokens int
	table, decode          bool
}

func routeCases() []Case {
	var all []Case
	for _, s := range []routeShape{
		{8, 2, 1, false, true}, {8, 2, 5, false, false}, {8, 8, 3, false, false}, {1, 1, 2, false, false}, {33, 6, 9, false, false},
		{256, 6, 1, false, true}, {256, 6, 7, false, false}, {384, 6, 4, false, false}, {8, 2, 1, true, true}, {256, 6, 9, true, false},
	} {
		c := *modelConfig()
		c.NRoutedExperts, c.NumExpertsPerTok, c.HiddenSize, c.VocabSize = s.experts, s.picks, 16, 40
		name := fmt.Sprintf("route/experts=%d/picks=%d/tokens=%d/table=%v/decode=%v", s.experts, s.picks, s.tokens, s.table, s.decode)
		all = append(all, Case{name, &c, func(b *Bench) error { return route(b, s) }})
	}
	return all
}

// route gives each expert the logit that it is to have: the gate picks one of the
// input's 16 channels times a power of two, which no product rounds. Logits go to
// where e^l has no float32, the biased scores of some experts tie, and one token
// holds NaN.
func route(b *Bench, s routeShape) error {
	const width = 16
	gate := make([]float32, s.experts*width)
	for e := range s.experts {
		gate[e*width+e%width] = []float32{1, -1, 2, 0.5, -8}[e/width%5]
	}
	in := b.normal(s.tokens*width, 4)
	for i := range in {
		in[i] = []float32{in[i], in[i] * 10, 0, -20, -170, 1e-3}[b.Rand.IntN(6)]
	}
	if s.tokens > 2 {
		in[2*width+5] = float32(math.NaN())
	}
	bias := b.dyadic(s.experts, 2, 0.25)
	table := make([]int32, b.Config.VocabSize*s.picks)
	for i := range table {
		table[i] = int32(b.Rand.IntN(s.experts))
	}
	g, err1 := b.Load(floatMatrix("gate", s.experts, width, gate))
	bv, err2 := b.Vector(bias)
	tv, err3 := b.both(func(o dsv4.Ops) (dsv4.Weight, error) { return o.LoadTable("table", table) })
	x, err4 := b.Floats(in)
	picks, err5 := b.Ints(slices.Repeat([]int32{-7}, s.tokens*s.picks))
	weights, err6 := b.Poison(s.tokens * s.picks)
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		return err
	}
	batch := spans{{0, s.tokens}}.batch(s.decode)
	for i := range batch.Tokens {
		batch.Tokens[i] = token.ID(b.Rand.IntN(b.Config.VocabSize))
	}
	metal, twin := &dsv4.Router{Gate: g.Metal, Bias: bv.Metal}, &dsv4.Router{Gate: g.CPU, Bias: bv.CPU}
	if s.table {
		metal.Bias, twin.Bias, metal.Table, twin.Table = nil, nil, tv.Metal, tv.CPU
	}
	b.Metal.Route(batch, metal, x.Metal, picks.Metal, weights.Metal)
	b.CPU.Route(batch, twin, x.CPU, picks.CPU, weights.CPU)
	if err := b.SameInts("picks", picks); err != nil {
		return err
	}
	return b.sameWeights(s, weights)
}

// sameWeights: a score is off by (expMetal + 6u)/2 + u on Metal and u on the CPU,
// a weight by two of them and, on Metal, the roundings of a sum of K, a quotient
// and a product. Under 2^-126 Metal has 0. A token with a NaN has nothing else.
func (b *Bench) sameWeights(s routeShape, weights Pair) error {
	got, want, err := b.Read(weights)
	if err != nil {
		return err
	}
	off := 2*((expMetal+6*u)/2+2*u) + float64(s.picks+4)*u
	for i, x := range got {
		if want[i] != want[i] && x != x {
			continue
		}
		if d := math.Abs(float64(x) - float64(want[i])); !(d <= off*math.Abs(float64(want[i]))+0x1p-126) {
			return fmt.Errorf("weight %d of token %d is %g, want %g", i%s.picks, i/s.picks, x, want[i])
		}
	}
	return nil
}
