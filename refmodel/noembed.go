//go:build noembed

// Package refmodel is the model that assay carries; this build left it out.
package refmodel

// Files returns nil: the weights were left out of this build.
func Files() map[string][]byte { return nil }
