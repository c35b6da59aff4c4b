// Package reference decodes a checkpoint as stored to the weights that it
// means: FP8 and FP4 blocks with their scales become BF16, which holds every
// one of their values exactly. Every variant is made of these weights and
// compared to them. Quantizing them again is left to the packages above.
package reference

import (
	"fmt"
	"slices"
	"strings"

	"assay/engine/tensor"
)

const (
	fp8Block = tensor.FP8Block
	fp4Group = tensor.FP4Group
)

// scaleSuffixes are what takes the place of tensor.WeightSuffix in a scale's name:
// the release's own, and that of earlier releases.
var scaleSuffixes = []string{".scale", ".weight_scale_inv"}

// Reference is a checkpoint decoded: a tensor.Source whose names are the
// parameters, without the scales. It serves many goroutines and keeps no
// decoded weight.
type Reference struct {
	src    tensor.Source
	names  []string
	params map[string]param
}

// param is one tensor of the reference and what it is made of.
type param struct {
	tensor.Info // decoded
	native      tensor.Native
	scale       string // name of the scale in the source; "" where plain
}

// New returns the decoded view of src. It reads headers only, and errs unless
// every F8_E4M3 and every I8 tensor is a matrix NAME.weight with its F8_E8M0
// scale NAME.scale, or NAME.weight_scale_inv as earlier releases call it, of
// the right shape, and every scale has its weight:
//
//	F8_E4M3 [out, in]    scale [⌈out/128⌉, ⌈in/128⌉]    FP8, a block of 128 x 128
//	I8      [out, in/2]  scale [out, in/32]             FP4, 32 of a row, in % 32 == 0
//
// Any other tensor passes through as it is, whether or not a model wants it.
func New(src tensor.Source) (*Reference, error) {
	r := &Reference{src: src, params: map[string]param{}}
	scales := map[string]bool{}
	for _, name := range src.Names() {
		info, err := src.Info(name)
		if err != nil {
			return nil, fmt.Errorf("reference: %w", err)
		}
		p, err := r.pair(info)
		switch {
		case err != nil:
			return nil, fmt.Errorf("reference: tensor %q: %w", name, err)
		case p.native != tensor.Plain:
			scales[p.scale] = true
		}
		r.params[name] = p
	}
	for _, name := range src.Names() {
		switch {
		case scales[name]:
			delete(r.params, name)
		case isScale(r.params[name].Info):
			return nil, fmt.Errorf("reference: tensor %q is a scale of no FP8 or FP4 weight", name)
		default:
			r.names = append(r.names, name)
		}
	}
	return r, nil
}

// isScale says whether a tensor can be nothing but a scale.
func isScale(info tensor.Info) bool {
	for _, suffix := range scaleSuffixes {
		if strings.HasSuffix(info.Name, suffix) {
			return true
		}
	}
	return info.DType == tensor.F8E8M0
}

// pair finds the scale of a stored tensor, where it must have one.
func (r *Reference) pair(info tensor.Info) (param, error) {
	p := param{Info: info}
	switch info.DType {
	case tensor.F8E4M3:
		p.native = tensor.FP8
	case tensor.I8:
		p.native = tensor.FP4
	default:
		return p, nil
	}
	base, ok := strings.CutSuffix(info.Name, tensor.WeightSuffix)
	switch {
	case !ok:
		return p, fmt.Errorf("%s without the name of a weight", info.DType)
	case len(info.Shape) != 2:
		return p, fmt.Errorf("shape %v of %s, want a matrix", info.Shape, info.DType)
	}
	scale, err := r.scaleOf(base)
	if err != nil {
		return p, err
	}
	p.scale = scale.Name
	rows, cols := info.Shape[0], info.Shape[1]
	want := []int{blocks(rows, fp8Block), blocks(cols, fp8Block)}
	if p.native == tensor.FP4 {
		cols *= 2
		if cols%fp4Group != 0 {
			return p, fmt.Errorf("rows of %d FP4 weights, want a multiple of %d", cols, fp4Group)
		}
		want = []int{rows, cols / fp4Group}
	}
	if scale.DType != tensor.F8E8M0 || !slices.Equal(scale.Shape, want) {
		return p, fmt.Errorf("scale %q: %s %v, want %s %v", scale.Name, scale.DType, scale.Shape, tensor.F8E8M0, want)
	}
	p.DType, p.Shape = tensor.BF16, []int{rows, cols}
	return p, nil
}

