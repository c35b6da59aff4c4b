package suite

import (
	"errors"
	"fmt"
	"math"

	"assay/engine/dsv4"
	"assay/engine/tensor"
)

// expertsCases run a layer's experts: decoded, of few tokens one by one, of many
// sorted by expert; routed and shared in two formats.
func expertsCases() []Case {
	var all []Case
	c := productConfig()
	add := func(name string, routed, shared tensor.Format, run func(*Bench, *layer) error) {
		all = append(all, Case{Name: fmt.Sprintf("experts/%v+%v/%s", routed, shared, name), Config: c, Run: func(b *Bench) error {
			l, err := b.layer(routed, shared)
			if err != nil {
				return err
			}
			defer l.free(b)
			return run(b, l)
		}})
	}
	fs := someFormats()
	for i, f := range fs {
		add("tokens", f, fs[(i+3)%len(fs)], func(b *Bench, l *layer) error {
			return l.batches(b, decode(), batch(1), batch(8), batch(40), batch(12, 2, 1, 35, 11))
		})
	}
	four, eight := fs[len(fs)-4], fs[len(fs)-1]
	add("tiles", four, eight, func(b *Bench, l *layer) error { return l.batches(b, batch(9), batch(19), batch(210)) })
	add("blocks", four, eight, func(b *Bench, l *layer) error {
		defer busy()()
		return l.batches(b, decode(), batch(3))
	})
	add("nowhere", four, eight, func(b *Bench, l *layer) error { return l.nowhere(b) })
	c = productConfig() // sizes that no tile and no block divides
	c.HiddenSize, c.MoEIntermediateSize = 400, 80
	add("ragged", tensor.PlainFormat(tensor.BF16), tensor.PlainFormat(tensor.F32), func(b *Bench, l *layer) error {
		if err := l.batches(b, decode(), batch(40)); err != nil {
			return err
		}
		defer busy()()
		return l.batches(b, decode(), batch(3))
	})
	return all
}

// batches compares calls of batches.
func (l *layer) batches(b *Bench, all ...*dsv4.Batch) error {
	for _, t := range all {
		if err := l.compare(b, t); err != nil {
			return fmt.Errorf("%d tokens: %w", len(t.Tokens), err)
		}
	}
	return nil
}

// layer is a layer's experts on both sides, the shared one last.
type layer struct {
	matrices   []dsv4.ExpertMatrices
	metal, cpu *dsv4.Experts
	loaded     []Weights
}

func (b *Bench) layer(routed, shared tensor.Format) (*layer, error) {
	c := b.Config
	d, wide := c.HiddenSize, c.MoEIntermediateSize
	l := &layer{metal: &dsv4.Experts{}, cpu: &dsv4.Experts{}}
	for i := range c.NRoutedExperts + 1 {
		f := routed
		if i == c.NRoutedExperts {
			f = shared
		}
		l.matrices = append(l.matrices, dsv4.ExpertMatrices{W1: b.Real(f, wide, d), W3: b.Real(f, wide, d), W2: b.Real(f, d, wide)})
	}
	last := l.matrices[c.NRoutedExperts]
	all, err := b.both(func(o dsv4.Ops) (dsv4.Weight, error) { return o.LoadExperts(l.matrices[:c.NRoutedExperts]) })
	w1, e1 := b.Load(last.W1)
	w3, e3 := b.Load(last.W3)
	w2, e2 := b.Load(last.W2)
	l.loaded = []Weights{all, w1, w3, w2}
	l.metal.Routed, l.metal.Shared.W1, l.metal.Shared.W3, l.metal.Shared.W2 = all.Metal, w1.Metal, w3.Metal, w2.Metal
	l.cpu.Routed, l.cpu.Shared.W1, l.cpu.Shared.W3, l.cpu.Shared.W2 = all.CPU, w1.CPU, w3.CPU, w2.CPU
	return l, errors.Join(err, e1, e2, e3)
}

func (l *layer) free(b *Bench) {
	for _, w := range l.loaded {
		b.unload(w)
	}
}

// inputs are one call's arrays, and what they hold.
type inputs struct {
	u, picks, weights, y Pair
	us, ws               []float32
	ps                   []int32
}

func (b *Bench) inputs(tokens int) (in inputs, err error) {
	c := b.Config
	n := tokens * c.NumExpertsPerTok
	in.ws, in.ps = make([]float32, n), make([]int32, n)
	for i := range n {
		in.ws[i], in.ps[i] = b.Rand.Float32(), int32(b.Rand.IntN(c.NRoutedExperts)) // one may be picked twice
		if b.Rand.IntN(3) > 0 {
			in.ps[i] = 1 // an expert with many tokens beside some with few
		}
	}
	var errs [4]error
	in.u, in.us, errs[0] = b.numbers(tokens*c.HiddenSize, false)
	in.weights, errs[1] = b.Floats(in.ws)
	in.picks, errs[2] = b.Ints(in.ps)
	in.y, errs[3] = b.Poison(tokens * c.HiddenSize)
	return in, errors.Join(errs[:]...)
}

