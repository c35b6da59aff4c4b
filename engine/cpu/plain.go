package cpu

import (
	"math"
	"slices"

	"assay/engine/affine"
	"assay/engine/cpu/kernel"
	"assay/engine/mx"
	"assay/engine/tensor"
)

// plain is the kernels' plain twins: what each must compute, in the order of
// the formula. A program without cgo runs on them. Products and sums round to
// float32 one by one, where a kernel may fuse them.
type plain struct{}

// Name returns "plain".
func (plain) Name() string { return "plain" }

// formatOf returns the format whose rows w holds.
func formatOf(w *kernel.Matrix) tensor.Format {
	switch w.Kind {
	case kernel.Affine:
		return affine.Format{Params: affine.Params{Bits: w.Bits, GroupSize: w.Group}, F16: w.F16}
	case kernel.MXFP4:
		return mx.FP4
	case kernel.MXFP8:
		return mx.FP8
	case kernel.BF16:
		return tensor.PlainFormat(tensor.BF16)
	}
	return tensor.PlainFormat(tensor.F32)
}

// MatMul: y[t,r] = Σ_c W[r,c]·x[t,c], the weight formed first.
func (plain) MatMul(a *kernel.MatMul) {
	row := make([]float32, a.W.Cols)
	at := func(index []int32, t int) int {
		if index == nil {
			return t
		}
		return int(index[t])
	}
	for r := a.From; r < a.To; r++ {
		decodeRow(row, a.W, r)
		for t := range a.N {
			x := a.X[at(a.XIdx, t)*a.LdX:][:len(row)]
			a.Y[at(a.YIdx, t)*a.LdY+r] = dot(row, x)
		}
	}
}

func dot(a, b []float32) float32 {
	var s float32
	for i, v := range a {
		s += float32(v * b[i])
	}
	return s
}

// Prepare: x, and behind it for an affine product Σx of each group.
func (plain) Prepare(w *kernel.Matrix, x, room []float32) []float32 {
	out := append(room[:0], x[:w.Cols]...)
	for g := 0; w.Kind == kernel.Affine && g < w.Cols; g += w.Group {
		var s float32
		for _, v := range x[g:][:w.Group] {
			s += v
		}
		out = append(out, s)
	}
	return out
}

// MatVec: affine as Σ_g (s·Σ q·x + b·Σ x), no weight formed.
func (plain) MatVec(w *kernel.Matrix, from, to int, x, y []float32) {
	x, xsum := x[:w.Cols], x[w.Cols:]
	row := make([]float32, w.Cols)
	if w.Kind != kernel.Affine {
		for r := from; r < to; r++ {
			decodeRow(row, w, r)
			y[r] = dot(row, x)
		}
		return
	}
	value := tensor.BF16ToFloat32
	if w.F16 {
		value = tensor.F16ToFloat32
	}
	groups := w.Cols / w.Group
	scales, biases := tensor.Uint16s(w.Scales), tensor.Uint16s(w.Biases)
	codes := make([]uint8, w.Cols)
	for r := from; r < to; r++ {
		width := w.Cols / 8 * w.Bits
		affine.Unpack(codes, w.Bits, w.Codes[r*width:][:width])
		var sum float32
		for g := range groups {
			var q float32
			for i, c := range codes[g*w.Group:][:w.Group] {
				q += float32(float32(c) * x[g*w.Group+i])
			}
			sum += float32(value(scales[r*groups+g])*q) + float32(value(biases[r*groups+g])*xsum[g])
		}
		y[r] = sum
	}
}

// Attend: o = Σ_i p_i·k_i, p_i = e^{s_i−M} / (Σ e^{s−M} + e^{sink−M}), s_i =
// scale·q·k_i over the keys that the lane sees, M the greatest of s and sink.
func (plain) Attend(a *kernel.Attend) {
	scores := make([]float32, len(a.ID))
	key := func(i int) []float32 {
		return a.Base[a.ID[i]>>kernel.RowBits][int(a.ID[i]&kernel.RowMask)*a.D:][:a.D]
	}
	for l, at := range a.Lane {
		q, o := a.Q[at:][:a.D], a.O[at:][:a.D]
		top := a.Sinks[l]
		for i := range scores {
			scores[i] = float32(math.Inf(-1))
			if a.See[i]>>l&1 == 1 {
				scores[i] = dot(key(i), q) * a.Scale
			}
			if scores[i] > top {
				top = scores[i]
			}
		}
		sum := exp32(a.Sinks[l] - top)
		for i, s := range scores {
			scores[i] = exp32(s - top)
			sum += scores[i]
		}
		clear(o)
		for i, s := range scores {
			p := s * (1 / sum)
			for c, v := range key(i) {
				o[c] += float32(p * v)
			}
		}
	}
}

// AttendAll: Attend where every lane sees every key.
func (p plain) AttendAll(a *kernel.Attend) {
	all := *a
	all.See = slices.Repeat([]uint32{1}, len(a.ID))
	for l := range a.Lane {
		all.Lane, all.Sinks = a.Lane[l:l+1], a.Sinks[l:l+1]
		p.Attend(&all)
	}
}

func exp32(x float32) float32 { return float32(math.Exp(float64(x))) }

