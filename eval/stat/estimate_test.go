package stat

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

// near says whether a and b agree to a relative tolerance; two NaN do.
func near(a, b, tolerance float64) bool {
	if math.IsNaN(a) || math.IsNaN(b) {
		return math.IsNaN(a) && math.IsNaN(b)
	}
	return a == b || math.Abs(a-b) <= tolerance*max(math.Abs(a), math.Abs(b))
}

// want holds an estimate's three figures and confidence against others.
func want(t *testing.T, e Estimate, value, lo, hi, confidence float64, n int) {
	t.Helper()
	if !near(e.Value, value, 1e-12) || !near(e.Lo, lo, 1e-12) || !near(e.Hi, hi, 1e-12) {
		t.Errorf("%v [%v, %v], want %v [%v, %v]", e.Value, e.Lo, e.Hi, value, lo, hi)
	}
	if !near(e.Confidence, confidence, 1e-12) || e.N != n {
		t.Errorf("confidence %v of %d, want %v of %d", e.Confidence, e.N, confidence, n)
	}
}

func TestEstimateJSON(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		e    Estimate
		want string
	}{
		{Estimate{Value: 1.5, Lo: 1, Hi: 2, Confidence: Level, N: 3}, `{"value":1.5,"lo":1,"hi":2}`},
		{Estimate{Value: 1.5, Lo: nan, Hi: nan, N: 1}, `{"value":1.5,"lo":null,"hi":null}`},
		{Estimate{Value: 1, Lo: math.Inf(-1), Hi: math.Inf(1)}, `{"value":1,"lo":null,"hi":null}`},
		{Unknown(3, "why"), `{"value":null,"lo":null,"hi":null}`},
		{Exact(0), `{"value":0,"lo":0,"hi":0}`},
	} {
		got, err := json.Marshal(c.e)
		if err != nil || string(got) != c.want {
			t.Errorf("%+v: %s, %v, want %s", c.e, got, err, c.want)
		}
	}
}

func TestExact(t *testing.T) {
	want(t, Exact(1), 1, 1, 1, 1, 0)
	if e := Exact(1); !e.Known() || !e.HasInterval() || !e.Includes(1) || e.Includes(1.1) {
		t.Errorf("%+v", e)
	}
}

func TestUnknownIncludesNothing(t *testing.T) {
	if e := Unknown(2, "why"); e.Known() || e.HasInterval() || e.Includes(0) || e.Warnings[0] != "why" {
		t.Errorf("%+v", e)
	}
}

func TestExp(t *testing.T) {
	e := Estimate{Value: math.Log(8), Lo: math.Log(4), Hi: math.Log(16), Confidence: Level, N: 5, Warnings: []string{"w"}}
	want(t, e.Exp(), 8, 4, 16, Level, 5)
	if w := e.Exp().Warnings; len(w) != 1 || w[0] != "w" {
		t.Errorf("warnings %q", w)
	}
	want(t, Exact(0).Exp(), 1, 1, 1, 1, 0)

	nan := math.NaN()
	want(t, Estimate{Value: 0, Lo: nan, Hi: nan, N: 1}.Exp(), 1, nan, nan, 0, 1)
	want(t, Unknown(4, "why").Exp(), nan, nan, nan, 0, 4)
}

// exp(710) is beyond the greatest float64; it must not be printed as a figure.
func TestExpTooLarge(t *testing.T) {
	nan := math.NaN()
	e := Estimate{Value: 710, Lo: 709, Hi: 711, Confidence: Level, N: 4}.Exp()
	want(t, e, nan, nan, nan, 0, 4)
	if len(e.Warnings) != 1 || !strings.Contains(e.Warnings[0], "too large") {
		t.Errorf("warnings %q", e.Warnings)
	}
	e = Estimate{Value: 1, Lo: -709, Hi: 711, Confidence: Level, N: 4}.Exp()
	want(t, e, math.E, nan, nan, 0, 4)
	if len(e.Warnings) != 1 {
		t.Errorf("warnings %q", e.Warnings)
	}
}
