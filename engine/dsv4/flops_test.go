package dsv4_test

import (
	"fmt"
	"testing"

	"assay/engine/dsv4"
	"assay/engine/dsv4/dsv4test"
	"assay/engine/tensor"
	"assay/engine/token"
	"assay/refmodel"
)

// TestCountFLOPs counts the golden model's 40 tokens by hand.
func TestCountFLOPs(t *testing.T) {
	// A token's multiply-adds. Of attention: wq_a 16·32, wq_b 320·16, wkv 80·32,
	// wo_a 2 groups of 8·160, wo_b 32·16.
	const attention = 512 + 5120 + 2560 + 2560 + 512
	// Two projections of a compressor, of ratio 4 with both halves; the indexer's
	// wq_b 128·16, weights_proj 4·32, and compressor of two times 2·32 channels.
	const plain, overlap = 2 * 80 * 32, 2 * 160 * 32
	const indexer = 2048 + 128 + 2*64*32
	const router = 8 * 32
	const products = 6*(attention+router) + 2*(overlap+indexer) + 2*plain
	const experts = 6 * 3 * 3 * 16 * 32             // layers, two routed and the shared, w1 w3 w2
	const hyper = 6*2*(6*4)*(4*32) + 4*(4*32)       // 12 sublayers, then the merge
	const window = 1 + 2 + 3 + 4 + 5 + 6 + 7 + 33*8 // keys seen by positions 0 to 39
	// Blocks of 8 seen: 8 positions each see 1, 2, 3 and 4 blocks, the last 5.
	const plainKeys = 8*(1+2+3+4) + 5
	// Blocks of 4: 4 positions each see 1 and 2, all from position 11 on pick 3.
	const pickedKeys = 4*(1+2) + 29*3
	// Scores: 4 positions each see 4 to 9 blocks, the last 10.
	const scored = 4*(4+5+6+7+8+9) + 10
	want := dsv4.FLOPs{
		Products: 2 * 40 * products, Experts: 2 * 40 * experts, Hyper: 2 * 40 * hyper,
		Attention: 4 * (4 * 80) * (6*window + 2*plainKeys + 2*pickedKeys),
		Indexer:   2 * (4 * 32) * 2 * scored,
		Head:      2 * 40 * 32 * 25,
	}
	c := dsv4test.GoldenConfig()
	got := dsv4.CountFLOPs(c, 40, 25)
	if got != want {
		t.Errorf("40 tokens, 25 scored: %+v, want %+v", got, want)
	}
	if sum := want.Products + want.Experts + want.Attention + want.Indexer + want.Hyper + want.Head; got.Total() != sum {
		t.Errorf("total %d, want %d", got.Total(), sum)
	}
	// The 40th token sees 8 keys in each layer, 5 plain blocks in two, 3 picked of 10 in two.
	want = dsv4.FLOPs{
		Products: 2 * products, Experts: 2 * experts, Hyper: 2 * hyper,
		Attention: 4 * (4 * 80) * (6*8 + 2*5 + 2*3), Indexer: 2 * (4 * 32) * 2 * 10, Head: 2 * 40 * 32,
	}
	if got := dsv4.DecodeFLOPs(c, 39); got != want {
		t.Errorf("a token at depth 39: %+v, want %+v", got, want)
	}
}

