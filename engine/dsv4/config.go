// Package dsv4 is the DeepSeek-V4 model: its configuration, its parameters by
// name and class, its state, and its forward pass, which stands here once over
// the operations (Ops) that a backend implements. It reads no file and
// computes no number itself.
//
// Shapes are written as in the checkpoint, [out, in]. The field names of
// Config are those of the release's config.json.
package dsv4

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
)

// Config is the model's config.json, under the checkpoint's own names.
type Config struct {
	ModelType           string      `json:"model_type"`
	VocabSize           int         `json:"vocab_size"`
	HiddenSize          int         `json:"hidden_size"`
	NumHiddenLayers     int         `json:"num_hidden_layers"`
	NumNextNPredict     int         `json:"num_nextn_predict_layers"`
	NumHashLayers       int         `json:"num_hash_layers"`
	NumAttentionHeads   int         `json:"num_attention_heads"`
	NumKeyValueHeads    int         `json:"num_key_value_heads"`
	HeadDim             int         `json:"head_dim"`
	QKRopeHeadDim       int         `json:"qk_rope_head_dim"`
	QLoraRank           int         `json:"q_lora_rank"`
	OGroups             int         `json:"o_groups"`
	OLoraRank           int         `json:"o_lora_rank"`
	SlidingWindow       int         `json:"sliding_window"`
	CompressRatios      []int       `json:"compress_ratios"`
	CompressRopeTheta   float64     `json:"compress_rope_theta"`
	RopeTheta           float64     `json:"rope_theta"`
	RopeScaling         RopeScaling `json:"rope_scaling"`
	IndexNHeads         int         `json:"index_n_heads"`
	IndexHeadDim        int         `json:"index_head_dim"`
	IndexTopK           int         `json:"index_topk"`
	NRoutedExperts      int         `json:"n_routed_experts"`
	NSharedExperts      int         `json:"n_shared_experts"`
	NumExpertsPerTok    int         `json:"num_experts_per_tok"`
	MoEIntermediateSize int         `json:"moe_intermediate_size"`
	RoutedScalingFactor float64     `json:"routed_scaling_factor"`
	SwigluLimit         float64     `json:"swiglu_limit"`
	HCMult              int         `json:"hc_mult"`
	HCSinkhornIters     int         `json:"hc_sinkhorn_iters"`
	HCEps               float64     `json:"hc_eps"`
	RMSNormEps          float64     `json:"rms_norm_eps"`
	HiddenAct           string      `json:"hidden_act"`
	ScoringFunc         string      `json:"scoring_func"`
	TopKMethod          string      `json:"topk_method"`
	NormTopKProb        *bool       `json:"norm_topk_prob"`
	TieWordEmbeddings   bool        `json:"tie_word_embeddings"`
	AttentionBias       bool        `json:"attention_bias"`
	ExpertDType         string      `json:"expert_dtype"`

	// QuantizationConfig is how the release stores its weights; it is nil where
	// they are BF16, and in MLX's bundles, which have their own Quantization.
	QuantizationConfig *BlockQuantization `json:"-"`
	Bundle             bool               `json:"-"` // config.json is an MLX bundle's
}

// BlockQuantization is the release's quantization_config.
type BlockQuantization struct {
	QuantMethod     string `json:"quant_method"`
	Fmt             string `json:"fmt"`
	ScaleFmt        string `json:"scale_fmt"`
	WeightBlockSize []int  `json:"weight_block_size"`
}

// RopeScaling holds YaRN's parameters, which apply to layers with a
// compressor only.
type RopeScaling struct {
	Type                          string  `json:"type"`
	RopeType                      string  `json:"rope_type"`
	Factor                        float64 `json:"factor"`
	OriginalMaxPositionEmbeddings float64 `json:"original_max_position_embeddings"`
	BetaFast                      float64 `json:"beta_fast"`
	BetaSlow                      float64 `json:"beta_slow"`
}

