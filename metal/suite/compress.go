package suite

import (
	"errors"
	"fmt"
	"math"

	"assay/engine/dsv4"
)

// compressShape is a compressor and the calls that feed it: batches of spans,
// each of which goes on with its sequence.
type compressShape struct {
	width, rope, ratio int
	overlap, index     bool
	calls              []spans
}

func (s compressShape) String() string {
	return fmt.Sprintf("width=%d/rope=%d/ratio=%d/index=%v/calls=%v", s.width, s.rope, s.ratio, s.index, s.calls)
}

// compressCases: blocks that close in a call, over calls, token by token and not
// at all, for one sequence and for two side by side.
func compressCases() []Case {
	calls := [][]spans{
		{{{0, 1}}}, {{{0, 3}}, {{3, 1}}, {{4, 9}}, {{13, 1}}, {{14, 1}}, {{15, 1}}}, {{{0, 17}, {0, 6}}, {{17, 7}, {6, 1}}},
	}
	var all []Case
	for _, s := range []compressShape{
		{80, 16, 4, true, false, nil}, {80, 16, 8, false, false, nil}, {32, 16, 4, true, true, nil}, {128, 64, 4, true, true, nil},
		{512, 64, 4, true, false, nil}, {192, 64, 5, false, false, nil},
	} {
		for _, x := range calls {
			s.calls = x
			all = append(all, compressCase(s))
		}
	}
	return append(all, compressCase(compressShape{512, 64, 128, false, false, []spans{{{0, 130}}, {{130, 126}}}}))
}

func compressCase(s compressShape) Case {
	c := *modelConfig()
	c.QKRopeHeadDim = s.rope
	c.HeadDim, c.IndexHeadDim = s.width, 64
	if s.index {
		c.HeadDim, c.IndexHeadDim = s.rope+64, s.width
	}
	return Case{"compress/" + s.String(), &c, func(b *Bench) error { return compress(b, s) }}
}

// side is one engine's compressor and the pools of its sequences.
type side struct {
	ops   dsv4.Ops
	of    func(Pair) dsv4.Array
	comp  *dsv4.Compressor
	pools []*dsv4.Pool
}

func compress(b *Bench, s compressShape) error {
	ch, slots, most := s.width, s.ratio, 0
	if s.overlap {
		ch, slots = 2*s.width, 2*s.ratio
	}
	for _, call := range s.calls {
		for _, x := range call {
			most = max(most, x[0]+x[1])
		}
	}
	bias, norm := b.normal(s.ratio*ch, 0.5), b.normal(s.width, 1)
	bw, err1 := b.Vector(bias)
	nw, err2 := b.Vector(norm)
	rope, err3 := b.Rope(s.ratio, most)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	weights := dsv4.Compressor{Ratio: s.ratio, Width: s.width, Overlap: s.overlap, Index: s.index}
	sides := []*side{
		{ops: b.Metal, of: func(p Pair) dsv4.Array { return p.Metal }}, {ops: b.CPU, of: func(p Pair) dsv4.Array { return p.CPU }},
	}
	var rings, entries []Pair
	for i, x := range sides {
		w := weights
		w.Bias, w.Norm, w.Rope = bw.Metal, nw.Metal, rope.Metal
		if i == 1 {
			w.Bias, w.Norm, w.Rope = bw.CPU, nw.CPU, rope.CPU
		}
		x.comp = &w
	}
	n := len(s.calls[0])
	for range n {
		values, err1 := b.Poison(slots * ch)
		gates, err2 := b.Poison(slots * ch)
		e, err3 := b.Cached(make([]float32, max(most/s.ratio, 1)*s.width))
		if err := errors.Join(err1, err2, err3); err != nil {
			return err
		}
		rings, entries = append(rings, values, gates), append(entries, e)
		for _, x := range sides {
			x.pools = append(x.pools, &dsv4.Pool{Values: x.of(values), Gates: x.of(gates), Slots: slots, Entries: x.of(e)})
		}
	}
	history := make([]history, n)
	for _, call := range s.calls {
		if err := b.feed(s, call, ch, sides, history); err != nil {
			return err
		}
	}
	for i := range n {
		if err := b.sameEntries(s, bias, norm, entries[i], &history[i]); err != nil {
			return err
		}
		for _, ring := range rings[2*i:][:2] { // copies, and one sum
			if most < slots {
				continue // some were never written
			}
			if err := b.Same("ring", ring, func(int) float64 { return 0x1p-120 }); err != nil && history[i].n >= slots {
				return err
			}
		}
	}
	return nil
}

// history is all rows of a sequence.
type history struct {
	values, gates []float32
	n             int
}

// feed runs one call on both sides.
func (b *Bench) feed(s compressShape, call spans, ch int, sides []*side, all []history) error {
	batch := call.batch(len(call) == 1 && call[0][1] == 1)
	vs, gs := b.normal(len(batch.Tokens)*ch, 1), b.normal(len(batch.Tokens)*ch, 2)
	values, err1 := b.Floats(vs)
	gates, err2 := b.Floats(gs)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	for i, span := range batch.Spans {
		h := &all[i]
		h.values = append(h.values, vs[span.From*ch:][:span.Len*ch]...)
		h.gates = append(h.gates, gs[span.From*ch:][:span.Len*ch]...)
		h.n += span.Len
	}
	for _, x := range sides {
		for i := range batch.Spans {
			batch.Spans[i].State = &dsv4.LayerState{Main: x.pools[i]}
		}
		x.ops.Compress(batch, x.comp, func(l *dsv4.LayerState) *dsv4.Pool { return l.Main }, x.of(values), x.of(gates))
	}
	return nil
}

