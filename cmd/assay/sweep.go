package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"assay/bench"
	"assay/engine/variant"
)

// sweepWindows is the default windows of each text.
const sweepWindows = 4

func sweepCommand() *cobra.Command {
	o := &runOptions{}
	plan := bench.Default
	var noSpeed, dry bool
	c := &cobra.Command{
		Use:   "sweep --out DIR",
		Short: "Score and time variants, and render the report",
		Long: `sweep scores bf16 and every variant on the same held-out windows, times prefill
and decode, and writes DIR/ledger.jsonl (every figure, for good) and
DIR/report.html (one offline file). A sweep that was stopped goes on where it
was when the same command runs again.`,
		Example: `  assay sweep --out sweep-out
  assay sweep --out quick --variants g32-n8-e4,g64-n8-e4,native --windows 1 --no-speed
  assay sweep --out mine --model /path/to/checkpoint --text book.txt --window 4096 --memory 24GB
  assay sweep --dry-run --model deepseek-v4-flash --windows 8`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if dry {
				return planSweep(c, o)
			}
			if o.out == "" {
				return usage("sweep needs --out DIR; see assay sweep --help")
			}
			if !noSpeed {
				o.speed = &plan
			}
			return runSweep(c, o)
		},
	}
	o.flags(c, strings.Join(append(variant.Grid(), variant.Native), ","))
	o.protocolFlags(c, sweepWindows)
	speedFlags(c, &plan)
	c.Flags().BoolVar(&noSpeed, "no-speed", false, "leave the timings out")
	c.Flags().BoolVar(&dry, "dry-run", false, "print bytes, memory, FLOP and time that it would take, here and on an M3 Ultra; any config will do")
	return c
}

func runSweep(c *cobra.Command, o *runOptions) error {
	s, rows, err := table(c, o)
	if err != nil {
		return err
	}
	defer s.close()
	page := filepath.Join(o.out, "report.html")
	if err := writeReport(page, s.ledger.Contents(), rows); err != nil {
		return err
	}
	err = s.print(c.OutOrStdout(), rows)
	if !o.json {
		fmt.Fprintf(c.OutOrStdout(), "report: %s\n", page)
	}
	return err
}
