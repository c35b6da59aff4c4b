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

// vectorSets returns the vector kernels of this machine.
func vectorSets(t testing.TB) []*kernel.Set {
	t.Helper()
	var out []*kernel.Set
	for _, name := range []string{"avx512", "avx2", "neon", "base"} {
		if s, err := kernel.For(name); err == nil {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		t.Skip("this program is built without cgo, so without vector kernels")
	}
	return out
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

// fill makes random weights of m's format, extremes of the scales among them.
func fill(rng *rand.Rand, m kernel.Matrix, rows, cols int) kernel.Matrix {
	m.Rows, m.Cols = rows, cols
	random := func(n int) []byte {
		out := make([]byte, n)
		for i := range out {
			out[i] = byte(rng.Uint32())
		}
		return out
	}
	switch m.Kind {
	case kernel.F32:
		for range rows * cols {
			m.Codes = binary.LittleEndian.AppendUint32(m.Codes, math.Float32bits(float32(rng.NormFloat64())))
		}
	case kernel.BF16:
		for range rows * cols {
			m.Codes = binary.LittleEndian.AppendUint16(m.Codes, tensor.BF16FromFloat32(float32(rng.NormFloat64())))
		}
	case kernel.Affine:
		m.Codes = random(rows * cols * m.Bits / 8)
		for range rows * cols / m.Group {
			s, b := float32(rng.NormFloat64()/8), float32(rng.NormFloat64())
			if m.F16 {
				m.Scales = binary.LittleEndian.AppendUint16(m.Scales, tensor.F16FromFloat32(s))
				m.Biases = binary.LittleEndian.AppendUint16(m.Biases, tensor.F16FromFloat32(b))
				continue
			}
			m.Scales = binary.LittleEndian.AppendUint16(m.Scales, tensor.BF16FromFloat32(s))
			m.Biases = binary.LittleEndian.AppendUint16(m.Biases, tensor.BF16FromFloat32(b))
		}
	default:
		bits := 4
		if m.Kind == kernel.MXFP8 {
			bits = 8
		}
		m.Codes = random(rows * cols * bits / 8)
		for i, c := range m.Codes {
			if bits == 8 && c&0x7f == 0x7f {
				m.Codes[i] = 0 // a NaN code, which loading refuses
			}
		}
		for i := range rows * cols / 32 {
			m.Scales = append(m.Scales, byte(120+rng.IntN(16)))
			if i%7 == 3 {
				m.Scales[i] = byte(rng.IntN(3)) // subnormal products
			}
		}
	}
	return m
}

func noise(rng *rand.Rand, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(rng.NormFloat64())
	}
	return out
}

func poison(n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(math.NaN())
	}
	return out
}

// TestMatMul holds the products of every format against their twin over ragged
// shapes. Twin and kernel each add n terms with at most 2n roundings of 2^-24
// relative to the sum of magnitudes, so they differ by at most 4n·2^-24 of it.
func TestMatMul(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, set := range vectorSets(t) {
		for _, f := range formats() {
			for _, shape := range [][3]int{{1, 128, 1}, {31, 128, 2}, {32, 256, 13}, {33, 128, 25}, {70, 384, 3}, {5, 128, 300}} {
				rows, cols, n := shape[0], shape[1], shape[2]
				w := fill(rng, f, rows, cols)
				x, index := noise(rng, (n+2)*cols), make([]int32, n)
				for i := range index {
					index[i] = int32(n - i) // another row than its own
				}
				run := func(k kernels) []float32 {
					y := poison(n * rows)
					k.MatMul(&kernel.MatMul{W: &w, To: rows, X: x, LdX: cols, XIdx: index, Y: y, LdY: rows, N: n, Panel: make([]float32, cols*kernel.Panel)})
					return y
				}
				got, want := run(set), run(plain{})
				row := make([]float32, cols)
				for r := range rows {
					decodeRow(row, &w, r)
					for i := range n {
						bound := magnitude(row, x[int(index[i])*cols:]) * 4 * float64(cols) * 0x1p-24
						if d := math.Abs(float64(got[i*rows+r]) - float64(want[i*rows+r])); !(d <= bound) {
							t.Fatalf("%s, %s %v, [%d, %d]·%d, row %d: off by %.2e, bound %.2e", set.Name(), formatOf(&w), f.F16, rows, cols, n, r, d, bound)
						}
					}
				}
			}
		}
	}
}

func magnitude(w, x []float32) (s float64) {
	for i, v := range w {
		s += math.Abs(float64(v) * float64(x[i]))
	}
	return s
}

