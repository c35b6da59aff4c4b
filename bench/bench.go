// Package bench times prefill and decode: what is run in which order, and how
// long each repetition took. It leaves statistics to eval/stat and records to
// results.
package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"assay/engine"
	"assay/engine/token"
)

// Plan is how speed is measured. The first Discarded repetitions are run and
// kept, but not counted.
type Plan struct {
	PrefillTokens int
	DecodeTokens  int
	Repetitions   int
	Discarded     int
	Seed          uint64 // of the orders
}

// Default is 512 tokens of prefill, 64 of decode after it, six repetitions after
// a discarded one: from six on, the range of the samples holds the median with
// at least 95 % confidence.
var Default = Plan{PrefillTokens: 512, DecodeTokens: 64, Repetitions: 6, Discarded: 1, Seed: 1}

// Most of a plan's numbers, far above sense and far below overflow.
const (
	maxTokens      = 1 << 24
	maxRepetitions = 10000
)

// Check errs on a plan that measures nothing or that never ends.
func (p Plan) Check() error {
	if p.PrefillTokens > maxTokens || p.DecodeTokens > maxTokens || p.Repetitions > maxRepetitions || p.Discarded > maxRepetitions {
		return fmt.Errorf("bench: %d tokens of prefill, %d of decode, %d repetitions after %d discarded: want at most %d, %d, %d and %d",
			p.PrefillTokens, p.DecodeTokens, p.Repetitions, p.Discarded, maxTokens, maxTokens, maxRepetitions, maxRepetitions)
	}
	if p.PrefillTokens < 1 || p.DecodeTokens < 1 || p.Repetitions < 1 || p.Discarded < 0 {
		return fmt.Errorf("bench: %d tokens of prefill, %d of decode, %d repetitions after %d discarded: want at least 1, 1, 1 and 0",
			p.PrefillTokens, p.DecodeTokens, p.Repetitions, p.Discarded)
	}
	return nil
}

// Tokens returns the tokens that a repetition takes.
func (p Plan) Tokens() int { return p.PrefillTokens + p.DecodeTokens }

// Total returns the repetitions that are run.
func (p Plan) Total() int { return p.Discarded + p.Repetitions }

// Order returns the order of n variants in a repetition: a permutation that
// depends on the seed and the repetition alone.
func (p Plan) Order(repetition, n int) []int {
	return rand.New(rand.NewPCG(p.Seed, uint64(repetition))).Perm(n)
}

// Sample is one timed repetition of one variant.
type Sample struct {
	Variant    string
	Repetition int // from 0
	Order      int // place in that repetition's order
	Prefill    time.Duration
	Decode     []time.Duration // one a token
}

// Once times one repetition: a new session takes the first tokens at once and
// the rest one by one, each with its distribution. Making the session and
// collecting garbage are not timed.
func Once(ctx context.Context, m engine.Model, p Plan, toks []token.ID) (Sample, error) {
	if len(toks) < p.Tokens() {
		return Sample{}, fmt.Errorf("bench: a text of %d tokens, want at least %d", len(toks), p.Tokens())
	}
	s, err := m.NewSession()
	if err != nil {
		return Sample{}, err
	}
	defer s.Close()
	runtime.GC()
	var out Sample
	start := time.Now()
	if err := s.Prefill(ctx, toks[:p.PrefillTokens], nil); err != nil {
		return Sample{}, err
	}
	out.Prefill = time.Since(start)
	for _, t := range toks[p.PrefillTokens:p.Tokens()] {
		start = time.Now()
		if _, err := s.Decode(ctx, t); err != nil {
			return Sample{}, err
		}
		out.Decode = append(out.Decode, time.Since(start))
	}
	return out, nil
}
