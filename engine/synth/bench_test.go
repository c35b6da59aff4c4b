package synth

import (
	"testing"

	"assay/engine/tensor"
)

// BenchmarkDraw times one core: ns/op is per weight.
func BenchmarkDraw(b *testing.B) {
	const rows, cols = 128, 4096
	for _, c := range []struct {
		name   string
		class  tensor.Class
		dtype  tensor.DType
		native tensor.Native
	}{
		{"fp4", tensor.RoutedExpert, tensor.BF16, tensor.FP4},
		{"fp8", tensor.Attention, tensor.BF16, tensor.FP8},
		{"bf16", tensor.Head, tensor.BF16, tensor.Plain},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := tensor.Param{Info: tensor.Info{Name: "x", DType: c.dtype, Shape: []int{rows, cols}}, Class: c.class, Native: c.native}
			j, err := newJob(p, nil)
			if err != nil {
				b.Fatal(err)
			}
			m := maker{band: make([]float32, tensor.FP8Block*tensor.FP8Block)}
			rowSpread, blockSpread := newSpread(j.law.rows), newSpread(j.law.blocks)
			m.chunk(newDraw(0, "x", 0), j, rows, cols, rowSpread, blockSpread)
			b.ResetTimer()
			for i := 0; i < b.N; i += rows * cols {
				m.chunk(newDraw(0, "x", i), j, rows, cols, rowSpread, blockSpread)
			}
		})
	}
}