// TestFLOPsOfForward takes tokens through the forward pass over operations that
// count: by part of the pass, in pieces, and in decode.
func TestFLOPsOfForward(t *testing.T) {
	golden, ref, flash := dsv4test.GoldenConfig(), parsed(t, refmodel.Files()["config.json"]), parsed(t, dsv4.FlashConfig())
	for _, x := range []struct {
		name          string
		c             *dsv4.Config
		ops           dsv4.Ops
		w             dsv4.Weights
		first, tokens int
	}{
		{"golden", golden, &dsv4test.Naive{C: golden}, dsv4test.NewGolden(golden), 19, 39},
		{"reference model", ref, idle{c: ref}, newHollow(ref), 512, 1024},
		{"V4-Flash", flash, idle{c: flash}, newHollow(flash), 500, 2200}, // its indexer scores from position 2,051 on
	} {
		n := &counter{Ops: x.ops, c: x.c, sizes: map[dsv4.Weight]int64{}}
		check := func(what string, want dsv4.FLOPs) {
			t.Helper()
			var got dsv4.FLOPs
			for _, p := range n.parts {
				sum(&got, p)
			}
			if got != want {
				t.Errorf("%s, %s: %+v, want %+v", x.name, what, got, want)
			}
		}
		m, err := dsv4.Load(t.Context(), n, x.c, x.w, x.tokens+1)
		if err != nil {
			t.Fatal(err)
		}
		s, err := m.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Prefill(t.Context(), make([]token.ID, x.first), nil); err != nil {
			t.Fatal(err)
		}
		check("first piece", dsv4.CountFLOPs(x.c, x.first, 1))
		layout := dsv4.PassLayout(x.c, []int{x.first})
		for i, p := range append(layout.Parts, layout.Head) {
			if got := n.parts[i].Total(); got != p.FLOPs[0] {
				t.Errorf("%s, %s: %d, want %d", x.name, p.Name, got, p.FLOPs[0])
			}
		}
		if err := s.Prefill(t.Context(), make([]token.ID, x.tokens-x.first), nil); err != nil {
			t.Fatal(err)
		}
		check("all tokens", dsv4.CountFLOPs(x.c, x.tokens, 2))
		n.parts = nil
		if _, err := s.Decode(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		check("decode", dsv4.DecodeFLOPs(x.c, x.tokens))
		t.Logf("%s: %.2f MFLOP a token over %d scored tokens, %.2f in decode after them", x.name,
			float64(dsv4.CountFLOPs(x.c, x.tokens, x.tokens).Total())/1e6/float64(x.tokens), x.tokens,
			float64(dsv4.DecodeFLOPs(x.c, x.tokens).Total())/1e6)
	}
}

// TestFLOPsOfParams: what V4-Flash's products take is two operations for each
// element of a matrix, of routed experts for those that a token reads.
func TestFLOPsOfParams(t *testing.T) {
	c := parsed(t, dsv4.FlashConfig())
	var want int64
	for _, p := range dsv4.Params(c) {
		if len(p.Shape) == 2 && !p.MTP && p.Class != tensor.Embedding && p.Class != tensor.Control && p.DType != tensor.I64 {
			want += 2 * p.Elements() * p.Reads[0] / p.Reads[1]
		}
	}
	f := dsv4.DecodeFLOPs(c, 0)
	if got := f.Products + f.Experts + f.Hyper + f.Head; got != want {
		t.Errorf("products take %d a token, want %d", got, want)
	}
	if f.Attention != 4*32768*43 || f.Indexer != 0 { // a first token sees itself alone
		t.Errorf("attention %d, indexer %d, want %d and 0", f.Attention, f.Indexer, 4*32768*43)
	}
}

func parsed(t *testing.T, config []byte) *dsv4.Config {
	t.Helper()
	c, err := dsv4.ParseConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sum(to *dsv4.FLOPs, f dsv4.FLOPs) {
	to.Products += f.Products
	to.Experts += f.Experts
	to.Attention += f.Attention
	to.Indexer += f.Indexer
	to.Hyper += f.Hyper
	to.Head += f.Head
}

// counter counts the multiply-adds of the operations it passes on, from the
// sizes of their operands. It begins a part at Embed, after every HyperOut, and
// after HeadIn.
type counter struct {
	dsv4.Ops
	c      *dsv4.Config
	sizes  map[dsv4.Weight]int64 // elements of a matrix
	expert int64                 // elements of any expert
	parts  []dsv4.FLOPs
}

func (n *counter) Load(m *tensor.Matrix) (dsv4.Weight, error) {
	w, err := n.Ops.Load(m)
	n.sizes[w] = int64(m.Rows * m.Cols)
	return w, err
}

func (n *counter) LoadExperts(e []dsv4.ExpertMatrices) (dsv4.Weight, error) {
	n.expert = 0
	for _, m := range []*tensor.Matrix{e[0].W1, e[0].W3, e[0].W2} {
		n.expert += int64(m.Rows * m.Cols)
	}
	return n.Ops.LoadExperts(e)
}

// part is the one that runs.
func (n *counter) part() *dsv4.FLOPs { return &n.parts[len(n.parts)-1] }

func (n *counter) next() { n.parts = append(n.parts, dsv4.FLOPs{}) }

func (n *counter) Embed(b *dsv4.Batch, w dsv4.Weight, x dsv4.Array) {
	n.parts = append(n.parts, dsv4.FLOPs{}, dsv4.FLOPs{})
	n.Ops.Embed(b, w, x)
}

func (n *counter) HyperIn(b *dsv4.Batch, h *dsv4.Hyper, x, u, mix dsv4.Array) {
	n.part().Hyper += 2 * int64(len(b.Tokens)) * n.sizes[h.Fn]
	n.Ops.HyperIn(b, h, x, u, mix)
}

func (n *counter) HyperOut(b *dsv4.Batch, mix, y, x dsv4.Array) {
	n.next()
	n.Ops.HyperOut(b, mix, y, x)
}

func (n *counter) Linear(b *dsv4.Batch, x dsv4.Array, products ...dsv4.Product) {
	for _, p := range products {
		n.part().Products += 2 * int64(len(b.Tokens)) * n.sizes[p.W]
	}
	n.Ops.Linear(b, x, products...)
}

func (n *counter) GroupLinear(b *dsv4.Batch, w dsv4.Weight, groups int, x, y dsv4.Array) {
	n.part().Products += 2 * int64(len(b.Tokens)) * n.sizes[w]
	n.Ops.GroupLinear(b, w, groups, x, y)
}

// Select counts the scores of every closed block, where some are left out.
func (n *counter) Select(b *dsv4.Batch, rope dsv4.Weight, q, w, picks dsv4.Array) {
	each(b, func(_, pos int) {
		if blocks := closed(pos, dsv4.OverlapRatio); blocks > n.c.IndexTopK {
			n.part().Indexer += 2 * int64(blocks*n.c.IndexNHeads*n.c.IndexHeadDim)
		}
	})
	n.Ops.Select(b, rope, q, w, picks)
}

// Attend counts each key twice: with the query, and with its probability.
func (n *counter) Attend(b *dsv4.Batch, a *dsv4.Attention, q, kv, picks, o dsv4.Array) {
	var all []int32
	if picks != nil {
		all = make([]int32, len(b.Tokens)*n.c.IndexTopK)
		if err := n.ReadInts(all, picks, 0); err != nil {
			panic(err) // a test's backend does not fail to read
		}
	}
	each(b, func(t, pos int) {
		keys := 0
		for p := range pos + 1 {
			if pos-p < n.c.SlidingWindow {
				keys++
			}
		}
		switch {
		case a.Ratio != 0 && picks == nil:
			keys += closed(pos, a.Ratio)
		case a.Ratio != 0:
			for _, p := range all[t*n.c.IndexTopK:][:n.c.IndexTopK] {
				if p >= 0 {
					keys++
				}
			}
		}
		n.part().Attention += 2 * 2 * int64(keys*n.c.NumAttentionHeads*n.c.HeadDim)
	})
	n.Ops.Attend(b, a, q, kv, picks, o)
}

func (n *counter) Route(b *dsv4.Batch, r *dsv4.Router, u, picks, weights dsv4.Array) {
	n.part().Products += 2 * int64(len(b.Tokens)) * n.sizes[r.Gate]
	n.Ops.Route(b, r, u, picks, weights)
}

func (n *counter) Experts(b *dsv4.Batch, e *dsv4.Experts, u, picks, weights, y dsv4.Array) {
	tokens := int64(len(b.Tokens))
	n.part().Experts += 2 * tokens * (int64(n.c.NumExpertsPerTok)*n.expert + n.sizes[e.Shared.W1] + n.sizes[e.Shared.W3] + n.sizes[e.Shared.W2])
	n.Ops.Experts(b, e, u, picks, weights, y)
}

func (n *counter) HeadIn(b *dsv4.Batch, h *dsv4.HyperHead, norm dsv4.Weight, x, v dsv4.Array) {
	n.part().Hyper += 2 * int64(len(b.Tokens)) * n.sizes[h.Fn]
	n.next()
	n.Ops.HeadIn(b, h, norm, x, v)
}

func (n *counter) LogProbs(head dsv4.Weight, hidden, dst []float32, decode bool) error {
	n.part().Head += 2 * int64(len(dst)/n.c.VocabSize) * n.sizes[head]
	return n.Ops.LogProbs(head, hidden, dst, decode)
}

// each calls f with every token of a batch and its position.
func each(b *dsv4.Batch, f func(t, pos int)) {
	for _, s := range b.Spans {
		for i := range s.Len {
			f(s.From+i, s.Pos+i)
		}
	}
}

// closed is the blocks that a token sees.
func closed(pos, ratio int) (n int) {
	for end := ratio - 1; end <= pos; end += ratio {
		n++
	}
	return n
}

// idle is operations that compute nothing but the indexer's picks: the first
// blocks, as many as a token may have.
type idle struct {
	dsv4.Ops // none: what is missing here must not be called
	c        *dsv4.Config
}

type (
	length  int
	ints    []int32
	nothing struct{ _ int } // with a size, so that no two have one address
)

func (l length) Len() int     { return int(l) }
func (v ints) Len() int       { return len(v) }
func (*nothing) Bytes() int64 { return 0 }

func (idle) Load(*tensor.Matrix) (dsv4.Weight, error)               { return new(nothing), nil }
func (idle) LoadVector(string, []float32) (dsv4.Weight, error)      { return new(nothing), nil }
func (idle) LoadTable(string, []int32) (dsv4.Weight, error)         { return new(nothing), nil }
func (idle) LoadExperts([]dsv4.ExpertMatrices) (dsv4.Weight, error) { return new(nothing), nil }
func (idle) LoadRope([]float32, int) (dsv4.Weight, error)           { return new(nothing), nil }
func (idle) NewArray(n int) (dsv4.Array, error)                     { return length(n), nil }
func (idle) NewInts(n int) (dsv4.Array, error)                      { return make(ints, n), nil }
func (idle) Free(dsv4.Array)                                        {}
func (idle) Read([]float32, dsv4.Array, int) error                  { return nil }
func (idle) ReadInts(dst []int32, a dsv4.Array, from int) error {
	copy(dst, a.(ints)[from:])
	return nil
}
func (idle) Embed(*dsv4.Batch, dsv4.Weight, dsv4.Array)                       {}
func (idle) HyperIn(_ *dsv4.Batch, _ *dsv4.Hyper, _, _, _ dsv4.Array)         {}
func (idle) HyperOut(_ *dsv4.Batch, _, _, _ dsv4.Array)                       {}
func (idle) Linear(_ *dsv4.Batch, _ dsv4.Array, _ ...dsv4.Product)            {}
func (idle) GroupLinear(_ *dsv4.Batch, _ dsv4.Weight, _ int, _, _ dsv4.Array) {}
func (idle) Latents(_ *dsv4.Batch, _ dsv4.Weight, _ dsv4.Array, _, _ dsv4.Weight, _ dsv4.Array) {
}
func (idle) Compress(_ *dsv4.Batch, _ *dsv4.Compressor, _ func(*dsv4.LayerState) *dsv4.Pool, _, _ dsv4.Array) {
}
func (idle) Attend(_ *dsv4.Batch, _ *dsv4.Attention, _, _, _, _ dsv4.Array)          {}
func (idle) Route(_ *dsv4.Batch, _ *dsv4.Router, _, _, _ dsv4.Array)                 {}
func (idle) Experts(_ *dsv4.Batch, _ *dsv4.Experts, _, _, _, _ dsv4.Array)           {}
func (idle) HeadIn(_ *dsv4.Batch, _ *dsv4.HyperHead, _ dsv4.Weight, _, _ dsv4.Array) {}
func (idle) LogProbs(dsv4.Weight, []float32, []float32, bool) error                  { return nil }

func (n idle) Select(b *dsv4.Batch, _ dsv4.Weight, _, _, picks dsv4.Array) {
	each(b, func(t, pos int) {
		row, blocks := picks.(ints)[t*n.c.IndexTopK:][:n.c.IndexTopK], closed(pos, dsv4.OverlapRatio)
		for i := range row {
			row[i] = -1
			if i < blocks {
				row[i] = int32(i)
			}
		}
	})
}

// hollow is weights of the right shapes: matrices of no bytes, the rest zero.
type hollow map[string]tensor.Info

func newHollow(c *dsv4.Config) hollow {
	h := hollow{}
	for _, p := range dsv4.Params(c) {
		h[p.Name] = p.Info
	}
	return h
}

func (h hollow) Matrix(name string) (*tensor.Matrix, error) {
	shape := h[name].Shape
	if len(shape) != 2 {
		return nil, fmt.Errorf("hollow: no matrix %q", name)
	}
	return &tensor.Matrix{Name: name, Rows: shape[0], Cols: shape[1]}, nil
}

func (h hollow) Tensor(name string) (tensor.Tensor, error) {
	info, ok := h[name]
	if !ok {
		return tensor.Tensor{}, fmt.Errorf("hollow: no tensor %q", name)
	}
	return tensor.Tensor{Info: info, Data: make([]byte, info.Bytes())}, nil
}
