//go:build !cgo

package kernel

import "errors"

// Set has no kernels in a program built without cgo.
type Set struct{}

// For errs: the kernels need cgo.
func For(string) (*Set, error) {
	return nil, errors.New("kernel: built without cgo, which the vector kernels need")
}

const none = "kernel: called without cgo" // unreachable: For gave no Set

// The methods exist so that callers compile; For never returns a Set.

func (*Set) Name() string                                   { panic(none) }
func (*Set) MatMul(*MatMul)                                 { panic(none) }
func (*Set) Prepare(_ *Matrix, _, _ []float32) []float32    { panic(none) }
func (*Set) MatVec(*Matrix, int, int, []float32, []float32) { panic(none) }
func (*Set) read([]float32) float32                         { panic(none) }
func (*Set) multiply(int) int                               { panic(none) }
func (*Set) Decode(*Matrix, int, int, []float32)            { panic(none) }
func (*Set) Attend(*Attend)                                 { panic(none) }
func (*Set) IndexScores(_, _ []float32, _, _, _ int, _ []float32, _ int, _, _ []float32) {
	panic(none)
}
func (*Set) AttendAll(*Attend)                                                  { panic(none) }
func (*Set) IndexOne(_, _ []float32, _, _ int, _ []float32, _ int, _ []float32) { panic(none) }
func (*Set) Pool(_, _ []float32, _ []int64, _, _, _ []float32)                  { panic(none) }
func (*Set) Norm(_, _, _ []float32, _ float32)                                  { panic(none) }
func (*Set) SumSquares([]float32) float32                                       { panic(none) }
func (*Set) Mix(_, _, _ []float32)                                              { panic(none) }
func (*Set) Remix(_, _, _, _ []float32)                                         { panic(none) }
func (*Set) Sinkhorn(_, _, _ []float32, _ [3]float32, _, _ int, _ float32, _, _ []float32) {
	panic(none)
}
func (*Set) SwiGLU(_, _ []float32, _, _ float32) { panic(none) }
func (*Set) LogSoftmax([]float32)                { panic(none) }
func (*Set) Exp([]float32)                       { panic(none) }
func (*Set) Quantize(_ int, _ bool, _ []float32, _ []byte, _, _ []uint16) bool {
	panic(none)
}
