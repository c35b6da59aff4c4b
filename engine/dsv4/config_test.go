package dsv4_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"assay/engine/checkpoint/checkpointtest"
	"assay/engine/dsv4"
)

// flashWith returns V4-Flash's config.json with some fields changed.
func flashWith(t *testing.T, changes map[string]any) []byte {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal(dsv4.FlashConfig(), &all); err != nil {
		t.Fatal(err)
	}
	for k, v := range changes {
		all[k] = v
	}
	data, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestConfigRefuses wants one sentence that names the field for whatever the
// forward pass does not have.
func TestConfigRefuses(t *testing.T) {
	for _, c := range []struct {
		change map[string]any
		want   string
	}{
		{map[string]any{"model_type": "llama"}, `model_type "llama", want "deepseek_v4"`},
		{map[string]any{"hidden_act": "gelu"}, `hidden_act is "gelu", want "silu"`},
		{map[string]any{"scoring_func": "sigmoid"}, "scoring_func"},
		{map[string]any{"topk_method": "greedy"}, "topk_method"},
		{map[string]any{"norm_topk_prob": false}, "norm_topk_prob"},
		{map[string]any{"tie_word_embeddings": true}, "tie_word_embeddings"},
		{map[string]any{"n_shared_experts": 2}, "n_shared_experts 2"},
		{map[string]any{"expert_dtype": "int4"}, `expert_dtype "int4"`},
		{map[string]any{"compress_ratios": []int{0, 4}}, "compress_ratios has 2 entries, want 43, or 44"},
		{map[string]any{"vocab_size": 0}, "vocab_size is 0"},
		{map[string]any{"head_dim": 1 << 40}, "head_dim is 1099511627776"},
		{map[string]any{"n_routed_experts": 1 << 23}, "n_routed_experts is 8388608"},
		{map[string]any{"n_routed_experts": 1 << 15}, "n_routed_experts 32768 in each of 43 layers"},
		{map[string]any{"hc_mult": 1 << 24}, "hc_mult is 16777216, want 1 to 64"},
		{map[string]any{"rms_norm_eps": 1e300}, "rms_norm_eps is 1e+300"},
		{map[string]any{"hc_sinkhorn_iters": 1 << 20}, "hc_sinkhorn_iters"},
		{map[string]any{"rope_scaling": map[string]any{"type": "yarn"}}, "rope_scaling.factor is 0"},
		{map[string]any{"num_experts_per_tok": 300}, "num_experts_per_tok 300 of n_routed_experts 256"},
		{map[string]any{"o_groups": 7}, "o_groups 7 does not divide"},
		{map[string]any{"qk_rope_head_dim": 1024}, "qk_rope_head_dim 1024"},
		{map[string]any{"num_hash_layers": 99}, "num_hash_layers 99"},
		{map[string]any{"rms_norm_eps": 0}, "rms_norm_eps"},
		{map[string]any{"rope_scaling": map[string]any{"type": "linear"}}, `rope_scaling.type is "linear", want "yarn"`},
		{map[string]any{"quantization_config": map[string]any{"quant_method": "awq"}}, "quant_method"},
	} {
		_, err := dsv4.ParseConfig(flashWith(t, c.change))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "dsv4: config.json: ") {
			t.Errorf("%v: error %v, want %q", c.change, err, c.want)
		}
	}
	if _, err := dsv4.ParseConfig([]byte("{")); err == nil {
		t.Error("half a config is taken")
	}
}

// TestConfigAccepts takes the other spellings.
func TestConfigAccepts(t *testing.T) {
	scaling := map[string]any{"rope_type": "yarn", "factor": 16, "original_max_position_embeddings": 65536, "beta_fast": 32, "beta_slow": 1}
	c, err := dsv4.ParseConfig(flashWith(t, map[string]any{"rope_scaling": scaling}))
	if err != nil {
		t.Fatal(err)
	}
	if c.Ratio(2) != 4 || !c.Indexed(2) || c.Indexed(3) || !c.Hash(2) || c.Hash(3) {
		t.Error("layers 2 and 3 are not what V4-Flash has there")
	}
}

