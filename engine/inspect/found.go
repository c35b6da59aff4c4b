package inspect

import (
	"errors"
	"fmt"
	"slices"

	"assay/engine/affine"
	"assay/engine/bundle"
	"assay/engine/mx"
	"assay/engine/tensor"
)

// Found is how a module is stored, as its tensors and the width of its matrix
// say.
type Found struct {
	Format string       // such as "affine 4-bit g32", "mxfp4", "fp8", "bf16"
	Quant  bundle.Quant // of what MLX quantized, else zero
	Scales tensor.DType // of an affine format
}

// quantized says whether config.json has to speak of the module.
func (f Found) quantized() bool { return f.Quant.Bits != 0 }

// affine says whether f is the affine format.
func (f Found) affine() bool { return f.Quant.Mode == bundle.ModeAffine }

// format returns the format that a quantized module is decoded with, and false
// where assay has none.
func (f Found) format() (tensor.Format, bool) {
	switch f.Quant.Mode {
	case bundle.ModeAffine:
		p := affine.Params{Bits: f.Quant.Bits, GroupSize: f.Quant.GroupSize}
		return affine.Format{Params: p, F16: f.Scales == tensor.F16}, p.Validate() == nil
	case mx.FP4.String(), mx.FP8.String():
		m, err := mx.Parse(f.Quant.Mode)
		return m, err == nil
	}
	return nil, false
}

// checkModule finds how a module is stored, and what is wrong with its shapes.
func (c *check) checkModule(m *module) {
	for _, e := range m.entries() {
		if e.bad {
			m.broken = true // its header has a finding of its own
			return
		}
	}
	switch {
	case m.weight == nil:
		c.reject(m, "S04", "no .weight beside "+m.entries()[0].Name, "weight, scales and, where affine, biases", "the module has no weights")
	case m.weight.DType == tensor.U32 || m.scales != nil || m.biases != nil:
		c.checkQuantized(m)
	case m.weight.DType == tensor.F8E4M3 || m.weight.DType == tensor.I8:
		c.checkUpstream(m)
	case m.block != nil:
		c.reject(m, "S04", fmt.Sprintf("%s with a scale", m.weight.DType), "F8_E4M3 or I8", "the scale has nothing to scale")
	default:
		c.checkPlain(m)
	}
}

// reject adds an error about a module, of which nothing more is said.
func (c *check) reject(m *module, id, found, wanted, consequence string) {
	m.broken = true
	c.add(Finding{ID: id, Severity: Error, Found: found, Wanted: wanted, Consequence: consequence,
		Fix: "build the bundle again: metadata cannot repair it"}, m.stem)
}

// wholeShape returns the shape of a module's matrix as decoded: experts first
// where they are stacked.
func (m *module) wholeShape() []int {
	if m.stacked {
		return append([]int{len(m.params)}, m.param().Shape...)
	}
	return m.param().Shape
}

// leads says whether the dimensions of got before its last are those of want,
// or, where want has one, the same rows in parts.
func leads(got, want []int) (same, parts bool) {
	got, want = got[:len(got)-1], want[:len(want)-1]
	if slices.Equal(got, want) {
		return true, false
	}
	return false, len(want) == 1 && len(got) == 2 && got[0] > 0 && got[1] > 0 && got[0] <= want[0] && got[0]*got[1] == want[0]
}

