package stat

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// Window is the sum of some figure over the N tokens of one window.
type Window struct {
	Sum float64
	N   int
}

// MeanOfWindows returns the mean over all tokens with a 95 % interval from the
// windows' spread, since tokens of one window are not independent. With k
// windows of sums S and token counts n, weighed by their tokens:
//
//	r  = Σ S / Σ n                       the mean over tokens
//	e  = S − r·n                         a window's residual; Σ e = 0
//	v  = k/(k−1) · Σ e² / (Σ n)²         the linearised variance of the ratio
//	[r − t·√v, r + t·√v]                 t = Student's 0.975 quantile, k−1 degrees of freedom
//
// With equal counts v is s²/k, s² being the variance of the window means, and
// the interval is the usual one of a mean. Source: W. G. Cochran, Sampling
// Techniques, 3rd edition, section 2.11, without the finite population factor.
//
// It asks how far the mean moves with other windows of the same kind. It treats
// windows as drawn from one mix, so the spread between texts widens it.
//
// Fewer than two windows give a value without an interval. A sum that is not
// finite makes value and interval unknown; none is left out.
func MeanOfWindows(windows []Window) Estimate {
	k := len(windows)
	if k == 0 {
		return Unknown(0, "no windows")
	}
	var sum, n float64
	bad := 0
	for _, w := range windows {
		if w.N <= 0 {
			return Unknown(k, fmt.Sprintf("a window of %d tokens has no mean", w.N))
		}
		if !finite(w.Sum) {
			bad++
		}
		sum += w.Sum
		n += float64(w.N)
	}
	if bad > 0 {
		return Unknown(k, fmt.Sprintf("%d of %d windows are not finite", bad, k))
	}
	r := sum / n
	if !finite(r) {
		return Unknown(k, "the sum over windows is too large to be given")
	}
	if k < 2 {
		return Estimate{Value: r, Lo: math.NaN(), Hi: math.NaN(), N: k,
			Warnings: []string{"one window: no interval"}}
	}
	var squares float64
	for _, w := range windows {
		e := w.Sum - float64(r*float64(w.N))
		squares += float64(e * e)
	}
	kf := float64(k)
	half := tQuantile(k-1) * math.Sqrt(kf/(kf-1)*squares) / n
	if !finite(half) {
		return Estimate{Value: r, Lo: math.NaN(), Hi: math.NaN(), N: k,
			Warnings: []string{"the spread over windows is too large to be given"}}
	}
	return Estimate{Value: r, Lo: r - half, Hi: r + half, Confidence: Level, N: k}
}

// tQuantile returns the quantile of Student's t for a two-sided interval at
// Level with df degrees of freedom.
func tQuantile(df int) float64 {
	return distuv.StudentsT{Sigma: 1, Nu: float64(df)}.Quantile((1 + Level) / 2)
}
