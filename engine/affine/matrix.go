package affine

import (
	"fmt"

	"assay/engine/cpu/kernel"
	"assay/engine/tensor"
)

// Matrix is a quantized matrix [Rows, Cols], row-major, as a bundle stores it.
type Matrix struct {
	Params     Params
	Rows, Cols int
	Codes      []byte   // packed, [Rows, 4·WordsPerRow]; each row starts a new stream
	Scales     []uint16 // BF16, [Rows, GroupsPerRow]
	Biases     []uint16 // BF16, [Rows, GroupsPerRow]
}

// NewMatrix returns a matrix of that shape, all zero, for QuantizeRows to fill.
// It errs if p cannot hold the shape.
func NewMatrix(p Params, rows, cols int) (*Matrix, error) {
	if err := p.CheckShape(rows, cols); err != nil {
		return nil, err
	}
	groups := rows * p.GroupsPerRow(cols)
	return &Matrix{
		Params: p, Rows: rows, Cols: cols,
		Codes:  make([]byte, p.CodeBytes(rows, cols)),
		Scales: make([]uint16, groups),
		Biases: make([]uint16, groups),
	}, nil
}

// Quantize returns w, which is [rows, cols], quantized on this goroutine. It errs
// if p cannot hold the shape, and where QuantizeRows does.
func Quantize(p Params, enc Encoder, w []float32, rows, cols int) (*Matrix, error) {
	m, err := NewMatrix(p, rows, cols)
	if err != nil {
		return nil, err
	}
	if len(w) != rows*cols {
		return nil, fmt.Errorf("affine: %d weights, want %d for [%d, %d]", len(w), rows*cols, rows, cols)
	}
	if err := m.QuantizeRows(enc, 0, w); err != nil {
		return nil, err
	}
	return m, nil
}

// QuantizeRows quantizes w, which is [len(w)/Cols, Cols], into the rows of m from
// first on, by QuantizeGroup. GPU's and CPU's scale and bias it rounds to BF16 after
// the codes are chosen. Calls for other rows may run at the same time. w is not
// kept, and no memory is allocated.
//
// Weights are usually BF16 values, whose bias is then stored exactly, if it is one
// of them; other float32 are taken as they are. It errs, with the row and the
// column, on a weight that is not finite, on a group whose scale or bias is too
// large for BF16, and, under Lattice, on a group that lies on none; the rows of m
// that it was to fill are then unspecified. It errs too if w is no whole number of
// rows or they are not all in m.
func (m *Matrix) QuantizeRows(enc Encoder, first int, w []float32) error {
	if err := enc.Validate(); err != nil {
		return err
	}
	rows := len(w) / m.Cols
	if rows*m.Cols != len(w) || first < 0 || rows > m.Rows-first {
		return fmt.Errorf("affine: %d weights for row %d on, want rows of [%d, %d]", len(w), first, m.Rows, m.Cols)
	}
	if set := kernel.Best(); set != nil && m.quantizeVectors(set, enc, first, w) {
		return nil
	}
	for row := first; row < first+rows; row++ { // which also says what a vector kernel refused
		if err := m.quantizeRow(enc, row, w[:m.Cols]); err != nil {
			return err
		}
		w = w[m.Cols:]
	}
	return nil
}

// quantizeVectors is QuantizeRows by vector kernels, bit for bit; false is for
// encoders that they have not, and for weights that are to be refused.
func (m *Matrix) quantizeVectors(set *kernel.Set, enc Encoder, first int, w []float32) bool {
	if enc != GPU && enc != CPU || len(w) == 0 {
		return false
	}
	from, to := first*m.Params.GroupsPerRow(m.Cols), (first+len(w)/m.Cols)*m.Params.GroupsPerRow(m.Cols)
	width := m.Params.GroupSize / 8 * m.Params.Bits
	return set.Quantize(m.Params.Bits, enc == CPU, w, m.Codes[from*width:to*width], m.Scales[from:to], m.Biases[from:to])
}