func blocks(n, size int) int { return (n + size - 1) / size }

// scaleOf returns the one scale that base has.
func (r *Reference) scaleOf(base string) (tensor.Info, error) {
	var found []tensor.Info
	for _, suffix := range scaleSuffixes {
		if info, err := r.src.Info(base + suffix); err == nil {
			found = append(found, info)
		}
	}
	switch len(found) {
	case 0:
		return tensor.Info{}, fmt.Errorf("scale %q is missing", base+scaleSuffixes[0])
	case 1:
		return found[0], nil
	}
	return tensor.Info{}, fmt.Errorf("two scales, %q and %q", found[0].Name, found[1].Name)
}

// Names returns the names of all parameters, sorted. The caller must not
// change it.
func (r *Reference) Names() []string { return r.names }

// Info describes a parameter as decoded: BF16 [out, in] for an FP8 or FP4
// weight, as stored for any other. It reads no weight.
func (r *Reference) Info(name string) (tensor.Info, error) {
	p, err := r.param(name)
	return p.Info, err
}

func (r *Reference) param(name string) (param, error) {
	p, ok := r.params[name]
	if !ok {
		return param{}, fmt.Errorf("reference: no tensor %q", name)
	}
	return p, nil
}

// Native returns how the checkpoint stores a parameter. It is Plain for an
// unknown name.
func (r *Reference) Native(name string) tensor.Native { return r.params[name].native }

// Tensor returns a parameter with its values: an FP8 or FP4 weight newly
// allocated as BF16, any other a view of the source. It errs, with row and
// column, on a value that is not finite and on one that BF16 cannot hold: the
// product of a code and its scale from 2^128 on, or finer than 2^-133.
func (r *Reference) Tensor(name string) (tensor.Tensor, error) {
	p, err := r.param(name)
	if err != nil {
		return tensor.Tensor{}, err
	}
	if p.native == tensor.Plain {
		return r.plain(name)
	}
	return r.bf16(p, 0, p.Shape[0])
}

// TensorRows returns the rows [from, to) of a matrix as Tensor would, without
// reading the others. from is a multiple of 128.
func (r *Reference) TensorRows(name string, from, to int) (tensor.Tensor, error) {
	p, err := r.matrix(name, from, to)
	switch {
	case err != nil:
		return tensor.Tensor{}, err
	case p.native == tensor.Plain:
		return r.plainRows(p, from, to)
	}
	return r.bf16(p, from, to)
}

func (r *Reference) bf16(p param, from, to int) (tensor.Tensor, error) {
	out := make([]uint16, (to-from)*p.Shape[1])
	b, err := r.stored(p, from, to)
	if err == nil {
		err = decode(b, out)
	}
	if err != nil {
		return tensor.Tensor{}, err
	}
	info := p.Info
	info.Shape = []int{to - from, p.Shape[1]}
	return tensor.Tensor{Info: info, Data: tensor.Bytes16(out)}, nil
}

// Float32 returns the same values as Tensor, decoded straight to float32, newly
// allocated: [rows·cols] for a matrix. The FP4 code of −0 may come out as 0. It errs as Tensor does, and on a tensor
// that is not floating point.
func (r *Reference) Float32(name string) ([]float32, error) {
	p, err := r.param(name)
	if err != nil {
		return nil, err
	}
	if p.native == tensor.Plain {
		t, err := r.plain(name)
		if err != nil {
			return nil, err
		}
		return t.Float32s()
	}
	return r.float32s(p, 0, p.Shape[0], nil)
}

// Float32Rows is Float32 of the rows [from, to) of a matrix, in dst where that
// has room for them. from is a multiple of 128.
func (r *Reference) Float32Rows(name string, from, to int, dst []float32) ([]float32, error) {
	p, err := r.matrix(name, from, to)
	if err != nil {
		return nil, err
	}
	if p.native == tensor.Plain {
		t, err := r.plainRows(p, from, to)
		if err != nil {
			return nil, err
		}
		return t.AppendFloat32s(dst[:0])
	}
	return r.float32s(p, from, to, dst)
}

