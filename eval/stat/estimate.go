// Package stat turns samples into estimates: means over windows with Student's
// t, medians with order statistics, percentiles. It knows no model and no file.
package stat

// Estimate is a statistic of N samples with its confidence interval. Where no
// interval is known, Lo and Hi are NaN; where the value itself is not known,
// all three are.
type Estimate struct {
	Value, Lo, Hi float64
	Confidence    float64 // the level of [Lo, Hi], such as 0.95
	N             int     // what the interval's degrees of freedom come from
	Warnings      []string
}