func (m *Matrix) quantizeRow(enc Encoder, row int, w []float32) error {
	var buffer [128]uint8
	size, bits := m.Params.GroupSize, m.Params.Bits
	codes, n := buffer[:size], size/8*bits
	packed, scales, biases := m.row(row)
	for g := range scales {
		x := w[g*size:][:size]
		s, z, ok := quantizeGroup(codes, bits, enc, x)
		scales[g], biases[g] = tensor.BF16FromFloat32(s), tensor.BF16FromFloat32(z)
		if !ok || isInf(scales[g]) || isInf(biases[g]) {
			return rowError(bits, enc, row, g*size, x)
		}
		pack(packed[:n], bits, codes)
		packed = packed[n:]
	}
	return nil
}

// rowError says why the group x, which starts at column, cannot be stored.
func rowError(bits int, enc Encoder, row, column int, x []float32) error {
	if i := nonFinite(x); i >= 0 {
		return fmt.Errorf("affine: row %d, column %d: weight is %v", row, column+i, x[i])
	}
	i, why := refusal(bits, enc, x)
	if i >= 0 {
		return fmt.Errorf("affine: row %d, column %d: %s", row, column+i, why)
	}
	return fmt.Errorf("affine: row %d, columns %d to %d: %s in BF16", row, column, column+len(x)-1, why)
}

// isInf reports whether a BF16 that was rounded from a finite value overflowed.
func isInf(bf16 uint16) bool { return bf16&0x7fff == 0x7f80 }

// row returns the parts of m that hold a row.
func (m *Matrix) row(row int) (codes []byte, scales, biases []uint16) {
	width, groups := 4*m.Params.WordsPerRow(m.Cols), m.Params.GroupsPerRow(m.Cols)
	return m.Codes[row*width:][:width:width], m.Scales[row*groups:][:groups], m.Biases[row*groups:][:groups]
}

// DecodeRow sets dst, which is [Cols], to the weights of a row of m.
func (m *Matrix) DecodeRow(dst []float32, row int) {
	codes, scales, biases := m.row(row)
	DecodeRow(dst, m.Params, codes, scales, biases)
}

// DecodeRow sets dst to the weights of one row, whose scales and biases are BF16:
//
//	dst[i] = scales[g]·q[i] + biases[g]   g = i div GroupSize
//
// in float32, the product rounded before the sum. dst is [cols], codes are the
// 4·WordsPerRow bytes of the row, scales and biases are [GroupsPerRow]. It panics
// where lengths disagree.
// Source: ml-explore/mlx mlx/ops.cpp, affine_dequantize, on float32.
func DecodeRow(dst []float32, p Params, codes []byte, scales, biases []uint16) {
	decodeRow(dst, p, codes, scales, biases, tensor.BF16ToFloat32)
}

// DecodeRowF16 is DecodeRow with scales and biases in IEEE 754 binary16, as
// bundles made from F16 weights have them.
func DecodeRowF16(dst []float32, p Params, codes []byte, scales, biases []uint16) {
	decodeRow(dst, p, codes, scales, biases, tensor.F16ToFloat32)
}

func decodeRow(dst []float32, p Params, codes []byte, scales, biases []uint16, value func(uint16) float32) {
	mustBeRow(p, len(dst), len(codes), len(scales), len(biases))
	var buffer [128]uint8
	q, n := buffer[:p.GroupSize], p.GroupSize/8*p.Bits
	for g := range scales {
		unpack(q, p.Bits, codes[g*n:])
		s, z := value(scales[g]), value(biases[g])
		out := dst[g*p.GroupSize:][:len(q)]
		for i, c := range q {
			out[i] = float32(s*float32(c)) + z
		}
	}
}

func mustBeRow(p Params, cols, codes, scales, biases int) {
	if err := p.CheckShape(1, cols); err != nil {
		panic(err.Error())
	}
	if int64(codes) != p.CodeBytes(1, cols) || scales != p.GroupsPerRow(cols) || biases != scales {
		panic(fmt.Sprintf("affine: row of %d weights, %v: %d bytes of codes, %d scales, %d biases",
			cols, p, codes, scales, biases))
	}
}
