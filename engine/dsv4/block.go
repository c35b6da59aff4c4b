package dsv4

import (
	"fmt"

	"assay/engine/tensor"
)

// Weights is where a model's weights come from: a variant.
type Weights interface {
	// Matrix returns a weight matrix in the variant's format.
	Matrix(name string) (*tensor.Matrix, error)
	// Tensor returns a parameter that no recipe changes.
	Tensor(name string) (tensor.Tensor, error)
}

// Hyper is one mHC control step: the mixing weights of a sublayer, with the
// RMS norm that follows it.
type Hyper struct {
	Fn    Weight    // [(2+N)·N, N·D], F32
	Base  []float32 // [(2+N)·N]
	Scale [3]float32
	Norm  Weight // [D]
}

// HyperHead merges the streams before the output projection.
type HyperHead struct {
	Fn    Weight    // [N, N·D], F32
	Base  []float32 // [N]
	Scale float32
}

// Compressor is the weights of a compressor beside its two projections.
type Compressor struct {
	Ratio, Width int
	Overlap      bool   // blocks read the previous block's first half too
	Bias         Weight // ape [Ratio, channels], added to the gates
	Norm         Weight // [Width]
	Rope         Weight
	Index        bool // belongs to the indexer, whose entries round differently under kv_sim
}

// Attention is what the core of attention needs beside queries and keys.
type Attention struct {
	Sinks Weight // [H]
	Rope  Weight
	Ratio int // 0 without compressor
}

// Router chooses experts: by score with a bias, or by token where Table is set.
type Router struct {
	Gate  Weight // [E, D]
	Bias  Weight // [E], nil where Table is set
	Table Weight // int32 [vocab, K]
}

// ExpertMatrices is one expert: gate, up and down projection.
type ExpertMatrices struct{ W1, W3, W2 *tensor.Matrix }

// Experts is one layer's feed-forward part.
type Experts struct {
	Routed Weight
	Shared struct{ W1, W3, W2 Weight }
}

// block is one layer's loaded weights.
type block struct {
	attention *attentionPart
	feed      *feedPart
}

// attentionPart is the weights of a layer's attention sublayer.
type attentionPart struct {
	layer               int
	hc                  *Hyper
	qNorm, kvNorm       Weight
	wqA, wqB, wkv       Weight
	woA, woB            Weight
	core                *Attention
	main                *compressor
	index               *compressor
	indexWqB, indexProj Weight
}

// feedPart is the weights of a layer's feed-forward sublayer.
type feedPart struct {
	hc      *Hyper
	router  *Router
	experts *Experts
}

// compressor is a Compressor with its projections.
type compressor struct {
	Compressor
	wkv, wgate Weight
}

// loader loads named weights and keeps the first error.
type loader struct {
	mem   Memory
	w     Weights
	at    string // prefix
	all   []Weight
	bytes int64
	err   error
}

// unload gives back all that was loaded.
func (l *loader) unload() {
	for _, w := range l.all {
		l.mem.Unload(w)
	}
	l.all = nil
}

func (l *loader) matrix(name string) Weight {
	return l.load(func() (Weight, error) {
		m, err := l.w.Matrix(l.at + name)
		if err != nil {
			return nil, err
		}
		return l.mem.Load(m)
	})
}

func (l *loader) load(f func() (Weight, error)) Weight {
	if l.err != nil {
		return nil
	}
	w, err := f()
	if err != nil {
		l.err = err
		return nil
	}
	l.all = append(l.all, w)
	l.bytes += w.Bytes()
	return w
}

func (l *loader) floats(name string) []float32 {
	if l.err != nil {
		return nil
	}
	t, err := l.w.Tensor(l.at + name)
	if err != nil {
		l.err = err
		return nil
	}
	v, err := t.Float32s()
	if err != nil {
		l.err = err
	}
	return v
}

func (l *loader) vector(name string) Weight {
	v := l.floats(name)
	return l.load(func() (Weight, error) { return l.mem.LoadVector(l.at+name, v) })
}

func (l *loader) hyper(part string) *Hyper {
	h := &Hyper{
		Fn:   l.matrix("hc_" + part + "_fn"),
		Base: l.floats("hc_" + part + "_base"),
		Norm: l.vector(part + "_norm.weight"),
	}
	copy(h.Scale[:], l.floats("hc_"+part+"_scale"))
	return h
}

