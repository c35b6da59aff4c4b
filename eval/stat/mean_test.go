package stat

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Quantiles of scipy 1.17.1, stats.t.ppf(0.975, df).
func TestStudentQuantile(t *testing.T) {
	for df, want := range map[int]float64{
		1: 12.706204736174694, 2: 4.302652729749462, 3: 3.1824463052837078, 7: 2.364624251592784,
		15: 2.131449545559776, 31: 2.039513446396408, 100: 1.9839715185235518,
	} {
		if got := tQuantile(df); !near(got, want, 1e-10) {
			t.Errorf("df %d: %v, want %v", df, got, want)
		}
	}
}

// By hand: means 1 and 3 over 2 tokens each. r = 8/4 = 2; s² = (1+1)/1 = 2, so
// the standard error is √(2/2) = 1, and t(1) = tan(0.475·π) = 12.7062…
func TestMeanOfTwoWindows(t *testing.T) {
	half := math.Tan(0.475 * math.Pi)
	want(t, MeanOfWindows([]Window{{2, 2}, {6, 2}}), 2, 2-half, 2+half, Level, 2)
}

// Interval of scipy 1.17.1: stats.t.interval(0.95, 7, mean(x), sem(x)).
func TestMeanOfEqualWindows(t *testing.T) {
	var windows []Window
	for _, x := range []float64{2.31, 2.7, 1.95, 3.02, 2.44, 2.88, 2.15, 2.6} {
		windows = append(windows, Window{Sum: 100 * x, N: 100})
	}
	want(t, MeanOfWindows(windows), 2.50625, 2.20165707932389, 2.81084292067611, Level, 8)
}

// By hand: r = 132/60 = 2.2; e = 10−11, 44−44, 18−22, 60−55 = −1, 0, −4, 5;
// v = 4/3 · 42/60² = 0.0155…; half = 3.1824463052837078·√v = 0.39692079…
func TestMeanOfUnequalWindows(t *testing.T) {
	want(t, MeanOfWindows([]Window{{10, 5}, {44, 20}, {18, 10}, {60, 25}}),
		2.2, 1.8030792091274597, 2.5969207908725407, Level, 4)
}

func TestMeanWithoutInterval(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for name, c := range map[string]struct {
		windows []Window
		value   float64
	}{
		"none":        {nil, nan},
		"one":         {[]Window{{6, 4}}, 1.5},
		"NaN":         {[]Window{{1, 1}, {nan, 1}, {2, 1}}, nan},
		"infinite":    {[]Window{{1, 1}, {inf, 1}}, nan},
		"no tokens":   {[]Window{{1, 1}, {0, 0}}, nan},
		"overflow":    {[]Window{{1e308, 1}, {1e308, 1}}, nan},
		"wide spread": {[]Window{{1e200, 1}, {-1e200, 1}}, 0},
	} {
		e := MeanOfWindows(c.windows)
		if !near(e.Value, c.value, 0) || !math.IsNaN(e.Lo) || !math.IsNaN(e.Hi) || e.Confidence != 0 {
			t.Errorf("%s: %+v, want %v without an interval", name, e, c.value)
		}
		if len(e.Warnings) != 1 || e.N != len(c.windows) {
			t.Errorf("%s: warnings %q of %d", name, e.Warnings, e.N)
		}
	}
}

// Windows that agree give an interval of the width that was measured: none.
func TestMeanOfAgreeingWindows(t *testing.T) {
	want(t, MeanOfWindows([]Window{{0, 7}, {0, 9}, {0, 7}}), 0, 0, 0, Level, 3)
}

// Scaling and shifting every token scales and shifts the interval.
func TestMeanFollowsUnits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		windows := make([]Window, 2+r.IntN(20))
		moved := make([]Window, len(windows))
		for i := range windows {
			n := 1 + r.IntN(50)
			windows[i] = Window{Sum: float64(n) * r.Float64(), N: n}
			moved[i] = Window{Sum: 4*windows[i].Sum + 3*float64(n), N: n}
		}
		a, b := MeanOfWindows(windows), MeanOfWindows(moved)
		if !near(b.Value, 4*a.Value+3, 1e-12) || !near(b.Hi-b.Lo, 4*(a.Hi-a.Lo), 1e-9) {
			t.Fatalf("%+v and %+v", a, b)
		}
	}
}

// The interval holds the true mean as often as it says. Of 20,000 trials the
// share has a standard error of 0.0015; the bounds are 5 of them. With unequal
// counts the linearised variance is an approximation: with 30 windows it may
// miss by another 0.01.
func TestMeanCoverage(t *testing.T) {
	if testing.Short() {
		t.Skip("a simulation")
	}
	for name, c := range map[string]struct {
		windows int
		counts  func(r *rand.Rand) int
		slack   float64
	}{
		"8 equal":    {8, func(*rand.Rand) int { return 16 }, 0.0075},
		"30 unequal": {30, func(r *rand.Rand) int { return 10 + r.IntN(20) }, 0.0175},
	} {
		r := rand.New(rand.NewPCG(3, 4))
		hit, trials := 0, 20000
		windows := make([]Window, c.windows)
		for range trials {
			for i := range windows {
				n := c.counts(r)
				windows[i] = Window{Sum: float64(n) * (2.5 + 0.4*r.NormFloat64()), N: n}
			}
			if MeanOfWindows(windows).Includes(2.5) {
				hit++
			}
		}
		if share := float64(hit) / float64(trials); math.Abs(share-Level) > c.slack {
			t.Errorf("%s: holds the mean in %.4f of trials, want %.2f ± %.4f", name, share, Level, c.slack)
		}
	}
}
