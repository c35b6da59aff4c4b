package cpu

import (
	"math"

	"assay/engine/cpu/kernel"
	"assay/engine/dsv4"
)

// Route scores the experts in float32 and picks.
func (o *ops) Route(b *dsv4.Batch, r *dsv4.Router, u, picks, weights dsv4.Array) {
	us, ps, ws := u.(floats), picks.(ints), weights.(floats)
	t, n, k := len(b.Tokens), o.c.NRoutedExperts, o.c.NumExpertsPerTok
	scores := grow(&o.shared, t*n)
	o.product(b.Decode, &r.Gate.(*matrix).Matrix, us, scores, t)
	o.pool.ranges(t, 64, func(worker, from, to int) {
		biased := o.scratch(worker, n)
		for i := from; i < to; i++ {
			s, p := scores[i*n:][:n], ps[i*k:][:k]
			for e, l := range s {
				s[e] = sqrtSoftplus(l)
			}
			if r.Table != nil {
				copy(p, r.Table.(table)[int(b.Tokens[i])*k:][:k])
			} else {
				for e, v := range r.Bias.(vector) {
					biased[e] = s[e] + v
				}
				topExperts(p, biased)
			}
			routeWeights(ws[i*k:][:k], s, p, o.c.RoutedScalingFactor)
		}
	})
}

// sqrtSoftplus is sqrt(max(l, 0) + ln(1 + e^−|l|)).
func sqrtSoftplus(l float32) float32 {
	x := float64(l)
	return float32(math.Sqrt(math.Max(x, 0) + math.Log1p(math.Exp(-math.Abs(x)))))
}

// topExperts writes the largest scores' indices to picks, largest first, ties
// to the lower index. A NaN is taken before any number, so that the token's
// weights become NaN. It uses up scores.
func topExperts(picks []int32, scores []float32) {
	for i := range picks {
		best := 0
		for e, v := range scores {
			if v > scores[best] || v != v {
				best = e
			}
		}
		picks[i] = int32(best)
		scores[best] = float32(math.Inf(-1))
	}
}

// routeWeights: w_e = s_e / (Σ s + 1e-20) · factor over the picks.
func routeWeights(w, s []float32, picks []int32, factor float64) {
	sum := 1e-20
	for _, e := range picks {
		sum += float64(s[e])
	}
	for i, e := range picks {
		w[i] = float32(float64(s[e]) / sum * factor)
	}
}

// Experts runs each expert on the tokens that picked it, and adds up.
func (o *ops) Experts(b *dsv4.Batch, x *dsv4.Experts, u, picks, weights, y dsv4.Array) {
	f := feed{
		o: o, routed: x.Routed.(experts),
		shared: [3]*matrix{x.Shared.W1.(*matrix), x.Shared.W3.(*matrix), x.Shared.W2.(*matrix)},
		u:      u.(floats), weights: weights.(floats), y: y.(floats),
	}
	t, k, d := len(b.Tokens), o.c.NumExpertsPerTok, o.c.HiddenSize
	if b.Decode {
		f.token(picks.(ints)[:k])
		return
	}
	f.parts = grow(&o.shared, t*k*d)
	f.sort(picks.(ints)[:t*k])
	f.sharedExpert(t)
	o.pool.each(len(f.lists), func(worker, i int) { f.expert(worker, i) })
	o.pool.ranges(t, 64, func(_, from, to int) {
		for i := from; i < to; i++ {
			row := f.y[i*d:][:d] // holds the shared expert's part, which is added last
			for c := range row {
				var s float32
				for j := range k {
					s += f.parts[(i*k+j)*d+c]
				}
				row[c] += s
			}
		}
	})
}

// feed is one call of Experts.
type feed struct {
	o       *ops
	routed  experts
	shared  [3]*matrix
	u       []float32
	weights []float32
	y       []float32
	parts   []float32 // [tokens, K, D], one expert's output for one token
	lists   []expertList
}

// expertList is the tokens of one expert: rows of u, and rows of parts, which
// are also indices of weights.
type expertList struct {
	expert      int
	tokens, out []int32
}

