//go:build cgo

package kernel

// #cgo CFLAGS: -O3 -Wno-psabi
// #cgo LDFLAGS: -lm
// #cgo noescape call_matmul
// #cgo nocallback call_matmul
// #cgo noescape call_prepare
// #cgo nocallback call_prepare
// #cgo noescape call_matvec
// #cgo nocallback call_matvec
// #cgo noescape call_decode
// #cgo nocallback call_decode
// #cgo noescape call_read
// #cgo nocallback call_read
// #cgo noescape call_attend
// #cgo nocallback call_attend
// #cgo noescape call_attend_all
// #cgo nocallback call_attend_all
// #cgo noescape call_index_one
// #cgo nocallback call_index_one
// #cgo noescape call_index_scores
// #cgo nocallback call_index_scores
// #cgo noescape call_pool
// #cgo nocallback call_pool
// #cgo noescape call_quantize
// #cgo nocallback call_quantize
// #include <stdlib.h>
// #include "call.h"
import "C"

import (
	"fmt"
	"unsafe"
)

// Set is one instruction set's kernels. It serves many goroutines.
type Set struct{ k *C.struct_kernels }

// For returns the named set ("avx512", "avx2", "neon", "base"), or the best
// that this machine runs if name is empty. It errs if the machine does not
// have it.
func For(name string) (*Set, error) {
	var cname *C.char
	if name != "" {
		cname = C.CString(name)
		defer C.free(unsafe.Pointer(cname))
	}
	k := C.kernels_for(cname)
	if k == nil {
		return nil, fmt.Errorf("kernel: this machine does not run the %q kernels", name)
	}
	return &Set{k}, nil
}

// Name returns the set's name.
func (s *Set) Name() string { return C.GoString(s.k.name) }

func f32(v []float32) *C.float { return (*C.float)(unsafe.Pointer(unsafe.SliceData(v))) }
func i32(v []int32) *C.int32_t { return (*C.int32_t)(unsafe.Pointer(unsafe.SliceData(v))) }
func i64(v []int64) *C.int64_t { return (*C.int64_t)(unsafe.Pointer(unsafe.SliceData(v))) }
func u32(v []uint32) *C.uint32_t {
	return (*C.uint32_t)(unsafe.Pointer(unsafe.SliceData(v)))
}
func u16(v []uint16) *C.uint16_t {
	return (*C.uint16_t)(unsafe.Pointer(unsafe.SliceData(v)))
}
func u8(v []byte) *C.uint8_t { return (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(v))) }

func (m *Matrix) shape() C.struct_shape {
	f16 := C.int(0)
	if m.F16 {
		f16 = 1
	}
	return C.struct_shape{kind: C.int(m.Kind), bits: C.int(m.Bits), group: C.int(m.Group), f16: f16,
		rows: C.long(m.Rows), cols: C.long(m.Cols)}
}

// MatMul runs a. Every sum goes over the columns in order, so that a row of x
// gives the same bits whatever rows stand beside it.
func (s *Set) MatMul(a *MatMul) {
	w := a.W
	C.call_matmul(s.k, w.shape(), u8(w.Codes), u8(w.Scales), u8(w.Biases), C.long(a.From), C.long(a.To),
		f32(a.X), C.long(a.LdX), i32(a.XIdx), f32(a.Y), C.long(a.LdY), i32(a.YIdx), C.long(a.N), f32(a.Panel))
}

// Prepare lays x out in room as MatVec reads it, of w or any other matrix of w's
// format and columns, and returns it. room holds Prepared(w.Cols).
func (s *Set) Prepare(w *Matrix, x, room []float32) []float32 {
	room = aligned(room)
	C.call_prepare(s.k, w.shape(), f32(x), f32(room))
	return room
}

// MatVec computes y[r] = Σ_c W[r,c]·x[c] for from <= r < to, with x as Prepare
// returned it. A row's bits do not depend on from and to.
func (s *Set) MatVec(w *Matrix, from, to int, x, y []float32) {
	C.call_matvec(s.k, w.shape(), u8(w.Codes), u8(w.Scales), u8(w.Biases), C.long(from), C.long(to), f32(x), f32(y))
}

// aligned returns v from a multiple of 64 bytes on, which vectors read faster.
func aligned(v []float32) []float32 {
	return v[-(uintptr(unsafe.Pointer(unsafe.SliceData(v)))/4)%16:]
}

// Decode writes the rows from <= r < to of w to out, [to-from, Cols], as its
// format decodes them.
func (s *Set) Decode(w *Matrix, from, to int, out []float32) {
	C.call_decode(s.k, w.shape(), u8(w.Codes), u8(w.Scales), u8(w.Biases), C.long(from), C.long(to), f32(out))
}

// read adds up x, of a multiple of 256, as fast as memory gives it.
func (s *Set) read(x []float32) float32 { return float32(C.call_read(s.k, f32(x), C.long(len(x)))) }

// multiply runs fused multiply-adds in registers and returns how many.
func (s *Set) multiply(n int) int {
	C.call_multiply(s.k, C.long(n), 0.5, 1)
	return n * int(s.k.fmas)
}

