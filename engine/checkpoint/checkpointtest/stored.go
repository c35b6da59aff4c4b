// Package checkpointtest makes small checkpoints for tests: seeded weights in
// the layout of the release, whole folders of them, headers without weights,
// and files that no reader should accept. It knows no model: the parameters
// are the caller's. Only tests import it.
package checkpointtest

import (
	_ "embed"
	"strings"

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
		weight, scale := p.Info, tensor.Info{Name: strings.TrimSuffix(p.Name, ".weight") + ".scale", DType: tensor.F8E8M0}
		switch p.Native {
		case tensor.Plain:
			out = append(out, weight)
			continue
		case tensor.FP8:
			weight.DType = tensor.F8E4M3
			scale.Shape = []int{(p.Shape[0] + 127) / 128, (p.Shape[1] + 127) / 128}
		case tensor.FP4:
			weight.DType = tensor.I8
			weight.Shape = []int{p.Shape[0], p.Shape[1] / 2}
			scale.Shape = []int{p.Shape[0], p.Shape[1] / 32}
		}
		out = append(out, weight, scale)
	}
	return out
}
