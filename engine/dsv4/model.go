package dsv4

import (
	"context"
	"fmt"

	"assay/engine"
	"assay/engine/token"
)

// Model is a variant whose weights a backend holds.
type Model struct {
	ops    Ops
	c      *Config
	blocks []block
	tail   *tail
	embed  Weight
	head   Weight
	loaded *loader
	tokens int // most of a session
	chunk  int // most that run at once
}

// Load loads all of the main model's weights, for sessions of up to tokens
// tokens. The MTP block is left out.
func Load(ctx context.Context, ops Ops, c *Config, w Weights, tokens int) (*Model, error) {
	l := &loader{mem: ops, w: w}
	m := &Model{ops: ops, c: c, loaded: l, tokens: tokens, chunk: PrefillTokens}
	if o, ok := ops.(interface{ PrefillTokens() int }); ok {
		m.chunk = o.PrefillTokens()
	}
	ropes := l.ropes(c, tokens)
	l.bytes = 0 // tables are no weights
	m.embed, m.head = l.matrix("embed.weight"), l.matrix("head.weight")
	for i := 0; i < c.NumHiddenLayers && l.err == nil; i++ {
		if l.err = ctx.Err(); l.err == nil {
			m.blocks = append(m.blocks, block{l.attention(c, i, ropes), l.feed(c, i)})
		}
	}
	m.tail = l.tail()
	if l.err != nil {
		l.unload()
		return nil, l.err
	}
	return m, nil
}

// Bytes returns the bytes of the loaded weights, as the backend holds them.
func (m *Model) Bytes() int64 { return m.loaded.bytes }

// Close gives back the weights.
func (m *Model) Close() error {
	m.loaded.unload()
	return nil
}

// NewSession starts an empty sequence.
func (m *Model) NewSession() (engine.Session, error) {
	s := &session{m: m, logits: make([]float32, m.c.VocabSize)}
	for i := range m.c.NumHiddenLayers {
		st, err := newLayerState(m.ops, m.c, i, m.tokens)
		if err != nil {
			return nil, err
		}
		s.states = append(s.states, st)
	}
	return s, nil
}

// session is one sequence over a loaded model.
type session struct {
	m      *Model
	states []*LayerState
	pos    int
	torn   error // ended a call between two layers, which stand at different positions since
	ws     *workspace
	x      Array
	logits []float32
}

// PrefillTokens is the most tokens that a session runs at once, on operations that
// do not say otherwise by a method of that name.
const PrefillTokens = 512

func (s *session) Len() int { return s.pos }

func (s *session) Close() error {
	for _, st := range s.states {
		st.free(s.m.ops)
	}
	if s.ws != nil {
		s.ws.free(s.m.ops)
		s.m.ops.Free(s.x)
	}
	s.states, s.ws = nil, nil
	return nil
}

// room makes the workspace large enough for n tokens.
func (s *session) room(n int) (err error) {
	if s.ws != nil && s.ws.tokens >= n {
		return nil
	}
	if s.ws != nil {
		s.ws.free(s.m.ops)
		s.m.ops.Free(s.x)
	}
	if s.ws, err = newWorkspace(s.m.ops, s.m.c, n); err != nil {
		return err
	}
	s.x, err = s.m.ops.NewArray(n * s.m.c.HCMult * s.m.c.HiddenSize)
	return err
}

// run takes toks through all layers and returns their final hidden states.
func (s *session) run(ctx context.Context, toks []token.ID, decode bool) ([]float32, error) {
	m := s.m
	if s.states == nil {
		return nil, fmt.Errorf("dsv4: session is closed")
	}
	if s.torn != nil {
		return nil, fmt.Errorf("dsv4: session is of no more use, a call on it ended midway: %w", s.torn)
	}
	if err := checkTokens(m.c, toks); err != nil {
		return nil, err
	}
	if s.pos+len(toks) > m.tokens {
		return nil, fmt.Errorf("dsv4: session of %d tokens cannot take %d more, it was made for %d", s.pos, len(toks), m.tokens)
	}
	if err := s.room(len(toks)); err != nil {
		return nil, err
	}
	hidden, err := s.layers(ctx, toks, decode)
	if err != nil {
		s.torn = err
		return nil, err
	}
	s.pos += len(toks)
	return hidden, nil
}

// layers is run without its checks. What errs here leaves some layers' states
// behind others'.
func (s *session) layers(ctx context.Context, toks []token.ID, decode bool) ([]float32, error) {
	m := s.m
	b := &Batch{Tokens: toks, Spans: []Span{{Len: len(toks), Pos: s.pos}}, Decode: decode}
	m.ops.Embed(b, m.embed, s.x)
	for i, l := range m.blocks {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b.Spans[0].State = s.states[i]
		l.attention.run(m.ops, m.c, s.ws, b, s.x)
		l.feed.run(m.ops, s.ws, b, s.x)
	}
	m.ops.HeadIn(b, m.tail.hc, m.tail.norm, s.x, s.ws.v)
	hidden := make([]float32, len(toks)*m.c.HiddenSize)
	return hidden, m.ops.Read(hidden, s.ws.v, 0)
}

func (s *session) Prefill(ctx context.Context, toks []token.ID, yield func(engine.LogProbs) error) error {
	for len(toks) > 0 {
		n := min(len(toks), s.m.chunk)
		hidden, err := s.run(ctx, toks[:n], false)
		if err != nil {
			return err
		}
		if yield == nil {
			last := hidden[(n-1)*s.m.c.HiddenSize:]
			if n == len(toks) {
				err = s.m.ops.LogProbs(s.m.head, last, s.logits, false)
			}
		} else {
			err = s.yield(ctx, hidden, yield)
		}
		if err != nil {
			return err
		}
		toks = toks[n:]
	}
	return nil
}

// yield hands out the distributions of hidden states, a block at a time.
func (s *session) yield(ctx context.Context, hidden []float32, yield func(engine.LogProbs) error) error {
	const block = 64
	d, v := s.m.c.HiddenSize, s.m.c.VocabSize
	dst := make([]float32, block*v)
	for len(hidden) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(len(hidden)/d, block)
		if err := s.m.ops.LogProbs(s.m.head, hidden[:n*d], dst[:n*v], false); err != nil {
			return err
		}
		for i := range n {
			if err := yield(dst[i*v : (i+1)*v]); err != nil {
				return err
			}
		}
		hidden = hidden[n*d:]
	}
	return nil
}

func (s *session) Decode(ctx context.Context, tok token.ID) (engine.LogProbs, error) {
	hidden, err := s.run(ctx, []token.ID{tok}, true)
	if err != nil {
		return nil, err
	}
	if err := s.m.ops.LogProbs(s.m.head, hidden, s.logits, true); err != nil {
		return nil, err
	}
	return s.logits, nil
}

func checkTokens(c *Config, toks []token.ID) error {
	for i, t := range toks {
		if int(t) >= c.VocabSize {
			return fmt.Errorf("dsv4: token %d at %d, vocabulary is %d", t, i, c.VocabSize)
		}
	}
	return nil
}