// TestMatMulRows wants each row's bits to be its own: whatever rows stand beside
// it and however many, and wherever a range of outputs begins.
func TestMatMulRows(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, set := range vectorSets(t) {
		w := fill(rng, kernel.Matrix{Kind: kernel.Affine, Bits: 3, Group: 64}, 64, 192)
		x := noise(rng, 40*192)
		run := func(from, n int) []float32 {
			y := poison(n * 64)
			for r := 0; r < 64; r += 32 {
				set.MatMul(&kernel.MatMul{W: &w, From: r, To: r + 32, X: x[from*192:], LdX: 192, Y: y, LdY: 64, N: n, Panel: make([]float32, 192*kernel.Panel)})
			}
			return y
		}
		all := run(0, 40)
		for n := 1; n <= 13; n++ {
			for _, from := range []int{0, 5, 27} {
				if !slices.Equal(run(from, n), all[from*64:(from+n)*64]) {
					t.Fatalf("%s: rows %d..%d differ when they are alone", set.Name(), from, from+n-1)
				}
			}
		}
	}
}

// TestMatVec holds the matrix-vector products against their twin. Affine sums
// s·Σqx + b·Σx have magnitudes of their own: Σ(|s|·q + |b|)·|x|.
func TestMatVec(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, set := range vectorSets(t) {
		for _, f := range formats() {
			for _, shape := range [][2]int{{1, 128}, {7, 256}, {33, 640}} {
				rows, cols := shape[0], shape[1]
				w := fill(rng, f, rows, cols)
				x := noise(rng, cols)
				var xsum []float32
				if w.Kind == kernel.Affine {
					xsum = groupSums(make([]float32, cols/w.Group), x, w.Group)
				}
				got, want := poison(rows), poison(rows)
				set.MatVec(&w, 0, rows, x, xsum, got)
				plain{}.MatVec(&w, 0, rows, x, xsum, want)
				for r := range rows {
					bound := affineMagnitude(&w, r, x) * 4 * float64(cols) * 0x1p-24
					if d := math.Abs(float64(got[r]) - float64(want[r])); !(d <= bound) {
						t.Fatalf("%s, %s, [%d, %d], row %d: off by %.2e, bound %.2e", set.Name(), formatOf(&w), rows, cols, r, d, bound)
					}
				}
			}
		}
	}
}

func affineMagnitude(w *kernel.Matrix, r int, x []float32) float64 {
	row := make([]float32, w.Cols)
	if w.Kind != kernel.Affine {
		decodeRow(row, w, r)
		return magnitude(row, x)
	}
	all := *w
	all.Scales, all.Biases = slices.Clone(w.Scales), slices.Clone(w.Biases)
	for i := 1; i < len(all.Scales); i += 2 {
		all.Scales[i] &= 0x7f
		all.Biases[i] &= 0x7f
	}
	decodeRow(row, &all, r)
	return magnitude(row, x)
}

// TestAttend holds attention against its twin: ragged lanes and keys, masks, a
// lane that sees its sink only. Scores differ by a few 1e-6 and outputs are
// means of keys: the bound is n·2^-24 of the largest key, doubled for e^x.
func TestAttend(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, set := range vectorSets(t) {
		for _, shape := range [][3]int{{8, 32, 1}, {32, 80, 37}, {24, 128, 130}, {4, 512, 13}, {17, 64, 5}} {
			lanes, d, n := shape[0], shape[1], shape[2]
			a := kernel.Attend{Q: noise(rng, lanes*d), D: d, Scale: float32(1 / math.Sqrt(float64(d))), Sinks: noise(rng, lanes)}
			for i := range a.Base {
				a.Base[i] = noise(rng, n*d)
			}
			for l := range lanes {
				a.Lane = append(a.Lane, int64((lanes-1-l)*d))
			}
			for i := range n {
				a.ID = append(a.ID, uint32(i%3)<<kernel.RowBits|uint32(rng.IntN(n)))
				a.See = append(a.See, rng.Uint32()&^1) // lane 0 sees nothing
			}
			run := func(k kernels) []float32 {
				b := a
				b.O, b.Room = poison(lanes*d), poison(kernel.AttendRoom(d, n))
				k.Attend(&b)
				return b.O
			}
			checkClose(t, fmt.Sprintf("%s, attend %v", set.Name(), shape), run(set), run(plain{}), 4*float64(n+d)*0x1p-24*8)
		}
	}
}

func checkClose(t *testing.T, what string, got, want []float32, bound float64) {
	t.Helper()
	for i := range want {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= bound) {
			t.Fatalf("%s: %g at %d, want %g: off by %.2e, bound %.2e", what, got[i], i, want[i], d, bound)
		}
	}
}

