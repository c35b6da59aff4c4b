package dsv4test

import (
	"fmt"
	"math"
	"slices"

	"assay/engine/dsv4"
)

// Selection is one choice that a model made: a token's experts or blocks.
type Selection struct {
	Kind     string // "router" or "indexer"
	Layer    int
	Window   int // span of the batch: of a pass, the window
	Position int // in its sequence
	Picks    []int32
	// Gap is the score of the last taken less that of the first left out; +Inf
	// where nothing was left out or scored, NaN where scores were not seen.
	Gap float64
}

func (s Selection) String() string {
	return fmt.Sprintf("window %d, position %d, layer %d, %s, gap %.1e", s.Window, s.Position, s.Layer, s.Kind, s.Gap)
}

// Same says whether two selections took the same, in whatever order.
func (s Selection) Same(o Selection) bool {
	return slices.Equal(slices.Sorted(slices.Values(s.Picks)), slices.Sorted(slices.Values(o.Picks)))
}

// Log is selections in the order they were made. It knows the layers of a
// session, and of a pass whose windows run together.
type Log struct {
	All    []Selection
	layers int // done
}

// note adds token t's selection; a nil log takes none.
func (l *Log) note(c *dsv4.Config, b *dsv4.Batch, kind string, t int, picks []int32, gap float64) {
	if l == nil {
		return
	}
	s := Selection{Kind: kind, Layer: l.layers % c.NumHiddenLayers, Picks: slices.Clone(picks), Gap: gap}
	for i, span := range b.Spans {
		if t >= span.From && t < span.From+span.Len {
			s.Window, s.Position = i, span.Pos+t-span.From
		}
	}
	l.All = append(l.All, s)
}

// routed says that a layer has chosen its experts, which it does last.
func (l *Log) routed() {
	if l != nil {
		l.layers++
	}
}

// Observer is operations whose selections are noted in Log, without gaps.
type Observer struct {
	dsv4.Ops
	C   *dsv4.Config
	Log Log
	// Streams holds the sums over each token's streams after each layer.
	Streams [][]float64
	halves  int
}

// Route notes every token's experts.
func (o *Observer) Route(b *dsv4.Batch, r *dsv4.Router, u, picks, weights dsv4.Array) {
	o.Ops.Route(b, r, u, picks, weights)
	o.note(b, "router", o.C.NumExpertsPerTok, picks)
	o.Log.routed()
}

// Select notes every token's blocks.
func (o *Observer) Select(b *dsv4.Batch, rope dsv4.Weight, q, w, picks dsv4.Array) {
	o.Ops.Select(b, rope, q, w, picks)
	o.note(b, "indexer", o.C.IndexTopK, picks)
}

func (o *Observer) note(b *dsv4.Batch, kind string, k int, picks dsv4.Array) {
	all := make([]int32, len(b.Tokens)*k)
	if err := o.ReadInts(all, picks, 0); err != nil {
		panic(err) // a test's backend does not fail to read
	}
	for t := range b.Tokens {
		o.Log.note(o.C, b, kind, t, all[t*k:(t+1)*k], math.NaN())
	}
}

// HyperOut sums the streams after every second half.
func (o *Observer) HyperOut(b *dsv4.Batch, mix, y, x dsv4.Array) {
	o.Ops.HyperOut(b, mix, y, x)
	if o.halves++; o.halves%2 == 1 {
		return
	}
	each := o.C.HCMult * o.C.HiddenSize
	all := make([]float32, len(b.Tokens)*each)
	if err := o.Read(all, x, 0); err != nil {
		panic(err)
	}
	sums := make([]float64, len(b.Tokens))
	for i, v := range all {
		sums[i/each] += float64(v)
	}
	o.Streams = append(o.Streams, sums)
}
