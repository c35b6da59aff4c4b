package bench

import (
	"fmt"
	"sync"
	"time"

	"assay/engine/affine"
	"assay/engine/cpu/kernel"
)

// MachineRates is what a machine's cores do together, measured in about half a
// second each.
type MachineRates struct {
	FLOPs    float64 // floating-point operations a second of a matrix product in float32
	Quantize float64 // weights a second, by MLX's rule to 4 bits in groups of 32
}

// Measure measures this machine with a number of threads.
func Measure(threads int) (MachineRates, error) {
	set := kernel.Best()
	if set == nil {
		return MachineRates{}, fmt.Errorf("bench: this assay is built without vector kernels")
	}
	const rows, cols, tokens = 128, 1024, 192
	product := func() int {
		w := &kernel.Matrix{Kind: kernel.F32, Rows: rows, Cols: cols, Codes: make([]byte, 4*rows*cols)}
		a := kernel.MatMul{W: w, To: rows, X: make([]float32, tokens*cols), LdX: cols,
			Y: make([]float32, tokens*rows), LdY: rows, N: tokens, Panel: make([]float32, cols*kernel.Panel)}
		return repeat(func() { set.MatMul(&a) })
	}
	quantize := func() int {
		m, err := affine.NewMatrix(affine.Params{Bits: 4, GroupSize: 32}, rows, cols)
		if err != nil {
			return 0
		}
		w := make([]float32, rows*cols)
		for i := range w {
			w[i] = float32(i%97) / 97
		}
		return repeat(func() {
			if m.QuantizeRows(affine.GPU, 0, w) != nil {
				panic("bench: whole numbers over 97 cannot be quantized")
			}
		})
	}
	return MachineRates{
		FLOPs:    2 * rows * cols * tokens * together(threads, product),
		Quantize: rows * cols * together(threads, quantize),
	}, nil
}

// measureFor is how long each rate is measured.
const measureFor = 400 * time.Millisecond

// repeat calls f for measureFor and returns how often.
func repeat(f func()) (n int) {
	f()
	for start := time.Now(); time.Since(start) < measureFor; n++ {
		f()
	}
	return n
}

// together runs f on threads goroutines and returns how often all of them
// together did their work in a second.
func together(threads int, f func() int) float64 {
	counts := make([]int, threads)
	var wg sync.WaitGroup
	for i := range counts {
		wg.Go(func() { counts[i] = f() })
	}
	wg.Wait()
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return float64(sum) / measureFor.Seconds()
}
