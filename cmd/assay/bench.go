package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"assay/bench"
	"assay/engine/variant"
	"assay/eval/stat"
	"assay/results"
)

func benchCommand() *cobra.Command {
	plan := bench.Default
	o := &runOptions{speed: &plan, onlyNamed: true}
	var text bool
	c := &cobra.Command{
		Use:   "bench",
		Short: "Time prefill and decode of variants",
		Long: `bench times each variant: prefill of a text's first tokens, then decode of the
next ones, one by one through the cache, with the distribution each time. Every
repetition takes the variants in a new order; the first is not counted. Each is
loaded whole, bf16 only if it is named. Speeds are those of the CPU engine on
this machine, not of Apple silicon.`,
		Example: `  assay bench --variants bf16,g32-n8-e4,g64-n4-e4
  assay bench --variants native --repetitions 10 --text-output | benchstat /dev/stdin
  assay bench scaling --out scaling.json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := plan.Check(); err != nil {
				return codedError{exitUsage, err}
			}
			o.protocol.Window, o.protocol.Windows = plan.Tokens(), 1
			s, err := prepare(o)
			if err != nil {
				return err
			}
			defer s.close()
			s.job.Windows = nil // the text is timed, not scored
			if err := s.run(c.Context(), c.ErrOrStderr()); err != nil {
				return err
			}
			if text {
				return s.ledger.Contents().WriteBench(c.OutOrStdout())
			}
			return printSpeeds(c.OutOrStdout(), s.ledger.Contents(), o.json)
		},
	}
	o.flags(c, strings.Join(append([]string{variant.BF16}, append(variant.Grid(), variant.Native)...), ","))
	speedFlags(c, &plan)
	c.Flags().BoolVar(&text, "text-output", false, "print Go benchmark text, for benchstat")
	c.AddCommand(scalingCommand())
	return c
}

type speedRow struct {
	Name    string        `json:"name"`
	Prefill stat.Estimate `json:"prefill"` // tokens a second
	Decode  stat.Estimate `json:"decode"`
}

func printSpeeds(w io.Writer, c *results.Contents, asJSON bool) error {
	var rows []speedRow
	for _, v := range c.Run.Variants {
		var mine []results.Timing
		for _, t := range c.Timings {
			if t.Variant == v.Name {
				mine = append(mine, t)
			}
		}
		if len(mine) == 0 {
			continue // the reference, unless it was named
		}
		p, d := results.SpeedOf(mine, c.Run)
		rows = append(rows, speedRow{v.Name, p, d})
	}
	if asJSON {
		return printJSON(w, struct {
			Engine   results.Engine `json:"engine"`
			Variants []speedRow     `json:"variants"`
		}{c.Run.Engine, rows})
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "variant\tprefill tok/s\tdecode tok/s\t")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t\n", r.Name, interval(r.Prefill, "%.0f"), interval(r.Decode, "%.1f"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	var told []results.Row
	for _, r := range rows {
		told = append(told, results.Row{Variant: results.Variant{Name: r.Name}, Prefill: r.Prefill, Decode: r.Decode})
	}
	printWarnings(w, told)
	_, err := fmt.Fprintf(w, "%s, %d threads, %s kernels; medians [interval] of %d repetitions. Not Apple-silicon speeds.\n",
		c.Run.Engine.Device, c.Run.Engine.Threads, c.Run.Engine.Kernels, c.Run.Speed.Repetitions)
	return err
}