// ParseConfig reads a config.json and checks it. It errs on any model or
// option that the forward pass does not have.
func ParseConfig(data []byte) (*Config, error) {
	c := &Config{}
	var stored struct {
		Blocks *BlockQuantization `json:"quantization_config"`
	}
	var bundle struct {
		Quantization json.RawMessage `json:"quantization"`
	}
	err := errors.Join(json.Unmarshal(data, c), json.Unmarshal(data, &bundle))
	if err == nil && bundle.Quantization == nil {
		err = json.Unmarshal(data, &stored)
	}
	if err != nil {
		return nil, fmt.Errorf("dsv4: config.json: %w", err)
	}
	c.QuantizationConfig, c.Bundle = stored.Blocks, bundle.Quantization != nil
	if c.ModelType != "deepseek_v4" {
		return nil, fmt.Errorf("dsv4: config.json: model_type %q, want %q", c.ModelType, "deepseek_v4")
	}
	if n := len(c.CompressRatios); n != c.NumHiddenLayers && n != c.NumHiddenLayers+c.NumNextNPredict {
		return nil, fmt.Errorf("dsv4: config.json: compress_ratios has %d entries, want %d, or %d with the MTP blocks",
			n, c.NumHiddenLayers, c.NumHiddenLayers+c.NumNextNPredict)
	}
	if err := c.checkOptions(); err != nil {
		return nil, err
	}
	return c, c.checkSizes()
}

func (c *Config) checkOptions() error {
	type option struct{ name, got, want string }
	options := []option{
		{"hidden_act", c.HiddenAct, "silu"},
		{"scoring_func", c.ScoringFunc, "sqrtsoftplus"},
		{"topk_method", c.TopKMethod, "noaux_tc"},
	}
	if c.yarn() {
		options = append(options, option{"rope_scaling.type", c.RopeScaling.kind(), "yarn"})
	}
	if q := c.QuantizationConfig; q != nil {
		options = append(options,
			option{"quantization_config.quant_method", q.QuantMethod, "fp8"},
			option{"quantization_config.fmt", q.Fmt, "e4m3"},
			option{"quantization_config.scale_fmt", q.ScaleFmt, "ue8m0"},
			option{"quantization_config.weight_block_size", fmt.Sprint(q.WeightBlockSize), "[128 128]"})
	}
	for _, o := range options {
		if o.got != o.want {
			return fmt.Errorf("dsv4: config.json: %s is %q, want %q", o.name, o.got, o.want)
		}
	}
	switch {
	case c.NormTopKProb != nil && !*c.NormTopKProb:
		return fmt.Errorf("dsv4: config.json: norm_topk_prob is false, want true")
	case c.TieWordEmbeddings || c.AttentionBias:
		return fmt.Errorf("dsv4: config.json: tie_word_embeddings and attention_bias must be false")
	case c.NSharedExperts != 1 || c.NumKeyValueHeads != 1:
		return fmt.Errorf("dsv4: config.json: n_shared_experts %d, num_key_value_heads %d, want 1 and 1",
			c.NSharedExperts, c.NumKeyValueHeads)
	case c.ExpertDType != "" && c.ExpertDType != "fp4":
		return fmt.Errorf("dsv4: config.json: expert_dtype %q, want fp4", c.ExpertDType)
	}
	return nil
}

