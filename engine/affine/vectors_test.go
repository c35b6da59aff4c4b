package affine

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"assay/engine/cpu/kernel"
)

// Every set of vector kernels gives the bits of the plain code, for each width,
// group size and rule, on weights with many ties, of one sign, constant, tiny
// and huge, and for any number of groups.
func TestVectors(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	draws := map[string]func(int) float32{
		"gaussian": func(int) float32 { return float32(rng.NormFloat64()) },
		"fp4": func(int) float32 {
			return [...]float32{0, .5, 1, 1.5, 2, 3, 4, 6, -.5, -1, -1.5, -2, -3, -4, -6}[rng.IntN(15)] * 0x1p-7
		},
		"halves":   func(int) float32 { return float32(rng.IntN(64)-32) / 16 },
		"negative": func(int) float32 { return -0.25 - rng.Float32() },
		"positive": func(int) float32 { return 0.25 + rng.Float32() },
		"constant": func(i int) float32 { return float32(i/256-8) * 0.375 },
		"tiny":     func(int) float32 { return float32(rng.NormFloat64()) * 0x1p-25 },
		"denormal": func(int) float32 { return math.Float32frombits(uint32(rng.IntN(1<<23))) * float32(rng.IntN(2)*2-1) },
		"huge":     func(int) float32 { return float32(rng.NormFloat64()) * 1e29 },
		"zeros":    func(i int) float32 { return float32(math.Copysign(0, float64(i%3-1))) },
		"sparse":   func(int) float32 { return float32(rng.IntN(40)/39) * float32(rng.NormFloat64()) },
		"any": func(int) float32 {
			return math.Float32frombits(rng.Uint32()&0x807fffff | uint32(rng.IntN(220))<<23)
		},
	}
	const cols = 256
	for _, name := range kernel.Names {
		set, err := kernel.For(name)
		if err != nil {
			continue
		}
		for data, draw := range draws {
			for _, rows := range []int{1, 3, 16} {
				w := make([]float32, rows*cols)
				for i := range w {
					w[i] = draw(i)
				}
				eachParams(t, cols, func(p Params, enc Encoder) {
					checkVectors(t, set, fmt.Sprintf("%s, %s, %v, %v, %d rows", name, data, p, enc, rows), p, enc, w)
				})
			}
		}
	}
}

func eachParams(t *testing.T, cols int, f func(Params, Encoder)) {
	t.Helper()
	for _, bits := range []int{2, 3, 4, 5, 6, 8} {
		for _, group := range []int{32, 64, 128} {
			for _, enc := range []Encoder{GPU, CPU} {
				f(Params{bits, group}, enc)
			}
		}
	}
}

func checkVectors(t *testing.T, set *kernel.Set, what string, p Params, enc Encoder, w []float32) {
	t.Helper()
	const cols = 256
	got, err1 := NewMatrix(p, len(w)/cols, cols)
	want, err2 := NewMatrix(p, len(w)/cols, cols)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	var refused error
	for row := range want.Rows {
		if refused = want.quantizeRow(enc, row, w[row*cols:][:cols]); refused != nil {
			break
		}
	}
	if ok := got.quantizeVectors(set, enc, 0, w); ok != (refused == nil) {
		t.Fatalf("%s: %v, plain code says %v", what, ok, refused)
	}
	if refused == nil && (!bytes.Equal(got.Codes, want.Codes) || !slices.Equal(got.Scales, want.Scales) || !slices.Equal(got.Biases, want.Biases)) {
		t.Fatalf("%s: other bits than the plain code", what)
	}
}

// What the plain code refuses, the kernels leave to it, wherever it stands.
func TestVectorsRefuse(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, name := range kernel.Names {
		set, err := kernel.For(name)
		if err != nil {
			continue
		}
		for _, bad := range []float32{float32(math.NaN()), inf, -inf, math.MaxFloat32, -math.MaxFloat32} {
			for _, at := range []int{0, 31, 255, 256, 1023} {
				w := make([]float32, 4*256)
				for i := range w {
					w[i] = float32(i % 7)
				}
				w[at] = bad
				w[at^1] = -bad
				eachParams(t, 256, func(p Params, enc Encoder) {
					checkVectors(t, set, fmt.Sprintf("%s, %v at %d, %v, %v", name, bad, at, p, enc), p, enc, w)
				})
			}
		}
	}
}
