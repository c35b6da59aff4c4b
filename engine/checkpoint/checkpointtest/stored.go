// Package checkpointtest makes small checkpoints for tests: seeded weights in
// the layout of the release, whole folders of them, headers without weights,
// and files that no reader should accept. It knows no model: the parameters
// are the caller's. Only tests import it.
package checkpointtest

import (
	_ "embed"

	"assay/engine/tensor"
)

//go:embed tiny.json
var tinyConfig string

// TinyConfig returns the config.json of a model small enough for a unit test,
// in which every kind of layer occurs: seven main layers (sliding window, CSA,
// HCA, the first three hash-routed) and an MTP block.
// Source: the DeepSeek-V4 specification, section 7.2.
func TinyConfig() []byte { return []byte(tinyConfig) }

// Stored returns the tensors that a checkpoint stores for params, in their
// order: a parameter that is FP8 or FP4 becomes its codes and, after them, its
// E8M0 scales.
func Stored(params []tensor.Param) []tensor.Info {
	var out []tensor.Info
	for _, p := range params {
		out = append(out, p.Stored()...)
	}
	return out
}