func (c *Config) checkSizes() error {
	const most = 1 << 20 // of a width: far above any real one, and no product of three overflows
	sizes := []struct {
		name        string
		v           int
		least, most int
	}{
		{"vocab_size", c.VocabSize, 1, 1 << 24}, {"hidden_size", c.HiddenSize, 1, most},
		{"num_hidden_layers", c.NumHiddenLayers, 1, 1024}, {"num_nextn_predict_layers", c.NumNextNPredict, 0, 1},
		{"num_hash_layers", c.NumHashLayers, 0, 1024}, {"num_attention_heads", c.NumAttentionHeads, 1, 1 << 16},
		{"head_dim", c.HeadDim, 2, 1 << 16}, {"qk_rope_head_dim", c.QKRopeHeadDim, 2, 1 << 16},
		{"q_lora_rank", c.QLoraRank, 1, most}, {"o_groups", c.OGroups, 1, 1 << 16}, {"o_lora_rank", c.OLoraRank, 1, 1 << 16},
		{"sliding_window", c.SlidingWindow, 1, most}, {"index_n_heads", c.IndexNHeads, 1, 1 << 16},
		{"index_head_dim", c.IndexHeadDim, 2, 1 << 16}, {"index_topk", c.IndexTopK, 1, most},
		{"n_routed_experts", c.NRoutedExperts, 1, 1 << 16}, {"num_experts_per_tok", c.NumExpertsPerTok, 1, 1 << 16},
		{"moe_intermediate_size", c.MoEIntermediateSize, 1, most}, {"hc_mult", c.HCMult, 1, 64},
		{"hc_sinkhorn_iters", c.HCSinkhornIters, 1, 1000},
	}
	for _, s := range sizes {
		if s.v < s.least || s.v > s.most {
			return fmt.Errorf("dsv4: config.json: %s is %d, want %d to %d", s.name, s.v, s.least, s.most)
		}
	}
	// Every expert of every layer has a name of its own; V4-Pro has 23,424.
	const mostExperts = 1 << 17
	switch {
	case c.NRoutedExperts > mostExperts/c.NumHiddenLayers:
		return fmt.Errorf("dsv4: config.json: n_routed_experts %d in each of %d layers, want at most %d in all", c.NRoutedExperts, c.NumHiddenLayers, mostExperts)
	case c.NumExpertsPerTok > c.NRoutedExperts:
		return fmt.Errorf("dsv4: config.json: num_experts_per_tok %d of n_routed_experts %d", c.NumExpertsPerTok, c.NRoutedExperts)
	case c.NumAttentionHeads%c.OGroups != 0:
		return fmt.Errorf("dsv4: config.json: o_groups %d does not divide num_attention_heads %d", c.OGroups, c.NumAttentionHeads)
	case c.QKRopeHeadDim%2 != 0 || c.QKRopeHeadDim > c.HeadDim || c.QKRopeHeadDim > c.IndexHeadDim:
		return fmt.Errorf("dsv4: config.json: qk_rope_head_dim %d in heads of %d and %d", c.QKRopeHeadDim, c.HeadDim, c.IndexHeadDim)
	case c.NumHashLayers > c.NumHiddenLayers:
		return fmt.Errorf("dsv4: config.json: num_hash_layers %d of %d layers", c.NumHashLayers, c.NumHiddenLayers)
	}
	for i, r := range c.CompressRatios {
		if r < 0 || r > most {
			return fmt.Errorf("dsv4: config.json: compress_ratios[%d] is %d, want 0 to %d", i, r, most)
		}
	}
	return c.checkNumbers()
}

// checkNumbers checks what is no size.
func (c *Config) checkNumbers() error {
	type number struct {
		name           string
		v, above, most float64
	}
	numbers := []number{
		{"rms_norm_eps", c.RMSNormEps, 0, 1}, {"hc_eps", c.HCEps, -1e-300, 1}, {"swiglu_limit", c.SwigluLimit, 0, 1e30},
		{"rope_theta", c.RopeTheta, 1, 1e30}, {"routed_scaling_factor", c.RoutedScalingFactor, 0, 1e6},
	}
	if c.yarn() {
		numbers = append(numbers, number{"compress_rope_theta", c.CompressRopeTheta, 1, 1e30},
			number{"rope_scaling.factor", c.RopeScaling.Factor, 0, 1e6},
			number{"rope_scaling.original_max_position_embeddings", c.RopeScaling.OriginalMaxPositionEmbeddings, 0, 1e12},
			number{"rope_scaling.beta_fast", c.RopeScaling.BetaFast, 0, 1e6}, number{"rope_scaling.beta_slow", c.RopeScaling.BetaSlow, 0, 1e6})
	}
	for _, n := range numbers {
		if !(n.v > n.above && n.v <= n.most) {
			return fmt.Errorf("dsv4: config.json: %s is %v, want more than %v and at most %v", n.name, n.v, max(n.above, 0), n.most)
		}
	}
	return nil
}

func (r RopeScaling) kind() string {
	if r.Type != "" {
		return r.Type
	}
	return r.RopeType
}

// yarn says whether any layer's rotary frequencies are scaled.
func (c *Config) yarn() bool {
	for _, r := range c.CompressRatios {
		if r != 0 {
			return true
		}
	}
	return false
}

