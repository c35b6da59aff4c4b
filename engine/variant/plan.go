package variant

import (
	"fmt"

	"assay/engine/affine"
	"assay/engine/mx"
	"assay/engine/tensor"
)

// Step is what a recipe does with one parameter.
type Step struct {
	tensor.Param
	Format tensor.Format // nil for what is no matrix: norms, biases, tables
	Bytes  int64         // stored, scales and biases counted
}

// Plan decides every parameter and reads no weight. It errs on a matrix that
// cannot take the format of its class.
func (r Recipe) Plan(params []tensor.Param) ([]Step, error) {
	steps := make([]Step, len(params))
	for i, p := range params {
		s := Step{Param: p, Bytes: p.Bytes()}
		if f := r.format(p); f != nil {
			if err := f.Check(p.Shape[0], p.Shape[1]); err != nil {
				return nil, fmt.Errorf("variant: %s: tensor %q: %w", r.Name, p.Name, err)
			}
			s.Format = f
			s.Bytes = tensor.FormatBytes(f, p.Shape[0], p.Shape[1])
		}
		steps[i] = s
	}
	return steps, nil
}

// format returns a parameter's format, or nil if it is no matrix.
func (r Recipe) format(p tensor.Param) tensor.Format {
	if len(p.Shape) != 2 || p.DType != tensor.BF16 && p.DType != tensor.F32 || p.Class == tensor.Control {
		return nil
	}
	c := r.choice(p.Class)
	switch {
	case c.Native && p.Native == tensor.FP4:
		return mx.FP4
	case c.Native && p.Native == tensor.FP8:
		return mx.FP8
	case c.Affine.Bits != 0:
		return affine.Format{Params: c.Affine}
	}
	return tensor.PlainFormat(p.DType)
}

// Totals is what a plan costs.
type Totals struct {
	BytesMain     int64 // tensor bytes without the multi-token-prediction block
	BytesTotal    int64 // with it
	BytesPerToken int64 // weight bytes that one decoded token reads in the main model
	Parameters    int64 // of the main model, token tables not counted
	Classes       map[tensor.Class]int64
}

// BitsPerWeight returns 8·BytesMain / Parameters.
func (t Totals) BitsPerWeight() float64 { return 8 * float64(t.BytesMain) / float64(t.Parameters) }

// Sum adds up a plan. Classes holds the main model's bytes by class.
func Sum(steps []Step) Totals {
	t := Totals{Classes: map[tensor.Class]int64{}}
	for _, s := range steps {
		t.BytesTotal += s.Bytes
		if s.MTP {
			continue
		}
		t.BytesMain += s.Bytes
		t.BytesPerToken += s.Bytes * s.Reads[0] / s.Reads[1]
		t.Classes[s.Class] += s.Bytes
		if s.DType != tensor.I64 {
			t.Parameters += s.Elements()
		}
	}
	return t
}
