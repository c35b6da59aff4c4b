package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func BenchmarkMatMul(b *testing.B) {
	for _, name := range []string{"avx512", "avx2", "base"} {
		set, err := For(name)
		if err != nil {
			continue
		}
		for _, f := range []Matrix{{Kind: F32}, {Kind: BF16}, {Kind: Affine, Bits: 8, Group: 32}, {Kind: Affine, Bits: 4, Group: 32}, {Kind: Affine, Bits: 3, Group: 32}, {Kind: MXFP4}, {Kind: MXFP8}} {
			for _, n := range []int{192, 1024} {
				b.Run(fmt.Sprintf("%s/kind=%d-%d/n=%d", name, f.Kind, f.Bits, n), func(b *testing.B) {
					m := f
					m.Rows, m.Cols = 256, 256
					m.Codes = make([]byte, 4*m.Rows*m.Cols)
					m.Scales = make([]byte, m.Rows*m.Cols)
					m.Biases = make([]byte, m.Rows*m.Cols)
					x := make([]float32, n*m.Cols)
					for i := range x {
						x[i] = rand.Float32()
					}
					y := make([]float32, n*m.Rows)
					p := make([]float32, m.Cols*Panel)
					for b.Loop() {
						set.MatMul(&MatMul{W: &m, To: m.Rows, X: x, LdX: m.Cols, Y: y, LdY: m.Rows, N: n, Panel: p})
					}
					b.ReportMetric(2*float64(n*m.Rows*m.Cols)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
				})
			}
		}
	}
}
