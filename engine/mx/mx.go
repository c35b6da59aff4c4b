// Package mx is the two MX formats that hold a checkpoint's own FP4 and FP8
// weights without loss: it takes stored tensors over byte for byte and decodes
// them. It never rounds a weight; what the checkpoint calls its tensors is
// engine/checkpoint's, and which of them stay native is engine/variant's.
//
// A matrix [rows, cols] is cut along cols into groups of 32 weights, each with
// one scale, a power of two, and no bias:
//
//	ŵ = 2^(scale − 127) · value of code
//
// Source: OCP Microscaling Formats Specification 1.0, section 5; ml-explore/mlx
// mlx/ops.cpp, fp_quantize, modes mxfp4 and mxfp8.
package mx

import (
	"fmt"

	"assay/engine/tensor"
)

// GroupSize is the weights that share a scale.
const GroupSize = 32

// Format is one of the two formats, as a tensor.Format.
type Format int

const (
	// FP4 is mxfp4: E2M1 codes, two a byte, the even column in the low four
	// bits.
	FP4 Format = iota + 1
	// FP8 is mxfp8: E4M3 codes, one a byte.
	FP8
)

// String returns MLX's name of the mode: "mxfp4" or "mxfp8".
func (f Format) String() string {
	switch f {
	case FP4:
		return "mxfp4"
	case FP8:
		return "mxfp8"
	}
	return fmt.Sprintf("mx.Format(%d)", int(f))
}

// Parse returns the format of that name, as String writes it.
func Parse(name string) (Format, error) {
	for _, f := range []Format{FP4, FP8} {
		if name == f.String() {
			return f, nil
		}
	}
	return 0, fmt.Errorf("mx: format %q, want %q or %q", name, FP4, FP8)
}

// Bits returns the bits of a code: 4 or 8.
func (f Format) Bits() int {
	if f == FP4 {
		return 4
	}
	return 8
}

// BitsPerWeight returns the stored bits per weight with the scale byte of each
// group: 4.25 or 8.25.
func (f Format) BitsPerWeight() float64 { return float64(f.Bits()) + 8.0/GroupSize }

// Check reports a value that is neither FP4 nor FP8, and a shape that the format
// cannot hold: rows and cols are at least 1 and cols is a multiple of 32. The
// sizes below hold for shapes that it accepts.
func (f Format) Check(rows, cols int) error {
	if f != FP4 && f != FP8 {
		return fmt.Errorf("mx: no format is numbered %d", int(f))
	}
	if rows < 1 || cols < 1 {
		return fmt.Errorf("mx: shape [%d, %d], want at least one row and one column", rows, cols)
	}
	if cols%GroupSize != 0 {
		return fmt.Errorf("mx: %d columns, want a multiple of the group size %d", cols, GroupSize)
	}
	return nil
}

// CodeBytes returns the bytes of the codes of [rows, cols].
func (f Format) CodeBytes(rows, cols int) int64 { return int64(rows) * int64(cols*f.Bits()/8) }

// ScaleBytes returns the bytes of the scales of [rows, cols], one a group.
func (f Format) ScaleBytes(rows, cols int) int64 { return int64(rows) * int64(cols/GroupSize) }

// DecodeRow sets dst, which is [m.Cols], to the weights of a row of m. Each is
// exact, down to float32 subnormals. On a matrix that Verify refuses, a weight
// may come out as NaN or infinite. It panics where lengths disagree.
func (f Format) DecodeRow(dst []float32, m *tensor.Matrix, row int) {
	if len(dst) != m.Cols {
		panic(fmt.Sprintf("mx: %d weights for a row of %d", len(dst), m.Cols))
	}
	width, groups := m.Cols*f.Bits()/8, m.Cols/GroupSize
	codes, scales := m.Codes[row*width:][:width], m.Scales[row*groups:][:groups]
	for g, e := range scales {
		s := tensor.E8M0ToFloat32(e)
		out := dst[g*GroupSize:][:GroupSize]
		if f == FP4 {
			for j, b := range codes[g*GroupSize/2:][:GroupSize/2] {
				out[2*j], out[2*j+1] = tensor.E2M1ToFloat32(b&15)*s, tensor.E2M1ToFloat32(b>>4)*s
			}
			continue
		}
		for j, b := range codes[g*GroupSize:][:GroupSize] {
			out[j] = tensor.E4M3ToFloat32(b) * s
		}
	}
}

// Sizes returns the bytes of codes and scales; there are no biases.
func (f Format) Sizes(rows, cols int) (codes, scales, biases int64) {
	return f.CodeBytes(rows, cols), f.ScaleBytes(rows, cols), 0
}
