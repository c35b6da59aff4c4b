// Package stat turns samples into estimates: means over windows with Student's
// t, medians with order statistics, percentiles. It knows no model and no file.
package stat

import (
	"encoding/json"
	"fmt"
	"math"
)

// Level is the confidence that intervals are made for.
const Level = 0.95

// Estimate is a statistic of N samples with its confidence interval, all in
// the samples' unit. Where no interval is known, Lo and Hi are NaN; where the
// value itself is not known, all three are. An interval of zero width is one
// that was measured so, or the value is exact.
type Estimate struct {
	Value, Lo, Hi float64
	Confidence    float64 // the level of [Lo, Hi], such as 0.95; 1 of an exact value; 0 of none
	N             int     // samples that the interval comes from: windows, repetitions; 0 of an exact value
	Warnings      []string
}

// Exact returns v as a figure that holds by construction and not by sampling,
// such as the reference's KL divergence from itself.
func Exact(v float64) Estimate {
	return Estimate{Value: v, Lo: v, Hi: v, Confidence: 1}
}

// Unknown returns the estimate of a figure that cannot be given, and why.
func Unknown(n int, why string) Estimate {
	nan := math.NaN()
	return Estimate{Value: nan, Lo: nan, Hi: nan, N: n, Warnings: []string{why}}
}

// Known says whether e has a value.
func (e Estimate) Known() bool { return finite(e.Value) }

// HasInterval says whether e has an interval.
func (e Estimate) HasInterval() bool { return finite(e.Lo) && finite(e.Hi) }

// Includes says whether x lies in e's interval, ends included. It is false
// where there is none.
func (e Estimate) Includes(x float64) bool { return e.Lo <= x && x <= e.Hi }

// Exp returns exp of value and interval, as perplexity follows from NLL. A
// value too large for a float64 is unknown, and so is an end.
func (e Estimate) Exp() Estimate {
	r := e
	r.Warnings = append([]string(nil), e.Warnings...)
	if e.Known() && !finite(math.Exp(e.Value)) {
		return Unknown(e.N, fmt.Sprintf("exp(%g) is too large to be given", e.Value))
	}
	r.Value, r.Lo, r.Hi = math.Exp(e.Value), math.Exp(e.Lo), math.Exp(e.Hi)
	if e.HasInterval() && !finite(r.Hi) {
		r.Lo, r.Hi, r.Confidence = math.NaN(), math.NaN(), 0
		r.Warnings = append(r.Warnings, fmt.Sprintf("the interval's end exp(%g) is too large to be given", e.Hi))
	}
	return r
}

// MarshalJSON gives {"value", "lo", "hi"}, with null for what is not known.
func (e Estimate) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Value *float64 `json:"value"`
		Lo    *float64 `json:"lo"`
		Hi    *float64 `json:"hi"`
	}{known(e.Value), known(e.Lo), known(e.Hi)})
}

// known returns x, or nil where it is not finite.
func known(x float64) *float64 {
	if !finite(x) {
		return nil
	}
	return &x
}

// finite says whether x is neither NaN nor infinite.
func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
