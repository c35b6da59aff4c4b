package eval

import (
	"fmt"
	"math"
)

// massTolerance is how far a reference's probabilities may sum from 1. Float32
// log-probabilities leave about 1e-6; logits miss it by far.
const massTolerance = 1e-3

// Reference is the reference's distribution at one position, made ready for
// many variants: the exponentials are taken once.
type Reference struct {
	LogP []float32 // natural logarithms, len = vocab; the caller's, not copied
	P    []float64 // exp(LogP)
	Top  int       // the likeliest token, the lowest id among equals; −1 where LogP holds a NaN
}

// NewReference returns the Reference of logP, which it keeps and does not copy.
// It refuses an empty vector, and one whose probabilities do not sum to 1: these
// are not log-probabilities. One with a NaN is taken: its scores are not finite.
func NewReference(logP []float32) (Reference, error) {
	var r Reference
	err := r.Reset(logP)
	return r, err
}

// Reset makes r the Reference of logP, as NewReference does, and uses r.P's
// memory again where it is large enough.
func (r *Reference) Reset(logP []float32) error {
	if len(logP) == 0 {
		return fmt.Errorf("eval: the reference's distribution is empty")
	}
	if cap(r.P) < len(logP) {
		r.P = make([]float64, len(logP))
	}
	r.LogP, r.P, r.Top = logP, r.P[:len(logP)], argmax(logP)
	var mass float64
	for i, l := range logP {
		p := math.Exp(float64(l))
		r.P[i] = p
		mass += p
	}
	if math.Abs(mass-1) > massTolerance { // false where mass is NaN
		return fmt.Errorf("eval: the reference's probabilities sum to %g, want 1", mass)
	}
	return nil
}

// Score compares a variant's log-probabilities got, len = vocab, with r's, the
// token that followed being target. With p = exp(LogP):
//
//	nll  = −got[target]                         nats
//	kl   = Σ p·(LogP − got)                     nats, D(reference ‖ variant)
//	top1 = argmax got == argmax LogP            the lowest id among equals
//
// Sums are in float64, in order of ids. A term of p = 0 is 0, whatever finite
// value or −Inf got has there. Nothing is clamped: rounding can leave a kl a
// little below 0, and a NaN or an infinity stays one. Equal vectors give
// exactly 0. A vector with a NaN ranks no token first. It refuses another
// length than r's and a target outside the vocabulary.
func (r Reference) Score(got []float32, target int) (nll, kl float64, top1 bool, err error) {
	if len(got) != len(r.LogP) || len(r.P) != len(r.LogP) {
		return 0, 0, false, fmt.Errorf("eval: vocabulary of %d, the reference has %d", len(got), len(r.LogP))
	}
	if target < 0 || target >= len(got) {
		return 0, 0, false, fmt.Errorf("eval: target %d is not in a vocabulary of %d", target, len(got))
	}
	for i, p := range r.P {
		kl += float64(p * (float64(r.LogP[i]) - float64(got[i])))
	}
	if math.IsNaN(kl) {
		kl = r.divergence(got)
	}
	return 0 - float64(got[target]), kl, r.Top >= 0 && argmax(got) == r.Top, nil
}

// divergence is Score's kl with the terms of p = 0 looked at one by one: in the
// plain sum a −Inf makes 0·∞ there, which is NaN.
func (r Reference) divergence(got []float32) float64 {
	var kl float64
	for i, p := range r.P {
		g := float64(got[i])
		if p == 0 && !math.IsNaN(g) && !math.IsInf(g, 1) {
			continue
		}
		kl += float64(p * (float64(r.LogP[i]) - g))
	}
	return kl
}

// ScoreToken compares two log-probability vectors of one position: see
// Reference.Score, which does the same for many variants in less time.
func ScoreToken(ref, got []float32, target int) (nll, kl float64, top1 bool, err error) {
	r, err := NewReference(ref)
	if err != nil {
		return 0, 0, false, err
	}
	return r.Score(got, target)
}

// argmax returns the index of the greatest value, the lowest among equals, or
// −1 where a value is NaN.
func argmax(v []float32) int {
	best := 0
	for i, x := range v {
		if x != x {
			return -1
		}
		if x > v[best] {
			best = i
		}
	}
	return best
}
