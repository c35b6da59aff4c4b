package dsv4test

import (
	"context"
	"errors"
	"fmt"
	"math"

	"assay/engine"
	"assay/engine/dsv4"
	"assay/engine/token"
	"assay/engine/variant"
)

// Singles is forty chunks of one token.
var Singles = func() []int {
	out := make([]int, 40)
	for i := range out {
		out[i] = 1
	}
	return out
}()

// Chunkings are the ways in which the golden tokens are fed.
var Chunkings = [][]int{{40}, Singles, {1, 39}, {5, 7, 28}, {8, 32}}

// Run loads a model and feeds it toks, cut as chunks say; a chunk of one token
// goes through Decode. It returns the log-probabilities after each token.
func Run(ctx context.Context, ops dsv4.Ops, c *dsv4.Config, w dsv4.Weights, toks []token.ID, chunks []int) ([][]float32, error) {
	m, err := dsv4.Load(ctx, ops, c, w, len(toks))
	if err != nil {
		return nil, err
	}
	s, err := m.NewSession()
	if err != nil {
		return nil, err
	}
	return Feed(ctx, s, toks, chunks)
}

// Feed is Run on a session.
func Feed(ctx context.Context, s engine.Session, toks []token.ID, chunks []int) ([][]float32, error) {
	var out [][]float32
	keep := func(p engine.LogProbs) error {
		out = append(out, append([]float32(nil), p...))
		return nil
	}
	for _, n := range chunks {
		if n == 1 {
			p, err := s.Decode(ctx, toks[0])
			if err != nil {
				return nil, err
			}
			if err := keep(p); err != nil {
				return nil, err
			}
		} else if err := s.Prefill(ctx, toks[:n], keep); err != nil {
			return nil, err
		}
		toks = toks[n:]
	}
	return out, nil
}

// Hidden takes a variant alone through all parts of a pass and returns the final
// hidden states [tokens, hidden].
func Hidden(ctx context.Context, p engine.Pass, w variant.Weights) ([]float32, error) {
	l := p.Layout()
	var streams [][]float32
	for _, g := range l.Groups {
		streams = append(streams, make([]float32, g.Tokens*l.Width))
	}
	for i := range l.Parts {
		part, err := p.Load(ctx, w, i)
		if err != nil {
			return nil, err
		}
		for g, x := range streams {
			if err := part.Run(ctx, g, x); err != nil {
				return nil, err
			}
		}
		if err := part.Close(); err != nil {
			return nil, err
		}
	}
	var out []float32
	for i, g := range l.Groups {
		out = append(out, streams[i][:g.Tokens*l.Hidden]...)
	}
	return out, nil
}

// MeanNLL returns the mean NLL of toks[1:].
func MeanNLL(logP [][]float32, toks []token.ID) float64 {
	var nll float64
	for i := range toks[1:] {
		nll -= float64(logP[i][toks[i+1]])
	}
	return nll / float64(len(toks)-1)
}

// CheckGolden holds log-probabilities of the golden tokens against the table.
// The table has six decimals, which leaves 1e-6; tolerance is for the arithmetic.
func CheckGolden(got [][]float32, sim bool, tolerance float64) error {
	var errs []error
	for _, row := range GoldenTable[sim] {
		p := got[row.Position]
		for i, want := range row.Logits {
			if d := math.Abs(float64(p[i]) - (want - row.LogSumExp)); !(d < tolerance) {
				errs = append(errs, fmt.Errorf("position %d, token %d: log p is %.6f, want %.6f", row.Position, i, p[i], want-row.LogSumExp))
			}
		}
		best := 0
		for i, v := range p {
			if v > p[best] {
				best = i
			}
		}
		if row.Argmax >= 0 && best != row.Argmax {
			errs = append(errs, fmt.Errorf("position %d: token %d is first, want %d", row.Position, best, row.Argmax))
		}
	}
	if nll := MeanNLL(got, GoldenTokens()); !(math.Abs(nll-GoldenNLL[sim]) < tolerance/10) {
		errs = append(errs, fmt.Errorf("mean NLL %.7f, want %.7f", nll, GoldenNLL[sim]))
	}
	return errors.Join(errs...)
}
