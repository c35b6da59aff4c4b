package dsv4test

import (
	"math"
	"slices"

	"assay/engine/dsv4"
)

// Route is the specification's 3.10 up to the weights.
func (n *Naive) Route(b *dsv4.Batch, r *dsv4.Router, u, picks, weights dsv4.Array) {
	E, K, D := n.C.NRoutedExperts, n.C.NumExpertsPerTok, n.C.HiddenSize
	for t := range b.Tokens {
		s := make([]float64, E)
		r.Gate.(*matrix).times(u.(array)[t*D:][:D], s)
		for e, l := range s {
			s[e] = n.score(l)
		}
		p := picks.(ints)[t*K:][:K]
		biased := slices.Clone(s)
		if r.Table != nil {
			copy(p, r.Table.(table)[int(b.Tokens[t])*K:][:K])
			n.Log.note(n.C, b, "router", t, p, math.Inf(1))
		} else {
			for e := range biased {
				biased[e] += r.Bias.(vector)[e]
			}
			gap := largest(p, biased)
			n.Log.note(n.C, b, "router", t, p, gap)
		}
		if n.Mistake == BiasLeaks {
			s = biased
		}
		sum := 1e-20
		for _, e := range p {
			sum += s[e]
		}
		for i, e := range p {
			weights.(array)[t*K+i] = s[e] / sum * n.C.RoutedScalingFactor
		}
	}
	n.Log.routed()
}

func (n *Naive) score(l float64) float64 {
	if n.Mistake == Sigmoid {
		return sigma(l)
	}
	return math.Sqrt(math.Max(l, 0) + math.Log1p(math.Exp(-math.Abs(l))))
}

// Experts is the rest of 3.10.
func (n *Naive) Experts(b *dsv4.Batch, x *dsv4.Experts, u, picks, weights, y dsv4.Array) {
	K, D := n.C.NumExpertsPerTok, n.C.HiddenSize
	shared := [3]*matrix{x.Shared.W1.(*matrix), x.Shared.W3.(*matrix), x.Shared.W2.(*matrix)}
	each(len(b.Tokens), func(t int) {
		in, out := u.(array)[t*D:][:D], y.(array)[t*D:][:D]
		clear(out)
		for i := range K {
			e := x.Routed.(experts)[picks.(ints)[t*K+i]]
			n.expert(out, in, e, weights.(array)[t*K+i], n.Mistake != NoClamp)
		}
		n.expert(out, in, shared, 1, n.Mistake != NoClamp && n.Mistake != SharedNotClamped)
	})
}

// expert adds weight·w2·(silu(min(w1·x, limit))·clamp(w3·x, ±limit)) to out.
func (n *Naive) expert(out, in []float64, w [3]*matrix, weight float64, clamp bool) {
	g, up, y := make([]float64, w[0].rows), make([]float64, w[1].rows), make([]float64, w[2].rows)
	w[0].times(in, g)
	w[1].times(in, up)
	limit := n.C.SwigluLimit
	for i := range g {
		if clamp {
			g[i] = math.Min(g[i], limit)
			up[i] = math.Max(math.Min(up[i], limit), -limit)
			if n.Mistake == GateClampedTwice {
				g[i] = math.Max(g[i], -limit)
			}
		}
		g[i] *= sigma(g[i]) * up[i] * weight
	}
	w[2].times(g, y)
	for i, v := range y {
		out[i] += v
	}
}
