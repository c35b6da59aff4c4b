package bundle

import (
	"fmt"
	"strings"

	"assay/engine/checkpoint"
	"assay/engine/tensor"
	"assay/engine/variant"
)

// Bundle is an opened folder of MLX weights, as found: formats come from the
// shapes, whatever config.json says. It is variant.Weights under upstream's
// names and serves many goroutines.
type Bundle struct {
	ck       *checkpoint.Checkpoint
	runtime  *Runtime
	byName   map[string]located
	steps    []variant.Step
	manifest *Manifest
}

// located is where one parameter is.
type located struct {
	step   variant.Step
	expert int         // index in a stack, or -1
	weight tensor.Info // or the one tensor of what is not quantized
	scales string      // name; "" where not quantized
	biases string      // likewise, and for MX
}

// Open opens a folder for the parameters of a model. It reads headers only. It
// accepts the names of every runtime and upstream's own, with or without
// model. and language_model. before them, experts stacked or apart, matrices
// affine of any width and group, mxfp4, mxfp8, BF16, F16 or F32, and errs on
// anything that is missing, has another shape, is no part of the model, or has a
// format that MLX has not.
// A bundle without the MTP block passes.
func Open(dir string, params []tensor.Param) (*Bundle, error) {
	ck, err := checkpoint.Open(dir)
	if err != nil {
		return nil, err
	}
	b, err := open(ck, params)
	if err != nil {
		ck.Close()
		return nil, fmt.Errorf("bundle: %s: %w", dir, err)
	}
	return b, nil
}

func open(ck *checkpoint.Checkpoint, params []tensor.Param) (*Bundle, error) {
	names, err := plainNames(ck.Names())
	if err != nil {
		return nil, err
	}
	b := &Bundle{ck: ck, byName: map[string]located{}}
	b.manifest, err = readManifest(ck)
	if err != nil {
		return nil, err
	}
	f := finder{ck: ck, names: names}
	if f.runtime, err = family(names, params); err != nil {
		return nil, err
	}
	b.runtime = f.runtime
	if f.experts, err = stackSizes(f.runtime, params); err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, p := range params {
		l, err := f.find(p)
		switch {
		case err != nil && p.MTP && !f.has(p):
			continue
		case err != nil:
			return nil, err
		}
		b.byName[p.Name] = l
		b.steps = append(b.steps, l.step)
		used[l.weight.Name], used[l.scales], used[l.biases] = true, true, true
	}
	for _, n := range ck.Names() {
		if !used[n] {
			return nil, fmt.Errorf("tensor %q is no part of this model, as %s names it", n, f.runtime.Name)
		}
	}
	return b, nil
}

// stackSizes returns how many experts each stack of a runtime holds.
func stackSizes(r *Runtime, params []tensor.Param) (map[string]int, error) {
	out := map[string]int{}
	for _, p := range params {
		place, err := r.Place(p.Name)
		if err != nil {
			return nil, err
		}
		if place.Expert >= 0 {
			out[place.Name]++
		}
	}
	return out, nil
}

// plain returns a name without the prefixes that runtimes put before it.
func plain(name string) string {
	return strings.TrimPrefix(strings.TrimPrefix(name, "language_model."), "model.")
}

// plainNames maps plain names to those in the files.
func plainNames(names []string) (map[string]string, error) {
	out := make(map[string]string, len(names))
	for _, n := range names {
		if other, ok := out[plain(n)]; ok {
			return nil, fmt.Errorf("tensors %q and %q are one parameter under two spellings", other, n)
		}
		out[plain(n)] = n
	}
	return out, nil
}

// family returns the runtime whose names a folder has: that which places most
// parameters on a tensor.
func family(names map[string]string, params []tensor.Param) (*Runtime, error) {
	var best *Runtime
	most := 0
	for _, r := range append(Runtimes(), Upstream) {
		n := 0
		for _, p := range params {
			place, err := r.Place(p.Name)
			if err != nil {
				continue
			}
			if _, ok := names[plain(place.Name)]; ok && !p.MTP {
				n++
			}
		}
		if n > most {
			best, most = r, n
		}
	}
	if best == nil {
		return nil, fmt.Errorf("no tensor has the name of a parameter of this model in any runtime")
	}
	return best, nil
}

