package bundle

import (
	"fmt"
	"slices"
	"strings"

	"assay/engine/affine"
	"assay/engine/mx"
	"assay/engine/tensor"
	"assay/engine/variant"
)

// Options say how a variant is laid out.
type Options struct {
	Runtime *Runtime
	// PerExpert stores every expert apart and all tensors in upstream's own
	// spelling, which the runtime renames and stacks when it loads.
	PerExpert bool
	MTP       bool // keep the multi-token-prediction block, which runtimes drop
}

// Layout is a variant as a bundle stores it, decided without a weight.
type Layout struct {
	Options
	Modules []Module // in the model's order
}

// Module is what is stored for one module of the runtime's model: a matrix, a
// stack of experts, or a parameter that is no matrix.
type Module struct {
	Path    string // the module in the runtime, by which config.json gives its format
	Stored  string // what its tensors are called on disk, before .weight and the like
	Stacked bool   // Steps are experts on a first axis
	Steps   []variant.Step
}

// NewLayout lays a plan out. It errs on a parameter that the runtime has no
// name for, and on experts of a stack that are not all there or not alike.
func NewLayout(steps []variant.Step, o Options) (*Layout, error) {
	l := &Layout{Options: o}
	stacks := map[string]int{} // by Path, where in Modules
	for _, s := range steps {
		if s.MTP && !o.MTP {
			continue
		}
		place, err := o.Runtime.Place(s.Name)
		if err != nil {
			return nil, err
		}
		m := Module{Path: place.Module(), Stored: place.Module(), Steps: []variant.Step{s}}
		switch {
		case o.PerExpert:
			m.Stored = strings.TrimSuffix(s.Name, tensor.WeightSuffix)
		case place.Expert >= 0:
			m.Stacked = true
			i, ok := stacks[m.Path]
			if !ok {
				stacks[m.Path] = len(l.Modules)
				break
			}
			if err := l.Modules[i].push(s, place.Expert); err != nil {
				return nil, err
			}
			continue
		}
		if place.Expert > 0 && !o.PerExpert {
			return nil, fmt.Errorf("bundle: %s begins with expert %d, want 0", m.Path, place.Expert)
		}
		l.Modules = append(l.Modules, m)
	}
	return l, l.checkAlike()
}

// push adds an expert to a stack.
func (m *Module) push(s variant.Step, expert int) error {
	if expert != len(m.Steps) {
		return fmt.Errorf("bundle: %s has expert %d where expert %d belongs", m.Path, expert, len(m.Steps))
	}
	m.Steps = append(m.Steps, s)
	return nil
}

// checkAlike errs where modules of one path differ in format or shape: a
// runtime stacks them, and config.json has one format for each.
func (l *Layout) checkAlike() error {
	first := map[string]variant.Step{}
	for _, m := range l.Modules {
		for _, s := range m.Steps {
			f, ok := first[m.Path]
			if !ok {
				first[m.Path] = s
			} else if f.Format != s.Format || !slices.Equal(f.Shape, s.Shape) {
				return fmt.Errorf("bundle: %s: %q is %v %v, %q is %v %v; the experts of a layer have one format",
					m.Path, f.Name, f.Format, f.Shape, s.Name, s.Format, s.Shape)
			}
		}
	}
	return nil
}

// Tensors returns what is stored: weight, scales and biases of a quantized
// module, or one tensor.
func (m Module) Tensors() []tensor.Info { return m.infos(m.Steps[0]) }

func (m Module) infos(s variant.Step) []tensor.Info {
	shape := func(last int) []int {
		dims := []int{s.Shape[0], last}
		if m.Stacked {
			dims = append([]int{len(m.Steps)}, dims...)
		}
		return dims
	}
	info := func(suffix string, d tensor.DType, last int) tensor.Info {
		return tensor.Info{Name: m.Stored + suffix, DType: d, Shape: shape(last)}
	}
	switch f := s.Format.(type) {
	case affine.Format:
		d := tensor.BF16
		if f.F16 {
			d = tensor.F16
		}
		groups := f.GroupsPerRow(s.Shape[1])
		return []tensor.Info{info(".weight", tensor.U32, f.WordsPerRow(s.Shape[1])), info(".scales", d, groups), info(".biases", d, groups)}
	case mx.Format:
		return []tensor.Info{info(".weight", tensor.U32, s.Shape[1]*f.Bits()/32), info(".scales", tensor.U8, s.Shape[1]/mx.GroupSize)}
	}
	one := tensor.Info{Name: m.Stored + strings.TrimPrefix(s.Name, strings.TrimSuffix(s.Name, tensor.WeightSuffix)), DType: s.DType, Shape: s.Shape}
	if m.Stacked {
		one.Shape = shape(s.Shape[1])
	}
	return []tensor.Info{one}
}

// Bytes returns the tensor bytes of the layout.
func (l *Layout) Bytes() int64 {
	var n int64
	for _, m := range l.Modules {
		for _, t := range m.Tensors() {
			n += t.Bytes()
		}
	}
	return n
}

// TotalParameters is what mlx-lm counts: weights, scales and biases left out,
// and all that no leaf module holds.
func (l *Layout) TotalParameters() int64 {
	var n int64
	for _, m := range l.Modules {
		if slices.Contains(l.Runtime.Uncounted, m.Path[strings.LastIndexByte(m.Path, '.')+1:]) {
			continue
		}
		for _, s := range m.Steps {
			n += s.Elements()
		}
	}
	return n
}