// sameEntries holds the entries of a sequence against the twin's. A gate and its
// bias round once, e^(g−top) by 2u·|g−top| and its own error, numerator and
// denominator by n terms each, on both sides: a pooled channel is off by
//
//	η = 2·(2u·(|g|+|top|) + expMetal + u) + 2·(2n + 1)·u
//
// of Σ w·|v|. The norm divides by what differs as much in the mean; turning and
// rounding come after, and the stored type.
func (b *Bench) sameEntries(s compressShape, bias, norm []float32, entries Pair, h *history) error {
	got, want, err := b.ReadCached(entries)
	if err != nil {
		return err
	}
	for e := range h.n / s.ratio {
		v, off := pooled(s, bias, h, e)
		plain := make([]float32, len(v))
		var squares, errs float64
		for c := range v {
			plain[c] = float32(v[c])
			squares, errs = squares+v[c]*v[c], errs+off[c]*off[c]
		}
		r := normed(plain, norm, b.Config.RMSNormEps)
		out, size := turned(b.Config, s.ratio, e*s.ratio, r, false)
		bound := make([]float64, s.width)
		relative := normOff(s.width) + math.Sqrt(errs/squares)
		for c := range bound {
			scale := math.Abs(float64(norm[c])) / math.Sqrt(squares/float64(s.width)+b.Config.RMSNormEps)
			bound[c] = scale*off[c] + math.Abs(r[c])*relative
		}
		for c := s.width - s.rope; c < s.width; c += 2 {
			both := bound[c] + bound[c+1]
			bound[c], bound[c+1] = both+turnOff*size[c], both+turnOff*size[c+1]
		}
		b.addRounding(s, out, bound)
		for c, x := range got[e*s.width:][:s.width] {
			if d := math.Abs(float64(x) - float64(want[e*s.width+c])); !(d <= bound[c]+b.storedOff(out[c])) {
				return fmt.Errorf("entry %d, channel %d is %g, want %g within %.3g", e, c, x, want[e*s.width+c], bound[c])
			}
		}
		switch {
		case b.KVSim && s.index:
			err = onFP4Grid(got[e*s.width:][:s.width], out) // which is transformed
		case b.KVSim:
			err = onFP8Grid(got[e*s.width:][:s.width], out[:s.width-s.rope])
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", e, err)
		}
	}
	return nil
}

// addRounding adds what kv_sim's rounding may: a quantum, where inputs differ.
func (b *Bench) addRounding(s compressShape, out, bound []float64) {
	switch {
	case b.KVSim && !s.index:
		for c, q := range fp8Quantum(out[:s.width-s.rope]) {
			bound[c] += q
		}
	case b.KVSim:
		var sum float64
		for _, x := range bound {
			sum += x
		}
		hadamard(out)
		for c, q := range fp4Quantum(out) {
			bound[c] = sum/math.Sqrt(float64(s.width)) + q
		}
	}
}

// hadamard is the transform of v in Sylvester's order, times len(v)^-1/2.
func hadamard(v []float64) {
	f := 1 / math.Sqrt(float64(len(v)))
	for stride := 1; stride < len(v); stride *= 2 {
		for i := range v {
			if i&stride == 0 {
				v[i], v[i+stride] = v[i]+v[i+stride], v[i]-v[i+stride]
			}
		}
	}
	for i := range v {
		v[i] *= f
	}
}

// fp4Quantum is fp8Quantum for FP4 in blocks of 32.
func fp4Quantum(v []float64) []float64 {
	out := make([]float64, len(v))
	for i := 0; i+32 <= len(v); i += 32 {
		top := 0.0
		for _, x := range v[i:][:32] {
			top = max(top, math.Abs(x))
		}
		s := math.Exp2(math.Ceil(math.Log2(top / 6 * (1 + 1e-6))))
		for j, x := range v[i:][:32] {
			switch a := math.Abs(x) / s * (1 + 1e-6); {
			case a < 2:
				out[i+j] = s / 2
			case a < 4:
				out[i+j] = s
			default:
				out[i+j] = 2 * s
			}
		}
	}
	return out
}

// pooled is block e in float64, before its norm, and by how much it may differ.
func pooled(s compressShape, bias []float32, h *history, e int) (v, off []float64) {
	ch := s.width
	if s.overlap {
		ch *= 2
	}
	v, off = make([]float64, s.width), make([]float64, s.width)
	for c := range v {
		var gates, values []float64
		add := func(block, half int) {
			for t := block * s.ratio; t < (block+1)*s.ratio; t++ {
				gates = append(gates, float64(h.gates[t*ch+half+c])+float64(bias[t%s.ratio*ch+half+c]))
				values = append(values, float64(h.values[t*ch+half+c]))
			}
		}
		if s.overlap && e > 0 {
			add(e-1, 0)
		}
		add(e, ch-s.width)
		top, far := math.Inf(-1), 0.0
		for _, g := range gates {
			top, far = max(top, g), max(far, math.Abs(g))
		}
		var sum, size float64
		for i, g := range gates {
			p := math.Exp(g - top)
			sum += p
			v[c] += p * values[i]
			size += p * math.Abs(values[i])
		}
		v[c] /= sum
		off[c] = (2*(2*u*2*far+expMetal+u) + 2*float64(2*len(gates)+1)*u) * size / sum
	}
	return v, off
}
