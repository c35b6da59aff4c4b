package suite

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"assay/engine/dsv4"
	"assay/engine/dsv4/dsv4test"
	"assay/engine/tensor"
	"assay/engine/token"
	"assay/engine/variant"
	"assay/metal"
	"assay/metal/host"
	"assay/metal/host/dry"
	"assay/metal/kernels"
)

// blank is the weights of a plan as zeros, all of one memory, for a device that
// runs nothing.
type blank struct {
	steps map[string]variant.Step
	room  []byte
}

func newBlank(config []byte, r variant.Recipe) (*blank, *dsv4.Config, error) {
	c, err := dsv4.ParseConfig(config)
	if err != nil {
		return nil, nil, err
	}
	steps, err := r.Plan(dsv4.Params(c))
	if err != nil {
		return nil, nil, err
	}
	b := &blank{steps: map[string]variant.Step{}}
	most := int64(0)
	for _, s := range steps {
		b.steps[s.Name] = s
		most = max(most, s.Bytes, s.Param.Bytes())
	}
	b.room = make([]byte, most) // never touched: pages that nobody writes take no memory
	return b, c, nil
}

// Matrix returns a matrix of zeros in its format.
func (b *blank) Matrix(name string) (*tensor.Matrix, error) {
	s, ok := b.steps[name]
	if !ok || s.Format == nil {
		return nil, fmt.Errorf("suite: no matrix %q", name)
	}
	m := &tensor.Matrix{Name: name, Rows: s.Shape[0], Cols: s.Shape[1], Format: s.Format}
	codes, scales, biases := s.Format.Sizes(m.Rows, m.Cols)
	m.Codes, m.Scales, m.Biases = b.room[:codes], b.room[:scales], b.room[:biases]
	return m, nil
}

// Tensor returns zeros.
func (b *blank) Tensor(name string) (tensor.Tensor, error) {
	s, ok := b.steps[name]
	if !ok {
		return tensor.Tensor{}, fmt.Errorf("suite: no tensor %q", name)
	}
	return tensor.Tensor{Info: s.Info, Data: b.room[:s.Param.Bytes()]}, nil
}

// Trace runs a model of a config without weights or device: fed as chunks say,
// a chunk of one token decoded. It returns the dispatches of the last chunk, and
// every kernel by host name.
func Trace(config []byte, recipe, activations string, sim bool, chunks []int) ([]host.Dispatch, map[string]kernels.Instance, error) {
	r, err := variant.Parse(recipe)
	if err != nil {
		return nil, nil, err
	}
	w, c, err := newBlank(config, r)
	if err != nil {
		return nil, nil, err
	}
	dev := dry.New()
	b, err := metal.New(dev, metal.Options{Activations: activations, Model: dsv4.Options{KVSim: sim}})
	if err != nil {
		return nil, nil, err
	}
	ops, err := b.Ops(c)
	if err != nil {
		return nil, nil, err
	}
	total := 0
	for _, n := range chunks {
		total += n
	}
	m, err := dsv4.Load(context.Background(), ops, c, w, total)
	if err != nil {
		return nil, nil, err
	}
	s, err := m.NewSession()
	if err != nil {
		return nil, nil, err
	}
	for _, n := range chunks {
		dev.Reset()
		if _, err := dsv4test.Feed(context.Background(), s, make([]token.ID, n), []int{n}); err != nil {
			return nil, nil, err
		}
	}
	return dev.Dispatches, metal.Asked(ops), s.Close()
}

// traced are the ways to run a model that between them use every kernel of it:
// one token, few, a tile, and many.
var traced = []int{600, 1, 2, 3, 4, 5, 6, 7, 8, 12, 24, 48, 1, 1, 1}

// Instances are the kernels that V4-Flash's layers ask for in the recipes of the
// default sweep, with every activation.
func Instances() ([]kernels.Instance, error) {
	config, err := dsv4.Select(dsv4.FlashConfig(), []int{0, 2, 3, 42})
	if err != nil {
		return nil, err
	}
	seen := map[string]kernels.Instance{kernels.Copy().Name(): kernels.Copy()}
	for _, recipe := range Recipes() {
		for _, a := range metal.Activations {
			_, asked, err := Trace(config, recipe, a, false, traced)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", recipe, a, err)
			}
			maps.Copy(seen, asked)
		}
	}
	var all []kernels.Instance
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		all = append(all, seen[name])
	}
	return all, nil
}

// Recipes are the variants of the default sweep.
func Recipes() []string {
	all := []string{variant.BF16, variant.Native}
	for _, g := range []int{32, 64, 128} {
		for _, n := range []int{8, 6, 4} {
			for _, e := range []int{4, 3} {
				all = append(all, fmt.Sprintf("g%d-n%d-e%d", g, n, e))
			}
		}
	}
	return all
}