// checkLeads holds all dimensions but the last against the model.
func (c *check) checkLeads(m *module) bool {
	got, want := m.weight.Shape, m.wholeShape()
	same, parts := false, false
	if len(got) > 0 && len(want) > 0 {
		same, parts = leads(got, want)
	}
	n := len(m.params)
	switch {
	case same:
		return true
	case parts:
		c.add(Finding{ID: "S13", Severity: Warning, Found: fmt.Sprintf("rows in %d parts, %v", got[0], got), Wanted: fmt.Sprintf("%d rows", want[0]),
			Consequence: "only a runtime that has these parts (MultiLinear) loads it", Fix: "reshape the tensors, whose bytes stay, unless the target is one"}, m.stem)
		return true
	case m.stacked && len(got) == 2 && got[0] == n*m.param().Shape[0]:
		c.reject(m, "S12", fmt.Sprintf("%v: the experts' rows one after another", got), fmt.Sprintf("three dimensions, %d experts first", n), "MLX gathers experts by the first axis: the load fails, or the first token does")
	case m.stacked && len(got) == len(want) && slices.Equal(got[1:len(got)-1], want[1:len(want)-1]):
		c.reject(m, "S12", fmt.Sprintf("%d experts", got[0]), fmt.Sprintf("%d", n), "the router chooses experts that are not there")
	default:
		c.reject(m, "S13", fmt.Sprintf("shape %v", got), fmt.Sprintf("%v", want), "strict loading fails on the shape")
	}
	return false
}

// misfits says which check a reason fails, and what comes of it.
var misfits = map[bundle.Misfit]struct{ id, consequence string }{
	bundle.NotPacked:      {"S04", "a quantized product refuses the weight"},
	bundle.NoScales:       {"S04", "the load fails: parameters of a module that is not quantized"},
	bundle.ScaleShape:     {"S04", "a quantized product refuses them"},
	bundle.BiasShape:      {"S04", "a quantized product refuses them"},
	bundle.ScaleType:      {"S07", "a quantized product refuses them"},
	bundle.NeedlessBiases: {"S07", "MLX raises on biases in an MX mode"},
	bundle.NoBiases:       {"S07", "strict loading misses the biases"},
	bundle.NoPair:         {"S05", "no pair of bits and group size fits: the load or the first token fails"},
	bundle.NoKernel:       {"S05", "MLX has no such format (1 bit: from 0.32.4 on)"},
}

// checkQuantized finds bits and group size, which shapes and in_features alone
// do not leave open.
func (c *check) checkQuantized(m *module) {
	info := func(e *entry) *tensor.Info {
		if e == nil {
			return nil
		}
		return &e.Info
	}
	shape := m.param().Shape
	in := 0
	if len(shape) == 2 {
		in = shape[1]
	}
	q, err := bundle.QuantFrom(m.weight.Info, info(m.scales), info(m.biases), in)
	misfit := (*bundle.MisfitError)(nil)
	if err != nil && !errors.As(err, &misfit) {
		panic(err) // it says that it errs with no other
	}
	if misfit != nil && misfit.Misfit < bundle.NoPair {
		c.reject(m, misfits[misfit.Misfit].id, misfit.Found, misfit.Wanted, misfits[misfit.Misfit].consequence)
		return
	}
	if !c.checkLeads(m) {
		return
	}
	if bits := floorPacked(in, last(m.weight)); misfit != nil && misfit.Misfit == bundle.NoPair && bits > 0 {
		c.reject(m, "X02", fmt.Sprintf("%d words for %d codes: floor(32/%d) of %d bits in each word, as GPTQ packs", last(m.weight), in, bits, bits),
			"codes in one stream of bits, which straddle words", "every row after the first code that straddles is noise; the shapes do not load")
		return
	}
	if misfit != nil {
		c.reject(m, misfits[misfit.Misfit].id, misfit.Found, misfit.Wanted, misfits[misfit.Misfit].consequence)
		return
	}
	m.found = Found{Format: q.Mode, Quant: q}
	if m.found.affine() {
		m.found.Format, m.found.Scales = affine.Params{Bits: q.Bits, GroupSize: q.GroupSize}.String(), m.scales.DType
		if m.scales.DType != tensor.BF16 {
			m.found.Format += map[tensor.DType]string{tensor.F16: " f16", tensor.F32: " f32"}[m.scales.DType]
		}
	}
	c.checkScaleTypes(m)
}

