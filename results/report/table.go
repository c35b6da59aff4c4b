package report

import (
	"math"
	"slices"
	"strings"

	"assay/eval/stat"
	"assay/results"
)

// table is the main table.
type table struct {
	Note    string
	Columns []column
	Rows    []tableRow
}

// column is a heading.
type column struct {
	Name  string
	Note  string // unit, or which way is better
	Title string // the long form, for a tooltip
}

// tableRow is one variant's.
type tableRow struct {
	Name string
	Swatch
	Badge string // "front", or ""
	Cells []cell
}

// cell is a figure. Sort is what it is sorted by, "" of a withheld one, which
// sorts last.
type cell struct {
	Main, Sub string
	Sort      string
	Withheld  bool   // Main says why
	Warning   string // "" where there is none
}

// mainTable returns a row for each variant.
func mainTable(in Input) table {
	run := in.Contents.Run
	t := table{
		Note: "Brackets are 95 % intervals; see Method for those of speeds. “!” marks a warning, told under Method. The table scrolls sideways; a heading sorts it.",
		Columns: []column{
			{"bytes", "lower is better", "Tensor bytes of the main model"},
			{"bits per weight", "", "8 × bytes / parameters of the main model"},
			{"KL to " + run.Protocol.Reference, "nats, lower is better", "Mean KL divergence D(reference ‖ variant) per token"},
			{"perplexity", "lower is better", "exp of the mean NLL"},
			{"ratio to " + run.Protocol.Reference, "perplexities, paired", "exp(ΔNLL)"},
			{"ΔNLL", "nats, paired", "Mean NLL less that of the reference, paired by token"},
			{"top-1 agreement", "%, higher is better", "Share of tokens for which both rank the same token first"},
			{"KL p50", "nats", "Median of the tokens' KL"},
			{"p90", "", "90 % of tokens have at most this KL"},
			{"p99", "", "99 % of tokens have at most this KL"},
			{"p99.9", "", "99.9 % of tokens have at most this KL"},
			{"max", "", "The largest KL of a token"},
			{"prefill", "tok/s, this CPU", "Median over repetitions"},
			{"decode", "tok/s, this CPU", "Median over repetitions"},
			{"read per token", "bytes", "Weight bytes that one decoded token reads"},
			{"non-finite", "tokens", "Tokens without a finite score"},
		},
	}
	digits := klDigits(in.Rows)
	for _, r := range in.Rows {
		row := tableRow{Name: r.Variant.Name, Swatch: swatchOf(r.Variant)}
		if slices.Contains(in.Verdict.Front, r.Variant.Name) {
			row.Badge = "front"
		}
		row.Cells = cellsOf(r, run, digits)
		t.Rows = append(t.Rows, row)
	}
	return t
}

// cellsOf returns a row's cells, in the order of the columns.
func cellsOf(r results.Row, run results.Run, digits int) []cell {
	v, s := r.Variant, r.Summary
	top1 := s.Top1
	top1.Value, top1.Lo, top1.Hi = 100*top1.Value, 100*top1.Lo, 100*top1.Hi
	cells := []cell{
		{Main: decimal(v.BytesMain), Sub: binary(v.BytesMain), Sort: sortKey(float64(v.BytesMain))},
		{Main: number(v.BitsPerWeight, 3), Sort: sortKey(v.BitsPerWeight)},
		estimateCell(s.KL, digits),
		estimateCell(s.Perplexity, 2),
		estimateCell(s.Ratio, 4),
		estimateCell(s.DNLL, 4),
		estimateCell(top1, 2),
	}
	if zeroKL(r) {
		cells[2].Main = "0"
	}
	p := s.KLPercentiles
	for _, x := range []float64{p.P50, p.P90, p.P99, p.P999, p.Max} {
		c := cell{Main: number(x, digitsOf(x, 3)), Sort: sortKey(x)}
		if x == 0 {
			c.Main = "0"
		}
		if !s.KL.Known() {
			c = withheld(s.KL)
		}
		cells = append(cells, c)
	}
	cells = append(cells, speedCell(r.Prefill, run), speedCell(r.Decode, run),
		cell{Main: decimal(v.BytesPerToken), Sub: binary(v.BytesPerToken), Sort: sortKey(float64(v.BytesPerToken))})
	if r.Missing > 0 {
		return append(cells, cell{Main: plural(r.Missing, "window") + " not scored", Withheld: true})
	}
	return append(cells, cell{Main: integer(s.NonFinite), Sort: sortKey(float64(s.NonFinite))})
}

// estimateCell returns a figure with its interval below, or why there is none.
func estimateCell(e stat.Estimate, digits int) cell {
	if !e.Known() {
		return withheld(e)
	}
	c := cell{Main: number(e.Value, digits), Sub: interval(e, digits), Sort: sortKey(e.Value), Warning: strings.Join(e.Warnings, "; ")}
	switch {
	case e.Confidence == 1:
		c.Main, c.Sub = number(e.Value, 0), "by construction"
	case !e.HasInterval() && len(e.Warnings) > 0:
		c.Sub, c.Warning = e.Warnings[0], ""
	case !e.HasInterval():
		c.Sub = "no interval"
	case e.Lo == e.Hi:
		c.Sub = "in every window"
		if e.Value == math.Trunc(e.Value) {
			c.Main = number(e.Value, 0)
		}
	}
	return c
}

// speedCell returns a speed, or why there is none.
func speedCell(e stat.Estimate, run results.Run) cell {
	if run.Speed == nil {
		return cell{Main: "not measured", Withheld: true}
	}
	return estimateCell(e, digitsOf(e.Value, 3))
}

// withheld returns the cell of a figure that cannot be given.
func withheld(e stat.Estimate) cell {
	why := "unknown"
	if len(e.Warnings) > 0 {
		why = e.Warnings[0]
	}
	return cell{Main: why, Withheld: true}
}
