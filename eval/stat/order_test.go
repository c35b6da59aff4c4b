package stat

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// upTo returns 1 … n in a shuffled order.
func upTo(n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = float64(i + 1)
	}
	rand.New(rand.NewPCG(5, uint64(n))).Shuffle(n, func(i, j int) { x[i], x[j] = x[j], x[i] })
	return x
}

// Ranks and confidences by scipy 1.17.1's stats.binom.cdf(k−1, n, 0.5); those
// of n = 5 and 9 by hand too: 1 − 2/32, and 1 − 2·(1+9)/512.
func TestMedianInterval(t *testing.T) {
	for _, c := range []struct {
		n, k       int
		confidence float64
	}{
		{2, 1, 0.5}, {3, 1, 0.75}, {5, 1, 0.9375}, {6, 1, 0.96875}, {8, 1, 0.9921875}, {9, 2, 0.9609375},
		{12, 3, 0.96142578125}, {17, 5, 0.950958251953125}, {25, 8, 0.9567147493362427}, {40, 14, 0.9615226917157997},
	} {
		e := MedianInterval(upTo(c.n))
		want(t, e, float64(c.n+1)/2, float64(c.k), float64(c.n+1-c.k), c.confidence, c.n)
		if warned := len(e.Warnings) > 0; warned != (c.n < 6) {
			t.Errorf("n = %d: warnings %q", c.n, e.Warnings)
		}
	}
	if w := MedianInterval(upTo(5)).Warnings[0]; !strings.Contains(w, "93.8 %") {
		t.Errorf("warning %q", w)
	}
}

func TestMedianWithoutInterval(t *testing.T) {
	nan := math.NaN()
	want(t, MedianInterval(nil), nan, nan, nan, 0, 0)
	want(t, MedianInterval([]float64{7}), 7, nan, nan, 0, 1)
	want(t, MedianInterval([]float64{1, nan, 3}), nan, nan, nan, 0, 3)
	want(t, MedianInterval([]float64{1, math.Inf(1), 3}), nan, nan, nan, 0, 3)
}

func TestMedianLeavesSamplesAlone(t *testing.T) {
	x := []float64{3, 1, 2}
	MedianInterval(x)
	Percentiles(x, 0.5)
	if !slices.Equal(x, []float64{3, 1, 2}) {
		t.Errorf("samples are now %v", x)
	}
}

// By hand: of 1 … 10 the least that half do not exceed is 5; 9 for 0.9, 10 for
// 0.99 and for 1. 0.07·100 is 7.000000000000001 in float64, and of 1 … 100 the
// answer is 7 all the same.
func TestPercentiles(t *testing.T) {
	got := Percentiles(upTo(10), 0.5, 0.9, 0.99, 1, 0.05)
	if !slices.Equal(got, []float64{5, 9, 10, 10, 1}) {
		t.Errorf("%v", got)
	}
	if got := Percentiles(upTo(100), 0.07)[0]; got != 7 {
		t.Errorf("%v, want 7", got)
	}
	for _, x := range [][]float64{nil, {1, math.NaN()}, {1, math.Inf(-1)}} {
		if got := Percentiles(x, 0.5, 1); !math.IsNaN(got[0]) || !math.IsNaN(got[1]) {
			t.Errorf("of %v: %v, want NaN", x, got)
		}
	}
}

// A percentile is a sample, at least p of the samples do not exceed it, and
// fewer than p lie below it.
func TestPercentileProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 7))
	for range 300 {
		x := make([]float64, 1+r.IntN(60))
		for i := range x {
			x[i] = float64(r.IntN(10)) // with ties
		}
		p := 1 - r.Float64()
		q := Percentiles(x, p)[0]
		below, upto := 0, 0
		for _, v := range x {
			if v < q {
				below++
			}
			if v <= q {
				upto++
			}
		}
		n := float64(len(x))
		if !slices.Contains(x, q) || float64(upto) < p*n-1e-9 || float64(below) >= p*n {
			t.Fatalf("percentile %g of %v is %g", p, x, q)
		}
	}
}

func TestPercentilesPanicsOnFraction(t *testing.T) {
	for _, p := range []float64{0, -1, 1.01, 50, math.NaN()} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("fraction %g: no panic", p)
				}
			}()
			Percentiles([]float64{1}, p)
		}()
	}
}
