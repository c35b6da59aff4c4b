package cpu

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"assay/engine/cpu/kernel"
	"assay/engine/tensor"
)

// Bounds in these tests are worked out, not tuned: u is what one rounding to
// float32 adds relative to its result, and a sum of n products in float32, in
// any order, fused or not, is off by at most n·u·Σ|a·b| (Higham, Accuracy and
// Stability of Numerical Algorithms, 2nd ed., section 3.1; n²u² left out, which
// 1 % more covers). expError is what e^x adds, see engine/cpu/kernel/vec.h.
const (
	u        = 0x1p-24
	expError = 2.1 * u
)

// vectorSets returns the vector kernels of this machine.
func vectorSets(t testing.TB) []*kernel.Set {
	t.Helper()
	var out []*kernel.Set
	for _, name := range kernel.Names {
		if s, err := kernel.For(name); err == nil {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		t.Skip("this program is built without cgo, so without vector kernels")
	}
	return out
}

// twins returns the vector kernels of this machine and their plain twin. All
// are held against the same float64 sums and bounds.
func twins(t testing.TB) (out []kernels) {
	t.Helper()
	for _, s := range vectorSets(t) {
		out = append(out, s)
	}
	return append(out, plain{})
}

// formats lists every way to store a matrix.
func formats() []kernel.Matrix {
	out := []kernel.Matrix{{Kind: kernel.F32}, {Kind: kernel.BF16}, {Kind: kernel.MXFP4}, {Kind: kernel.MXFP8}}
	for _, bits := range []int{2, 3, 4, 5, 6, 8} {
		for _, group := range []int{32, 64, 128} {
			for _, f16 := range []bool{false, true} {
				out = append(out, kernel.Matrix{Kind: kernel.Affine, Bits: bits, Group: group, F16: f16})
			}
		}
	}
	return out
}

// holds says whether a matrix of f's format can have so many columns.
func holds(f kernel.Matrix, cols int) bool {
	switch f.Kind {
	case kernel.Affine:
		return cols%f.Group == 0
	case kernel.MXFP4, kernel.MXFP8:
		return cols%32 == 0
	}
	return cols%16 == 0
}

// fill makes random weights of m's format, subnormal ones of the MX formats
// among them.
func fill(rng *rand.Rand, m kernel.Matrix, rows, cols int) kernel.Matrix {
	m.Rows, m.Cols = rows, cols
	random := func(n int) []byte {
		out := make([]byte, n)
		for i := range out {
			out[i] = byte(rng.Uint32())
		}
		return out
	}
	half := tensor.BF16FromFloat32
	if m.F16 {
		half = tensor.F16FromFloat32
	}
	switch m.Kind {
	case kernel.F32:
		for range rows * cols {
			m.Codes = binary.LittleEndian.AppendUint32(m.Codes, math.Float32bits(float32(rng.NormFloat64())))
		}
	case kernel.BF16:
		for range rows * cols {
			m.Codes = binary.LittleEndian.AppendUint16(m.Codes, half(float32(rng.NormFloat64())))
		}
	case kernel.Affine:
		m.Codes = random(rows * cols / 8 * m.Bits)
		for range rows * cols / m.Group {
			m.Scales = binary.LittleEndian.AppendUint16(m.Scales, half(float32(rng.NormFloat64()/8)))
			m.Biases = binary.LittleEndian.AppendUint16(m.Biases, half(float32(rng.NormFloat64())))
		}
	default:
		bits := 4
		if m.Kind == kernel.MXFP8 {
			bits = 8
		}
		m.Codes = random(rows * cols * bits / 8)
		finite(m)
		for i := range rows * cols / 32 {
			m.Scales = append(m.Scales, byte(120+rng.IntN(16)))
			if i%7 == 3 {
				m.Scales[i] = byte(rng.IntN(3)) // 2^-127 to 2^-125
			}
		}
	}
	return m
}

// finite takes the NaN codes, which loading refuses, out of an mxfp8 matrix.
func finite(m kernel.Matrix) {
	for i, c := range m.Codes {
		if m.Kind == kernel.MXFP8 && c&0x7f == 0x7f {
			m.Codes[i] = c & 0x80
		}
	}
}

func noise(rng *rand.Rand, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(rng.NormFloat64())
	}
	return out
}

// poison is an output that a kernel has yet to write.
func poison(n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(math.NaN())
	}
	return out
}

// dot64 returns Σ a·b and Σ|a·b| in float64.
func dot64(a, b []float32) (sum, size float64) {
	for i, x := range a {
		p := float64(x) * float64(b[i])
		sum += p
		size += math.Abs(p)
	}
	return sum, size
}

