package stat

import (
	"encoding/json"
	"fmt"
	"math"

	"gonum.org/v1/gonum/stat"
)

// Power is the growth y = Factor·x^Exponent, by least squares of ln y on ln x.
type Power struct {
	Factor, Exponent float64
	// Error is the exponent's standard error, NaN where two points give none.
	// With n points, residuals r in ln y and u = ln x:
	//	√(Σ r²/(n−2) / Σ (u − mean u)²)
	Error float64
	N     int
}

// Line is the growth y = Intercept + Slope·x, by least squares. R2 is the share
// of y's variance that it explains, NaN where y does not vary.
type Line struct {
	Intercept, Slope, R2 float64
	N                    int
}

// FitPower fits a power law to points that are all above 0. It errs where there
// are fewer than two different x.
func FitPower(x, y []float64) (Power, error) {
	if err := checkFit(x, y); err != nil {
		return Power{}, err
	}
	u, v := make([]float64, len(x)), make([]float64, len(y))
	for i := range x {
		if x[i] <= 0 || y[i] <= 0 {
			return Power{}, fmt.Errorf("stat: no power law goes through (%g, %g)", x[i], y[i])
		}
		u[i], v[i] = math.Log(x[i]), math.Log(y[i])
	}
	a, b := stat.LinearRegression(u, v, nil, false)
	p := Power{Factor: math.Exp(a), Exponent: b, Error: math.NaN(), N: len(x)}
	if n := float64(len(x)); n > 2 {
		var squares float64
		for i := range u {
			r := v[i] - a - float64(b*u[i])
			squares += float64(r * r)
		}
		p.Error = math.Sqrt(squares / (n - 2) / (stat.Variance(u, nil) * (n - 1)))
	}
	return p, nil
}

// FitLine fits a straight line. It errs where there are fewer than two
// different x.
func FitLine(x, y []float64) (Line, error) {
	if err := checkFit(x, y); err != nil {
		return Line{}, err
	}
	a, b := stat.LinearRegression(x, y, nil, false)
	return Line{Intercept: a, Slope: b, R2: stat.RSquared(x, y, nil, a, b), N: len(x)}, nil
}

func checkFit(x, y []float64) error {
	if len(x) != len(y) {
		return fmt.Errorf("stat: a fit of %d x and %d y", len(x), len(y))
	}
	if bad := countNonFinite(x) + countNonFinite(y); bad > 0 {
		return fmt.Errorf("stat: a fit of points of which %d are not finite", bad)
	}
	for _, v := range x {
		if v != x[0] {
			return nil
		}
	}
	return fmt.Errorf("stat: a fit of %d points wants two different x", len(x))
}

// MarshalJSON gives null for a standard error that is not known.
func (p Power) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Factor   float64  `json:"factor"`
		Exponent float64  `json:"exponent"`
		Error    *float64 `json:"standard_error"`
		N        int      `json:"points"`
	}{p.Factor, p.Exponent, known(p.Error), p.N})
}

// MarshalJSON gives null for an R² that is not defined.
func (l Line) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Intercept float64  `json:"intercept"`
		Slope     float64  `json:"slope"`
		R2        *float64 `json:"r2"`
		N         int      `json:"points"`
	}{l.Intercept, l.Slope, known(l.R2), l.N})
}
