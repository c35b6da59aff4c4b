// Package dsv4test is what tests of the model share: a tiny model whose
// weights come from their names and whose outputs are known (Golden), and the
// operations in plain float64 (Naive), with a switch for mistakes that others
// have made.
package dsv4test

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"strings"

	"assay/engine/dsv4"
	"assay/engine/tensor"
	"assay/engine/token"
)

// GoldenJSON is the tiny model's config: every layer type, large epsilons and
// a small limit, so that a misplaced one shows. It has no quantized tensors.
const GoldenJSON = `{"model_type": "deepseek_v4", "vocab_size": 40, "hidden_size": 32,
 "num_hidden_layers": 6, "num_hash_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 1,
 "head_dim": 80, "qk_rope_head_dim": 16, "q_lora_rank": 16, "o_groups": 2, "o_lora_rank": 8,
 "n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
 "sliding_window": 8, "compress_ratios": [0, 0, 4, 8, 4, 8], "index_n_heads": 4, "index_head_dim": 32,
 "index_topk": 3, "hc_mult": 4, "hc_sinkhorn_iters": 20, "hc_eps": 0.01, "rms_norm_eps": 1e-3,
 "swiglu_limit": 0.5, "routed_scaling_factor": 1.5, "rope_theta": 10000, "compress_rope_theta": 160000,
 "rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 64, "beta_fast": 32, "beta_slow": 1},
 "hidden_act": "silu", "scoring_func": "sqrtsoftplus", "topk_method": "noaux_tc"}`

// GoldenConfig returns the tiny model's config.
func GoldenConfig() *dsv4.Config {
	c, err := dsv4.ParseConfig([]byte(GoldenJSON))
	if err != nil {
		panic(err) // a constant of this package
	}
	return c
}

// GoldenTokens returns t_i = (11i² + 5i + 3) mod 40, i = 0..39.
func GoldenTokens() []token.ID {
	out := make([]token.ID, 40)
	for i := range out {
		out[i] = token.ID((11*i*i + 5*i + 3) % 40)
	}
	return out
}

// Golden makes the tiny model's weights from their names. It is a dsv4.Weights.
type Golden struct{ shapes map[string]tensor.Info }

// NewGolden returns the weights of a config of the golden kind.
func NewGolden(c *dsv4.Config) *Golden {
	g := &Golden{shapes: map[string]tensor.Info{}}
	for _, p := range dsv4.Params(c) {
		g.shapes[p.Name] = p.Info
	}
	return g
}

// values makes a tensor: SplitMix64 from the FNV-1a hash of its name, scaled
// by what the tensor is.
func (g *Golden) values(name string) []float32 {
	h := fnv.New64a()
	h.Write([]byte(name))
	state := h.Sum64()
	shape := g.shapes[name].Shape
	out := make([]float32, g.shapes[name].Elements())
	in := float64(shape[len(shape)-1])
	for i := range out {
		state += 0x9E3779B97F4A7C15
		z := state
		z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		z ^= z >> 31
		u := 2*float64(z>>11)/(1<<53) - 1
		out[i] = float32(scaled(name, u, in, len(shape)))
	}
	return out
}

func scaled(name string, u, in float64, rank int) float64 {
	switch {
	case name == "embed.weight" || strings.HasSuffix(name, "attn_sink"):
		return u
	case strings.HasSuffix(name, "_base") || strings.HasSuffix(name, "ape") || strings.HasSuffix(name, "gate.bias"):
		return 0.5 * u
	case strings.HasSuffix(name, "_scale"):
		return 1 + 0.5*u
	case rank == 1:
		return 1 + 0.1*u
	}
	return u * math.Sqrt(3/in)
}

// Matrix returns a weight matrix in F32.
func (g *Golden) Matrix(name string) (*tensor.Matrix, error) {
	t, err := g.Tensor(name)
	if err != nil {
		return nil, err
	}
	return &tensor.Matrix{Name: name, Rows: t.Shape[0], Cols: t.Shape[1], Format: tensor.PlainFormat(tensor.F32), Codes: t.Data}, nil
}

// Tensor returns any tensor: F32, or I64 for a token table, whose entry
// [t][k] is (7t + 3k + layer) mod 8.
func (g *Golden) Tensor(name string) (tensor.Tensor, error) {
	info, ok := g.shapes[name]
	if !ok {
		return tensor.Tensor{}, fmt.Errorf("golden: no tensor %q", name)
	}
	var data []byte
	if info.DType == tensor.I64 {
		var layer int
		fmt.Sscanf(name, "layers.%d.", &layer)
		for t := range info.Shape[0] {
			for k := range info.Shape[1] {
				data = binary.LittleEndian.AppendUint64(data, uint64((7*t+3*k+layer)%8))
			}
		}
		return tensor.Tensor{Info: info, Data: data}, nil
	}
	for _, v := range g.values(name) {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	info.DType = tensor.F32
	return tensor.Tensor{Info: info, Data: data}, nil
}

// GoldenRow is a position of the golden table.
type GoldenRow struct {
	Position  int
	Logits    [5]float64 // of tokens 0..4
	LogSumExp float64
	Argmax    int // −1 where the table does not say
}

// GoldenTable is the tiny model's outputs, without and with kv_sim. Source: the
// specification's section 7.1, from a float64 implementation of its own.
var GoldenTable = map[bool][]GoldenRow{
	false: {
		{0, [5]float64{0.075290, 0.783012, 0.400539, -1.165541, -1.155219}, 3.988442, 21},
		{3, [5]float64{0.133990, -0.605208, -0.174478, -0.710482, -0.603980}, 4.036212, 12},
		{8, [5]float64{-0.470995, 0.397433, -0.379783, -0.218418, -1.340497}, 3.956709, 39},
		{17, [5]float64{-0.630111, 0.346875, 0.030825, 1.977933, 0.935944}, 4.189338, 27},
		{31, [5]float64{-2.566118, 1.834073, 0.337189, -0.970403, -1.402163}, 4.163370, 1},
		{39, [5]float64{-1.366991, 2.111239, 0.343042, -0.951124, -1.445475}, 4.188660, 1},
	},
	true: {
		{0, [5]float64{0.072332, 0.777379, 0.425149, -1.157236, -1.150793}, 3.992845, -1},
		{3, [5]float64{0.066922, -0.604259, -0.152858, -0.753317, -0.654373}, 4.028276, -1},
		{8, [5]float64{-0.558487, 0.568212, -0.272977, -0.229401, -1.270371}, 3.957027, -1},
		{17, [5]float64{-0.624288, 0.330813, 0.073038, 1.920290, 0.901556}, 4.179121, -1},
		{31, [5]float64{-2.543888, 1.843166, 0.311401, -0.938577, -1.417901}, 4.182073, -1},
		{39, [5]float64{-1.401515, 2.110114, 0.318393, -0.948120, -1.358318}, 4.199293, -1},
	},
}

// GoldenNLL is the mean NLL of tokens 1..39, without and with kv_sim.
var GoldenNLL = map[bool]float64{false: 4.1890992, true: 4.2081909}
