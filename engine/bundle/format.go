package bundle

import (
	"fmt"
	"slices"

	"assay/engine/affine"
	"assay/engine/mx"
	"assay/engine/tensor"
)

// FormatOf returns the format of a quantized matrix of cols columns from its
// tensors' types and shapes, which decide it once cols is known:
//
//	bits = 32·(words of a row)/cols    group size = cols/(scales of a row)
//
// U8 scales are MX, 16-bit floats affine. biases is nil where there are none.
// It errs on tensors that do not belong together and on what MLX has no kernel
// for.
// Source: ml-explore/mlx mlx/ops.cpp, validate_quantized_input; ml-explore/mlx-lm
// mlx_lm/utils.py, infer_quant_config (0.32.0).
func FormatOf(weight, scales tensor.Info, biases *tensor.Info, cols int) (tensor.Format, error) {
	n := len(weight.Shape)
	switch {
	case weight.DType != tensor.U32 || n < 2:
		return nil, fmt.Errorf("weight is %s %v, want packed codes as U32", weight.DType, weight.Shape)
	case len(scales.Shape) != n || !slices.Equal(scales.Shape[:n-1], weight.Shape[:n-1]):
		return nil, fmt.Errorf("scales are %v for a weight of %v", scales.Shape, weight.Shape)
	case biases != nil && (biases.DType != scales.DType || !slices.Equal(biases.Shape, scales.Shape)):
		return nil, fmt.Errorf("biases are %s %v, scales %s %v", biases.DType, biases.Shape, scales.DType, scales.Shape)
	}
	words, groups := weight.Shape[n-1], scales.Shape[n-1]
	if words == 0 || groups == 0 || 32*words%cols != 0 || cols%groups != 0 {
		return nil, fmt.Errorf("%d words and %d scales in a row of %d weights: no whole bits or group size", words, groups, cols)
	}
	bits, group := 32*words/cols, cols/groups
	switch scales.DType {
	case tensor.U8:
		if biases != nil {
			return nil, fmt.Errorf("scales are U8, which is MX, but there are biases")
		}
		for _, f := range []mx.Format{mx.FP4, mx.FP8} {
			if bits == f.Bits() && group == mx.GroupSize {
				return f, nil
			}
		}
		return nil, fmt.Errorf("U8 scales with %d bits and groups of %d: neither mxfp4 (4, 32) nor mxfp8 (8, 32)", bits, group)
	case tensor.BF16, tensor.F16:
		if biases == nil {
			return nil, fmt.Errorf("scales are %s, which is affine, but there are no biases", scales.DType)
		}
		f := affine.Format{Params: affine.Params{Bits: bits, GroupSize: group}, F16: scales.DType == tensor.F16}
		return f, f.Validate()
	}
	return nil, fmt.Errorf("scales are %s, want BF16, F16 or U8", scales.DType)
}
