package bundle

import (
	"fmt"
	"slices"

	"assay/engine/affine"
	"assay/engine/mx"
	"assay/engine/tensor"
)

// What a folder is read by, for those who read it too: the keys of config.json
// that say how modules are quantized, and how tensors of a module end.
const (
	QuantizationKey = quantizationKey
	TwinKey         = twinKey // its copy, for readers of upstream's key
	WeightSuffix    = tensor.WeightSuffix
	ScalesSuffix    = ".scales"
	BiasesSuffix    = ".biases"
)

// PlainName returns a tensor's name without the prefixes that runtimes put
// before it.
func PlainName(name string) string { return plain(name) }

// ModeNVFP4 is MLX's third mode with E2M1 codes, which assay neither writes nor
// decodes: groups of nvfp4Group with an E4M3 scale.
const ModeNVFP4 = "nvfp4"

const nvfp4Group = 16

// Misfit is a reason why tensors are no quantized matrix.
type Misfit int

const (
	NotPacked      Misfit = iota + 1 // the weight is not U32, or no matrix
	NoScales                         // a packed weight without them
	ScaleShape                       // scales of other rows than the weight's
	BiasShape                        // biases of another shape than the scales'
	ScaleType                        // scales that are neither floats nor bytes
	NeedlessBiases                   // biases beside the scales of an MX mode
	NoBiases                         // float scales without them
	NoPair                           // no whole bits, or no whole group
	NoKernel                         // bits and group size that MLX has no kernel for
)

// MisfitError is the error of QuantFrom.
type MisfitError struct {
	Misfit
	Found, Wanted string
}

func (e *MisfitError) Error() string { return e.Found + ", want " + e.Wanted }

// QuantFrom returns how a matrix of cols columns is quantized, from its tensors'
// types and shapes, which decide it once cols is known:
//
//	bits = 32·(words of a row)/cols    group size = cols/(scales of a row)
//
// U8 scales, and F8_E8M0 which MLX reads as U8, are an MX mode, floats affine.
// scales and biases are nil where there are none. It errs, with a *MisfitError,
// on tensors that do not belong together and on what MLX has no kernel for. What
// it accepts MLX can use, though biases of another type than the scales, or
// scales in F32, cost it speed.
// Source: ml-explore/mlx mlx/ops.cpp, validate_quantized_input; ml-explore/mlx-lm
// mlx_lm/utils.py, infer_quant_config (0.32.0).
func QuantFrom(weight tensor.Info, scales, biases *tensor.Info, cols int) (Quant, error) {
	misfit := func(why Misfit, wanted, found string, args ...any) (Quant, error) {
		return Quant{}, &MisfitError{why, fmt.Sprintf(found, args...), wanted}
	}
	n := len(weight.Shape)
	switch {
	case weight.DType != tensor.U32 || n < 2:
		return misfit(NotPacked, "packed codes as U32", "weight %s %v", weight.DType, weight.Shape)
	case scales == nil:
		return misfit(NoScales, "scales", "packed weight without .scales")
	case len(scales.Shape) != n || !slices.Equal(scales.Shape[:n-1], weight.Shape[:n-1]):
		return misfit(ScaleShape, "the same dimensions but for the last", "scales %v for a weight of %v", scales.Shape, weight.Shape)
	case biases != nil && !slices.Equal(biases.Shape, scales.Shape):
		return misfit(BiasShape, "one bias a scale", "biases %v for scales %v", biases.Shape, scales.Shape)
	}
	bytes := scales.DType == tensor.U8 || scales.DType == tensor.F8E8M0
	switch floats := scales.DType == tensor.BF16 || scales.DType == tensor.F16 || scales.DType == tensor.F32; {
	case !bytes && !floats:
		return misfit(ScaleType, "BF16, or U8 for an MX mode", "scales %s", scales.DType)
	case bytes && biases != nil:
		return misfit(NeedlessBiases, "no biases: bytes for scales are an MX mode's", "%s scales and biases", scales.DType)
	case floats && biases == nil:
		return misfit(NoBiases, "biases: float scales are affine", "%s scales without biases", scales.DType)
	}
	words, groups := weight.Shape[n-1], scales.Shape[n-1]
	if cols == 0 || words == 0 || groups == 0 || 32*words%cols != 0 || cols%groups != 0 {
		return misfit(NoPair, "whole bits a weight and a whole group",
			"%d words and %d scales in a row of %d weights: no whole bits or group size", words, groups, cols)
	}
	q := Quant{GroupSize: cols / groups, Bits: 32 * words / cols}
	if bytes {
		if q.Mode = mxMode(q.Bits, q.GroupSize); q.Mode == "" {
			return misfit(NoKernel, "4/32 (mxfp4), 8/32 (mxfp8) or 4/16 (nvfp4)", "%s scales with %d bits, group size %d", scales.DType, q.Bits, q.GroupSize)
		}
		return q, nil
	}
	q.Mode = ModeAffine
	if (affine.Params{Bits: q.Bits, GroupSize: q.GroupSize}).Validate() != nil {
		return misfit(NoKernel, "2, 3, 4, 5, 6 or 8 bits, group size 32, 64 or 128", "%d bits, group size %d", q.Bits, q.GroupSize)
	}
	return q, nil
}

// mxMode returns the mode that has these bits and group size, or "".
func mxMode(bits, group int) string {
	for _, f := range []mx.Format{mx.FP4, mx.FP8} {
		if bits == f.Bits() && group == mx.GroupSize {
			return f.String()
		}
	}
	if bits == 4 && group == nvfp4Group {
		return ModeNVFP4
	}
	return ""
}

// ModeDefaults returns the bits and group size that MLX takes for a mode where
// nothing is said, which are an MX mode's only ones, and false for a mode that
// MLX has not.
// Source: ml-explore/mlx python/mlx/nn/layers/quantized.py, _defaults_for_mode.
func ModeDefaults(mode string) (Quant, bool) {
	switch mode {
	case ModeAffine:
		return Quant{GroupSize: 64, Bits: 4, Mode: mode}, true
	case ModeNVFP4:
		return Quant{GroupSize: nvfp4Group, Bits: 4, Mode: mode}, true
	}
	f, err := mx.Parse(mode)
	if err != nil {
		return Quant{}, false
	}
	return QuantOf(f)
}

// FormatOf returns the format of a quantized matrix of cols columns as QuantFrom
// finds it. It errs where that does, and on what assay does not decode: nvfp4,
// scales in F32 or F8_E8M0, and biases of another type than the scales.
func FormatOf(weight, scales tensor.Info, biases *tensor.Info, cols int) (tensor.Format, error) {
	q, err := QuantFrom(weight, &scales, biases, cols)
	switch {
	case err != nil:
		return nil, err
	case scales.DType == tensor.F32 || scales.DType == tensor.F8E8M0:
		return nil, fmt.Errorf("scales are %s, want BF16, F16 or U8", scales.DType)
	case biases != nil && biases.DType != scales.DType:
		return nil, fmt.Errorf("biases are %s, scales %s, want one type", biases.DType, scales.DType)
	case q.Mode == ModeNVFP4:
		return nil, fmt.Errorf("%s, which assay does not decode", ModeNVFP4)
	case q.Mode == ModeAffine:
		return affine.Format{Params: affine.Params{Bits: q.Bits, GroupSize: q.GroupSize}, F16: scales.DType == tensor.F16}, nil
	}
	return mx.Parse(q.Mode)
}