// checkScaleTypes looks for types that some of MLX takes and some does not.
func (c *check) checkScaleTypes(m *module) {
	s, b := m.scales, m.biases
	switch {
	case s.DType == tensor.F8E8M0:
		c.add(Finding{ID: "S07", Severity: Warning, Found: "scales F8_E8M0", Wanted: "the same bytes as U8",
			Consequence: "MLX 0.31.2 raises: unsupported dtype, 0.32.2 loads them; assay eval refuses the folder", Fix: "build the bundle again with U8 scales"}, m.stem)
	case b != nil && b.DType != s.DType:
		c.add(Finding{ID: "S11", Severity: Warning, Found: fmt.Sprintf("scales %s, biases %s", s.DType, b.DType), Wanted: "one type, BF16",
			Consequence: "products are computed in their common type, float32 where they differ; assay eval refuses the folder", Fix: "build the bundle again with BF16 scales and biases"}, m.stem)
	}
}

func isFloat(d tensor.DType) bool { return d == tensor.BF16 || d == tensor.F16 || d == tensor.F32 }

// last returns the last dimension.
func last(e *entry) int { return e.Shape[len(e.Shape)-1] }

// floorPacked returns the bits for which words hold floor(32/bits) codes of in,
// where that differs from a stream, or 0.
func floorPacked(in, words int) int {
	for _, bits := range []int{3, 5, 6} {
		if each := 32 / bits; words == (in+each-1)/each {
			return bits
		}
	}
	return 0
}

// checkUpstream holds FP8 and FP4 blocks against their scales.
func (c *check) checkUpstream(m *module) {
	shape := slices.Clone(m.param().Shape)
	if m.block == nil || len(shape) != 2 || m.stacked {
		c.reject(m, "S04", fmt.Sprintf("%s without its scale", m.weight.DType), "a .scale beside it", "the weights cannot be decoded")
		return
	}
	up := func(n int) int { return (n + tensor.FP8Block - 1) / tensor.FP8Block }
	m.found = Found{Format: "fp8"}
	scale := []int{up(shape[0]), up(shape[1])}
	if m.weight.DType == tensor.I8 {
		m.found = Found{Format: "fp4"}
		scale = []int{shape[0], shape[1] / tensor.FP4Group}
		shape[1] /= 2
	}
	switch {
	case !slices.Equal(m.weight.Shape, shape):
		c.reject(m, "S13", fmt.Sprintf("%s %v", m.weight.DType, m.weight.Shape), fmt.Sprint(shape), "the checkpoint is not of this config")
	case m.block.DType != tensor.F8E8M0 || !slices.Equal(m.block.Shape, scale):
		c.reject(m, "S04", fmt.Sprintf("scale %s %v", m.block.DType, m.block.Shape), fmt.Sprintf("F8_E8M0 %v", scale), "the weights cannot be decoded")
	}
}

// checkPlain holds a tensor that is not quantized against the model.
func (c *check) checkPlain(m *module) {
	got, p := m.weight, m.param()
	if want := m.wholeShape(); !slices.Equal(got.Shape, want) {
		if len(want) < 2 || len(got.Shape) < 2 || last(got) != want[len(want)-1] {
			c.reject(m, "S13", fmt.Sprintf("shape %v", got.Shape), fmt.Sprintf("%v", want), "strict loading fails on the shape")
			return
		}
		if !c.checkLeads(m) {
			return
		}
	}
	whole := p.DType == tensor.I64
	if isFloat(got.DType) == whole || !isFloat(got.DType) && got.DType != tensor.I64 && got.DType != tensor.I32 {
		c.reject(m, "S13", string(got.DType), string(p.DType), "the tensor means other numbers than the model reads")
		return
	}
	m.found = Found{Format: map[tensor.DType]string{tensor.BF16: "bf16", tensor.F16: "f16", tensor.F32: "f32", tensor.I64: "i64", tensor.I32: "i32"}[got.DType]}
}