// within fails unless got is within bound of want. The bound grows by 1 % for
// what it leaves out and by a few float32 subnormals, where roundings are
// absolute.
func within(t *testing.T, what string, got float32, want, bound float64) {
	t.Helper()
	if d := math.Abs(float64(got) - want); !(d <= 1.01*bound+1e-42) {
		t.Fatalf("%s: %g, want %g: off by %.2e, bound %.2e", what, got, want, d, bound)
	}
}

// TestMatMul holds the products of every format against float64 over the edges
// of its grid: panels of 32 rows, tiles of up to 12 tokens, groups; rows of x
// and y by index, outputs that begin in the middle of a matrix.
func TestMatMul(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	all := twins(t)
	for _, f := range formats() {
		for _, cols := range []int{16, 32, 64, 128, 256} {
			if !holds(f, cols) {
				continue
			}
			for _, rows := range []int{1, 31, 32, 33} {
				w := fill(rng, f, rows+3, cols)
				for _, n := range []int{1, 2, 3, 11, 12, 13, 25} {
					checkMatMul(t, rng, all, &w, 2, 2+rows, n)
				}
			}
		}
	}
	// Blocks of tokens (24 tiles) and of panels.
	w := fill(rng, kernel.Matrix{Kind: kernel.Affine, Bits: 5, Group: 64}, 70, 128)
	checkMatMul(t, rng, all, &w, 0, 70, 300)
}

// checkMatMul multiplies rows from..to-1 of w with n rows of x: each output is
// one sum of cols products of the weights as DecodeRow forms them. What the
// kernel was not asked for stays as it was.
func checkMatMul(t *testing.T, rng *rand.Rand, all []kernels, w *kernel.Matrix, from, to, n int) {
	t.Helper()
	x := noise(rng, (n+2)*w.Cols)
	xi, yi := make([]int32, n), make([]int32, n)
	for i := range n {
		xi[i], yi[i] = int32(rng.IntN(n+2)), int32(2*(n-1-i)) // any row of x, again too; every second row of y
	}
	want, size := make([]float64, n*w.Rows), make([]float64, n*w.Rows)
	row := make([]float32, w.Cols)
	for r := from; r < to; r++ {
		decodeRow(row, w, r)
		for i := range n {
			want[i*w.Rows+r], size[i*w.Rows+r] = dot64(row, x[int(xi[i])*w.Cols:])
		}
	}
	for _, k := range all {
		y := poison(2 * n * w.Rows)
		k.MatMul(&kernel.MatMul{W: w, From: from, To: to, X: x, LdX: w.Cols, XIdx: xi, Y: y, LdY: w.Rows, YIdx: yi, N: n,
			Panel: poison(w.Cols * kernel.Panel)})
		for i := range n {
			out, other := y[int(yi[i])*w.Rows:][:w.Rows], y[int(yi[i]+1)*w.Rows:][:w.Rows]
			for r := range w.Rows {
				what := fmt.Sprintf("%s, %s, [%d, %d], outputs %d to %d of %d tokens, token %d, row %d", k.Name(), formatOf(w), w.Rows, w.Cols, from, to-1, n, i, r)
				if (r < from || r >= to) && out[r] == out[r] || other[r] == other[r] {
					t.Fatalf("%s: written where nothing was asked for", what)
				} else if r >= from && r < to {
					within(t, what, out[r], want[i*w.Rows+r], float64(w.Cols)*u*size[i*w.Rows+r])
				}
			}
		}
	}
}

// TestWeights wants the very weights of DecodeRow out of every product with the
// unit vectors: every code under every scale that gives finite weights.
func TestWeights(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	all := twins(t)
	for _, f := range formats() {
		const cols = 128
		w := fill(rng, f, 254, cols)
		for i := range w.Codes {
			if w.Kind == kernel.MXFP4 || w.Kind == kernel.MXFP8 {
				w.Codes[i] = byte(i)
			}
		}
		finite(w)
		most := map[kernel.Kind]int{kernel.MXFP4: 252, kernel.MXFP8: 246}[w.Kind] // 6·2^125, 448·2^119
		for i := range w.Scales {
			if w.Kind != kernel.Affine {
				w.Scales[i] = byte(min(i/(cols/32), most))
			}
		}
		unit := make([]float32, cols*cols)
		for c := range cols {
			unit[c*cols+c] = 1
		}
		want := make([]float32, w.Rows*cols)
		for r := range w.Rows {
			decodeRow(want[r*cols:][:cols], &w, r)
		}
		for _, k := range all {
			y := poison(cols * w.Rows)
			k.MatMul(&kernel.MatMul{W: &w, To: w.Rows, X: unit, LdX: cols, Y: y, LdY: w.Rows, N: cols, Panel: poison(cols * kernel.Panel)})
			v := poison(w.Rows)
			for c := range cols {
				x := unit[c*cols:][:cols]
				k.MatVec(&w, 0, w.Rows, prepared(k, &w, x), v)
				for r := range w.Rows {
					if got, want := y[c*w.Rows+r], want[r*cols+c]; got != want || v[r] != want {
						t.Fatalf("%s, %s, weight [%d, %d]: %g and %g, want %g", k.Name(), formatOf(&w), r, c, got, v[r], want)
					}
				}
			}
		}
	}
}

