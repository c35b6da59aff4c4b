package dsv4

import (
	"context"
	"fmt"
)

// Head is the output projection alone.
type Head struct {
	ops    Ops
	c      *Config
	head   Weight
	loaded *loader
}

// NewHead loads the output projection.
func NewHead(ops Ops, c *Config, w Weights) (*Head, error) {
	l := &loader{mem: ops, w: w}
	h := &Head{ops: ops, c: c, head: l.matrix("head.weight"), loaded: l}
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

// Close gives back the weights.
func (h *Head) Close() error {
	h.loaded.unload()
	return nil
}
