// Package affine is the MLX affine format: it chooses scale, bias and codes of a
// group of weights, as MLX does or with less error, packs the codes, and decodes
// them again. Which weights take it is engine/variant's; the tensors of a bundle
// and their names are engine/bundle's; products with packed weights are a
// backend's.
//
// A matrix [rows, cols] is cut along cols into groups of GroupSize weights. Each
// has one scale and one bias, and each weight a code of Bits bits:
//
//	ŵ = scale·code + bias
//
// Source: ml-explore/mlx mlx/ops.cpp, affine_quantize; python/src/ops.cpp, quantize.
package affine

import "fmt"

// Params is how finely a matrix is quantized.
type Params struct {
	Bits      int // of a code: 2, 3, 4, 5, 6 or 8
	GroupSize int // weights that share a scale and a bias: 32, 64 or 128
}

// Validate reports values that MLX refuses, and 1 bit, which only releases from
// 0.32.4 on load.
func (p Params) Validate() error {
	if !validBits(p.Bits) {
		return fmt.Errorf("affine: %d bits, want 2, 3, 4, 5, 6 or 8", p.Bits)
	}
	switch p.GroupSize {
	case 32, 64, 128:
		return nil
	}
	return fmt.Errorf("affine: group size %d, want 32, 64 or 128", p.GroupSize)
}

func validBits(bits int) bool { return 2 <= bits && bits <= 8 && bits != 7 }

// CheckShape reports Params that are not valid, and a shape that the format
// cannot hold: rows and cols are at least 1 and cols is a multiple of GroupSize.
// The sizes below hold for shapes that it accepts.
func (p Params) CheckShape(rows, cols int) error {
	if err := p.Validate(); err != nil {
		return err
	}
	if rows < 1 || cols < 1 {
		return fmt.Errorf("affine: shape [%d, %d], want at least one row and one column", rows, cols)
	}
	if cols%p.GroupSize != 0 {
		return fmt.Errorf("affine: %d columns, want a multiple of the group size %d", cols, p.GroupSize)
	}
	return nil
}

// BitsPerWeight returns the stored bits per weight, with the BF16 scale and
// bias of each group: Bits + 2·16/GroupSize. 4-bit g64 is 4.5.
func (p Params) BitsPerWeight() float64 { return float64(p.Bits) + 32/float64(p.GroupSize) }

// String names the parameters, as in "affine 4-bit g64".
func (p Params) String() string { return fmt.Sprintf("affine %d-bit g%d", p.Bits, p.GroupSize) }

// MaxCode returns the largest code, 2^Bits − 1.
func (p Params) MaxCode() int { return 1<<p.Bits - 1 }

// GroupsPerRow returns the groups of a row of cols weights.
func (p Params) GroupsPerRow(cols int) int { return cols / p.GroupSize }

// WordsPerRow returns the uint32 words that hold the codes of a row of cols
// weights: the second dimension of MLX's weight tensor.
func (p Params) WordsPerRow(cols int) int { return cols / 32 * p.Bits }

// CodeBytes returns the bytes of the packed codes of [rows, cols].
func (p Params) CodeBytes(rows, cols int) int64 {
	return int64(rows) * int64(p.WordsPerRow(cols)) * 4
}

// ScaleBytes returns the bytes of the BF16 scales of [rows, cols]. The biases
// take as many again.
func (p Params) ScaleBytes(rows, cols int) int64 {
	return int64(rows) * int64(p.GroupsPerRow(cols)) * 2
}