// TestFrequencies holds the rotary frequencies against the specification's 3.3.
func TestFrequencies(t *testing.T) {
	c, err := dsv4.ParseConfig(dsv4.FlashConfig())
	if err != nil {
		t.Fatal(err)
	}
	for ratio, want := range map[int]map[int]float64{
		0: {1: 0.7498942093, 8: 0.1, 16: 0.01, 31: 1.333521432e-4},
		4: {0: 1, 1: 0.6876560219, 8: 0.05, 14: 5.286856317e-3, 15: 3.635538584e-3, 16: 2.265625e-3, 17: 1.396801295e-3,
			20: 2.969777783e-4, 23: 4.544423230e-5, 24: 1.953125e-5, 25: 5.372312671e-6, 31: 5.680529037e-7},
	} {
		f := c.Frequencies(ratio)
		for i, w := range want {
			if math.Abs(float64(f[i])/w-1) > 1e-7 {
				t.Errorf("ratio %d: f[%d] is %v, want %v", ratio, i, f[i], w)
			}
		}
	}
	if got := fmt.Sprint(len(c.Frequencies(0)), len(c.Frequencies(128))); got != "32 32" {
		t.Errorf("%s frequencies, want 32 32", got)
	}
}

// TestCheckKVSim: defined for V4-Flash, where 448 channels are blocks of 64.
func TestCheckKVSim(t *testing.T) {
	c, err := dsv4.ParseConfig(dsv4.FlashConfig())
	if err != nil || c.CheckKVSim() != nil {
		t.Fatal(err, c.CheckKVSim())
	}
	c.HeadDim = 128 + 64 + 32
	if err := c.CheckKVSim(); err == nil || !strings.Contains(err.Error(), "head_dim - qk_rope_head_dim is 160") {
		t.Error(err)
	}
	c.HeadDim, c.IndexHeadDim = 512, 96
	if err := c.CheckKVSim(); err == nil || !strings.Contains(err.Error(), "index_head_dim is 96") {
		t.Error(err)
	}
}

// TestStateBytes holds the cache against the specification's 4.1: 3.61 G
// elements at 2^20 tokens.
func TestStateBytes(t *testing.T) {
	c, err := dsv4.ParseConfig(dsv4.FlashConfig())
	if err != nil {
		t.Fatal(err)
	}
	const tokens = 1 << 20
	entries := int64(tokens/4*640*21 + tokens/128*512*20 + 43*128*512)
	got := dsv4.StateBytes(c, tokens, 1)
	if pending := got - entries; pending < 0 || pending > 4e6 {
		t.Errorf("%d elements, want %d and pending rows", got, entries)
	}
	main, total := dsv4.StoredBytes(dsv4.Params(c))
	if main != 156015698140 || total != 159609485896 {
		t.Errorf("the release stores %d and %d bytes, want 156015698140 and 159609485896", main, total)
	}
}

// A bundle's config and upstream's are one model if they differ only in how
// weights are stored and in the MTP block.
func TestSameModel(t *testing.T) {
	parse := func(replace ...string) *dsv4.Config {
		t.Helper()
		c, err := dsv4.ParseConfig([]byte(strings.NewReplacer(replace...).Replace(string(checkpointtest.TinyConfig()))))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := parse()
	bundle := parse(`"quantization_config"`, `"quantization": {"bits": 4, "group_size": 32}, "quantization_config"`)
	if !bundle.Bundle || c.Bundle || bundle.QuantizationConfig != nil || c.QuantizationConfig == nil {
		t.Errorf("the bundle is %v, upstream %v", bundle.Bundle, c.Bundle)
	}
	if err := c.SameModel(bundle); err != nil {
		t.Error(err)
	}
	without := *c
	without.NumNextNPredict, without.CompressRatios = 0, c.CompressRatios[:c.NumHiddenLayers]
	if err := c.SameModel(&without); err != nil {
		t.Error(err)
	}
	other := *c
	other.RopeTheta++
	if err := c.SameModel(&other); err == nil || !strings.Contains(err.Error(), "rope_theta is") {
		t.Errorf("another rope_theta: %v", err)
	}
	other = *c
	other.CompressRatios = append([]int{4}, c.CompressRatios[1:]...)
	if err := c.SameModel(&other); err == nil || !strings.Contains(err.Error(), "compress_ratios is") {
		t.Errorf("other compress_ratios: %v", err)
	}
}
