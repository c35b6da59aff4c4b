package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"assay/metal"
	"assay/results"
	"assay/results/report"
)

// reportDepth is the tokens of cache that a variant must leave room for where
// the report says what fits a Mac.
const reportDepth = 8192

func reportCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "report LEDGER --out FILE.html",
		Short: "Render the report again from a ledger",
		Long: `report renders the page of a sweep from its ledger alone: one HTML file that works
offline. The same ledger gives the same bytes. A ledger of a sweep under way is
rendered as far as it has come, once the reference is scored.`,
		Example: `  assay report sweep-out/ledger.jsonl --out report.html`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("report takes one ledger, got %d arguments; see assay report --help", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if out == "" {
				return usage("report needs --out FILE.html; see assay report --help")
			}
			contents, err := results.Read(args[0])
			if err != nil {
				return err
			}
			rows, err := results.Table(contents)
			if err != nil {
				return err
			}
			if err := writeReport(out, contents, rows); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "report: %s\n", out)
			return err
		},
	}
	c.Flags().StringVar(&out, "out", "", "the page to write")
	return c
}

// writeReport writes the page at path, whole or not at all.
func writeReport(path string, c *results.Contents, rows []results.Row) (err error) {
	cache, known := c.Run.Model.CacheBytes[strconv.Itoa(reportDepth)]
	beside := cache + c.Run.Model.ScratchBytes
	fits := func(bytesMain int64, macGB int) bool { return bytesMain+beside <= metal.DefaultLimit(macGB) }
	v, err := results.Judge(rows, metal.MacGB, fits)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".report-*.html")
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriterSize(f, 1<<16)
	if err = report.Write(w, report.Input{Contents: c, Rows: rows, Verdict: v, FitRule: fitRule(beside, known)}); err != nil {
		return err
	}
	if err = w.Flush(); err != nil {
		return err
	}
	if err = f.Chmod(0o644); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// fitRule says what writeReport asks of a variant that fits: that its weights
// leave room for what a sequence takes beside them.
func fitRule(beside int64, known bool) string {
	const gb = 128
	share := 100 * metal.DefaultLimit(gb) / (gb << 30)
	depth := fmt.Sprintf("%d,%03d", reportDepth/1000, reportDepth%1000)
	with := fmt.Sprintf("with the KV cache of %s tokens and scratch (%s)", depth, size(beside))
	if !known {
		with = fmt.Sprintf("alone (the ledger records no KV cache of %s tokens)", depth)
	}
	return fmt.Sprintf("weights %s within the GPU's default limit, %d %% of memory as reported", with, share)
}
