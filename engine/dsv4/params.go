package dsv4

import (
	"fmt"
	"strings"

	"assay/engine/tensor"
)

// Params returns every parameter of the model as its config determines it: the
// decoded view, without the scales that FP8 and FP4 tensors carry. The order is
// the checkpoint's: embedding, head, layers, MTP block.
func Params(c *Config) []tensor.Param {
	p := inventory{c: c, layer: -1}
	d := c.HiddenSize
	p.table("embed.weight", tensor.Embedding, tensor.BF16, c.VocabSize, d)
	p.matrix("head.weight", tensor.Head, tensor.Plain, c.VocabSize, d)
	p.vector("norm.weight", tensor.Norm, tensor.BF16, d)
	p.hyperHead("")
	for i := range c.NumHiddenLayers {
		p.layer = i
		p.block(fmt.Sprintf("layers.%d.", i), c.Ratio(i), c.Hash(i))
	}
	p.layer, p.mtp = -1, true
	for i := range c.NumNextNPredict {
		at := fmt.Sprintf("mtp.%d.", i)
		p.block(at, 0, false)
		p.matrix(at+"e_proj.weight", tensor.NextToken, tensor.FP8, d, d)
		p.matrix(at+"h_proj.weight", tensor.NextToken, tensor.FP8, d, d)
		for _, norm := range []string{"enorm", "hnorm", "norm"} {
			p.vector(at+norm+".weight", tensor.Norm, tensor.BF16, d)
		}
		p.hyperHead(at)
	}
	return p.out
}

// inventory collects parameters.
type inventory struct {
	c     *Config
	layer int
	mtp   bool
	out   []tensor.Param
}

func (p *inventory) add(name string, class tensor.Class, dtype tensor.DType, native tensor.Native, reads [2]int64, shape ...int) {
	if p.c.QuantizationConfig == nil {
		native = tensor.Plain
	}
	p.out = append(p.out, tensor.Param{
		Info:  tensor.Info{Name: name, DType: dtype, Shape: shape},
		Class: class, Native: native, Layer: p.layer, MTP: p.mtp, Reads: reads,
	})
}

func (p *inventory) matrix(name string, class tensor.Class, native tensor.Native, out, in int) {
	p.add(name, class, tensor.BF16, native, [2]int64{1, 1}, out, in)
}

func (p *inventory) vector(name string, class tensor.Class, dtype tensor.DType, n ...int) {
	p.add(name, class, dtype, tensor.Plain, [2]int64{1, 1}, n...)
}

// table adds an array of which a token reads one row.
func (p *inventory) table(name string, class tensor.Class, dtype tensor.DType, rows, cols int) {
	p.add(name, class, dtype, tensor.Plain, [2]int64{1, int64(rows)}, rows, cols)
}

func (p *inventory) hyperHead(at string) {
	n := p.c.HCMult
	p.vector(at+"hc_head_fn", tensor.Hyper, tensor.F32, n, n*p.c.HiddenSize)
	p.vector(at+"hc_head_base", tensor.Hyper, tensor.F32, n)
	p.vector(at+"hc_head_scale", tensor.Hyper, tensor.F32, 1)
}

func (p *inventory) block(at string, ratio int, hash bool) {
	c := p.c
	d, n := c.HiddenSize, c.HCMult
	for _, part := range []string{"attn", "ffn"} {
		p.vector(at+part+"_norm.weight", tensor.Norm, tensor.BF16, d)
		p.vector(at+"hc_"+part+"_fn", tensor.Hyper, tensor.F32, (2+n)*n, n*d)
		p.vector(at+"hc_"+part+"_base", tensor.Hyper, tensor.F32, (2+n)*n)
		p.vector(at+"hc_"+part+"_scale", tensor.Hyper, tensor.F32, 3)
	}
	p.attention(at+"attn.", ratio)
	p.experts(at+"ffn.", hash)
}

