package dsv4

import (
	"context"
	"fmt"
	"slices"

	"assay/engine/token"
	"assay/engine/variant"
)

// Pass takes windows through the model one layer at a time; only that layer's
// weights are loaded. What a window's tokens become does not depend on the
// windows beside it nor on how they are grouped.
type Pass struct {
	ops    Ops
	c      *Config
	w      Weights
	ropes  [2]Weight
	groups []group
	ws     *workspace
	layer  int
	tokens int
}

// group is windows whose streams lie in one array and that run together.
type group struct {
	windows [][]token.ID
	toks    []token.ID // of all of them
	x       Array      // [tokens, N, D]
}

// passBytes is about how much the arrays between a pass's operations may take;
// it decides how many tokens run together.
const passBytes = 256 << 20

// PassTokens returns the tokens that a pass runs at once.
func PassTokens(c *Config) int {
	return int(min(max(passBytes/WorkspaceBytes(c, 1), 128), 4096))
}

// PassBytes returns what a pass over windows holds beside weights, in bytes:
// streams and final hidden states, arrays between operations, rotary tables,
// and the states in one layer of the windows that run together.
func PassBytes(c *Config, windows [][]token.ID) int64 {
	var total, longest int
	var states int64
	for _, n := range together(c, windows) {
		var sum int64
		for _, w := range windows[:n] {
			var most int64
			for i := range c.NumHiddenLayers {
				most = max(most, layerElements(c, i, len(w)))
			}
			sum += 4 * most
			total += len(w)
			longest = max(longest, len(w))
		}
		states = max(states, sum)
		windows = windows[n:]
	}
	streams := int64(total) * int64((c.HCMult+1)*c.HiddenSize) * 4
	return streams + WorkspaceBytes(c, min(PassTokens(c), total)) + ropeBytes(c, longest) + states
}

// together cuts windows into groups that run together, by how many are in each:
// up to PassTokens tokens, or one longer window.
func together(c *Config, windows [][]token.ID) (groups []int) {
	most := PassTokens(c)
	for len(windows) > 0 {
		n, toks := 0, 0
		for n < len(windows) && (n == 0 || toks+len(windows[n]) <= most) {
			toks += len(windows[n])
			n++
		}
		groups = append(groups, n)
		windows = windows[n:]
	}
	return groups
}

// NewPass starts a pass: the windows' embeddings.
func NewPass(ctx context.Context, ops Ops, c *Config, w Weights, windows [][]token.ID) (*Pass, error) {
	p := &Pass{ops: ops, c: c, w: w}
	longest := 0
	for i, win := range windows {
		if len(win) == 0 {
			return nil, fmt.Errorf("dsv4: window %d is empty", i)
		}
		if err := checkTokens(c, win); err != nil {
			return nil, fmt.Errorf("window %d: %w", i, err)
		}
		longest = max(longest, len(win))
		p.tokens += len(win)
	}
	var err error
	if p.ropes, err = loadRopes(ops, c, longest); err != nil {
		return nil, err
	}
	for _, n := range together(c, windows) {
		if err := p.addGroup(windows[:n]); err != nil {
			return nil, err
		}
		windows = windows[n:]
	}
	if p.ws, err = newWorkspace(ops, c, min(PassTokens(c), p.tokens)); err != nil {
		return nil, err
	}
	return p, p.embed(ctx)
}

func (p *Pass) addGroup(windows [][]token.ID) error {
	g := group{windows: windows, toks: slices.Concat(windows...)}
	var err error
	g.x, err = p.ops.NewArray(len(g.toks) * p.c.HCMult * p.c.HiddenSize)
	p.groups = append(p.groups, g)
	return err
}

func (p *Pass) embed(ctx context.Context) error {
	l := &loader{mem: p.ops, w: p.w}
	embed := l.matrix("embed.weight")
	if l.err != nil {
		return l.err
	}
	for _, g := range p.groups {
		if err := ctx.Err(); err != nil {
			return err
		}
		p.ops.Embed(&Batch{Tokens: g.toks}, embed, g.x)
	}
	return nil
}

// Layers returns how many times Layer must be called.
func (p *Pass) Layers() int { return p.c.NumHiddenLayers }

// Layer loads the next layer and runs it on all windows.
func (p *Pass) Layer(ctx context.Context) error {
	if p.layer >= p.Layers() {
		return fmt.Errorf("dsv4: the pass has no layer %d", p.layer)
	}
	b, _, err := loadBlock(p.ops, p.c, p.w, p.layer, p.ropes)
	if err != nil {
		return err
	}
	for _, g := range p.groups {
		if err := p.runGroup(ctx, b, g); err != nil {
			return err
		}
	}
	p.layer++
	return nil
}

