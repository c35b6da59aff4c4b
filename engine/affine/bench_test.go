package affine

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"assay/engine/tensor"
)

// gaussian returns n weights of standard deviation 0.02, rounded to BF16.
func gaussian(seed uint64, n int) []float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	w := make([]float32, n)
	for i := range w {
		w[i] = tensor.BF16ToFloat32(tensor.BF16FromFloat32(float32(r.NormFloat64() * 0.02)))
	}
	return w
}

// BenchmarkQuantize reports weights per second on one core; MB/s are those of
// the float32 weights.
func BenchmarkQuantize(b *testing.B) {
	const rows, cols = 64, 4096
	w := gaussian(1, rows*cols)
	for _, enc := range []Encoder{GPU, CPU} {
		for _, bits := range []int{2, 3, 4, 5, 6, 8} {
			for _, size := range []int{32, 64, 128} {
				b.Run(fmt.Sprintf("encoder=%v/bits=%d/group=%d", enc, bits, size), func(b *testing.B) {
					m, err := NewMatrix(Params{bits, size}, rows, cols)
					if err != nil {
						b.Fatal(err)
					}
					for b.Loop() {
						if err := m.QuantizeRows(enc, 0, w); err != nil {
							b.Fatal(err)
						}
					}
					reportWeights(b, rows*cols)
				})
			}
		}
	}
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
