package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"

	"assay/eval/stat"
	"assay/results"
)

// printTable prints a run's figures for people.
func printTable(w io.Writer, c *results.Contents, rows []results.Row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := "variant\tsize\tbits/weight\tKL to bf16 (nats)\tperplexity\tratio to bf16\ttop-1\t"
	if c.Run.Speed != nil {
		head += "prefill tok/s\tdecode tok/s\t"
	}
	fmt.Fprintln(t, head)
	for _, r := range rows {
		s := r.Summary
		fmt.Fprintf(t, "%s\t%s\t%.3f\t%s\t%s\t%s\t%s\t", r.Variant.Name, size(r.Variant.BytesMain), r.Variant.BitsPerWeight,
			interval(s.KL, "%.5f"), interval(s.Perplexity, "%.3f"), interval(s.Ratio, "%.4f"), interval(s.Top1, "%.4f"))
		if c.Run.Speed != nil {
			fmt.Fprintf(t, "%s\t%s\t", interval(r.Prefill, "%.0f"), interval(r.Decode, "%.1f"))
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	n := rows[0].Summary
	fmt.Fprintf(w, "%d tokens scored in %d windows of %d; [95%% interval, windows as samples]; %s.\n",
		n.Scored, n.Windows, c.Run.Protocol.Window, c.Run.Engine.Device)
	if c.Run.Speed != nil {
		fmt.Fprintln(w, "Speeds are medians [interval] of repetitions "+speedOf(c.Run.Engine.Name))
	}
	printWarnings(w, rows)
	return nil
}

// printWarnings prints each warning once, with the variants that have it.
func printWarnings(w io.Writer, rows []results.Row) {
	var order []string
	names := map[string][]string{}
	for _, r := range rows {
		s := r.Summary
		seen := map[string]bool{}
		for _, f := range []struct {
			what string
			e    stat.Estimate
		}{{"KL", s.KL}, {"perplexity", s.Perplexity}, {"ratio", s.Ratio}, {"top-1", s.Top1}, {"prefill", r.Prefill}, {"decode", r.Decode}} {
			for _, warning := range f.e.Warnings {
				text := f.what + ": " + warning
				if seen[text] || !f.e.Known() && f.e.N == 0 {
					continue
				}
				seen[text] = true
				if names[text] == nil {
					order = append(order, text)
				}
				names[text] = append(names[text], r.Variant.Name)
			}
		}
	}
	for _, text := range order {
		who := strings.Join(names[text], ", ")
		if len(names[text]) == len(rows) && len(rows) > 1 {
			who = "all"
		}
		fmt.Fprintf(w, "warning, %s (%s)\n", text, who)
	}
}

// size prints bytes as people compare them.
func size(n int64) string {
	if n < 1e9 {
		return fmt.Sprintf("%.2f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.2f GB", float64(n)/1e9)
}

func gibibytes(n int64) string { return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30)) }

func interval(e stat.Estimate, format string) string {
	switch {
	case !e.Known():
		return "unknown"
	case math.Abs(e.Value) >= 1e9:
		return fmt.Sprintf("%.4g", e.Value)
	case !e.HasInterval() || e.Lo == e.Hi:
		return fmt.Sprintf(format, e.Value)
	}
	return fmt.Sprintf(format+" ["+format+", "+format+"]", e.Value, e.Lo, e.Hi)
}

// evalJSON is what eval --json and sweep --json print.
type evalJSON struct {
	Reference string           `json:"reference"`
	Protocol  results.Protocol `json:"protocol"`
	Variants  []evalRow        `json:"variants"`
}

type evalRow struct {
	Name       string         `json:"name"`
	Scored     int            `json:"scored"`
	Windows    int            `json:"windows"`
	NonFinite  int            `json:"nonfinite"`
	NLL        stat.Estimate  `json:"nll"`
	Perplexity stat.Estimate  `json:"perplexity"`
	DNLL       stat.Estimate  `json:"dnll"`
	Ratio      stat.Estimate  `json:"ratio"`
	KL         stat.Estimate  `json:"kl"`
	Top1       stat.Estimate  `json:"top1"`
	Bytes      int64          `json:"bytes_main"`
	Prefill    *stat.Estimate `json:"prefill,omitempty"` // tokens a second
	Decode     *stat.Estimate `json:"decode,omitempty"`
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func printTableJSON(w io.Writer, c *results.Contents, rows []results.Row) error {
	out := evalJSON{Reference: c.Run.Protocol.Reference, Protocol: c.Run.Protocol}
	for _, r := range rows {
		s := r.Summary
		row := evalRow{Name: r.Variant.Name, Scored: s.Scored, Windows: s.Windows, NonFinite: s.NonFinite,
			NLL: s.NLL, Perplexity: s.Perplexity, DNLL: s.DNLL, Ratio: s.Ratio, KL: s.KL, Top1: s.Top1, Bytes: r.Variant.BytesMain}
		if c.Run.Speed != nil {
			row.Prefill, row.Decode = &r.Prefill, &r.Decode
		}
		out.Variants = append(out.Variants, row)
	}
	return printJSON(w, out)
}

// nonFinite is the error of a run in which a token had no finite score.
func nonFinite(rows []results.Row) error {
	for _, r := range rows {
		if r.Summary.NonFinite > 0 {
			return codedError{exitNonFinite, fmt.Errorf("%s: %d of %d tokens have no finite score", r.Variant.Name, r.Summary.NonFinite, r.Summary.Scored)}
		}
	}
	return nil
}