// IndexScores: Σ_h w_h·max(0, q_h·κ).
func (plain) IndexScores(q, w []float32, m, heads, d int, keys []float32, n int, out, _ []float32) {
	for i := range m {
		for b := range n {
			var s float32
			for h := range heads {
				v := dot(keys[b*d:][:d], q[(i*heads+h)*d:][:d])
				s += float32(w[i*heads+h] * max(v, 0))
			}
			out[i*n+b] = s
		}
	}
}

// IndexOne: IndexScores of one query.
func (p plain) IndexOne(q, w []float32, heads, d int, keys []float32, n int, out []float32) {
	p.IndexScores(q, w, 1, heads, d, keys, n, out, nil)
}

// Pool: each channel's softmax over the rows' gates weighs their values.
func (plain) Pool(values, gates []float32, rows []int64, ringValues, ringGates, out []float32) {
	at := func(a, ring []float32, i, c int) float32 {
		if rows[i] < 0 {
			return ring[-1-int(rows[i])+c]
		}
		return a[int(rows[i])+c]
	}
	for c := range out {
		top := float32(math.Inf(-1))
		for i := range rows {
			top = max(top, at(gates, ringGates, i, c))
		}
		var sum, acc float32
		for i := range rows {
			e := exp32(at(gates, ringGates, i, c) - top)
			sum += e
			acc += float32(e * at(values, ringValues, i, c))
		}
		out[c] = acc / sum
	}
}

// SumSquares: Σ x².
func (plain) SumSquares(x []float32) float32 { return dot(x, x) }

// Norm: x·w / sqrt(mean(x²) + eps).
func (p plain) Norm(x, w, y []float32, eps float32) {
	r := 1 / float32(math.Sqrt(float64(p.SumSquares(x)/float32(len(x))+eps)))
	for i, v := range x {
		y[i] = float32(v * r)
		if w != nil {
			y[i] *= w[i]
		}
	}
}

// Mix: Σ_j a_j·x_j.
func (plain) Mix(a, x, y []float32) {
	for c := range y {
		var s float32
		for j, v := range a {
			s += float32(v * x[j*len(y)+c])
		}
		y[c] = s
	}
}

// Remix: x'_k = post_k·y + Σ_j comb_jk·x_j.
func (plain) Remix(post, comb, y, x []float32) {
	m, n := len(post), len(y)
	var old [maxStreams]float32
	for c := range y {
		for j := range m {
			old[j] = x[j*n+c]
		}
		for k := range m {
			s := float32(post[k] * y[c])
			for j := range m {
				s += float32(comb[j*m+k] * old[j])
			}
			x[k*n+c] = s
		}
	}
}

// Sinkhorn: pre = σ + eps, post = 2σ, comb a softmax of rows, then columns and
// rows normalised in turn, columns iters times; +eps in every denominator.
func (plain) Sinkhorn(mixes, rho, base []float32, scale [3]float32, m, iters int, eps float32, pre, out []float32) {
	for t, r := range rho {
		v := mixes[t*(2+m)*m:][:(2+m)*m]
		mixed := func(i, s int) float32 { return float32(v[i]*r*scale[s]) + base[i] }
		post, comb := out[t*(m+m*m):][:m], out[t*(m+m*m)+m:][:m*m]
		for j := range m {
			pre[t*m+j] = 1/(1+exp32(-mixed(j, 0))) + eps
			post[j] = 2 / (1 + exp32(-mixed(m+j, 1)))
			softmaxRow(comb[j*m:][:m], func(k int) float32 { return mixed(2*m+j*m+k, 2) }, eps)
		}
		for it := range iters {
			for j := 0; it > 0 && j < m; j++ {
				normalise(comb[j*m:], m, 1, eps)
			}
			for k := range m {
				normalise(comb[k:], m, m, eps)
			}
		}
	}
}

func softmaxRow(row []float32, x func(int) float32, eps float32) {
	top, sum := float32(math.Inf(-1)), float32(0)
	for k := range row {
		top = max(top, x(k))
	}
	for k := range row {
		row[k] = exp32(x(k) - top)
		sum += row[k]
	}
	for k := range row {
		row[k] = row[k]/sum + eps
	}
}

// normalise divides n elements, stride apart, by their sum + eps.
func normalise(v []float32, n, stride int, eps float32) {
	sum := eps
	for i := range n {
		sum += v[i*stride]
	}
	for i := range n {
		v[i*stride] /= sum
	}
}

// SwiGLU: silu(min(g, limit))·clamp(u, ±limit)·weight.
func (plain) SwiGLU(g, u []float32, limit, weight float32) {
	for i := range g {
		x, y := g[i], u[i]
		if x > limit {
			x = limit
		}
		if y > limit {
			y = limit
		}
		if y < -limit {
			y = -limit
		}
		g[i] = x * (1 / (1 + exp32(-x))) * y * weight
	}
}

// LogSoftmax: x − ln Σ e^x, the sum in float64.
func (plain) LogSoftmax(x []float32) {
	top := float32(math.Inf(-1))
	for _, v := range x {
		if v > top {
			top = v
		}
	}
	var sum float64
	for _, v := range x {
		sum += math.Exp(float64(v - top))
	}
	lse := float32(float64(top) + math.Log(sum))
	for i := range x {
		x[i] -= lse
	}
}
