package dsv4

import (
	"context"
	"fmt"
	"slices"

	"assay/engine"
	"assay/engine/token"
	"assay/engine/variant"
)

// Pass takes windows through variants of one model, part by part; only that
// part's weights are loaded. What a window's tokens become does not depend on
// the windows beside it nor on how they are grouped.
type Pass struct {
	ops     Ops
	c       *Config
	ropes   [2]Weight
	rotary  *loader // what holds them
	layout  engine.Layout
	windows [][]token.ID
	toks    [][]token.ID // by group
	ws      *workspace
}

// NewPass prepares a pass over windows.
func NewPass(ops Ops, c *Config, windows [][]token.ID) (*Pass, error) {
	p := &Pass{ops: ops, c: c, windows: windows}
	longest, total := 0, 0
	lengths := make([]int, len(windows))
	for i, win := range windows {
		if len(win) == 0 {
			return nil, fmt.Errorf("dsv4: window %d is empty", i)
		}
		if err := checkTokens(c, win); err != nil {
			return nil, fmt.Errorf("window %d: %w", i, err)
		}
		longest = max(longest, len(win))
		total += len(win)
		lengths[i] = len(win)
	}
	p.layout = PassLayout(c, lengths)
	for _, g := range p.layout.Groups {
		p.toks = append(p.toks, slices.Concat(windows[g.From:g.To]...))
	}
	p.rotary = &loader{mem: ops}
	p.ropes = p.rotary.ropes(c, longest)
	err := p.rotary.err
	if err == nil {
		p.ws, err = newWorkspace(ops, c, min(PassTokens(c), total))
	}
	if err != nil {
		p.rotary.unload()
		return nil, err
	}
	return p, nil
}

// Layout says how the windows go through the model.
func (p *Pass) Layout() engine.Layout { return p.layout }

// Load loads the weights of one part.
func (p *Pass) Load(ctx context.Context, w variant.Weights, part int) (engine.Part, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l := &loader{mem: p.ops, w: w}
	out := &passPart{p: p, loaded: l}
	switch layer := (part - 1) / 2; {
	case part < 0 || part >= parts(p.c):
		return nil, fmt.Errorf("dsv4: the pass has no part %d", part)
	case part == 0:
		embed := l.matrix("embed.weight")
		out.run = func(b *Batch, x Array) { p.ops.Embed(b, embed, x) }
	case part == parts(p.c)-1:
		out.tail = l.tail()
	case part%2 == 1:
		a := l.attention(p.c, layer, p.ropes)
		out.stateful, out.layer = true, layer
		out.run = func(b *Batch, x Array) { a.run(p.ops, p.c, p.ws, b, x) }
	default:
		f := l.feed(p.c, layer)
		out.run = func(b *Batch, x Array) { f.run(p.ops, p.ws, b, x) }
	}
	if l.err != nil {
		l.unload()
		return nil, l.err
	}
	return out, nil
}

// Close frees the pass's arrays.
func (p *Pass) Close() error {
	if p.ws != nil {
		p.ws.free(p.ops)
		p.rotary.unload()
		p.ws = nil
	}
	return nil
}

// passPart is the loaded weights of one part.
type passPart struct {
	p        *Pass
	loaded   *loader
	run      func(b *Batch, x Array)
	tail     *tail // of the last part
	stateful bool  // needs the states of layer
	layer    int
}

// Run takes a group through the part: all its windows at once, or one long
// window piece by piece.
func (w *passPart) Run(ctx context.Context, group int, x []float32) error {
	p := w.p
	if want := p.layout.Groups[group].Tokens * p.layout.Width; len(x) != want {
		return fmt.Errorf("dsv4: group %d has %d floats of streams, want %d", group, len(x), want)
	}
	if w.tail != nil {
		return w.finish(ctx, group, x)
	}
	spans, err := w.spans(p.windows[p.layout.Groups[group].From:p.layout.Groups[group].To])
	defer func() {
		for _, s := range spans {
			if s.State != nil {
				s.State.free(p.ops)
			}
		}
	}()
	if err != nil {
		return err
	}
	array, err := p.ops.Wrap(x)
	if err != nil {
		return err
	}
	defer p.ops.Free(array)
	toks := p.toks[group]
	if len(toks) <= p.ws.tokens {
		if err := ctx.Err(); err != nil {
			return err
		}
		w.run(&Batch{Tokens: toks, Spans: spans}, array)
		return p.ops.Read(nil, array, 0)
	}
	for at := 0; at < len(toks); at += p.ws.tokens {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(p.ws.tokens, len(toks)-at)
		piece := &Batch{Tokens: toks[at : at+n], Spans: []Span{{Len: n, Pos: at, State: spans[0].State}}}
		w.run(piece, p.ops.Slice(array, at*p.layout.Width, n*p.layout.Width))
	}
	return p.ops.Read(nil, array, 0)
}

// spans makes a group's spans, with the states that the part needs.
func (w *passPart) spans(windows [][]token.ID) ([]Span, error) {
	spans, from := make([]Span, 0, len(windows)), 0
	for _, win := range windows {
		s := Span{From: from, Len: len(win)}
		if w.stateful {
			var err error
			if s.State, err = newLayerState(w.p.ops, w.p.c, w.layer, len(win)); err != nil {
				return spans, err
			}
		}
		spans = append(spans, s)
		from += len(win)
	}
	return spans, nil
}

// finish merges the streams into final hidden states, in front of x.
func (w *passPart) finish(ctx context.Context, group int, x []float32) error {
	p, d := w.p, w.p.c.HiddenSize
	toks := p.toks[group]
	for at := 0; at < len(toks); at += p.ws.tokens {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(p.ws.tokens, len(toks)-at)
		array, err := p.ops.Wrap(x[at*p.layout.Width : (at+n)*p.layout.Width])
		if err != nil {
			return err
		}
		p.ops.HeadIn(&Batch{Tokens: toks[at : at+n]}, w.tail.hc, w.tail.norm, array, p.ws.v)
		p.ops.Free(array)
		if err := p.ops.Read(x[at*d:(at+n)*d], p.ws.v, 0); err != nil { // where streams were that are done with
			return err
		}
	}
	return nil
}

// Close gives back the part's weights.
func (w *passPart) Close() error {
	w.loaded.unload()
	return nil
}