func (r *Reference) float32s(p param, from, to int, dst []float32) ([]float32, error) {
	out := slices.Grow(dst[:0], (to-from)*p.Shape[1])[:(to-from)*p.Shape[1]]
	b, err := r.stored(p, from, to)
	if err == nil && !b.decodeVectors(out) {
		err = decode(b, asBits(out))
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// StoredRows returns the rows [from, to) of an FP8 or FP4 weight, and their
// scales, as the source stores them, for a repack that loses nothing. from is a
// multiple of 128. It errs where Native is Plain, and on whatever Tensor errs on.
func (r *Reference) StoredRows(name string, from, to int) (weight, scale []byte, err error) {
	p, err := r.matrix(name, from, to)
	switch {
	case err != nil:
		return nil, nil, err
	case p.native == tensor.Plain:
		return nil, nil, fmt.Errorf("reference: tensor %q: %s has no scale", name, p.DType)
	}
	b, err := r.stored(p, from, to)
	if err == nil {
		err = b.check()
	}
	if err != nil {
		return nil, nil, err
	}
	return b.weight.Data, b.scale.Data, nil
}

// matrix returns a parameter that has the rows [from, to), which begin with a
// block.
func (r *Reference) matrix(name string, from, to int) (param, error) {
	p, err := r.param(name)
	switch {
	case err != nil:
		return p, err
	case len(p.Shape) != 2 || from < 0 || from > to || to > p.Shape[0] || from%fp8Block != 0:
		return p, fmt.Errorf("reference: tensor %q %v has no rows %d to %d that begin with a block", name, p.Shape, from, to)
	}
	return p, nil
}

// streamed is a source that can be told what is read soon and what is not.
type streamed interface {
	Prefetch(name string)
	Release(name string)
}

// Prefetch says that a parameter's stored bytes are needed soon. It does
// something where the source is one that can read ahead.
func (r *Reference) Prefetch(name string) { r.tell(name, streamed.Prefetch) }

// Release says that a parameter's stored bytes are not needed soon. It does
// something where the source is one that can give memory back.
func (r *Reference) Release(name string) { r.tell(name, streamed.Release) }

func (r *Reference) tell(name string, what func(streamed, string)) {
	src, ok := r.src.(streamed)
	if !ok {
		return
	}
	what(src, name)
	if p := r.params[name]; p.native != tensor.Plain {
		what(src, p.scale)
	}
}

// stored reads the rows [from, to) of a weight and their scales.
func (r *Reference) stored(p param, from, to int) (blocked, error) {
	weight, err := r.src.Tensor(p.Name)
	if err != nil {
		return blocked{}, fmt.Errorf("reference: %w", err)
	}
	scale, err := r.src.Tensor(p.scale)
	if err != nil {
		return blocked{}, fmt.Errorf("reference: %w", err)
	}
	rows, cols := p.Shape[0], p.Shape[1]
	width, scales, first, last := cols, blocks(cols, fp8Block), from/fp8Block, blocks(to, fp8Block)
	if p.native == tensor.FP4 {
		width, scales, first, last = cols/2, cols/fp4Group, from, to
	}
	if len(weight.Data) != rows*width {
		return blocked{}, fmt.Errorf("reference: tensor %q: %d bytes, want %d", p.Name, len(weight.Data), rows*width)
	}
	weight.Data, scale.Data = weight.Data[from*width:to*width], scale.Data[first*scales:last*scales]
	return blocked{native: p.native, first: from, rows: to - from, cols: cols, weight: weight, scale: scale}, nil
}

// plain reads a tensor that passes through.
func (r *Reference) plain(name string) (tensor.Tensor, error) {
	t, err := r.src.Tensor(name)
	if err != nil {
		return tensor.Tensor{}, fmt.Errorf("reference: %w", err)
	}
	return t, checkFinite(t, 0)
}

// plainRows reads rows of a matrix that passes through.
func (r *Reference) plainRows(p param, from, to int) (tensor.Tensor, error) {
	t, err := r.src.Tensor(p.Name)
	if err != nil {
		return tensor.Tensor{}, fmt.Errorf("reference: %w", err)
	}
	cols := p.Shape[1]
	t.Shape = []int{to - from, cols}
	t.Data = t.Data[from*cols*p.DType.Size() : to*cols*p.DType.Size()]
	return t, checkFinite(t, from*cols)
}