// prepared returns x as k's MatVec reads it.
func prepared(k kernels, w *kernel.Matrix, x []float32) []float32 {
	return k.Prepare(w, x, make([]float32, kernel.Prepared(w.Cols)))
}

// TestMatMulRows wants each row's bits to be its own: whatever rows stand beside
// it and however many, by index or in order, and wherever the outputs are cut.
func TestMatMulRows(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	fs := formats()
	for _, set := range vectorSets(t) {
		for range 150 {
			f := fs[rng.IntN(len(fs))]
			rows, cols, n := 1+rng.IntN(100), 128*(1+rng.IntN(3)), 1+rng.IntN(60)
			w := fill(rng, f, rows, cols)
			x := noise(rng, n*cols)
			run := func(y []float32, from, to int, index []int32, n int) {
				set.MatMul(&kernel.MatMul{W: &w, From: from, To: to, X: x, LdX: cols, XIdx: index, Y: y, LdY: rows, N: n, Panel: poison(cols * kernel.Panel)})
			}
			whole := poison(n * rows)
			run(whole, 0, rows, nil, n)
			some := make([]int32, 1+rng.IntN(30))
			for i := range some {
				some[i] = int32(rng.IntN(n))
			}
			part := poison(len(some) * rows)
			cut := min(rng.IntN(rows+1)/kernel.Panel*kernel.Panel, rows)
			run(part, cut, rows, some, len(some))
			run(part, 0, cut, some, len(some))
			for i, at := range some {
				if !slices.Equal(part[i*rows:][:rows], whole[int(at)*rows:][:rows]) {
					t.Fatalf("%s, %s, [%d, %d], cut at %d: row %d of %d differs among %d", set.Name(), formatOf(&w), rows, cols, cut, at, n, len(some))
				}
			}
		}
	}
}

// TestMatVec holds the matrix-vector products against float64. An affine one is
// Σ_g (s·Σqx + b·Σx): every term goes through at most cols + 4 roundings, and
// what they are relative to is Σ(|s|·q + |b|)·|x|.
func TestMatVec(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	all := twins(t)
	for _, f := range formats() {
		for _, cols := range []int{16, 32, 48, 64, 96, 128, 160, 192, 256, 640, 1056, 4352} {
			if !holds(f, cols) {
				continue
			}
			const rows = 37
			w := fill(rng, f, rows, cols)
			x := noise(rng, cols)
			row := make([]float32, cols)
			for _, k := range all {
				y := poison(rows)
				k.MatVec(&w, 3, rows-1, prepared(k, &w, x), y)
				for r := range rows {
					what := fmt.Sprintf("%s, %s, [%d, %d], row %d", k.Name(), formatOf(&w), rows, cols, r)
					if r < 3 || r == rows-1 {
						if y[r] == y[r] {
							t.Fatalf("%s: written where nothing was asked for", what)
						}
						continue
					}
					decodeRow(row, &w, r)
					want, _ := dot64(row, x)
					// The weight itself is rounded once more than the sum's terms.
					within(t, what, y[r], want, float64(cols+5)*u*affineSize(&w, r, x))
				}
			}
		}
	}
}

// affineSize returns Σ(|s|·q + |b|)·|x|, or Σ|w·x| of other formats.
func affineSize(w *kernel.Matrix, r int, x []float32) float64 {
	row := make([]float32, w.Cols)
	all := *w
	if w.Kind == kernel.Affine {
		all.Scales, all.Biases = slices.Clone(w.Scales), slices.Clone(w.Biases)
		for i := 1; i < len(all.Scales); i += 2 {
			all.Scales[i] &= 0x7f
			all.Biases[i] &= 0x7f
		}
	}
	decodeRow(row, &all, r)
	_, size := dot64(row, x)
	return size
}

// Rows of every format, decoded by the vector kernels, are those of the format
// itself; −0 may be 0.
func TestDecodeKernels(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	for _, f := range formats() {
		const rows, cols = 5, 256
		m := fill(rng, f, rows, cols)
		want := make([]float32, rows*cols)
		for r := range rows {
			decodeRow(want[r*cols:(r+1)*cols], &m, r)
		}
		for _, set := range vectorSets(t) {
			got := make([]float32, 3*cols)
			set.Decode(&m, 1, 4, got)
			for i, w := range want[cols : 4*cols] {
				if got[i] != w && !(got[i] != got[i] && w != w) {
					t.Fatalf("%s, %+v: weight %d is %v, want %v", set.Name(), f, i, got[i], w)
				}
			}
		}
	}
}