// finder looks parameters up in the files.
type finder struct {
	ck      *checkpoint.Checkpoint
	names   map[string]string
	runtime *Runtime
	experts map[string]int // of each stack
}

// has says whether any tensor of a parameter is there.
func (f finder) has(p tensor.Param) bool {
	place, err := f.runtime.Place(p.Name)
	return err == nil && f.names[plain(place.Name)] != ""
}

// find locates a parameter and takes its format from the shapes.
func (f finder) find(p tensor.Param) (located, error) {
	place, err := f.runtime.Place(p.Name)
	if err != nil {
		return located{}, err
	}
	l := located{step: variant.Step{Param: p}, expert: place.Expert}
	name, ok := f.names[plain(place.Name)]
	if !ok {
		return l, fmt.Errorf("no tensor %q, where %s keeps %q", place.Name, f.runtime.Name, p.Name)
	}
	if l.weight, err = f.ck.Info(name); err != nil {
		return l, err
	}
	if n := f.experts[place.Name]; n > 0 && (len(l.weight.Shape) != 3 || l.weight.Shape[0] != n) {
		return l, fmt.Errorf("tensor %q: shape %v, want a stack of %d experts", name, l.weight.Shape, n)
	}
	module := plain(place.Module())
	l.scales, l.biases = f.names[module+".scales"], f.names[module+".biases"]
	switch {
	case l.weight.DType == tensor.F8E4M3 || l.weight.DType == tensor.I8:
		return l, fmt.Errorf("tensor %q is %s, which is upstream's format: this is no MLX bundle but what one is made from", name, l.weight.DType)
	case l.scales != "" && variant.IsMatrix(p):
		err = f.quantized(&l)
	case l.scales != "":
		err = fmt.Errorf("tensor %q is no matrix but has scales", name)
	default:
		err = l.unquantized()
	}
	return l, err
}

// quantized takes the format of a matrix from its tensors.
func (f finder) quantized(l *located) error {
	scales, err := f.ck.Info(l.scales)
	if err != nil {
		return err
	}
	var biases *tensor.Info
	if l.biases != "" {
		info, err := f.ck.Info(l.biases)
		if err != nil {
			return err
		}
		biases = &info
	}
	rows, cols := l.step.Shape[0], l.step.Shape[1]
	format, err := FormatOf(l.weight, scales, biases, cols)
	if err != nil {
		return fmt.Errorf("tensor %q: %w", l.weight.Name, err)
	}
	if got := l.rows(l.weight.Shape); got != rows {
		return fmt.Errorf("tensor %q: %d rows of shape %v for %q, want %d", l.weight.Name, got, l.weight.Shape, l.step.Name, rows)
	}
	l.step.Format, l.step.Bytes = format, tensor.FormatBytes(format, rows, cols)
	return nil
}

// rows returns the rows of one parameter in a tensor of shape, or -1 if it has
// not the dimensions of a matrix or a stack that holds it. wo_a may be stored
// as [groups, rows, cols] of the same bytes.
func (l *located) rows(shape []int) int {
	switch n := len(shape); {
	case n == 2 && l.expert < 0:
		return shape[0]
	case n == 3 && l.expert < 0:
		return shape[0] * shape[1]
	case n == 3:
		return shape[1]
	}
	return -1
}

// unquantized checks a parameter that is stored as it is.
func (l *located) unquantized() error {
	p, w := l.step.Param, l.weight
	want := p.Elements()
	if l.expert >= 0 {
		want *= int64(w.Shape[0])
	}
	if w.Elements() != want || len(w.Shape) == 0 || len(p.Shape) > 0 && w.Shape[len(w.Shape)-1] != p.Shape[len(p.Shape)-1] {
		return fmt.Errorf("tensor %q: shape %v for %v", w.Name, w.Shape, p.Info)
	}
	floats := w.DType == tensor.BF16 || w.DType == tensor.F16 || w.DType == tensor.F32
	if ints := w.DType == tensor.I64 || w.DType == tensor.I32; floats == (p.DType == tensor.I64) || !floats && !ints {
		return fmt.Errorf("tensor %q: %s for %v", w.Name, w.DType, p.Info)
	}
	l.step.Bytes = p.Elements() * int64(w.DType.Size())
	if variant.IsMatrix(p) {
		l.step.Format = tensor.PlainFormat(tensor.F32) // F16 is widened
		if w.DType != tensor.F16 {
			l.step.Format = tensor.PlainFormat(w.DType)
		}
	}
	return nil
}

