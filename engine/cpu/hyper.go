package cpu

import (
	"math"

	"assay/engine/dsv4"
)

// HyperIn is the first half of an mHC step.
func (o *ops) HyperIn(b *dsv4.Batch, h *dsv4.Hyper, x, u, mix dsv4.Array) {
	xs, us, mixes := x.(floats), u.(floats), mix.(floats)
	t, n, d := len(b.Tokens), o.c.HCMult, o.c.HiddenSize
	raw := (2 + n) * n
	sums := grow(&o.shared, t*(raw+n+1))
	pre, rho := sums[t*raw:][:t*n], sums[t*(raw+n):]
	o.product(b.Decode, &h.Fn.(*matrix).Matrix, xs, sums, t)
	norm := h.Norm.(vector)
	eps := float32(o.c.RMSNormEps)
	o.pool.ranges(t, 64, func(_, from, to int) {
		for i := from; i < to; i++ {
			mean := o.k.SumSquares(xs[i*n*d:][:n*d]) / float32(n*d)
			rho[i] = 1 / float32(math.Sqrt(float64(mean+eps)))
		}
		o.k.Sinkhorn(sums[from*raw:to*raw], rho[from:to], h.Base, h.Scale, n, o.c.HCSinkhornIters, float32(o.c.HCEps),
			pre[from*n:to*n], mixes[from*(n+n*n):to*(n+n*n)])
		for i := from; i < to; i++ {
			row := us[i*d:][:d]
			o.k.Mix(pre[i*n:][:n], xs[i*n*d:][:n*d], row)
			o.k.Norm(row, norm, row, eps)
		}
	})
}

// HyperOut is the second half.
func (o *ops) HyperOut(b *dsv4.Batch, mix, y, x dsv4.Array) {
	mixes, ys, xs := mix.(floats), y.(floats), x.(floats)
	n, d := o.c.HCMult, o.c.HiddenSize
	o.pool.ranges(len(b.Tokens), 64, func(_, from, to int) {
		for i := from; i < to; i++ {
			m := mixes[i*(n+n*n):][:n+n*n]
			o.k.Remix(m[:n], m[n:], ys[i*d:][:d], xs[i*n*d:][:n*d])
		}
	})
}

// HeadIn merges the streams: v = norm(Σ_j (σ((fn·f)_j·ρ·scale + base_j) + eps)·x_j).
func (o *ops) HeadIn(b *dsv4.Batch, h *dsv4.HyperHead, norm dsv4.Weight, x, v dsv4.Array) {
	xs, vs, w := x.(floats), v.(floats), norm.(vector)
	t, n, d := len(b.Tokens), o.c.HCMult, o.c.HiddenSize
	sums := grow(&o.shared, t*n)
	o.product(b.Decode, &h.Fn.(*matrix).Matrix, xs, sums, t)
	eps := float32(o.c.RMSNormEps)
	o.pool.ranges(t, 64, func(_, from, to int) {
		for i := from; i < to; i++ {
			mean := o.k.SumSquares(xs[i*n*d:][:n*d]) / float32(n*d)
			rho := 1 / math.Sqrt(float64(mean+eps))
			pre := sums[i*n:][:n]
			for j := range pre {
				pre[j] = float32(sigmoid(float64(pre[j])*rho*float64(h.Scale)+float64(h.Base[j])) + o.c.HCEps)
			}
			row := vs[i*d:][:d]
			o.k.Mix(pre, xs[i*n*d:][:n*d], row)
			o.k.Norm(row, w, row, eps)
		}
	})
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// norm is the RMS norm of each row.
func (o *ops) norm(b *dsv4.Batch, weight vector, xs floats) {
	n := len(weight)
	o.pool.ranges(len(b.Tokens), 64, func(_, from, to int) {
		for i := from; i < to; i++ {
			o.k.Norm(xs[i*n:][:n], weight, xs[i*n:][:n], float32(o.c.RMSNormEps))
		}
	})
}

// LogProbs multiplies with the output projection and normalises each row.
func (o *ops) LogProbs(head dsv4.Weight, hidden, dst []float32, decode bool) error {
	w := &head.(*matrix).Matrix
	n := len(dst) / w.Rows
	o.product(decode, w, hidden, dst, n)
	o.pool.ranges(n, 8, func(_, from, to int) {
		for i := from; i < to; i++ {
			o.k.LogSoftmax(dst[i*w.Rows:][:w.Rows])
		}
	})
	return nil
}
