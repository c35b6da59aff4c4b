package cpu

import (
	"fmt"
	"math"

	"assay/engine/affine"
	"assay/engine/cpu/kernel"
	"assay/engine/dsv4"
	"assay/engine/mx"
	"assay/engine/tensor"
)

// maxStreams is the most mHC streams that the kernels keep in registers.
const maxStreams = 8

// ops runs one model's operations. Operations run one after another, each on
// all threads.
type ops struct {
	c    *dsv4.Config
	opt  dsv4.Options
	k    kernels
	pool *pool
	// Scratch: of each worker, of the operation as a whole, and of the
	// matrix-vector products inside it.
	room     [][]float32
	shared   []float32
	products matvecs
	ids      []uint32 // a decoded token's keys
	lanes    []int64
}

func newOps(b *Backend, c *dsv4.Config) *ops {
	return &ops{c: c, opt: b.opt.Model, k: b.kernels, pool: b.pool, room: make([][]float32, b.pool.n)}
}

// floats and ints are the arrays that the model holds.
type floats []float32

func (f floats) Len() int { return len(f) }

type ints []int32

func (i ints) Len() int { return len(i) }

// vector, table, rope and matrix are loaded weights.
type vector []float32

func (v vector) Bytes() int64 { return int64(4 * len(v)) }

type table []int32

func (t table) Bytes() int64 { return int64(4 * len(t)) }

// rope holds cosines and sines, [positions, r/2] each.
type rope struct {
	half     int
	cos, sin []float32
}

func (r *rope) Bytes() int64 { return int64(4 * (len(r.cos) + len(r.sin))) }

type matrix struct{ kernel.Matrix }

func (m *matrix) Bytes() int64 { return int64(len(m.Codes) + len(m.Scales) + len(m.Biases)) }

// experts holds each expert's gate, up and down projection.
type experts [][3]*matrix

func (e experts) Bytes() int64 {
	var n int64
	for _, x := range e {
		for _, m := range x {
			n += m.Bytes()
		}
	}
	return n
}

// Load keeps m as it is stored.
func (o *ops) Load(m *tensor.Matrix) (dsv4.Weight, error) { return load(m) }

func load(m *tensor.Matrix) (*matrix, error) {
	if err := m.Check(); err != nil {
		return nil, err
	}
	w := &matrix{kernel.Matrix{Rows: m.Rows, Cols: m.Cols, Codes: m.Codes, Scales: m.Scales, Biases: m.Biases}}
	switch f := m.Format.(type) {
	case affine.Format:
		w.Kind, w.Bits, w.Group, w.F16 = kernel.Affine, f.Bits, f.GroupSize, f.F16
	case mx.Format:
		w.Kind = kernel.MXFP4
		if f == mx.FP8 {
			w.Kind = kernel.MXFP8
		}
	case tensor.PlainFormat:
		w.Kind = kernel.BF16
		if tensor.DType(f) == tensor.F32 {
			w.Kind = kernel.F32
		}
	default:
		return nil, fmt.Errorf("cpu: tensor %q: the CPU engine has no kernel for %s", m.Name, m.Format)
	}
	if m.Cols%kernel.Lanes != 0 {
		return nil, fmt.Errorf("cpu: tensor %q: %d columns, want a multiple of %d", m.Name, m.Cols, kernel.Lanes)
	}
	return w, nil
}

func (o *ops) LoadVector(_ string, v []float32) (dsv4.Weight, error) { return vector(v), nil }

func (o *ops) LoadTable(_ string, v []int32) (dsv4.Weight, error) { return table(v), nil }

func (o *ops) LoadExperts(e []dsv4.ExpertMatrices) (dsv4.Weight, error) {
	all := make(experts, len(e))
	for i, x := range e {
		for j, m := range []*tensor.Matrix{x.W1, x.W3, x.W2} {
			w, err := load(m)
			if err != nil {
				return nil, err
			}
			all[i][j] = w
		}
	}
	return all, nil
}

func (o *ops) LoadRope(f []float32, n int) (dsv4.Weight, error) {
	r := &rope{half: len(f), cos: make([]float32, n*len(f)), sin: make([]float32, n*len(f))}
	for p := range n {
		for i, freq := range f {
			s, c := math.Sincos(float64(float32(p) * freq)) // the angle is rounded to float32
			r.cos[p*len(f)+i], r.sin[p*len(f)+i] = float32(c), float32(s)
		}
	}
	return r, nil
}

// Unload leaves what nobody refers to to the garbage collector.
func (o *ops) Unload(dsv4.Weight) {}

func (o *ops) NewArray(n int) (dsv4.Array, error) { return make(floats, n), nil }

func (o *ops) NewInts(n int) (dsv4.Array, error) { return make(ints, n), nil }

func (o *ops) Slice(a dsv4.Array, from, n int) dsv4.Array { return a.(floats)[from : from+n] }

func (o *ops) Free(dsv4.Array) {}

// Wrap works on the host's memory itself.
func (o *ops) Wrap(host []float32) (dsv4.Array, error) { return floats(host), nil }

func (o *ops) Read(dst []float32, a dsv4.Array, from int) error {
	copy(dst, a.(floats)[from:from+len(dst)])
	return nil
}

func (o *ops) ReadInts(dst []int32, a dsv4.Array, from int) error {
	copy(dst, a.(ints)[from:from+len(dst)])
	return nil
}

// SetInts fills an array of int32, for tests of one operation.
func (o *ops) SetInts(a dsv4.Array, v []int32) error {
	copy(a.(ints), v)
	return nil
}

// scratch returns n floats that belong to a worker until its next call.
func (o *ops) scratch(worker, n int) []float32 { return grow(&o.room[worker], n) }

// grow makes *room at least n long and returns n of it, not cleared.
func grow(room *[]float32, n int) []float32 {
	if len(*room) < n {
		*room = make([]float32, n)
	}
	return (*room)[:n]
}

// rotate turns the last 2·half channels of v to a position, or back.
func (r *rope) rotate(v []float32, pos int, back bool) {
	v = v[len(v)-2*r.half:]
	cos, sin := r.cos[pos*r.half:][:r.half], r.sin[pos*r.half:][:r.half]
	for i, c := range cos {
		s := sin[i]
		if back {
			s = -s
		}
		a, b := v[2*i], v[2*i+1]
		v[2*i], v[2*i+1] = float32(a*c)-float32(b*s), float32(a*s)+float32(b*c)
	}
}

// positions calls f for runs of tokens with the position of the first.
func (o *ops) positions(b *dsv4.Batch, least int, f func(worker, from, to, pos int)) {
	for _, s := range b.Spans {
		o.pool.ranges(s.Len, least, func(w, from, to int) { f(w, s.From+from, s.From+to, s.Pos+from) })
	}
}

var _ dsv4.Ops = (*ops)(nil)
