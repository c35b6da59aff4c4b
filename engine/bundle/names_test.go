package bundle

import (
	"strings"
	"testing"
)

// The name tables of the DeepSeek-V4 specification, 8.1: (a), (a) under
// language_model., and (b).
func TestPlaces(t *testing.T) {
	for name, want := range map[string][2]string{
		"embed.weight":                          {"model.embed_tokens.weight", "model.embed.weight"},
		"head.weight":                           {"lm_head.weight", "lm_head.weight"},
		"norm.weight":                           {"model.norm.weight", "model.norm.weight"},
		"hc_head_fn":                            {"model.hc_head.fn", "model.hc_head_fn"},
		"hc_head_scale":                         {"model.hc_head.scale", "model.hc_head_scale"},
		"layers.3.attn_norm.weight":             {"model.layers.3.attn_norm.weight", "model.layers.3.input_layernorm.weight"},
		"layers.3.ffn_norm.weight":              {"model.layers.3.ffn_norm.weight", "model.layers.3.post_attention_layernorm.weight"},
		"layers.3.hc_attn_base":                 {"model.layers.3.attn_hc.base", "model.layers.3.hc_attn_base"},
		"layers.3.hc_ffn_fn":                    {"model.layers.3.ffn_hc.fn", "model.layers.3.hc_ffn_fn"},
		"layers.42.attn.wo_a.weight":            {"model.layers.42.attn.wo_a.weight", "model.layers.42.self_attn.wo_a.weight"},
		"layers.42.attn.attn_sink":              {"model.layers.42.attn.attn_sink", "model.layers.42.self_attn.attn_sink"},
		"layers.2.attn.indexer.compressor.ape":  {"model.layers.2.attn.indexer.compressor.ape", "model.layers.2.self_attn.indexer.compressor.ape"},
		"layers.3.ffn.gate.bias":                {"model.layers.3.ffn.gate.e_score_correction_bias", "model.layers.3.mlp.gate.bias"},
		"layers.3.ffn.gate.weight":              {"model.layers.3.ffn.gate.weight", "model.layers.3.mlp.gate.weight"},
		"layers.0.ffn.gate.tid2eid":             {"model.layers.0.ffn.gate.tid2eid", "model.layers.0.mlp.gate.tid2eid"},
		"layers.3.ffn.shared_experts.w2.weight": {"model.layers.3.ffn.shared_experts.down_proj.weight", "model.layers.3.mlp.shared_experts.down_proj.weight"},
		"layers.12.ffn.experts.255.w1.weight":   {"model.layers.12.ffn.switch_mlp.gate_proj.weight", "model.layers.12.mlp.switch_mlp.gate_proj.weight"},
		"layers.12.ffn.experts.0.w3.weight":     {"model.layers.12.ffn.switch_mlp.up_proj.weight", "model.layers.12.mlp.switch_mlp.up_proj.weight"},
		"layers.3.attn.compressor.norm.weight":  {"model.layers.3.attn.compressor.norm.weight", "model.layers.3.self_attn.compressor.norm.weight"},
		"mtp.0.ffn.experts.3.w1.weight":         {"mtp.0.ffn.experts.3.w1.weight", "mtp.0.ffn.experts.3.w1.weight"},
	} {
		expert := map[string]int{"layers.12.ffn.experts.255.w1.weight": 255, "layers.12.ffn.experts.0.w3.weight": 0}
		number, stacked := expert[name]
		if !stacked {
			number = -1
		}
		vlm := want[0]
		if !strings.HasPrefix(name, "mtp.") {
			vlm = "language_model." + vlm
		}
		for runtime, want := range map[string]string{"mlx-lm": want[0], "mlx-vlm": vlm, "vmlx": want[1]} {
			r, err := RuntimeOf(runtime)
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.Place(name)
			if err != nil || got != (Place{want, number}) {
				t.Errorf("%s keeps %s at %+v (%v), want %s, expert %d", runtime, name, got, err, want, number)
			}
		}
		if got, err := Upstream.Place(name); err != nil || got != (Place{name, -1}) {
			t.Errorf("upstream keeps %s at %+v (%v)", name, got, err)
		}
	}
	r, _ := RuntimeOf("vmlx")
	for _, name := range []string{"", "layers.", "tail.weight", "layersX", "embed.weight.more"} {
		if p, err := r.Place(name); err == nil {
			t.Errorf("%q is at %+v", name, p)
		}
	}
	if _, err := RuntimeOf("mlx"); err == nil || !strings.Contains(err.Error(), "want mlx-lm, mlx-vlm, vmlx") {
		t.Errorf("an unknown runtime: %v", err)
	}
}

// Two parameters never land on one place, in any runtime.
func TestPlacesAreDistinct(t *testing.T) {
	params := tinyParams(t)
	for _, r := range Runtimes() {
		seen := map[Place]string{}
		for _, p := range params {
			place, err := r.Place(p.Name)
			if err != nil {
				t.Fatal(err)
			}
			if other, ok := seen[place]; ok {
				t.Errorf("%s keeps %s and %s at %+v", r.Name, other, p.Name, place)
			}
			seen[place] = p.Name
		}
	}
}
