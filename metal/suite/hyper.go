package suite

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"assay/engine/dsv4"
	"assay/engine/token"
)

// hyperShape is the streams of one case.
type hyperShape struct {
	n, d, tokens int
	decode       bool
}

// hyperCases are the mHC steps: every number of streams, widths under, at and
// between the columns that a slice has, tokens around those that share rows of fn.
func hyperCases() []Case {
	shapes := []hyperShape{
		{1, 16, 1, true}, {2, 32, 2, false}, {3, 48, 9, false}, {4, 32, 1, true}, {4, 32, 40, false}, {4, 36, 3, false},
		{4, 260, 17, false}, {4, 4096, 1, true}, {4, 4096, 2, false}, {5, 80, 8, false}, {6, 64, 7, false}, {7, 144, 1, true}, {8, 16, 33, false},
	}
	var all []Case
	for _, s := range shapes {
		c := *modelConfig()
		c.HCMult, c.HiddenSize, c.HCEps, c.RMSNormEps, c.HCSinkhornIters = s.n, s.d, 1e-6, 1e-6, 20
		name := fmt.Sprintf("streams=%d/width=%d/tokens=%d/decode=%v", s.n, s.d, s.tokens, s.decode)
		all = append(all,
			Case{"hyperin/" + name, &c, func(b *Bench) error { return hyperIn(b, s) }},
			Case{"hyperout/" + name, &c, func(b *Bench) error { return hyperOut(b, s) }},
			Case{"headin/" + name, &c, func(b *Bench) error { return headIn(b, s) }})
	}
	// Few iterations, and mixes of which no exponential is a float32.
	for _, iterations := range []int{1, 2} {
		s := hyperShape{4, 32, 5, false}
		c := *modelConfig()
		c.HCMult, c.HiddenSize, c.HCSinkhornIters = s.n, s.d, iterations
		all = append(all, Case{fmt.Sprintf("hyperin/iterations=%d", iterations), &c, func(b *Bench) error { return hyperIn(b, s) }})
		wide := c
		wide.HCEps = 0.03 // which every single division shows
		all = append(all, Case{fmt.Sprintf("hyperin/iterations=%d/eps=0.03", iterations), &wide, func(b *Bench) error { return hyperIn(b, s) }})
	}
	return all
}

func (s hyperShape) batch() *dsv4.Batch {
	return &dsv4.Batch{Tokens: make([]token.ID, s.tokens), Decode: s.decode}
}

// hyperInputs are streams and control of one case. Streams and fn are small
// multiples of powers of two, so that their products and squares add up without
// rounding in any order: what is left is what comes after the sums.
type hyperInputs struct {
	x, fn, base, norm []float32
	scale             [3]float32
	X                 Pair
	Fn, Norm          Weights
}

func newHyperInputs(b *Bench, s hyperShape, rows int) (*hyperInputs, error) {
	far := 0.5
	if b.Config.HCSinkhornIters == 1 {
		far = 100
	}
	h := &hyperInputs{
		x: b.dyadic(s.tokens*s.n*s.d, 16, 1./8), fn: b.dyadic(rows*s.n*s.d, 8, 1./64),
		base: b.normal(rows, far), norm: b.normal(s.d, 1), scale: [3]float32{0.5, 1, 2},
	}
	var err1, err2, err3 error
	h.X, err1 = b.Floats(h.x)
	h.Fn, err2 = b.Load(floatMatrix("fn", rows, s.n*s.d, h.fn))
	h.Norm, err3 = b.Vector(h.norm)
	return h, errors.Join(err1, err2, err3)
}

// mixes are a token's mixes m·ρ·scale + base in float64, and by how much the two
// engines may differ in them. ρ is 5u off between them (a mean, a sum and a root or
// two), each engine's mix 3u of its terms.
func (h *hyperInputs) mixes(s hyperShape, t, rows int, eps float64, scale func(r int) float32) (m, off []float64) {
	x := h.x[t*s.n*s.d:][:s.n*s.d]
	var squares float64
	for _, v := range x {
		squares += float64(v) * float64(v)
	}
	rho := 1 / math.Sqrt(squares/float64(len(x))+eps)
	for r := range rows {
		var dot float64
		for c, v := range x {
			dot += float64(v) * float64(h.fn[r*len(x)+c])
		}
		p := dot * rho * float64(scale(r))
		m = append(m, p+float64(h.base[r]))
		off = append(off, 11*u*(math.Abs(p)+math.Abs(float64(h.base[r]))))
	}
	return m, off
}

// logisticOff is by how much two logistics of a mix may differ that are off apart:
// the slope is at most a quarter, e^-x is 4 ulp off on Metal and a half elsewhere,
// and 1 + e^-x, the quotient and another sum round on both sides.
func logisticOff(off float64) float64 { return off/4 + (expMetal+u)/4 + 6*u }

// inputOff is by how much v = norm(Σ_j pre_j·x_j)·w may differ where pre_j differs
// by off[j]. Terms and their sums round on both sides; the norm is the root of a
// sum of d squares, whose relative error is that of v and d roundings.
func (h *hyperInputs) inputOff(s hyperShape, t int, eps float64, pre, off []float64) []float64 {
	v, e := make([]float64, s.d), make([]float64, s.d)
	var squares, errs float64
	for c := range s.d {
		for j := range s.n {
			x := float64(h.x[(t*s.n+j)*s.d+c])
			v[c] += pre[j] * x
			e[c] += off[j]*math.Abs(x) + 2*float64(s.n)*u*math.Abs(pre[j]*x)
		}
		squares += v[c] * v[c]
		errs += e[c] * e[c]
	}
	r := 1 / math.Sqrt(squares/float64(s.d)+eps)
	relative := float64(s.d+10) * u
	if squares > 0 {
		relative += math.Sqrt(errs / squares)
	}
	for c := range v {
		w := math.Abs(float64(h.norm[c])) * r
		e[c] = w*e[c] + w*math.Abs(v[c])*relative + 0x1p-120
	}
	return e
}

