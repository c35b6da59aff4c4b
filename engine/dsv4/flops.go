package dsv4

import "math"

// FLOPs is the useful floating-point operations of the forward pass: two for
// each multiply-add that the model asks for, whatever a backend spends. The
// elementwise rest is not counted: norms, rotations, softmax, pooling, Sinkhorn,
// the sums over streams, activations, the indexer's sum over heads.
type FLOPs struct {
	Products  int64 // attention, compressor and indexer projections, router
	Experts   int64 // num_experts_per_tok routed experts and the shared one
	Attention int64 // queries times keys, probabilities times keys
	Indexer   int64 // queries times pooled keys
	Hyper     int64 // mHC: streams times fn
	Head      int64 // output projection
}

// Total returns the sum.
func (f FLOPs) Total() int64 {
	return f.Products + f.Experts + f.Attention + f.Indexer + f.Hyper + f.Head
}

func (f *FLOPs) add(g FLOPs) {
	f.Products += g.Products
	f.Experts += g.Experts
	f.Attention += g.Attention
	f.Indexer += g.Indexer
	f.Hyper += g.Hyper
	f.Head += g.Head
}

// CountFLOPs counts one window of tokens from position 0, of which scored
// positions go through the output projection.
func CountFLOPs(c *Config, tokens, scored int) FLOPs { return spanFLOPs(c, 0, tokens, scored) }

// DecodeFLOPs counts one decoded token after depth others.
func DecodeFLOPs(c *Config, depth int) FLOPs { return spanFLOPs(c, depth, 1, 1) }

// spanFLOPs counts tokens that stand at positions from on in their sequence.
func spanFLOPs(c *Config, from, tokens, scored int) FLOPs {
	f := FLOPs{Head: int64(scored) * headFLOPs(c)}
	for i := range parts(c) {
		f.add(partSpanFLOPs(c, i, from, tokens))
	}
	return f
}

// partFLOPs counts one window of tokens in a part of the pass.
func partFLOPs(c *Config, part, tokens int) int64 { return partSpanFLOPs(c, part, 0, tokens).Total() }

// headFLOPs counts one position in the output projection.
func headFLOPs(c *Config) int64 { return 2 * product(c.VocabSize, c.HiddenSize) }

func partSpanFLOPs(c *Config, part, from, tokens int) FLOPs {
	n, hyper := int64(tokens), product(c.HCMult, c.HiddenSize)
	switch layer := (part - 1) / 2; {
	case part == 0:
		return FLOPs{}
	case part == parts(c)-1:
		return FLOPs{Hyper: 2 * n * int64(c.HCMult) * hyper}
	case part%2 == 1:
		f := attentionFLOPs(c, layer, from, tokens)
		f.Hyper = 2 * n * product(2+c.HCMult, c.HCMult) * hyper
		return f
	}
	return FLOPs{
		Products: 2 * n * product(c.NRoutedExperts, c.HiddenSize),
		Experts:  2 * n * int64(c.NumExpertsPerTok+c.NSharedExperts) * 3 * product(c.MoEIntermediateSize, c.HiddenSize),
		Hyper:    2 * n * product(2+c.HCMult, c.HCMult) * hyper,
	}
}

// attentionFLOPs counts a layer's attention without mHC. A query at position t
// sees min(t+1, sliding_window) keys and, where the layer compresses, the
// V = ⌊(t+1)/ratio⌋ closed blocks; an indexer leaves min(V, index_topk) of them,
// and has scores to compute only where V > index_topk.
func attentionFLOPs(c *Config, layer, from, tokens int) FLOPs {
	d, heads, ratio := c.HiddenSize, c.NumAttentionHeads*c.HeadDim, c.Ratio(layer)
	low := c.OGroups * c.OLoraRank
	token := product(c.QLoraRank, d) + product(heads, c.QLoraRank) + product(c.HeadDim, d) + // wq_a, wq_b, wkv
		product(c.OLoraRank, heads) + product(d, low) // wo_a, wo_b
	keys, scored := visible(from, tokens, 1, c.SlidingWindow), int64(0)
	if ratio != 0 {
		token += 2 * product(compressorWidth(ratio, c.HeadDim), d)
		most := math.MaxInt
		if c.Indexed(layer) {
			index := c.IndexNHeads * c.IndexHeadDim
			token += product(index, c.QLoraRank) + product(c.IndexNHeads, d) + 2*product(compressorWidth(ratio, c.IndexHeadDim), d)
			most = c.IndexTopK
			if first := max(from, (most+1)*ratio-1); first < from+tokens {
				scored = visible(first, from+tokens-first, ratio, math.MaxInt) * int64(index)
			}
		}
		keys += visible(from, tokens, ratio, most)
	}
	return FLOPs{Products: 2 * int64(tokens) * token, Attention: 4 * keys * int64(heads), Indexer: 2 * scored}
}

// visible returns Σ min(⌊(t+1)/ratio⌋, most) over n positions t from `from` on.
//
//	Σ_{i=1..k} min(⌊i/R⌋, m) = R·q·(q−1)/2 + q·(k−q·R+1), q = min(⌊k/R⌋, m)
func visible(from, n, ratio, most int) int64 {
	sum := func(k int) int64 {
		q, r := int64(min(k/ratio, most)), int64(ratio)
		return r*q*(q-1)/2 + q*(int64(k)-q*r+1)
	}
	return sum(from+n) - sum(from)
}

func product(a, b int) int64 { return int64(a) * int64(b) }
