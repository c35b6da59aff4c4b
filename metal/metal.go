// Package metal is the backend for Apple GPUs. It has no kernels yet: Load, Pass
// and Head return ErrNotYet, and nothing pretends otherwise. What it knows is
// how much memory a Mac gives its GPU.
package metal

import (
	"context"
	"errors"

	"assay/engine"
	"assay/engine/token"
	"assay/engine/variant"
)

// ErrNotYet is what every use of the Metal engine returns in this version.
var ErrNotYet = errors.New("metal: the Metal engine is not yet part of assay; use the CPU engine")

// Backend is the Metal engine.
type Backend struct{}

// Device names the engine.
func (Backend) Device() engine.Device {
	return engine.Device{Engine: "metal", Name: "Metal (not yet part of assay)"}
}

// Load returns ErrNotYet.
func (Backend) Load(context.Context, *variant.Variant, int) (engine.Model, error) {
	return nil, ErrNotYet
}

// Layout returns ErrNotYet.
func (Backend) Layout(*variant.Variant, []int) (engine.Layout, error) {
	return engine.Layout{}, ErrNotYet
}

// Pass returns ErrNotYet.
func (Backend) Pass(context.Context, *variant.Variant, [][]token.ID) (engine.Pass, error) {
	return nil, ErrNotYet
}

// Head returns ErrNotYet.
func (Backend) Head(context.Context, *variant.Variant) (engine.Head, error) { return nil, ErrNotYet }

var _ engine.Backend = Backend{}
