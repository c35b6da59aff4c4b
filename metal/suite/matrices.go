package suite

import (
	"math"

	"assay/engine/affine"
	"assay/engine/mx"
	"assay/engine/tensor"
)

// formats lists every format that kernels read.
func formats() []tensor.Format {
	all := []tensor.Format{mx.FP4, mx.FP8, tensor.PlainFormat(tensor.BF16), tensor.PlainFormat(tensor.F32)}
	for _, bits := range []int{2, 3, 4, 5, 6, 8} {
		for _, group := range []int{32, 64, 128} {
			for _, half := range []bool{false, true} {
				all = append(all, affine.Format{Params: affine.Params{Bits: bits, GroupSize: group}, F16: half})
			}
		}
	}
	return all
}

// someFormats has every width, group size and scale type, not every combination.
func someFormats() []tensor.Format {
	all := []tensor.Format{mx.FP4, mx.FP8, tensor.PlainFormat(tensor.BF16), tensor.PlainFormat(tensor.F32)}
	for i, bits := range []int{2, 3, 4, 5, 6, 8} {
		all = append(all, affine.Format{Params: affine.Params{Bits: bits, GroupSize: 32 << (i % 3)}, F16: i%2 == 1})
	}
	return all
}

// group is what the columns of a format are a multiple of.
func group(f tensor.Format) int {
	switch f := f.(type) {
	case affine.Format:
		return f.GroupSize
	case mx.Format:
		return mx.GroupSize
	}
	return 16
}

func empty(f tensor.Format, rows, cols int) *tensor.Matrix {
	codes, scales, biases := f.Sizes(rows, cols)
	return &tensor.Matrix{Name: "w", Rows: rows, Cols: cols, Format: f,
		Codes: make([]byte, codes), Scales: make([]byte, scales), Biases: make([]byte, biases)}
}

// Whole makes a matrix of small whole numbers, or halves: with whole numbers of
// 4 at most in up to 1,000 columns beside them, every sum is exact in float32,
// whatever its order, and every weight and x in F16 and BF16.
func (b *Bench) Whole(f tensor.Format, rows, cols int) *tensor.Matrix {
	m := empty(f, rows, cols)
	for i := range m.Codes {
		m.Codes[i] = byte(b.Rand.Uint32())
	}
	switch f := f.(type) {
	case affine.Format: // q − 2^(bits−1)
		one, bias := uint16(0x3f80), tensor.BF16FromFloat32(-float32(int(1)<<(f.Bits-1)))
		if f.F16 {
			one, bias = 0x3c00, tensor.F16FromFloat32(-float32(int(1)<<(f.Bits-1)))
		}
		fill16(m.Scales, func() uint16 { return one })
		fill16(m.Biases, func() uint16 { return bias })
	case mx.Format:
		for i := range m.Scales {
			m.Scales[i] = byte(127 + b.Rand.IntN(3))
		}
		if f == mx.FP8 {
			for i := range m.Codes {
				m.Codes[i] = tensor.E4M3FromFloat32(float32(b.Rand.IntN(33) - 16))
			}
		}
	case tensor.PlainFormat:
		b.fillPlain(m, func() float32 { return float32(b.Rand.IntN(257) - 128) })
	}
	return m
}

// Real makes a matrix of weights as models have them, spread about 0.05 wide.
func (b *Bench) Real(f tensor.Format, rows, cols int) *tensor.Matrix {
	m := b.Whole(f, rows, cols)
	switch f := f.(type) {
	case affine.Format:
		number := tensor.BF16FromFloat32
		if f.F16 {
			number = tensor.F16FromFloat32
		}
		steps := float64(int(1)<<f.Bits - 1)
		fill16(m.Scales, func() uint16 { return number(float32((0.5 + b.Rand.Float64()) * 0.2 / steps)) })
		fill16(m.Biases, func() uint16 { return number(float32(-(0.5 + b.Rand.Float64()) * 0.1)) })
	case mx.Format:
		for i := range m.Scales {
			m.Scales[i] = byte(119 + b.Rand.IntN(4))
		}
		if f == mx.FP8 {
			for i := range m.Codes {
				m.Codes[i] = tensor.E4M3FromFloat32(float32(b.Rand.NormFloat64() * 4))
			}
		}
	case tensor.PlainFormat:
		b.fillPlain(m, func() float32 { return float32(b.Rand.NormFloat64() * 0.05) })
	}
	return m
}

func (b *Bench) fillPlain(m *tensor.Matrix, draw func() float32) {
	if m.Format == tensor.PlainFormat(tensor.BF16) {
		fill16(m.Codes, func() uint16 { return tensor.BF16FromFloat32(draw()) })
		return
	}
	for i := 0; i < len(m.Codes); i += 4 {
		u := math.Float32bits(draw())
		m.Codes[i], m.Codes[i+1], m.Codes[i+2], m.Codes[i+3] = byte(u), byte(u>>8), byte(u>>16), byte(u>>24)
	}
}

func fill16(dst []byte, draw func() uint16) {
	for i := 0; i < len(dst); i += 2 {
		u := draw()
		dst[i], dst[i+1] = byte(u), byte(u>>8)
	}
}

// magnitudes returns what each weight of m, of positive scales, is made of at
// most: |s·q| + |b| of an affine weight, |w| of any other.
func magnitudes(m *tensor.Matrix) []float32 {
	positive := *m
	if _, ok := m.Format.(affine.Format); ok {
		positive.Biases = append([]byte(nil), m.Biases...)
		for i := 1; i < len(positive.Biases); i += 2 {
			positive.Biases[i] &= 0x7f
		}
	}
	w := positive.Decode()
	for i, v := range w {
		w[i] = float32(math.Abs(float64(v)))
	}
	return w
}

// rounded says whether a product with a format rounds its inputs to the
// activations' type: plain numbers are multiplied as they are.
func rounded(f tensor.Format) bool {
	_, plain := f.(tensor.PlainFormat)
	return !plain
}

// productBounds bounds how far y [tokens, rows] = x·mᵀ may lie from the twin's.
// Any order of a sum of n products is within (n+2)·u·Σ|products| of the truth
// with u = 2^-24, on either side; with inputs rounded to a type of unit v both
// factors are off by v: (2v + v²)·Σ|products|. Group g of groups of x meets rows
// of its own.
func (b *Bench) productBounds(m *tensor.Matrix, x []float32, tokens, groups int) []float64 {
	w := magnitudes(m)
	unit := 2 * float64(m.Cols+4) * 0x1p-24
	if rounded(m.Format) && b.Unit > 0x1p-24 {
		unit += 2*b.Unit + b.Unit*b.Unit
	}
	each := m.Rows / groups
	bounds := make([]float64, tokens*m.Rows)
	for t := range tokens {
		for r := range m.Rows {
			xs, ws := x[(t*groups+r/each)*m.Cols:][:m.Cols], w[r*m.Cols:][:m.Cols]
			var sum float64
			for c, v := range xs {
				sum += math.Abs(float64(v)) * float64(ws[c])
			}
			bounds[t*m.Rows+r] = unit*sum + 1e-30
		}
	}
	return bounds
}