// runGroup runs one layer on a group: all its windows at once, or one long
// window piece by piece.
func (p *Pass) runGroup(ctx context.Context, l *block, g group) error {
	width := p.c.HCMult * p.c.HiddenSize
	spans := make([]Span, len(g.windows))
	from := 0
	for i, w := range g.windows {
		st, err := newLayerState(p.ops, p.c, p.layer, len(w))
		if err != nil {
			return err
		}
		defer st.free(p.ops)
		spans[i] = Span{From: from, Len: len(w), State: st}
		from += len(w)
	}
	if len(g.toks) <= p.ws.tokens {
		if err := ctx.Err(); err != nil {
			return err
		}
		forward(p.ops, p.c, l, p.ws, &Batch{Tokens: g.toks, Spans: spans}, g.x)
		return nil
	}
	for at := 0; at < len(g.toks); at += p.ws.tokens {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(p.ws.tokens, len(g.toks)-at)
		piece := &Batch{Tokens: g.toks[at : at+n], Spans: []Span{{Len: n, Pos: at, State: spans[0].State}}}
		forward(p.ops, p.c, l, p.ws, piece, p.ops.Slice(g.x, at*width, n*width))
	}
	return nil
}

// Hidden returns the final hidden states, [tokens, hidden_size], of all
// windows in order. It errs before the last layer has run.
func (p *Pass) Hidden(ctx context.Context) ([]float32, error) {
	if p.layer != p.Layers() {
		return nil, fmt.Errorf("dsv4: the pass has run %d of %d layers", p.layer, p.Layers())
	}
	t, _, err := loadTail(p.ops, p.w)
	if err != nil {
		return nil, err
	}
	d := p.c.HiddenSize
	width := p.c.HCMult * d
	out := make([]float32, p.tokens*d)
	rest := out
	for _, g := range p.groups {
		for at := 0; at < len(g.toks); at += p.ws.tokens {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			n := min(p.ws.tokens, len(g.toks)-at)
			b := &Batch{Tokens: g.toks[at : at+n]}
			p.ops.HeadIn(b, t.hc, t.norm, p.ops.Slice(g.x, at*width, n*width), p.ws.v)
			if err := p.ops.Read(rest[:n*d], p.ws.v, 0); err != nil {
				return nil, err
			}
			rest = rest[n*d:]
		}
	}
	return out, nil
}

// Close frees the pass's arrays.
func (p *Pass) Close() error {
	for _, g := range p.groups {
		p.ops.Free(g.x)
	}
	p.groups = nil
	if p.ws != nil {
		p.ws.free(p.ops)
		p.ws = nil
	}
	return nil
}

// Head is the output projection alone.
type Head struct {
	ops  Ops
	c    *Config
	head Weight
}

// NewHead loads the output projection.
func NewHead(ops Ops, c *Config, w Weights) (*Head, error) {
	l := &loader{mem: ops, w: w}
	h := &Head{ops: ops, c: c, head: l.matrix("head.weight")}
	return h, l.err
}

// Vocab returns the size of the vocabulary.
func (h *Head) Vocab() int { return h.c.VocabSize }

// Hidden returns the size of a hidden state.
func (h *Head) Hidden() int { return h.c.HiddenSize }

// LogProbs fills dst [n, vocab] from hidden [n, hidden_size].
func (h *Head) LogProbs(ctx context.Context, hidden, dst []float32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(dst)%h.Vocab() != 0 || len(hidden) != len(dst)/h.Vocab()*h.Hidden() {
		return fmt.Errorf("dsv4: head: %d hidden values for %d logits", len(hidden), len(dst))
	}
	return h.ops.LogProbs(h.head, hidden, dst, false)
}

// Close does nothing.
func (h *Head) Close() error { return nil }

// LargestLayer returns the bytes of the plan's largest layer, or of the output
// projection if that is larger: what a pass has loaded at most.
func LargestLayer(steps []variant.Step) int64 {
	sums := map[string]int64{}
	var most int64
	for _, s := range steps {
		if s.MTP {
			continue
		}
		at := s.Name
		if s.Layer >= 0 {
			at = fmt.Sprint(s.Layer)
		}
		sums[at] += s.Bytes
		most = max(most, sums[at])
	}
	return most
}