func (in inputs) free(b *Bench) {
	for _, p := range []Pair{in.u, in.picks, in.weights, in.y} {
		b.free(p)
	}
}

func (l *layer) compare(b *Bench, t *dsv4.Batch) error {
	in, err := b.inputs(len(t.Tokens))
	if err != nil {
		return err
	}
	defer in.free(b)
	b.Metal.Experts(t, l.metal, in.u.Metal, in.picks.Metal, in.weights.Metal, in.y.Metal)
	b.CPU.Experts(t, l.cpu, in.u.CPU, in.picks.CPU, in.weights.CPU, in.y.CPU)
	return b.Same("y", in.y, within(l.bounds(b, in, len(t.Tokens))))
}

// nowhere wants NaN of a token with a pick that is no expert, and nothing else
// changed.
func (l *layer) nowhere(b *Bench) error {
	d, k := b.Config.HiddenSize, b.Config.NumExpertsPerTok
	for _, t := range []*dsv4.Batch{decode(), batch(3), batch(20)} {
		n := len(t.Tokens)
		for _, bad := range []int32{-1, int32(b.Config.NRoutedExperts), math.MaxInt32, math.MinInt32} {
			in, err := b.inputs(n)
			if err != nil {
				return err
			}
			in.ps[(n-1)*k+1] = bad
			if err := b.Metal.(setInts).SetInts(in.picks.Metal, in.ps); err != nil {
				return err
			}
			b.Metal.Experts(t, l.metal, in.u.Metal, in.picks.Metal, in.weights.Metal, in.y.Metal)
			got := make([]float32, n*d)
			if err := b.Metal.Read(got, in.y.Metal, 0); err != nil {
				return err
			}
			for i, v := range got {
				if (v != v) != (i >= (n-1)*d) {
					return fmt.Errorf("pick %d of the last of %d tokens: y[%d] is %g", bad, n, i, v)
				}
			}
			in.free(b)
		}
	}
	return nil
}

// bounds follows errors through the layer. With δg and δu of the two projections
// as productBounds has them, |silu'| ≤ 1.1 and clamps that move nothing apart,
//
//	δa ≤ weight·(1.1·δg·|c| + (|s| + 1.1·δg)·δu) + 40·u·|a|
//
// for s = silu(min(g, limit)) and c = clamp(u), where 40 u is exp's 4 ulp on one
// side and 1 on the other with the roundings of five operations on each. The
// down projection adds its own bound over |a| + δa, and the sum of the parts K + 2
// roundings a side.
func (l *layer) bounds(b *Bench, in inputs, tokens int) []float64 {
	c := b.Config
	d, k := c.HiddenSize, c.NumExpertsPerTok
	out := make([]float64, tokens*d)
	weights := make([][3][2][]float32, len(l.matrices)) // of each matrix the weights and what they are made of
	for i, m := range l.matrices {
		for j, w := range []*tensor.Matrix{m.W1, m.W3, m.W2} {
			weights[i][j] = [2][]float32{w.Decode(), magnitudes(w)}
		}
	}
	for t := range tokens {
		for j := range k + 1 {
			e, weight := c.NRoutedExperts, 1.0
			if j < k {
				e, weight = int(in.ps[t*k+j]), float64(in.ws[t*k+j])
			}
			l.expertBounds(b, e, weight, weights[e], in.us[t*d:][:d], out[t*d:][:d])
		}
	}
	return out
}

func (l *layer) expertBounds(b *Bench, e int, weight float64, w [3][2][]float32, x []float32, out []float64) {
	const u = 0x1p-24
	c := b.Config
	unit := func(cols int) float64 {
		n := 2 * float64(cols+4) * u
		if rounded(l.matrices[e].W1.Format) && b.Unit > u {
			n += 2*b.Unit + b.Unit*b.Unit
		}
		return n
	}
	wide, limit := c.MoEIntermediateSize, c.SwigluLimit
	a, da := make([]float64, wide), make([]float64, wide)
	for r := range wide {
		g, ag := dots(w[0], r, x)
		up, au := dots(w[1], r, x)
		dg, du := unit(len(x))*ag, unit(len(x))*au
		s, y := min(g, limit), max(min(up, limit), -limit)
		s /= 1 + math.Exp(-s)
		a[r] = math.Abs(s*y) * weight
		da[r] = weight*(1.1*dg*math.Abs(y)+(math.Abs(s)+1.1*dg)*du) + 40*u*a[r]
	}
	for r := range out {
		for i, m := range w[2][1][r*wide:][:wide] {
			out[r] += float64(m) * (da[i] + (a[i]+da[i])*(unit(wide)+2*float64(c.NumExpertsPerTok+2)*u))
		}
	}
}

// dots is row r of a matrix times x, and the same of magnitudes.
func dots(w [2][]float32, r int, x []float32) (sum, magnitude float64) {
	for i, v := range x {
		sum += float64(w[0][r*len(x)+i]) * float64(v)
		magnitude += float64(w[1][r*len(x)+i]) * math.Abs(float64(v))
	}
	return sum, magnitude
}
