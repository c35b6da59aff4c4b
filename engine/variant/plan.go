package variant

import (
	"fmt"
	"slices"
	"strings"

	"assay/engine/affine"
	"assay/engine/mx"
	"assay/engine/tensor"
)

// Step is what a recipe does with one parameter.
type Step struct {
	tensor.Param
	Format  tensor.Format  // nil for what is no matrix: norms, biases, tables
	Encoder affine.Encoder // where Format is affine
	Bytes   int64          // stored, scales and biases counted
	values  string         // identifies its values among those of one source
	held    int64          // bytes that Shared holds of it
}

// Plan decides every parameter and reads no weight. It errs on a matrix that
// cannot take the format of its class, and, if Strict,
// on a rule that names no matrix.
func (r Recipe) Plan(params []tensor.Param) ([]Step, error) {
	steps := make([]Step, len(params))
	seen := make([]bool, len(r.Rules))
	for i, p := range params {
		s := Step{Param: p, Bytes: p.Bytes()}
		if IsMatrix(p) {
			c := r.choice(p, seen)
			s.Format, s.Encoder = c.format(p), c.Encoder
			if err := s.check(); err != nil {
				return nil, fmt.Errorf("variant: %s: tensor %q: %w", r.Name, p.Name, err)
			}
			s.Bytes = tensor.FormatBytes(s.Format, p.Shape[0], p.Shape[1])
		}
		s.identify()
		steps[i] = s
	}
	for i, ok := range seen {
		if !ok && r.Strict {
			return nil, fmt.Errorf("variant: %s: rule %d names no matrix of this model: %s", r.Name, i+1, r.Rules[i])
		}
	}
	return steps, nil
}

// check errs where the matrix cannot have its format.
func (s Step) check() error {
	if s.Encoder == affine.Lattice && (s.Class != tensor.RoutedExpert || s.Native == tensor.FP8) {
		return fmt.Errorf("encoder lattice is for routed experts in FP4, this is %s %s", s.Class, s.Native)
	}
	return s.Format.Check(s.Shape[0], s.Shape[1])
}

// IsMatrix says whether a parameter is a matrix that has a format: two
// dimensions of floating point, and no position biases.
func IsMatrix(p tensor.Param) bool {
	return len(p.Shape) == 2 && (p.DType == tensor.BF16 || p.DType == tensor.F32) && p.Class != tensor.Control
}

// format returns the format that the choice means for a matrix.
func (c Choice) format(p tensor.Param) tensor.Format {
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

// Totals is what a plan costs and how it quantizes.
type Totals struct {
	BytesMain     int64 // tensor bytes without the multi-token-prediction block
	BytesTotal    int64 // with it
	BytesPerToken int64 // weight bytes that one decoded token reads in the main model
	Parameters    int64 // of the main model, token tables not counted
	Classes       map[tensor.Class]int64
	// Where all routed experts, and all other quantizable matrices, have one
	// affine format or BF16 (16 bits), and one group size: these. Else 0.
	GroupSize, OtherBits, ExpertBits int
	Encoder                          string // names of the affine encoders in use, "+" between; "" for none
}

// BitsPerWeight returns 8·BytesMain / Parameters.
func (t Totals) BitsPerWeight() float64 { return 8 * float64(t.BytesMain) / float64(t.Parameters) }

// Sum adds up a plan. Classes holds the main model's bytes by class.
func Sum(steps []Step) Totals {
	t := Totals{Classes: map[tensor.Class]int64{}}
	other, expert := &uniform{}, &uniform{}
	var encoders []string
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
		if s.Format == nil || !s.Class.Quantizable() {
			continue
		}
		part := other
		if s.Class == tensor.RoutedExpert {
			part = expert
		}
		part.add(s.Format)
		if _, ok := s.Format.(affine.Format); ok && !slices.Contains(encoders, s.Encoder.String()) {
			encoders = append(encoders, s.Encoder.String())
		}
	}
	slices.Sort(encoders)
	t.Encoder = strings.Join(encoders, "+")
	if g, ok := sharedGroup(other, expert); ok {
		t.GroupSize, t.OtherBits, t.ExpertBits = g, other.bits, expert.bits
	}
	return t
}

// uniform watches whether matrices share bits and group size.
type uniform struct {
	bits, group int // 16 and 0 for BF16; bits is 0 before the first, -1 where mixed
}

func (u *uniform) add(f tensor.Format) {
	bits, group := -1, 0
	switch f := f.(type) {
	case affine.Format:
		bits, group = f.Bits, f.GroupSize
	case tensor.PlainFormat:
		bits = 16
	}
	if u.bits == 0 {
		u.bits, u.group = bits, group
	}
	if u.bits != bits || u.group != group {
		u.bits = -1
	}
}

// sharedGroup returns the one group size of two parts, of which at least one
// is quantized.
func sharedGroup(a, b *uniform) (int, bool) {
	if a.bits <= 0 || b.bits <= 0 || a.group != 0 && b.group != 0 && a.group != b.group {
		return 0, false
	}
	g := max(a.group, b.group)
	return g, g != 0
}