// SameModel errs unless other describes the same forward pass: every field
// alike but how weights are stored and whether there is an MTP block.
func (c *Config) SameModel(other *Config) error {
	a, b := reflect.ValueOf(c.compared()), reflect.ValueOf(other.compared())
	for i := range a.NumField() {
		if x, y := a.Field(i).Interface(), b.Field(i).Interface(); !reflect.DeepEqual(x, y) {
			name := a.Type().Field(i).Tag.Get("json")
			return fmt.Errorf("dsv4: config.json: %s is %v, want %v", name, y, x)
		}
	}
	return nil
}

// compared is c without what may differ.
func (c *Config) compared() Config {
	out := *c
	out.QuantizationConfig, out.Bundle, out.ExpertDType, out.NumNextNPredict, out.NormTopKProb = nil, false, "", 0, nil
	out.CompressRatios = c.CompressRatios[:c.NumHiddenLayers]
	out.RopeScaling.Type, out.RopeScaling.RopeType = c.RopeScaling.kind(), ""
	return out
}

// Ratio returns the compression ratio of a main layer: 0 without compressor.
func (c *Config) Ratio(layer int) int { return c.CompressRatios[layer] }

// OverlapRatio is the one compression ratio whose blocks overlap and whose
// layers have an indexer; any other non-zero ratio pools plain blocks.
const OverlapRatio = 4

// Indexed says whether a main layer chooses its compressed blocks.
func (c *Config) Indexed(layer int) bool { return c.Ratio(layer) == OverlapRatio }

// Hash says whether a main layer routes by token id.
func (c *Config) Hash(layer int) bool { return layer < c.NumHashLayers }

// Frequencies returns the rotary frequencies f_i of a layer, [QKRopeHeadDim/2],
// rounded once to float32: plain where ratio is 0, with YaRN elsewhere.
//
//	f_i = θ^(−2i/r)
//	L(ρ) = r·ln(original/(2πρ)) / (2·ln θ)
//	low = max(⌊L(beta_fast)⌋, 0), high = min(⌈L(beta_slow)⌉, r−1)
//	γ_i = clamp((i−low)/(high−low), 0, 1); f_i ← f_i·(1−γ_i) + (f_i/factor)·γ_i
//
// Source: the release's inference/model.py, precompute_freqs_cis.
func (c *Config) Frequencies(ratio int) []float32 {
	r := float64(c.QKRopeHeadDim)
	theta := c.RopeTheta
	if ratio != 0 {
		theta = c.CompressRopeTheta
	}
	s := c.RopeScaling
	correction := func(rotations float64) float64 {
		return r * math.Log(s.OriginalMaxPositionEmbeddings/(2*math.Pi*rotations)) / (2 * math.Log(theta))
	}
	low := math.Max(math.Floor(correction(s.BetaFast)), 0)
	high := math.Min(math.Ceil(correction(s.BetaSlow)), r-1)
	if low == high {
		high += 0.001
	}
	out := make([]float32, c.QKRopeHeadDim/2)
	for i := range out {
		f := math.Pow(theta, -2*float64(i)/r)
		if ratio != 0 {
			g := math.Min(math.Max((float64(i)-low)/(high-low), 0), 1)
			f = f*(1-g) + f/s.Factor*g
		}
		out[i] = float32(f)
	}
	return out
}

// CheckKVSim errs unless the model's shapes define kv_sim: the FP8 round trip
// takes the non-rotary channels of a head in blocks of 64, the FP4 one an
// index head in blocks of 32 after a Hadamard transform of a power of two.
func (c *Config) CheckKVSim() error {
	if n := c.HeadDim - c.QKRopeHeadDim; n%64 != 0 {
		return fmt.Errorf("dsv4: kv_sim is undefined here: head_dim - qk_rope_head_dim is %d, want a multiple of 64", n)
	}
	if n := c.IndexHeadDim; n%32 != 0 || n&(n-1) != 0 {
		return fmt.Errorf("dsv4: kv_sim is undefined here: index_head_dim is %d, want a power of two from 32 on", n)
	}
	return nil
}
