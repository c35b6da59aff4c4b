package stat

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

// y = 3·x² to the last bit but for rounding: no error, and the line through it is
// by hand, with x = 1, 2, 3, y = 3, 12, 27: slope (27−3)/2 = 12, intercept
// 14 − 12·2 = −10, residuals 1, −2, 1 of Σ(y−14)² = 294, R² = 1 − 6/294.
func TestFitExact(t *testing.T) {
	x, y := []float64{1, 2, 3}, []float64{3, 12, 27}
	p, err := FitPower(x, y)
	if err != nil || !near(p.Factor, 3, 1e-12) || !near(p.Exponent, 2, 1e-12) || !(p.Error < 1e-12) || p.N != 3 {
		t.Errorf("%+v, %v; want 3·x²", p, err)
	}
	l, err := FitLine(x, y)
	if err != nil || !near(l.Slope, 12, 1e-12) || !near(l.Intercept, -10, 1e-12) || !near(l.R2, 1-6.0/294, 1e-12) || l.N != 3 {
		t.Errorf("%+v, %v; want 12·x − 10", l, err)
	}
}

// By hand, in u = ln x = 0, 1, 2 and v = ln y = 0, 2, 1: slope ½, intercept ½,
// residuals −½, 1, −½, so Σ r² = 1.5, Σ(u−1)² = 2, and the error √(1.5/1/2).
func TestFitError(t *testing.T) {
	e := math.E
	p, err := FitPower([]float64{1, e, e * e}, []float64{1, e * e, e})
	if err != nil || !near(p.Exponent, 0.5, 1e-12) || !near(p.Factor, math.Exp(0.5), 1e-12) || !near(p.Error, math.Sqrt(0.75), 1e-12) {
		t.Errorf("%+v, %v; want an exponent of 0.5 ± √0.75", p, err)
	}
}

// Two points decide both fits, and leave nothing to take an error from.
func TestFitTwoPoints(t *testing.T) {
	p, err := FitPower([]float64{1, 2}, []float64{8, 4})
	if err != nil || !near(p.Exponent, -1, 1e-12) || !near(p.Factor, 8, 1e-12) || !math.IsNaN(p.Error) {
		t.Errorf("%+v, %v; want 8/x without an error", p, err)
	}
	data, err := json.Marshal(p)
	if err != nil || !strings.Contains(string(data), `"standard_error":null,"points":2`) {
		t.Errorf("%s, %v", data, err)
	}
	flat, err := FitLine([]float64{1, 2}, []float64{5, 5})
	if err != nil || flat.Slope != 0 || flat.Intercept != 5 || !math.IsNaN(flat.R2) {
		t.Errorf("%+v, %v; want 5 without an R²", flat, err)
	}
	if data, err = json.Marshal(flat); err != nil || string(data) != `{"intercept":5,"slope":0,"r2":null,"points":2}` {
		t.Errorf("%s, %v", data, err)
	}
}

func TestFitRefuses(t *testing.T) {
	for what, c := range map[string]struct {
		x, y []float64
		want string
	}{
		"lengths":   {[]float64{1, 2}, []float64{1}, "2 x and 1 y"},
		"none":      {nil, nil, "0 points wants two different x"},
		"one x":     {[]float64{2, 2}, []float64{1, 3}, "2 points wants two different x"},
		"not a y":   {[]float64{1, 2}, []float64{math.NaN(), 3}, "1 are not finite"},
		"zero":      {[]float64{1, 2}, []float64{0, 3}, "no power law goes through (1, 0)"},
		"below one": {[]float64{-1, 2}, []float64{1, 3}, "no power law goes through (-1, 1)"},
	} {
		if _, err := FitPower(c.x, c.y); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", what, err, c.want)
		}
	}
	if _, err := FitLine([]float64{1}, []float64{1}); err == nil {
		t.Error("one point has a line")
	}
	if l, err := FitLine([]float64{0, 1, 2}, []float64{-1, 0, 1}); err != nil || l.Slope != 1 || l.Intercept != -1 || l.R2 != 1 {
		t.Errorf("%+v, %v; want x − 1", l, err)
	}
}