func (p *inventory) attention(at string, ratio int) {
	c := p.c
	d, heads := c.HiddenSize, c.NumAttentionHeads*c.HeadDim
	p.matrix(at+"wq_a.weight", tensor.Attention, tensor.FP8, c.QLoraRank, d)
	p.vector(at+"q_norm.weight", tensor.Norm, tensor.BF16, c.QLoraRank)
	p.matrix(at+"wq_b.weight", tensor.Attention, tensor.FP8, heads, c.QLoraRank)
	p.matrix(at+"wkv.weight", tensor.Attention, tensor.FP8, c.HeadDim, d)
	p.vector(at+"kv_norm.weight", tensor.Norm, tensor.BF16, c.HeadDim)
	p.matrix(at+"wo_a.weight", tensor.Attention, tensor.FP8, c.OGroups*c.OLoraRank, heads/c.OGroups)
	p.matrix(at+"wo_b.weight", tensor.Attention, tensor.FP8, d, c.OGroups*c.OLoraRank)
	p.vector(at+"attn_sink", tensor.Control, tensor.F32, c.NumAttentionHeads)
	if ratio == 0 {
		return
	}
	p.compressor(at+"compressor.", tensor.Compressor, ratio, c.HeadDim)
	if ratio == OverlapRatio {
		p.matrix(at+"indexer.wq_b.weight", tensor.Indexer, tensor.FP8, c.IndexNHeads*c.IndexHeadDim, c.QLoraRank)
		p.matrix(at+"indexer.weights_proj.weight", tensor.Indexer, tensor.Plain, c.IndexNHeads, d)
		p.compressor(at+"indexer.compressor.", tensor.Indexer, ratio, c.IndexHeadDim)
	}
}

func (p *inventory) compressor(at string, class tensor.Class, ratio, width int) {
	wide := compressorWidth(ratio, width)
	p.matrix(at+"wkv.weight", class, tensor.Plain, wide, p.c.HiddenSize)
	p.matrix(at+"wgate.weight", class, tensor.Plain, wide, p.c.HiddenSize)
	p.vector(at+"ape", tensor.Control, tensor.F32, ratio, wide)
	p.vector(at+"norm.weight", tensor.Norm, tensor.BF16, width)
}

// compressorWidth returns the channels of a compressor's projections:
// overlapping blocks carry two halves.
func compressorWidth(ratio, width int) int {
	if ratio == OverlapRatio {
		return 2 * width
	}
	return width
}

func (p *inventory) experts(at string, hash bool) {
	c := p.c
	d, wide, n := c.HiddenSize, c.MoEIntermediateSize, c.NRoutedExperts
	p.matrix(at+"gate.weight", tensor.Router, tensor.Plain, n, d)
	if hash {
		p.table(at+"gate.tid2eid", tensor.Router, tensor.I64, c.VocabSize, c.NumExpertsPerTok)
	} else {
		p.vector(at+"gate.bias", tensor.Router, tensor.F32, n)
	}
	p.matrix(at+"shared_experts.w1.weight", tensor.SharedExpert, tensor.FP8, wide, d)
	p.matrix(at+"shared_experts.w3.weight", tensor.SharedExpert, tensor.FP8, wide, d)
	p.matrix(at+"shared_experts.w2.weight", tensor.SharedExpert, tensor.FP8, d, wide)
	reads := [2]int64{int64(c.NumExpertsPerTok), int64(n)}
	for e := range n {
		one := fmt.Sprintf("%sexperts.%d.", at, e)
		p.add(one+"w1.weight", tensor.RoutedExpert, tensor.BF16, tensor.FP4, reads, wide, d)
		p.add(one+"w3.weight", tensor.RoutedExpert, tensor.BF16, tensor.FP4, reads, wide, d)
		p.add(one+"w2.weight", tensor.RoutedExpert, tensor.BF16, tensor.FP4, reads, d, wide)
	}
}

// Check holds a decoded checkpoint against the config: every parameter there,
// of the wanted type and shape, and nothing unknown beside them. A checkpoint
// without its MTP block passes. It reads headers only.
func Check(c *Config, src tensor.Source) error {
	want := map[string]bool{}
	mtpSeen := false
	for _, n := range src.Names() {
		mtpSeen = mtpSeen || strings.HasPrefix(n, "mtp.")
	}
	for _, p := range Params(c) {
		want[p.Name] = true
		if p.MTP && !mtpSeen {
			continue
		}
		got, err := src.Info(p.Name)
		if err != nil {
			return fmt.Errorf("dsv4: %w", err)
		}
		if got.DType != p.DType || fmt.Sprint(got.Shape) != fmt.Sprint(p.Shape) {
			return fmt.Errorf("dsv4: tensor %q: %s %v, want %s %v", p.Name, got.DType, got.Shape, p.DType, p.Shape)
		}
	}
	for _, n := range src.Names() {
		if !want[n] {
			return fmt.Errorf("dsv4: tensor %q is not one of this config", n)
		}
	}
	return nil
}

// StoredBytes returns the tensor bytes of the checkpoint itself, without and
// with the MTP block: FP8 and FP4 codes with their scales, the rest as it is.
func StoredBytes(params []tensor.Param) (main, total int64) {
	for _, p := range params {
		n := p.StoredBytes()
		total += n
		if !p.MTP {
			main += n
		}
	}
	return main, total
}
