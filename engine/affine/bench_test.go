package affine

import (
	"fmt"
	"testing"
)

// BenchmarkQuantize reports weights per second on one core; MB/s are those of
// the float32 weights. Lattice holds FP4 blocks only.
func BenchmarkQuantize(b *testing.B) {
	const rows, cols = 64, 4096
	for _, d := range []struct {
		name string
		w    []float32
	}{{"gauss", gaussian(1, rows*cols)}, {"fp4", fp4Blocks(1, rows*cols)}} {
		for _, enc := range Encoders() {
			for _, bits := range widths {
				for _, size := range []int{32, 64, 128} {
					if enc == Lattice && (d.name != "fp4" || bits < 5 || size != 32) {
						continue
					}
					b.Run(fmt.Sprintf("data=%s/encoder=%v/bits=%d/group=%d", d.name, enc, bits, size), func(b *testing.B) {
						benchmarkQuantize(b, Params{bits, size}, enc, d.w, rows, cols)
					})
				}
			}
		}
	}
}

func benchmarkQuantize(b *testing.B, p Params, enc Encoder, w []float32, rows, cols int) {
	m, err := NewMatrix(p, rows, cols)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := m.QuantizeRows(enc, 0, w); err != nil {
			b.Fatal(err)
		}
	}
	reportWeights(b, rows*cols)
}

func BenchmarkDecodeRow(b *testing.B) {
	const cols = 4096
	w := gaussian(2, cols)
	dst := make([]float32, cols)
	for _, bits := range []int{2, 3, 4, 5, 6, 8} {
		m, err := Quantize(Params{bits, 64}, GPU, w, 1, cols)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("bits=%d", bits), func(b *testing.B) {
			for b.Loop() {
				m.DecodeRow(dst, 0)
			}
			reportWeights(b, cols)
		})
	}
}

func reportWeights(b *testing.B, n int) {
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mweights/s")
}
