package scaling

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"assay/eval/stat"
	"assay/results"
)

// SchemaVersion is the version of Record and Extrapolation that this code writes.
//
//	1  first version
const SchemaVersion = 1

// Made is what made a record's figures.
type Made struct {
	Schema  int             `json:"schema"`
	Kind    string          `json:"kind"` // "scaling" or "extrapolation"
	Made    time.Time       `json:"made"`
	Tool    results.Tool    `json:"tool"`
	Machine results.Machine `json:"machine"`
	Engine  results.Engine  `json:"engine"`
	Model   results.Model   `json:"model"`
	Window  int             `json:"window"` // tokens
	Texts   []Text          `json:"texts"`
	Rates   []Rate          `json:"rates"`
	Notes   []string        `json:"notes"`
}

// Text is one text of the corpus.
type Text struct {
	Name   string `json:"name"`
	Corpus string `json:"corpus"`
	Digest string `json:"digest"` // SHA-256 of its bytes
	Tokens int    `json:"tokens"` // that it has
}

// Record is how the quality part of a sweep grew along some axes.
type Record struct {
	Made
	Repetitions int          `json:"repetitions"`
	Axes        []AxisResult `json:"axes"`
}

// AxisResult is an axis with its figures.
type AxisResult struct {
	Name    string   `json:"name"`
	What    string   `json:"x"`
	Points  []*Point `json:"points"`
	Time    *Growth  `json:"time_growth"`              // of seconds with x
	Peak    *Growth  `json:"peak_growth,omitempty"`    // of bytes with x
	Planned *Growth  `json:"planned_growth,omitempty"` // of bytes with x
}

// Point is a setup with all its repetitions. Seconds and Split are those of the
// repetition with the median time, Peak is the most of all.
type Point struct {
	X       float64  `json:"x"`
	Setup   Setup    `json:"setup"`
	Work    Work     `json:"work"`
	Seconds float64  `json:"seconds"`
	Split   Split    `json:"split"`
	Rate    float64  `json:"flop_per_second"` // useful ones over all seconds
	Share   float64  `json:"share_of_product_rate"`
	Peak    int64    `json:"peak_bytes,omitempty"`
	Samples []Sample `json:"samples"`
}

// Growth is how a figure grows with x.
type Growth struct {
	Power stat.Power `json:"power"`
	Line  stat.Line  `json:"line"`
}

// Run collects what a record consists of. A setup that several axes have is
// measured once.
type Run struct {
	Points []*Point
	axes   []Axis
	rates  map[int][]Rate
}

// NewRun lists the points of axes.
func NewRun(axes []Axis) *Run {
	r := &Run{axes: axes, rates: map[int][]Rate{}}
	for _, a := range axes {
		for _, s := range a.Setups {
			if r.point(s) == nil {
				r.Points = append(r.Points, &Point{Setup: s})
			}
		}
	}
	return r
}

func (r *Run) point(s Setup) *Point {
	for _, p := range r.Points {
		if p.Setup == s {
			return p
		}
	}
	return nil
}

// Threads returns the distinct numbers of threads, ascending.
func (r *Run) Threads() []int {
	var out []int
	for _, p := range r.Points {
		out = append(out, p.Setup.Threads)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// AddRate adds a measurement of the machine.
func (r *Run) AddRate(x Rate) { r.rates[x.Threads] = append(r.rates[x.Threads], x) }

// Record sums up and fits. It errs where a point or the rate of its threads was
// not measured.
func (r *Run) Record(made Made) (*Record, error) {
	made.Schema, made.Kind = SchemaVersion, "scaling"
	out := &Record{Made: made}
	rates := map[int]Rate{}
	for _, n := range r.Threads() {
		rate, err := MedianRate(r.rates[n])
		if err != nil {
			return nil, err
		}
		rates[n] = rate
		out.Rates = append(out.Rates, rate)
	}
	for _, p := range r.Points {
		if err := p.sum(rates[p.Setup.Threads]); err != nil {
			return nil, err
		}
		out.Repetitions = len(p.Samples)
	}
	for _, a := range r.axes {
		x, err := r.axis(a)
		if err != nil {
			return nil, err
		}
		out.Axes = append(out.Axes, x)
	}
	return out, nil
}

// MedianRate returns the middle of measurements, each figure for itself.
func MedianRate(rates []Rate) (Rate, error) {
	if len(rates) == 0 {
		return Rate{}, fmt.Errorf("scaling: the machine's rate was not measured")
	}
	out := rates[0]
	middle := func(of func(Rate) float64) float64 {
		slices.SortFunc(rates, func(a, b Rate) int { return cmp.Compare(of(a), of(b)) })
		return of(rates[len(rates)/2])
	}
	out.FLOPs = middle(func(r Rate) float64 { return r.FLOPs })
	out.Quantize = middle(func(r Rate) float64 { return r.Quantize })
	return out, nil
}

// Median returns the sample of the median time, of an even number the faster of
// the middle two.
func Median(samples []Sample) (Sample, error) {
	if len(samples) == 0 {
		return Sample{}, fmt.Errorf("scaling: nothing was measured")
	}
	s := slices.Clone(samples)
	slices.SortStableFunc(s, func(a, b Sample) int { return cmp.Compare(a.Seconds, b.Seconds) })
	return s[(len(s)-1)/2], nil
}

func (p *Point) sum(rate Rate) error {
	s, err := Median(p.Samples)
	if err != nil {
		return fmt.Errorf("%w: %v", err, p.Setup)
	}
	p.Seconds, p.Split = s.Seconds, s.Split
	p.Rate = float64(p.Work.FLOPs) / p.Seconds
	p.Share = p.Rate / rate.FLOPs
	for i := range p.Samples {
		p.Peak = max(p.Peak, p.Samples[i].Peak)
		p.Samples[i].Parts = nil // what the points are compared by is in Split
	}
	return nil
}

// axis copies an axis's points, since x is the axis's own, and fits them. Of one
// point there is no growth.
func (r *Run) axis(a Axis) (AxisResult, error) {
	out := AxisResult{Name: a.Name, What: a.What}
	for _, s := range a.Setups {
		p := *r.point(s)
		p.X = a.x(&p)
		out.Points = append(out.Points, &p)
	}
	if len(out.Points) < 2 {
		return out, nil
	}
	var err error
	fit := func(into **Growth, of func(*Point) float64) {
		if err == nil {
			*into, err = growth(out.Points, of)
		}
	}
	fit(&out.Time, func(p *Point) float64 { return p.Seconds })
	fit(&out.Planned, func(p *Point) float64 { return float64(p.Work.Planned) })
	if !slices.ContainsFunc(out.Points, func(p *Point) bool { return p.Peak == 0 }) {
		fit(&out.Peak, func(p *Point) float64 { return float64(p.Peak) })
	}
	if err != nil {
		return out, fmt.Errorf("axis %s: %w", a.Name, err)
	}
	return out, nil
}

func growth(points []*Point, of func(*Point) float64) (*Growth, error) {
	var x, y []float64
	for _, p := range points {
		x, y = append(x, p.X), append(y, of(p))
	}
	power, err := stat.FitPower(x, y)
	if err != nil {
		return nil, err
	}
	line, err := stat.FitLine(x, y)
	return &Growth{power, line}, err
}