// TestSmallKernels holds the rest against their twins at ragged lengths.
func TestSmallKernels(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	for _, set := range vectorSets(t) {
		for _, n := range []int{1, 15, 16, 17, 64, 100, 257} {
			both(t, fmt.Sprintf("%s, n %d", set.Name(), n), set, func(k kernels) []float32 {
				rng := rand.New(rand.NewPCG(uint64(n), 1))
				x, w, y := noise(rng, n), noise(rng, n), poison(n)
				k.Norm(x, w, y, 1e-6)
				k.Norm(x, nil, x, 1e-6)
				out := append(y, x...)
				out = append(out, k.SumSquares(w)/float32(n))
				m, z := noise(rng, 4*n), poison(n)
				k.Mix(noise(rng, 4), m, z)
				out = append(out, z...)
				k.Remix(noise(rng, 4), noise(rng, 16), w, m)
				out = append(out, m...)
				g := noise(rng, n)
				k.SwiGLU(g, noise(rng, n), 0.7, 1.3)
				p := noise(rng, n)
				k.LogSoftmax(p)
				return append(append(out, g...), p...)
			})
		}
		for _, tokens := range []int{1, 15, 16, 17, 40} {
			both(t, fmt.Sprintf("%s, sinkhorn of %d tokens", set.Name(), tokens), set, func(k kernels) []float32 {
				rng := rand.New(rand.NewPCG(uint64(tokens), 2))
				pre, out := poison(4*tokens), poison(20*tokens)
				rho := noise(rng, tokens)
				k.Sinkhorn(noise(rng, 24*tokens), rho, noise(rng, 24), [3]float32{0.5, 1, 2}, 4, 20, 1e-6, pre, out)
				return append(pre, out...)
			})
		}
		for _, n := range []int{1, 5, 12, 13, 70} {
			q, w, keys := noise(rng, 9*4*64), noise(rng, 9*4), noise(rng, n*64)
			both(t, fmt.Sprintf("%s, index scores of %d blocks", set.Name(), n), set, func(k kernels) []float32 {
				out := poison(9 * n)
				k.IndexScores(q, w, 9, 4, 64, keys, n, out, poison(kernel.IndexRoom(64)))
				for i := range out {
					out[i] /= 64 // the size of a sum
				}
				return out
			})
			v, g := noise(rng, 80*n), noise(rng, 80*n)
			both(t, fmt.Sprintf("%s, pool of %d rows", set.Name(), n), set, func(k kernels) []float32 {
				var rows []int64
				for i := range n {
					rows = append(rows, int64(i*80))
					if i%2 == 1 {
						rows[i] = -1 - rows[i]
					}
				}
				out := poison(80)
				k.Pool(v, g, rows, g, v, out)
				return out
			})
		}
	}
}

// both wants two kernel sets to agree on figures of size 1 or so. A chain of
// some hundred float32 operations is far within 1e-5.
func both(t *testing.T, what string, set kernels, f func(kernels) []float32) {
	t.Helper()
	checkClose(t, what, f(set), f(plain{}), 1e-5)
}

// TestNonFinite wants a NaN in to be a NaN out: nothing hides it.
func TestNonFinite(t *testing.T) {
	nan := float32(math.NaN())
	for _, k := range append(asKernels(vectorSets(t)), plain{}) {
		x := make([]float32, 64)
		x[37] = nan
		y := make([]float32, 64)
		k.Norm(x, nil, y, 1e-6)
		g, p := slices.Clone(x), slices.Clone(x)
		k.SwiGLU(g, y, 1, 1)
		k.LogSoftmax(p)
		w := fill(rand.New(rand.NewPCG(1, 1)), kernel.Matrix{Kind: kernel.BF16}, 4, 64)
		v := make([]float32, 4)
		k.MatVec(&w, 0, 4, x, nil, v)
		a := kernel.Attend{Q: x, O: make([]float32, 64), Lane: []int64{0}, D: 64, ID: []uint32{0, 1}, See: []uint32{1, 1},
			Sinks: []float32{0}, Scale: 1, Room: make([]float32, kernel.AttendRoom(64, 2))}
		a.Base[0] = make([]float32, 128)
		k.Attend(&a)
		for what, got := range map[string]float32{"norm": y[0], "swiglu": g[37], "log softmax": p[0], "matvec": v[3], "attend": a.O[5]} {
			if got == got {
				t.Errorf("%s: %s hides a NaN: %g", k.Name(), what, got)
			}
		}
	}
}

func asKernels(sets []*kernel.Set) (out []kernels) {
	for _, s := range sets {
		out = append(out, s)
	}
	return out
}

// TestTopBlocks compares the selection with a sort, ties and all.
func TestTopBlocks(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for range 2000 {
		n, k := 1+rng.IntN(80), 1+rng.IntN(20)
		scores := make([]float32, n)
		for i := range scores {
			scores[i] = float32(rng.IntN(10)) // ties
		}
		order := make([]int, n)
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return int(scores[b] - scores[a]) })
		want := make([]int32, k)
		for i := range want {
			want[i] = -1
		}
		top := slices.Clone(order[:min(k, n)])
		slices.Sort(top)
		for i, e := range top {
			want[i] = int32(e)
		}
		got := make([]int32, k)
		topBlocks(got, scores, make([]float32, n))
		if !slices.Equal(got, want) {
			t.Fatalf("the %d best of %v are %v, want %v", k, scores, got, want)
		}
	}
}