// loadAttention loads layer i's attention. ropes are the model's two rotary
// tables, by whether the layer compresses.
func (l *loader) attention(c *Config, i int, ropes [2]Weight) *attentionPart {
	l.at = fmt.Sprintf("layers.%d.", i)
	b := &attentionPart{layer: i, hc: l.hyper("attn")}
	l.at += "attn."
	b.wqA, b.qNorm, b.wqB = l.matrix("wq_a.weight"), l.vector("q_norm.weight"), l.matrix("wq_b.weight")
	b.wkv, b.kvNorm = l.matrix("wkv.weight"), l.vector("kv_norm.weight")
	b.woA, b.woB = l.matrix("wo_a.weight"), l.matrix("wo_b.weight")
	rope, ratio := ropes[0], c.Ratio(i)
	if ratio != 0 {
		rope = ropes[1]
		b.main = l.compressor("compressor.", ratio, c.HeadDim, rope)
	}
	b.core = &Attention{Sinks: l.vector("attn_sink"), Rope: rope, Ratio: ratio}
	if c.Indexed(i) {
		b.index = l.compressor("indexer.compressor.", ratio, c.IndexHeadDim, rope)
		b.index.Index = true
		b.indexWqB, b.indexProj = l.matrix("indexer.wq_b.weight"), l.matrix("indexer.weights_proj.weight")
	}
	return b
}

// feed loads layer i's router and experts.
func (l *loader) feed(c *Config, i int) *feedPart {
	l.at = fmt.Sprintf("layers.%d.", i)
	b := &feedPart{hc: l.hyper("ffn")}
	l.at += "ffn."
	b.router, b.experts = l.router(c, c.Hash(i)), l.experts(c)
	return b
}

func (l *loader) compressor(at string, ratio, width int, rope Weight) *compressor {
	return &compressor{
		Compressor: Compressor{
			Ratio: ratio, Width: width, Overlap: ratio == OverlapRatio, Rope: rope,
			Bias: l.vector(at + "ape"), Norm: l.vector(at + "norm.weight"),
		},
		wkv: l.matrix(at + "wkv.weight"), wgate: l.matrix(at + "wgate.weight"),
	}
}

func (l *loader) router(c *Config, hash bool) *Router {
	r := &Router{Gate: l.matrix("gate.weight")}
	if !hash {
		r.Bias = l.vector("gate.bias")
		return r
	}
	r.Table = l.load(func() (Weight, error) {
		t, err := l.w.Tensor(l.at + "gate.tid2eid")
		if err != nil {
			return nil, err
		}
		ids, err := t.Int64s()
		if err != nil {
			return nil, err
		}
		table := make([]int32, len(ids))
		for i, e := range ids {
			if e < 0 || e >= int64(c.NRoutedExperts) {
				return nil, fmt.Errorf("dsv4: tensor %q: expert %d at [%d, %d], want 0 to %d",
					t.Name, e, i/c.NumExpertsPerTok, i%c.NumExpertsPerTok, c.NRoutedExperts-1)
			}
			table[i] = int32(e)
		}
		return l.mem.LoadTable(t.Name, table)
	})
	return r
}

func (l *loader) experts(c *Config) *Experts {
	e := &Experts{}
	e.Shared.W1 = l.matrix("shared_experts.w1.weight")
	e.Shared.W3 = l.matrix("shared_experts.w3.weight")
	e.Shared.W2 = l.matrix("shared_experts.w2.weight")
	e.Routed = l.load(func() (Weight, error) {
		all := make([]ExpertMatrices, c.NRoutedExperts)
		for i := range all {
			for part, dst := range map[string]**tensor.Matrix{"w1": &all[i].W1, "w3": &all[i].W3, "w2": &all[i].W2} {
				m, err := l.w.Matrix(fmt.Sprintf("%sexperts.%d.%s.weight", l.at, i, part))
				if err != nil {
					return nil, err
				}
				*dst = m
			}
		}
		return l.mem.LoadExperts(all)
	})
	return e
}

// tail is what follows the last layer.
type tail struct {
	hc   *HyperHead
	norm Weight
}

func (l *loader) tail() *tail {
	l.at = ""
	t := &tail{hc: &HyperHead{Fn: l.matrix("hc_head_fn"), Base: l.floats("hc_head_base")}, norm: l.vector("norm.weight")}
	if s := l.floats("hc_head_scale"); len(s) == 1 {
		t.hc.Scale = s[0]
	}
	return t
}

// ropes makes the two rotary tables for positions 0..n-1: of layers without and
// with compressor.
func (l *loader) ropes(c *Config, n int) (r [2]Weight) {
	r[0] = l.load(func() (Weight, error) { return l.mem.LoadRope(c.Frequencies(0), n) })
	if c.yarn() {
		r[1] = l.load(func() (Weight, error) { return l.mem.LoadRope(c.Frequencies(1), n) })
	}
	return r
}
