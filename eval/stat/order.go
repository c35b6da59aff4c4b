package stat

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// MedianInterval returns the median of n samples with an interval whose ends
// are samples, so that nothing is asked of their distribution. With x sorted
// and B(n, ½) the binomial distribution:
//
//	value       the middle sample, or the mean of the middle two
//	[Lo, Hi]    [x[k], x[n+1−k]], counted from 1, with the largest k ≥ 1 whose
//	Confidence  1 − 2·P(B(n, ½) ≤ k−1) is at least 0.95
//
// Under 6 samples even k = 1, from least to greatest, holds less than that:
// Confidence is what it does hold, 1 − 2/2ⁿ, and a warning says so. Fewer than
// two samples give no interval. A sample that is not finite makes all unknown;
// none is left out. Source: H. A. David and H. N. Nagaraja, Order Statistics,
// 3rd edition, section 7.1.
func MedianInterval(samples []float64) Estimate {
	n := len(samples)
	if n == 0 {
		return Unknown(0, "no samples")
	}
	if bad := countNonFinite(samples); bad > 0 {
		return Unknown(n, fmt.Sprintf("%d of %d samples are not finite", bad, n))
	}
	x := slices.Sorted(slices.Values(samples))
	e := Estimate{Value: x[n/2], Lo: math.NaN(), Hi: math.NaN(), N: n}
	if n%2 == 0 {
		e.Value = x[n/2-1]/2 + x[n/2]/2
	}
	if n < 2 {
		e.Warnings = []string{"one sample: no interval"}
		return e
	}
	b := distuv.Binomial{N: float64(n), P: 0.5}
	covers := func(k int) float64 { return 1 - 2*b.CDF(float64(k-1)) }
	k := 1
	for k+1 <= n/2 && covers(k+1) >= Level {
		k++
	}
	e.Lo, e.Hi, e.Confidence = x[k-1], x[n-k], covers(k)
	if e.Confidence < Level {
		e.Warnings = []string{fmt.Sprintf("%d samples: the interval from least to greatest holds with %.1f %%, not %.0f %%, which takes 6",
			n, 100*e.Confidence, 100*Level)}
	}
	return e
}

// Percentiles returns, for each fraction p in (0, 1], the least sample that at
// least p·n of the n samples do not exceed: always a sample, with nothing
// interpolated; p = 1 is the greatest. p·n is taken for a whole number within
// 1e-9 of one. Without samples, and if any of them is not finite, all are NaN.
func Percentiles(samples []float64, fractions ...float64) []float64 {
	out := make([]float64, len(fractions))
	n := len(samples)
	unknown := n == 0 || countNonFinite(samples) > 0
	x := slices.Sorted(slices.Values(samples))
	for i, p := range fractions {
		if !(p > 0 && p <= 1) {
			panic(fmt.Sprintf("stat: percentile of fraction %g, want (0, 1]", p))
		}
		if unknown {
			out[i] = math.NaN()
			continue
		}
		rank := int(math.Ceil(p*float64(n) - 1e-9))
		out[i] = x[max(rank, 1)-1]
	}
	return out
}

// countNonFinite returns how many samples are NaN or infinite.
func countNonFinite(samples []float64) int {
	bad := 0
	for _, x := range samples {
		if !finite(x) {
			bad++
		}
	}
	return bad
}
