package affine

import "assay/engine/tensor"

// Format is the affine format of a tensor.Matrix: Codes as packed, Scales and
// Biases as 16-bit words, BF16 or, in bundles that others made, F16.
type Format struct {
	Params
	F16 bool // scales and biases are F16, not BF16
}

// String names the format, as in "affine 4-bit g64".
func (f Format) String() string {
	if f.F16 {
		return f.Params.String() + " f16"
	}
	return f.Params.String()
}

// Check reports a shape that the format cannot hold.
func (f Format) Check(rows, cols int) error { return f.CheckShape(rows, cols) }

// Sizes returns the bytes of codes, scales and biases.
func (f Format) Sizes(rows, cols int) (codes, scales, biases int64) {
	return f.CodeBytes(rows, cols), f.ScaleBytes(rows, cols), f.ScaleBytes(rows, cols)
}

// DecodeRow writes one row of m as DecodeRow or DecodeRowF16 does.
func (f Format) DecodeRow(dst []float32, m *tensor.Matrix, row int) {
	width, groups := 4*f.WordsPerRow(m.Cols), f.GroupsPerRow(m.Cols)
	codes := m.Codes[row*width : (row+1)*width]
	scales := tensor.Uint16s(m.Scales[2*row*groups : 2*(row+1)*groups])
	biases := tensor.Uint16s(m.Biases[2*row*groups : 2*(row+1)*groups])
	if f.F16 {
		DecodeRowF16(dst, f.Params, codes, scales, biases)
		return
	}
	DecodeRow(dst, f.Params, codes, scales, biases)
}

// Tensor returns m under a name, as a backend takes it. Bytes are shared.
func (m *Matrix) Tensor(name string) *tensor.Matrix {
	return &tensor.Matrix{
		Name: name, Rows: m.Rows, Cols: m.Cols, Format: Format{Params: m.Params},
		Codes: m.Codes, Scales: tensor.Bytes16(m.Scales), Biases: tensor.Bytes16(m.Biases),
	}
}

var _ tensor.Format = Format{}
