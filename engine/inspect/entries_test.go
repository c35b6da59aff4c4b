package inspect

import (
	"strings"
	"testing"

	"assay/engine/bundle"
)

// norm8 is an entry for a module.
var norm8 = map[string]any{"group_size": 32, "bits": 8, "mode": "affine"}

// alone leaves quantization out and gives the other key a value.
func alone(twin map[string]any) func(*testing.T, folder) {
	return func(t *testing.T, f folder) {
		f.editJSON(t, configName, func(all map[string]any) {
			delete(all, quantizationKey)
			if all[twinKey] = twin; twin == nil {
				delete(all, twinKey)
			}
		})
	}
}

// odd is entries of config.json on which loaders raise, or seem to.
var odd = []broken{
	{name: "an entry for a norm", from: grid, spoil: config(func(q map[string]any) { q["model.norm"] = norm8 }),
		want: one("S09", Error, "model.norm", "cannot be quantized")},
	{name: "true for hyper-connections", from: grid, spoil: config(func(q map[string]any) { q["model.layers.0.attn_hc"] = true }),
		want: one("S09", Error, "model.layers.0.attn_hc", "cannot be quantized")},
	{name: "false for a norm says nothing", from: grid, spoil: config(func(q map[string]any) { q["model.norm"] = false })},
	{name: "an empty object is false", from: grid, spoil: config(func(q map[string]any) { q["model.norm"] = map[string]any{} })},
	{name: "an entry for a module with modules in it is dead", from: grid, spoil: config(func(q map[string]any) { q["model.layers.0.attn"] = norm8 }),
		want: one("S09", Warning, "model.layers.0.attn", "there is not")},
	{name: "a number for a matrix without a dot in its name", from: grid, spoil: config(func(q map[string]any) { q["lm_head"] = 8 }),
		want: one("S09", Error, "lm_head", "the value 8")},
	{name: "text for it", from: grid, spoil: config(func(q map[string]any) { q["lm_head"] = "affine" }),
		want: one("S09", Error, "lm_head", `the value "affine"`)},
	{name: "globals of 4.0 that nobody uses", from: grid, spoil: config(func(q map[string]any) { q["bits"] = 4.5 }),
		want: one("S09", Warning, quantizationKey, "bits is 4.5")},
	{name: "globals of 4.5 that true asks for", from: grid, spoil: config(func(q map[string]any) { q["bits"], q[qb] = 4.5, true }),
		want: one("S09", Error, quantizationKey, "bits is 4.5, and modules")},
	{name: "globals of 4.5 that 0.31.3 uses", from: grid, loader: "mlx-lm-0.31.3", spoil: config(func(q map[string]any) {
		q["bits"] = 4.5
		delete(q, qb)
	}), want: one("S09", Error, quantizationKey, "bits is 4.5, and modules")},
	{name: "activations that are to be quantized too", from: grid, spoil: func(t *testing.T, f folder) {
		f.editJSON(t, configName, func(all map[string]any) { all["quantize_activations"] = true })
	}, want: one("S15", Error, "model.layers.0.attn.wq_a", "quantize_activations")},
	{name: "activations beside mxfp8", from: native, spoil: func(t *testing.T, f folder) {
		f.editJSON(t, configName, func(all map[string]any) { all["quantize_activations"] = true })
	}},
	{name: "mxfp4 alone, for 0.31.3", from: native, loader: "mlx-lm-0.31.3", spoil: alone(map[string]any{"quant_method": "mxfp4"}),
		want: one("S06", Error, "model.layers.0.attn.wq_a", "no override")},
	{name: "mxfp4 alone, for 0.32.0 and later", from: native, loader: "mlx-lm", spoil: alone(map[string]any{"quant_method": "mxfp4"}),
		want: one("S06", Warning, "model.layers.0.attn.wq_a", "no override")},
	{name: "mxfp8 alone, for 0.31.3", from: native, loader: "mlx-lm-0.31.3", spoil: alone(map[string]any{"quant_method": "mxfp8"}),
		want: one("S15", Error, configName, `quantization_config of "mxfp8"`)},
	{name: "a block without its method", from: grid, spoil: alone(map[string]any{"bits": 4, "group_size": 32}),
		want: one("S15", Error, configName, "without quant_method")},
	{name: "AutoAWQ's block", from: grid, spoil: alone(map[string]any{"quant_method": "awq"}),
		want: one("S15", Error, configName, `quantization_config of "awq"`)},
	{name: "nothing that says how", from: grid, spoil: alone(nil), want: one("S15", Error, configName, "no quantization")},
}

// What mlx-lm makes of a quantization_config that stands alone.
func TestForeignBlocks(t *testing.T) {
	old, now := Loaders[0], Loaders[1]
	method := func(s string) *string { return &s }
	group := 16
	for _, c := range []struct {
		name string
		f    foreign
		old  string
		now  string
	}{
		{"mxfp4", foreign{Method: method("mxfp4")}, "mxfp4 4-bit g32", "mxfp4 4-bit g32"},
		{"mxfp8", foreign{Method: method("mxfp8")}, "", "mxfp8 8-bit g32"},
		{"fp8 of 128", foreign{Method: method("fp8"), ScaleFmt: "ue8m0", Block: []int{128, 128}}, "", ""},
		{"fp8 of 32", foreign{Method: method("fp8"), ScaleFmt: "ue8m0", Block: []int{32, 32}}, "", "mxfp8 8-bit g32"},
		{"NVFP4", foreign{Method: method("modelopt"), Algorithm: "NVFP4", GroupSize: &group}, "", "nvfp4 4-bit g16"},
		{"compressed", foreign{Method: method("compressed-tensors")}, "affine 4-bit g32", ""},
	} {
		text := func(q bundle.Quant, ok bool) string {
			if !ok {
				return ""
			}
			return quantText(q)
		}
		if got := text(c.f.globals(old)); got != c.old {
			t.Errorf("%s in 0.31.3 is %q, want %q", c.name, got, c.old)
		}
		if got := text(c.f.globals(now)); got != c.now {
			t.Errorf("%s from 0.32.0 on is %q, want %q", c.name, got, c.now)
		}
	}
}

// A finding of all loaders that a folder is meant for is none of a loader that
// reads its names too.
func TestVerdictsAreTheLoadersOwn(t *testing.T) {
	f := healthy(t, apart)
	f.edit(t, bf16Control("layers.0.attn.attn_sink"))
	r := verify(t, f, Options{})
	checkFindings(t, r, one("S14", Error, "layers.0.attn.attn_sink", "BF16"))
	if got := strings.Join(r.Findings[0].Runtimes, " "); got != "vmlx" {
		t.Errorf("it concerns %q, want vmlx", got)
	}
	for _, v := range r.Verdicts {
		if strings.Contains(v.Text, "S14") != (v.Runtime == "vmlx") {
			t.Errorf("%s: %s", v.Runtime, v.Text)
		}
	}
	jang := healthy(t, kind{recipe: "native", runtime: "vmlx", apart: true})
	jang["jang_config.json"] = []byte(`{"format":"jang"}`)
	for _, v := range verify(t, jang, Options{}).Verdicts {
		if strings.Contains(v.Text, "S10") != (v.Runtime == "vmlx") {
			t.Errorf("%s: %s", v.Runtime, v.Text)
		}
	}
}
