package inspect

import (
	"encoding/json"
	"fmt"

	"assay/engine/bundle"
	"assay/engine/mx"
)

// foreign is a quantization_config that stands alone, as other tools write it.
type foreign struct {
	Method    *string `json:"quant_method"`
	ScaleFmt  string  `json:"scale_fmt"`
	Block     []int   `json:"weight_block_size"`
	Algorithm string  `json:"quant_algo"`
	GroupSize *int    `json:"group_size"`
}

// globals returns what a loader that finds no quantization takes for the
// globals, and false where it quantizes nothing.
// Source: mlx_lm/utils.py, load_model, of 0.31.3 and of 0.32.2.
func (f foreign) globals(l Loader) (bundle.Quant, bool) {
	block32 := len(f.Block) == 2 && f.Block[0] == mx.GroupSize && f.Block[1] == mx.GroupSize
	switch method := *f.Method; {
	case method == mx.FP4.String():
		return bundle.ModeDefaults(method)
	case method == "compressed-tensors" && !l.Infers:
		return bundle.Quant{GroupSize: 32, Bits: 4, Mode: bundle.ModeAffine}, true
	case !l.Infers: // what follows is new in 0.32.1
	case method == mx.FP8.String(), method == "fp8" && f.ScaleFmt == "ue8m0" && block32:
		return bundle.ModeDefaults(mx.FP8.String())
	case method == "modelopt" && f.Algorithm == "NVFP4":
		q, ok := bundle.ModeDefaults(bundle.ModeNVFP4)
		if f.GroupSize != nil {
			q.GroupSize = *f.GroupSize
		}
		return q, ok
	}
	return bundle.Quant{}, false
}

// legacy returns what a loader makes of a config without quantization: globals
// that the other key means, or none, which is a finding if a module is
// quantized.
func (c *check) legacy(l Loader, out *findings) (declared, bool) {
	quantized := false
	for _, m := range c.b.modules {
		quantized = quantized || m.found.quantized()
	}
	if !quantized {
		return declared{}, false
	}
	x := Finding{ID: "S15", Severity: Error, Found: "no quantization", Wanted: "quantization, and quantization_config as its twin", Fix: overrideFix,
		Consequence: "the model is built unquantized, and strict loading fails on every .scales"}
	raw, there := c.f.config[twinKey]
	var f foreign
	switch err := json.Unmarshal(raw, &f); {
	case !there || isFalse(string(raw)):
	case err != nil || f.Method == nil:
		x.Found += ", but quantization_config without quant_method"
		x.Consequence = "the loader raises a KeyError: quant_method"
	default:
		if q, ok := f.globals(l); ok {
			return declared{there: true, globals: setting{kind: object, quant: q}}, true
		}
		x.Found += fmt.Sprintf(", but quantization_config of %q", clip(*f.Method))
		switch *f.Method {
		case "awq", "gptq", "bitnet", "compressed-tensors", "modelopt":
			x.Consequence = "the loader takes the weights for that method's and fails on them"
		default:
			x.Consequence = "the loader does not know the method: " + x.Consequence
		}
	}
	out.add(x, configName)
	return declared{}, false
}
