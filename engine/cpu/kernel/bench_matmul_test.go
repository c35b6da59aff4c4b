package kernel

import (
	"fmt"
	"testing"
)

// BenchmarkMatMul multiplies with the widths of V4-Flash's matrices, and of the
// reference model's, n tokens at once: of 2,048, an expert gets 48. The limit is
// that of floating point on one core, and the FLOPs are useful ones: decoding the
// weights counts as time only.
func BenchmarkMatMul(b *testing.B) {
	for _, f := range benchFormats {
		for _, cols := range []int{256, 1024, 4096, 16384} {
			for _, n := range []int{1, 8, 48, 192, 2048} {
				if n*cols > 1<<23 {
					continue
				}
				each(b, fmt.Sprintf("%s/cols=%d/n=%d", f.benchName(), cols, n), func(b *testing.B, s *Set) {
					m := zeros(f, 256, cols)
					x, y, p := random(n*m.Cols), make([]float32, n*m.Rows), make([]float32, m.Cols*Panel)
					for b.Loop() {
						s.MatMul(&MatMul{W: m, To: m.Rows, X: x, LdX: m.Cols, Y: y, LdY: m.Rows, N: n, Panel: p})
					}
					limit(b, 2*float64(n*m.Rows*m.Cols), "GFLOP/s", peakFLOPS(1))
				})
			}
		}
	}
}

// BenchmarkDecode writes weights as floats, of a matrix and to memory that a
// second-level cache holds.
func BenchmarkDecode(b *testing.B) {
	for _, f := range benchFormats {
		each(b, f.benchName(), func(b *testing.B, s *Set) {
			m := zeros(f, 32, 4096)
			out := make([]float32, m.Rows*m.Cols)
			for b.Loop() {
				s.Decode(m, 0, m.Rows, out)
			}
			rate(b, float64(m.Rows*m.Cols), "Gweights/s")
		})
	}
}

// BenchmarkAttend is one panel of the reference model's heads, or of V4-Flash's:
// over the window, and over it and 512 picked entries.
func BenchmarkAttend(b *testing.B) {
	for _, d := range []int{128, 512} {
		for _, n := range []int{131, 640} {
			each(b, fmt.Sprintf("d=%d/keys=%d", d, n), func(b *testing.B, s *Set) {
				const lines = 4096 // the keys lie apart
				a := Attend{Q: random(Panel * d), O: make([]float32, Panel*d), D: d, Scale: 0.1,
					Sinks: make([]float32, Panel), Room: make([]float32, AttendRoom(d, n))}
				a.Base[0] = random(lines * d)
				for l := range Panel {
					a.Lane = append(a.Lane, int64(l*d))
				}
				for i := range n {
					a.ID, a.See = append(a.ID, uint32(i*lines/n)), append(a.See, ^uint32(0))
				}
				for b.Loop() {
					s.Attend(&a)
				}
				limit(b, 4*float64(Panel*n*d), "GFLOP/s", peakFLOPS(1))
			})
		}
	}
}

// BenchmarkIndexScores is the reference model's indexer, and V4-Flash's.
func BenchmarkIndexScores(b *testing.B) {
	for _, c := range []struct{ heads, d int }{{4, 64}, {64, 128}} {
		for _, n := range []int{256, 4096} {
			each(b, fmt.Sprintf("heads=%d/d=%d/blocks=%d", c.heads, c.d, n), func(b *testing.B, s *Set) {
				const m = 32
				q, w, keys := random(m*c.heads*c.d), random(m*c.heads), random(n*c.d)
				out, room := make([]float32, m*n), make([]float32, IndexRoom(c.d))
				for b.Loop() {
					s.IndexScores(q, w, m, c.heads, c.d, keys, n, out, room)
				}
				limit(b, 2*float64(m*c.heads*c.d*n), "GFLOP/s", peakFLOPS(1))
			})
		}
	}
}

// BenchmarkQuantize is every width and group, by MLX's GPU rule, on what a
// second-level cache holds.
func BenchmarkQuantize(b *testing.B) {
	const n = 1 << 17
	x := random(n)
	for _, bits := range []int{2, 3, 4, 5, 6, 8} {
		for _, group := range []int{32, 64, 128} {
			each(b, fmt.Sprintf("bits=%d/group=%d", bits, group), func(b *testing.B, s *Set) {
				codes, scales, biases := make([]byte, n*bits/8), make([]uint16, n/group), make([]uint16, n/group)
				for b.Loop() {
					if !s.Quantize(bits, false, x, codes, scales, biases) {
						b.Fatal("refused")
					}
				}
				rate(b, n, "Gweights/s")
			})
		}
	}
}