// Attend runs a.
func (s *Set) Attend(a *Attend) {
	C.call_attend(s.k, f32(a.Q), i64(a.Lane), C.int(len(a.Lane)), C.long(a.D), f32(a.Base[0]), f32(a.Base[1]), f32(a.Base[2]),
		u32(a.ID), u32(a.See), C.long(len(a.ID)), f32(a.Sinks), C.float(a.Scale), f32(a.O), f32(a.Room))
}

// AttendAll runs a as if every lane saw every key, of which there is one at
// least: See is not read, and Lane has any length. Sums are in an order of their
// own, which suits few lanes.
func (s *Set) AttendAll(a *Attend) {
	C.call_attend_all(s.k, f32(a.Q), i64(a.Lane), C.long(len(a.Lane)), C.long(a.D), f32(a.Base[0]), f32(a.Base[1]), f32(a.Base[2]),
		u32(a.ID), C.long(len(a.ID)), f32(a.Sinks), C.float(a.Scale), f32(a.O), f32(a.Room))
}

// IndexOne is IndexScores of one query, with sums in an order of their own, which
// suits few heads.
func (s *Set) IndexOne(q, w []float32, heads, d int, keys []float32, n int, out []float32) {
	C.call_index_one(s.k, f32(q), f32(w), C.long(heads), C.long(d), f32(keys), C.long(n), f32(out))
}

// IndexScores computes out[i·n + b] = Σ_h w[i,h]·max(0, q[i,h]·keys[b]) for m
// queries of heads heads of d channels and n keys.
func (s *Set) IndexScores(q, w []float32, m, heads, d int, keys []float32, n int, out, room []float32) {
	C.call_index_scores(s.k, f32(q), f32(w), C.long(m), C.long(heads), C.long(d), f32(keys), C.long(n), f32(out), f32(room))
}

// Pool computes out[c] = Σ_i softmax_i(gates_i[c])·values_i[c] over rows: row i
// starts at rows[i] of values and gates, or at −1−rows[i] of the ring's where
// that is negative. len(out) is a multiple of 16.
func (s *Set) Pool(values, gates []float32, rows []int64, ringValues, ringGates, out []float32) {
	C.call_pool(s.k, f32(values), f32(gates), i64(rows), f32(ringValues), f32(ringGates), C.long(len(rows)), C.long(len(out)), f32(out))
}

// Norm computes y = x·w/sqrt(mean(x²) + eps); nil w is all ones. y may be x.
func (s *Set) Norm(x, w, y []float32, eps float32) {
	C.call_norm(s.k, f32(x), f32(w), f32(y), C.long(len(x)), C.float(eps))
}

// SumSquares returns Σx².
func (s *Set) SumSquares(x []float32) float32 {
	return float32(C.call_sum_squares(s.k, f32(x), C.long(len(x))))
}

// Mix computes y[c] = Σ_j a[j]·x[j·len(y) + c].
func (s *Set) Mix(a, x, y []float32) {
	C.call_mix(s.k, f32(a), f32(x), C.long(len(a)), C.long(len(y)), f32(y))
}

// Remix replaces the rows of x: x'[k] = post[k]·y + Σ_j comb[j·m + k]·x[j], for
// m = len(post) rows of len(y), m at most 8.
func (s *Set) Remix(post, comb, y, x []float32) {
	C.call_remix(s.k, f32(post), f32(comb), f32(y), f32(x), C.long(len(post)), C.long(len(y)))
}

// Sinkhorn computes the mHC control of len(rho) tokens from raw mixes [t,
// (2+m)m] and their norms rho: pre [t, m], and post and comb in out [t, m+m·m].
func (s *Set) Sinkhorn(mixes, rho, base []float32, scale [3]float32, m, iters int, eps float32, pre, out []float32) {
	C.call_sinkhorn(s.k, f32(mixes), f32(rho), f32(base), f32(scale[:]), C.long(len(rho)), C.long(m), C.long(iters), C.float(eps), f32(pre), f32(out))
}

// SwiGLU replaces g by silu(min(g, limit))·clamp(u, ±limit)·weight.
func (s *Set) SwiGLU(g, u []float32, limit, weight float32) {
	C.call_swiglu(s.k, f32(g), f32(u), C.long(len(g)), C.float(limit), C.float(weight))
}

// LogSoftmax replaces x by x − ln Σ e^x; the sum is in float64.
func (s *Set) LogSoftmax(x []float32) { C.call_log_softmax(s.k, f32(x), C.long(len(x))) }

// Exp replaces x by e^x within 1.02 ULP; below −87.33654 it is 0, above 88.72283
// it stays just under 2^128.
func (s *Set) Exp(x []float32) { C.call_exp(s.k, f32(x), C.long(len(x))) }

// Quantize quantizes len(scales) groups of x as engine/affine does, by its GPU
// rule or, where even, its CPU rule: codes of bits bits packed one group after
// the other, scales and biases as BF16. len(x) is a multiple of len(scales) and
// a group's size one of 32, up to 128. It returns false, and leaves the rest
// unspecified, where a weight is not finite or a group has no scale.
func (s *Set) Quantize(bits int, even bool, x []float32, codes []byte, scales, biases []uint16) bool {
	if len(scales) == 0 {
		return true
	}
	e := C.int(0)
	if even {
		e = 1
	}
	return C.call_quantize(s.k, f32(x), C.long(len(scales)), C.int(len(x)/len(scales)), C.int(bits), e,
		u8(codes), u16(scales), u16(biases)) != 0
}
