package metal

import (
	"errors"
	"fmt"
	"math"
	"unsafe"

	"assay/engine/affine"
	"assay/engine/dsv4"
	"assay/engine/mx"
	"assay/engine/page"
	"assay/engine/tensor"
	"assay/metal/host"
	"assay/metal/kernels"
)

// span is bytes of a buffer: of one that the heap gave, or of one that is mapped
// over a file's pages.
type span struct {
	block *block // nil where it is mapped
	buf   host.Buffer
	at    int64
	len   int64
}

// weights is what every loaded weight is: spans of device memory.
type weights struct{ spans []span }

// Bytes returns the bytes of the spans.
func (w *weights) Bytes() int64 {
	var n int64
	for _, s := range w.spans {
		n += s.len
	}
	return n
}

// matrix is a weight matrix [rows, cols] in its stored format, or one of a stack.
type matrix struct {
	weights
	name                  string
	rows, cols            int
	format                kernels.Format
	codes, scales, biases span // scales and biases are empty where the format has none
	control               span // of an mHC step, beside its matrix from the first use on
	// Where no buffer holds all rows, parts do, each rows of its own from first on.
	parts []*matrix
	first int
}

// pieces are the parts of m, or m itself.
func (m *matrix) pieces() []*matrix {
	if len(m.parts) > 0 {
		return m.parts
	}
	return []*matrix{m}
}

// stack is equal matrices one after another, the routed experts' gate, up or
// down projections; the matrix has the rows of one.
type stack struct {
	matrix
	n int
}

// experts is one layer's routed experts.
type experts struct{ w1, w3, w2 *stack }

// Bytes returns the bytes of all experts.
func (e *experts) Bytes() int64 { return e.w1.Bytes() + e.w3.Bytes() + e.w2.Bytes() }

// vector is float32, table is int32.
type (
	vector struct {
		weights
		array
	}
	table struct {
		weights
		array
	}
)

// rope holds cosines, then sines, [positions, half] each.
type rope struct {
	weights
	cos, sin  array
	half      int
	positions int
}

// mapAlign is where a tensor must begin in memory to be read where it is: kernels
// load 16 bytes at once.
const mapAlign = 16

// share maps data where it lies, if it is one run of a mapped file that suits the
// kernels' loads and the device. Else it returns an empty span.
func (o *ops) share(data [][]byte) (span, error) {
	run := data[0]
	for _, d := range data[1:] {
		if len(d) == 0 || unsafe.Add(unsafe.Pointer(unsafe.SliceData(run)), len(run)) != unsafe.Pointer(unsafe.SliceData(d)) {
			return span{}, nil
		}
		run = unsafe.Slice(unsafe.SliceData(run), len(run)+len(d))
	}
	pages, ok := page.Around(run)
	if !ok || uintptr(unsafe.Pointer(unsafe.SliceData(run)))%mapAlign != 0 || int64(len(pages)) > o.dev.Info().Limits.MaxBuffer {
		return span{}, nil
	}
	buf, err := o.dev.Map(pages)
	switch {
	case errors.Is(err, host.ErrNoMap):
		return span{}, nil
	case err != nil:
		return span{}, err
	}
	at := int64(uintptr(unsafe.Pointer(unsafe.SliceData(run))) - uintptr(unsafe.Pointer(unsafe.SliceData(pages))))
	return span{buf: buf, at: at, len: int64(len(run))}, nil
}

// store puts the parts of data, one after another, where the device reads them:
// where they are, or a copy.
func (o *ops) store(w *weights, data ...[]byte) (span, error) {
	var n int64
	for _, d := range data {
		n += int64(len(d))
	}
	if n == 0 {
		return span{}, nil
	}
	if s, err := o.share(data); err != nil || s.buf != nil {
		if err == nil {
			w.spans = append(w.spans, s)
		}
		return s, err
	}
	b, at, err := o.heap.alloc(n, false)
	if err != nil {
		return span{}, err
	}
	s := span{block: b, buf: b.buf, at: at, len: n}
	w.spans = append(w.spans, s)
	for _, d := range data {
		if err := b.buf.Write(at, d); err != nil {
			return span{}, err
		}
		at += int64(len(d))
	}
	return s, nil
}

// Unload gives back a weight's memory once nothing runs.
func (o *ops) Unload(w dsv4.Weight) {
	if err := o.wait(); err != nil {
		o.fail("%w", err)
	}
	for _, s := range spansOf(w) {
		if s.block == nil {
			s.buf.Free()
		} else {
			o.heap.release(s.block, s.at, s.len)
		}
	}
}

func spansOf(w dsv4.Weight) []span {
	switch w := w.(type) {
	case *matrix:
		return w.spans
	case *experts:
		return append(append(append([]span(nil), w.w1.spans...), w.w3.spans...), w.w2.spans...)
	case *vector:
		return w.spans
	case *table:
		return w.spans
	case *rope:
		return w.spans
	}
	panic(fmt.Sprintf("metal: a weight of type %T", w)) // nothing else is ever loaded
}

// format is how kernels name a matrix's format.
func format(m *tensor.Matrix) (kernels.Format, error) {
	switch f := m.Format.(type) {
	case affine.Format:
		return kernels.Format{Kind: kernels.Affine, Bits: f.Bits, Group: f.GroupSize, F16: f.F16}, nil
	case mx.Format:
		if f == mx.FP8 {
			return kernels.Format{Kind: kernels.MXFP8, Bits: 8, Group: 32}, nil
		}
		return kernels.Format{Kind: kernels.MXFP4, Bits: 4, Group: 32}, nil
	case tensor.PlainFormat:
		if tensor.DType(f) == tensor.F32 {
			return kernels.Format{Kind: kernels.F32, Bits: 32}, nil
		}
		return kernels.Format{Kind: kernels.BF16, Bits: 16}, nil
	}
	return kernels.Format{}, fmt.Errorf("metal: tensor %q: the Metal engine has no kernel for %s", m.Name, m.Format)
}