// sort makes the lists, in order of expert, then token. An expert that nobody
// picked has none.
func (f *feed) sort(picks []int32) {
	k := f.o.c.NumExpertsPerTok
	all := make([]expertList, len(f.routed))
	for i, e := range picks {
		l := &all[e]
		l.expert = int(e)
		l.tokens = append(l.tokens, int32(i/k))
		l.out = append(l.out, int32(i))
	}
	for _, l := range all {
		if len(l.tokens) > 0 {
			f.lists = append(f.lists, l)
		}
	}
}

// sharedExpert runs the shared expert on all tokens into y.
func (f *feed) sharedExpert(t int) {
	wide := f.shared[0].Rows
	room := make([]float32, 2*t*wide)
	g, up := room[:t*wide], room[t*wide:]
	f.o.product(false, &f.shared[0].Matrix, f.u, g, t)
	f.o.product(false, &f.shared[1].Matrix, f.u, up, t)
	f.o.pool.ranges(t, 64, func(_, from, to int) {
		f.o.k.SwiGLU(g[from*wide:to*wide], up[from*wide:to*wide], float32(f.o.c.SwigluLimit), 1)
	})
	f.o.product(false, &f.shared[2].Matrix, g, f.y, t)
}

// expert runs list i on one thread.
func (f *feed) expert(worker, i int) {
	l := f.lists[i]
	w := f.routed[l.expert]
	n, wide, d := len(l.tokens), w[0].Rows, w[0].Cols
	room := f.o.scratch(worker, 2*n*wide+max(d, wide)*kernel.Panel)
	g, up, panel := room[:n*wide], room[n*wide:][:n*wide], room[2*n*wide:]
	in := kernel.MatMul{To: wide, X: f.u, LdX: d, XIdx: l.tokens, LdY: wide, N: n, Panel: panel}
	in.W, in.Y = &w[0].Matrix, g
	f.o.k.MatMul(&in)
	in.W, in.Y = &w[1].Matrix, up
	f.o.k.MatMul(&in)
	for j, at := range l.out {
		f.o.k.SwiGLU(g[j*wide:][:wide], up[j*wide:][:wide], float32(f.o.c.SwigluLimit), f.weights[at])
	}
	f.o.k.MatMul(&kernel.MatMul{W: &w[2].Matrix, To: d, X: g, LdX: wide, Y: f.parts, LdY: d, YIdx: l.out, N: n, Panel: panel})
}

// token runs the experts that one token picked, one perhaps twice, and the shared
// expert after them: all gate and up projections together, then all down
// projections, then the sum.
func (f *feed) token(picks []int32) {
	o, n, d, wide := f.o, len(picks)+1, f.o.c.HiddenSize, f.shared[0].Rows
	for _, e := range picks {
		wide = max(wide, f.routed[e][0].Rows)
	}
	room := grow(&o.shared, n*(2*wide+d+1))
	gates, ups, parts, ones := room[:n*wide], room[n*wide:][:n*wide], room[2*n*wide:][:n*d], room[n*(2*wide+d):]
	expert := func(i int) (*[3]*matrix, float32) {
		if i == len(picks) {
			return &f.shared, 1
		}
		return &f.routed[picks[i]], f.weights[i]
	}
	o.begin()
	for i := range n {
		w, _ := expert(i)
		o.add(&w[0].Matrix, 0, w[0].Rows, o.prepare(&w[0].Matrix, f.u[:d]), gates[i*wide:])
		o.add(&w[1].Matrix, 0, w[1].Rows, o.prepare(&w[1].Matrix, f.u[:d]), ups[i*wide:])
	}
	o.run()
	o.begin()
	for i := range n {
		w, weight := expert(i)
		g := gates[i*wide:][:w[0].Rows]
		o.k.SwiGLU(g, ups[i*wide:][:len(g)], float32(o.c.SwigluLimit), weight)
		o.add(&w[2].Matrix, 0, d, o.prepare(&w[2].Matrix, g), parts[i*d:])
		ones[i] = 1
	}
	o.run()
	o.k.Mix(ones[:n], parts, f.y[:d])
}