func hyperIn(b *Bench, s hyperShape) error {
	rows := (2 + s.n) * s.n
	h, err := newHyperInputs(b, s, rows)
	if err != nil {
		return err
	}
	uu, err1 := b.Poison(s.tokens * s.d)
	mix, err2 := b.Poison(s.tokens * (s.n + s.n*s.n))
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	b.Metal.HyperIn(s.batch(), &dsv4.Hyper{Fn: h.Fn.Metal, Base: h.base, Scale: h.scale, Norm: h.Norm.Metal}, h.X.Metal, uu.Metal, mix.Metal)
	b.CPU.HyperIn(s.batch(), &dsv4.Hyper{Fn: h.Fn.CPU, Base: h.base, Scale: h.scale, Norm: h.Norm.CPU}, h.X.CPU, uu.CPU, mix.CPU)

	var ubound, mbound []float64
	for t := range s.tokens {
		m, off := h.mixes(s, t, rows, b.Config.RMSNormEps, func(r int) float32 { return h.scale[min(r/s.n, 2)] })
		pre, preOff := make([]float64, s.n), make([]float64, s.n)
		for j := range pre {
			pre[j], preOff[j] = 1/(1+math.Exp(-m[j]))+b.Config.HCEps, logisticOff(off[j])
		}
		ubound = append(ubound, h.inputOff(s, t, b.Config.RMSNormEps, pre, preOff)...)
		for j := range s.n {
			mbound = append(mbound, 2*logisticOff(off[s.n+j]))
		}
		comb := combOff(m[2*s.n:], off[2*s.n:], s.n, b.Config.HCSinkhornIters)
		mbound = append(mbound, slices.Repeat([]float64{comb}, s.n*s.n)...)
	}
	return errors.Join(b.Same("u", uu, func(i int) float64 { return ubound[i] }), b.Same("mix", mix, func(i int) float64 { return mbound[i] }))
}

// combOff is by how much an element of comb may differ. Dividing rows and columns
// leaves every cross ratio C_jk·C_il / (C_jl·C_ik) as it was, and with row and
// column sums of 1 they determine the matrix: an element is off by what four
// entries of the first softmax are. Those differ by their mixes, twice since the
// greatest is subtracted, the rounding of that, e^x, a quotient and a sum. The twin
// rounds four entries in each of 39 divisions, Metal's factors only in the last
// products; the last division adds what a sum of n has. After few iterations sums
// are not 1, but then each of the divisions, 2·iterations - 1 of them, only doubles
// what an element is off by, and adds a sum's roundings on both sides.
func combOff(m, off []float64, n, iterations int) float64 {
	entry := 2*slices.Max(off) + 2*u*(slices.Max(m)-slices.Min(m)) + expMetal + u + 4*u
	if iterations < 3 {
		grown := math.Exp2(float64(2*iterations - 1))
		return grown*entry + grown*2*float64(n+2)*u
	}
	return 4*entry + float64(4*39+n+2)*u + float64(n+4)*u
}

func hyperOut(b *Bench, s hyperShape) error {
	mix, err1 := b.Draw(s.tokens*(s.n+s.n*s.n), 0.5)
	y, err2 := b.Draw(s.tokens*s.d, 1)
	x, err3 := b.Draw(s.tokens*s.n*s.d, 1)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	_, m, err1 := b.Read(mix)
	_, ys, err2 := b.Read(y)
	_, old, err3 := b.Read(x)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	b.Metal.HyperOut(s.batch(), mix.Metal, y.Metal, x.Metal)
	b.CPU.HyperOut(s.batch(), mix.CPU, y.CPU, x.CPU)
	return b.Same("streams", x, func(i int) float64 { // a product and a sum of each of n+1 terms, on both sides
		t, k, c := i/(s.n*s.d), i/s.d%s.n, i%s.d
		row := m[t*(s.n+s.n*s.n):]
		size := math.Abs(float64(row[k]) * float64(ys[t*s.d+c]))
		for j := range s.n {
			size += math.Abs(float64(row[s.n+j*s.n+k]) * float64(old[(t*s.n+j)*s.d+c]))
		}
		return 2 * float64(s.n+1) * u * size
	})
}

func headIn(b *Bench, s hyperShape) error {
	h, err := newHyperInputs(b, s, s.n)
	if err != nil {
		return err
	}
	v, err := b.Poison(s.tokens * s.d)
	if err != nil {
		return err
	}
	head := func(w Weights, metal bool) *dsv4.HyperHead {
		x := &dsv4.HyperHead{Fn: w.CPU, Base: h.base, Scale: h.scale[0]}
		if metal {
			x.Fn = w.Metal
		}
		return x
	}
	b.Metal.HeadIn(s.batch(), head(h.Fn, true), h.Norm.Metal, h.X.Metal, v.Metal)
	b.CPU.HeadIn(s.batch(), head(h.Fn, false), h.Norm.CPU, h.X.CPU, v.CPU)
	var bound []float64
	for t := range s.tokens {
		m, off := h.mixes(s, t, s.n, b.Config.RMSNormEps, func(int) float32 { return h.scale[0] })
		pre, preOff := make([]float64, s.n), make([]float64, s.n)
		for j := range pre {
			pre[j], preOff[j] = 1/(1+math.Exp(-m[j]))+b.Config.HCEps, logisticOff(off[j])
		}
		bound = append(bound, h.inputOff(s, t, b.Config.RMSNormEps, pre, preOff)...)
	}
	return b.Same("v", v, func(i int) float64 { return bound[i] })
}
