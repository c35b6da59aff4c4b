package main

import (
	"github.com/spf13/cobra"

	"assay/results"
)

func writeReport(path string, c *results.Contents, rows []results.Row) error { return nil }

func reportCommand() *cobra.Command { return nil }