// Load copies m as it is stored.
func (o *ops) Load(m *tensor.Matrix) (dsv4.Weight, error) {
	if most := o.dev.Info().Limits.MaxBuffer; int64(len(m.Codes)) > most {
		return o.loadParts(m, most)
	}
	s, err := o.load([]*tensor.Matrix{m})
	if err != nil {
		return nil, err
	}
	return &s.matrix, nil
}

// loadParts cuts a matrix into runs of rows that buffers hold.
func (o *ops) loadParts(m *tensor.Matrix, most int64) (dsv4.Weight, error) {
	if err := m.Check(); err != nil {
		return nil, err
	}
	row := int64(len(m.Codes) / m.Rows)
	each := int(most / row)
	if each == 0 {
		return nil, fmt.Errorf("metal: tensor %q: a row takes %d bytes, the device's largest buffer has %d", m.Name, row, most)
	}
	f, err := format(m)
	if err != nil {
		return nil, err
	}
	all := &matrix{name: m.Name, rows: m.Rows, cols: m.Cols, format: f}
	for from := 0; from < m.Rows; from += each {
		to := min(from+each, m.Rows)
		cut := func(b []byte) []byte { return b[len(b)/m.Rows*from : len(b)/m.Rows*to] }
		s, err := o.load([]*tensor.Matrix{{Name: m.Name, Rows: to - from, Cols: m.Cols, Format: m.Format,
			Codes: cut(m.Codes), Scales: cut(m.Scales), Biases: cut(m.Biases)}})
		if err != nil {
			return nil, err
		}
		s.matrix.first = from
		all.parts = append(all.parts, &s.matrix)
		all.spans = append(all.spans, s.spans...)
	}
	return all, nil
}

// load stacks matrices of one shape and format.
func (o *ops) load(all []*tensor.Matrix) (*stack, error) {
	first := all[0]
	s := &stack{n: len(all)}
	s.name, s.rows, s.cols = first.Name, first.Rows, first.Cols
	var err error
	if s.format, err = format(first); err != nil {
		return nil, err
	}
	var codes, scales, biases [][]byte
	for _, m := range all {
		if err := m.Check(); err != nil {
			return nil, err
		}
		if m.Rows != s.rows || m.Cols != s.cols || m.Format != first.Format {
			return nil, fmt.Errorf("metal: tensor %q: %s [%d, %d] in a stack of %s [%d, %d]", m.Name, m.Format, m.Rows, m.Cols, first.Format, s.rows, s.cols)
		}
		codes, scales, biases = append(codes, m.Codes), append(scales, m.Scales), append(biases, m.Biases)
	}
	if s.cols%16 != 0 {
		return nil, fmt.Errorf("metal: tensor %q: %d columns, want a multiple of 16", s.name, s.cols)
	}
	for dst, src := range map[*span][][]byte{&s.codes: codes, &s.scales: scales, &s.biases: biases} {
		if *dst, err = o.store(&s.weights, src...); err != nil {
			return nil, fmt.Errorf("metal: tensor %q: %w", s.name, err)
		}
	}
	return s, nil
}

// LoadVector copies v.
func (o *ops) LoadVector(_ string, v []float32) (dsv4.Weight, error) {
	w := &vector{}
	s, err := o.store(&w.weights, kernels.SliceBytes(v))
	w.array = array{buf: s.buf, at: s.at, n: len(v)}
	return w, err
}

// LoadTable copies v.
func (o *ops) LoadTable(_ string, v []int32) (dsv4.Weight, error) {
	w := &table{}
	s, err := o.store(&w.weights, kernels.SliceBytes(v))
	w.array = array{buf: s.buf, at: s.at, n: len(v)}
	return w, err
}

// LoadExperts stacks each projection of all experts.
func (o *ops) LoadExperts(e []dsv4.ExpertMatrices) (dsv4.Weight, error) {
	var parts [3][]*tensor.Matrix
	for _, x := range e {
		for i, m := range []*tensor.Matrix{x.W1, x.W3, x.W2} {
			parts[i] = append(parts[i], m)
		}
	}
	w := &experts{}
	var err error
	for i, dst := range []**stack{&w.w1, &w.w3, &w.w2} {
		if *dst, err = o.load(parts[i]); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// LoadRope makes both tables on the host: angle = float32(p)·f_i, rounded to
// float32.
func (o *ops) LoadRope(f []float32, n int) (dsv4.Weight, error) {
	r := &rope{half: len(f), positions: n}
	cos, sin := make([]float32, n*len(f)), make([]float32, n*len(f))
	for p := range n {
		for i, freq := range f {
			s, c := math.Sincos(float64(float32(p) * freq))
			cos[p*len(f)+i], sin[p*len(f)+i] = float32(c), float32(s)
		}
	}
	for dst, v := range map[*array][]float32{&r.cos: cos, &r.sin: sin} {
		s, err := o.store(&r.weights, kernels.SliceBytes(v))
		if err != nil {
			return nil, err
		}
		*dst = array{buf: s.buf, at: s.at, n: len(v)}
	}
	return r, nil
}
