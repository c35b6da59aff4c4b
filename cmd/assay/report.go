package main

import (
	"assay/results"
)

func writeReport(path string, c *results.Contents, rows []results.Row) error { return nil }