// Runtime returns whose names the folder has.
func (b *Bundle) Runtime() *Runtime { return b.runtime }

// Manifest returns what assay wrote when it built the folder, or nil.
func (b *Bundle) Manifest() *Manifest { return b.manifest }

// Config returns the bundle's config.json.
func (b *Bundle) Config() []byte { return b.ck.Config() }

// File returns another small file, as checkpoint.Checkpoint.File does.
func (b *Bundle) File(name string) ([]byte, error) { return b.ck.File(name) }

// Close gives the files back. Every matrix and tensor is invalid from then on.
func (b *Bundle) Close() error { return b.ck.Close() }

// Variant returns the bundle as a variant of the model whose config is given.
// It reads all weights once, for their digest.
func (b *Bundle) Variant(name string, config []byte) (*variant.Variant, error) {
	digest, err := b.ck.Digest()
	if err != nil {
		return nil, err
	}
	encoder := ""
	if b.manifest != nil {
		encoder = b.manifest.Encoder
	}
	return variant.NewStored(variant.Stored{Name: name, Config: config, Digest: digest, Steps: b.steps, Encoder: encoder, Weights: b}), nil
}

// Matrix returns a matrix as stored: a view of the file.
func (b *Bundle) Matrix(name string) (*tensor.Matrix, error) {
	l, ok := b.byName[name]
	if !ok || l.step.Format == nil {
		return nil, fmt.Errorf("bundle: no matrix is named %q", name)
	}
	m := &tensor.Matrix{Name: name, Rows: l.step.Shape[0], Cols: l.step.Shape[1], Format: l.step.Format}
	codes, scales, biases := m.Format.Sizes(m.Rows, m.Cols)
	if l.weight.DType == tensor.F16 {
		return m, b.widen(m, l)
	}
	var err error
	if m.Codes, err = b.part(l.weight.Name, l.expert, codes); err != nil {
		return nil, err
	}
	if m.Scales, err = b.part(l.scales, l.expert, scales); err != nil {
		return nil, err
	}
	if biases > 0 {
		m.Biases, err = b.part(l.biases, l.expert, biases)
	}
	return m, err
}

// part returns an expert's share of a tensor, or all of it. size is what the
// parameter takes.
func (b *Bundle) part(name string, expert int, size int64) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	t, err := b.ck.Tensor(name)
	if err != nil {
		return nil, err
	}
	from := int64(max(expert, 0)) * size
	if int64(len(t.Data)) < from+size {
		return nil, fmt.Errorf("bundle: tensor %q: %d bytes, want %d from %d on", name, len(t.Data), size, from)
	}
	return t.Data[from : from+size], nil
}

// widen fills m with the float32 of an F16 matrix, each exactly.
func (b *Bundle) widen(m *tensor.Matrix, l located) error {
	n := l.step.Elements()
	half, err := b.part(l.weight.Name, l.expert, 2*n)
	if err != nil {
		return err
	}
	m.Codes = tensor.F16ToF32Bytes(half)
	return nil
}

// Tensor returns a parameter that is no matrix, in the dtype that the bundle
// stores it in.
func (b *Bundle) Tensor(name string) (tensor.Tensor, error) {
	l, ok := b.byName[name]
	if !ok {
		return tensor.Tensor{}, fmt.Errorf("bundle: no parameter is named %q", name)
	}
	t, err := b.ck.Tensor(l.weight.Name)
	if err != nil {
		return t, err
	}
	t.Name, t.Shape = name, l.step.Shape
	return t, nil
}

var _ variant.Weights = (*Bundle)(nil)
