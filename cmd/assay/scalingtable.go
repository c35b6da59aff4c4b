package main

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"

	"assay/bench/scaling"
)

// printScaling prints a table an axis, with its growth.
func printScaling(w io.Writer, r *scaling.Record) error {
	for _, a := range r.Axes {
		if err := printAxis(w, a); err != nil {
			return err
		}
	}
	for _, rate := range r.Rates {
		fmt.Fprintf(w, "%d threads: matrix product %.1f GFLOP/s, quantizing %.3f G weights/s.\n", rate.Threads, rate.FLOPs/1e9, rate.Quantize/1e9)
	}
	_, err := fmt.Fprintf(w, "%s, %s kernels; medians [least, greatest] of %d repetitions. GFLOP/s are useful ones over all seconds, the share is of the matrix product.\n",
		r.Engine.Device, r.Engine.Kernels, r.Repetitions)
	return err
}

func printAxis(w io.Writer, a scaling.AxisResult) error {
	fmt.Fprintf(w, "%s (first point: %v)\n", a.Name, a.Points[0].Setup)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, a.What+"\tseconds\tattention\texperts\thead\tscoring\tweights\trest\tTFLOP\tGFLOP/s\tshare\tpeak\tplanned\t")
	for _, p := range a.Points {
		lo, hi := math.Inf(1), 0.0
		for _, s := range p.Samples {
			lo, hi = min(lo, s.Seconds), max(hi, s.Seconds)
		}
		s := p.Split
		fmt.Fprintf(t, "%.0f\t%.2f [%.2f, %.2f]\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.3f\t%.1f\t%.0f %%\t%s\t%s\t\n", p.X, p.Seconds, lo, hi,
			s.Attention, s.Experts, s.Head, s.Scoring, s.Weights, s.Rest, float64(p.Work.FLOPs)/1e12, p.Rate/1e9, 100*p.Share, peak(p.Peak), size(p.Work.Planned))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	printGrowth(w, "time", a.Time, func(y float64) string { return fmt.Sprintf("%.3g s", y) })
	printGrowth(w, "peak memory", a.Peak, megabytes)
	printGrowth(w, "planned memory", a.Planned, megabytes)
	_, err := fmt.Fprintln(w)
	return err
}

func megabytes(y float64) string { return fmt.Sprintf("%.3g MB", y/1e6) }

// peak prints bytes, or that the system does not say.
func peak(n int64) string {
	if n == 0 {
		return "-"
	}
	return size(n)
}

func printGrowth(w io.Writer, what string, g *scaling.Growth, unit func(float64) string) {
	if g == nil {
		return
	}
	exponent := fmt.Sprintf("%.3f ± %.3f", g.Power.Exponent, g.Power.Error)
	if math.IsNaN(g.Power.Error) {
		exponent = fmt.Sprintf("%.3f, without an error", g.Power.Exponent)
	}
	sign := "+"
	if g.Line.Slope < 0 {
		sign = "-"
	}
	r2 := "undefined"
	if !math.IsNaN(g.Line.R2) {
		r2 = fmt.Sprintf("%.4f", g.Line.R2)
	}
	fmt.Fprintf(w, "%s grows as x to the %s; line %s %s %s · x, R² %s (%d points)\n",
		what, exponent, unit(g.Line.Intercept), sign, unit(math.Abs(g.Line.Slope)), r2, g.Line.N)
}

// printExtrapolation prints where the time goes, measured and for the whole.
func printExtrapolation(w io.Writer, e *scaling.Extrapolation) error {
	fmt.Fprintf(w, "%s, %d layers, for %s: %d variants, %d tokens each.\n\n", e.Model.Name, e.Model.Layers, e.Of, len(e.Variants), e.Work.Fed)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "compress ratio\tlayers here\tin the whole\ttime as\tattention\texperts\tquantizing\t")
	for _, k := range e.Kinds {
		fmt.Fprintf(t, "%d\t%d\t%d\t%d\t%.2f s\t%.2f s\t%.2f s\t\n", k.Ratio, k.Measured, k.Whole, k.As, k.Attention, k.Experts, k.Weights)
	}
	fmt.Fprintln(t)
	fmt.Fprintln(t, "\tmeasured\twhole model\t")
	for _, x := range []struct {
		what string
		of   func(scaling.Times) float64
	}{
		{"embedding", func(t scaling.Times) float64 { return t.Embedding }},
		{"attention", func(t scaling.Times) float64 { return t.Attention }},
		{"experts", func(t scaling.Times) float64 { return t.Experts }},
		{"output projection", func(t scaling.Times) float64 { return t.Head }},
		{"scoring", func(t scaling.Times) float64 { return t.Scoring }},
		{"quantizing", func(t scaling.Times) float64 { return t.Quantizing }},
		{"reading", func(t scaling.Times) float64 { return t.Reading }},
		{"rest", func(t scaling.Times) float64 { return t.Rest }},
		{"total", func(t scaling.Times) float64 { return t.Total }},
	} {
		fmt.Fprintf(t, "%s\t%.1f s\t%.1f s\t\n", x.what, x.of(e.Measured), x.of(e.Whole))
	}
	fmt.Fprintf(t, "sweep --dry-run\t%.1f s\t%.1f s\t\n", e.Planned.Measured, e.Planned.Whole)
	fmt.Fprintf(t, "ratio to it\t%.2f\t%.2f\t\n", e.Planned.MeasuredRatio, e.Planned.WholeRatio)
	fmt.Fprintf(t, "TFLOP\t%.3f\t%.3f\t\n", float64(e.Work.FLOPs)/1e12, float64(e.WholeWork.FLOPs)/1e12)
	fmt.Fprintf(t, "GFLOP/s\t%.1f\t%.1f\t\n", float64(e.Work.FLOPs)/1e9/e.Measured.Total, float64(e.WholeWork.FLOPs)/1e9/e.Whole.Total)
	fmt.Fprintf(t, "share of a matrix product's\t%.0f %%\t\t\n", 100*e.Share)
	fmt.Fprintf(t, "read\t%s\t%s\t\n", size(e.Work.Source), size(e.WholeWork.Source))
	fmt.Fprintf(t, "memory planned\t%s\t%s\t\n", size(e.Work.Planned), size(e.WholeWork.Planned))
	fmt.Fprintf(t, "memory at most\t%s\t\t\n", peak(e.Peak))
	if err := t.Flush(); err != nil {
		return err
	}
	cache := "from a cold cache"
	if !e.Reading.Cold {
		cache = "as cached"
	}
	fmt.Fprintf(w, "\nReading %s: %.2f GB/s (%s). Assumed:\n", size(e.Reading.Bytes), e.Reading.Rate()/1e9, cache)
	for _, a := range e.Assumptions {
		fmt.Fprintf(w, "- %s\n", a)
	}
	return nil
}
