package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"assay/engine/cpu"
)

func versionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "version",
		Short:   "Print version, commit and the CPU engine's kernels",
		Example: "  assay version --json",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			t := tool()
			b, err := cpu.New(cpu.Options{})
			if err != nil {
				return err
			}
			defer b.Close()
			d := b.Device()
			if asJSON {
				return printJSON(c.OutOrStdout(), map[string]any{"version": t.Version, "commit": t.Commit, "dirty": t.Dirty,
					"go": runtime.Version(), "cpu": map[string]any{"kernels": d.Kernels, "threads": d.Threads, "device": d.Name}})
			}
			dirty := ""
			if t.Dirty {
				dirty = ", with changes"
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "assay %s, commit %s%s, %s\n%s: %s kernels, %d threads\n",
				t.Version, t.Commit, dirty, runtime.Version(), d.Name, d.Kernels, d.Threads)
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
