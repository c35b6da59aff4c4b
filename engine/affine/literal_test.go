package affine

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"assay/engine/tensor"
)

// literalGroup is the plain twin of QuantizeGroup: section 1.3 of the
// specification word for word, with the library's own roundings. A scale that is
// 0 or not finite is one that QuantizeGroup refuses.
func literalGroup(bits int, enc Encoder, x []float32) (codes []uint8, s, z float32) {
	n := float32(int(1)<<bits - 1)
	lo, hi := float32(math.Inf(1)), float32(0)
	if enc == CPU {
		hi = float32(math.Inf(-1))
	}
	for _, v := range x {
		if v < lo {
			lo = v
		}
		if v > hi {
			hi = v
		}
	}
	s = (hi - lo) / n
	if !(s > 1e-7) {
		s = 1e-7
	}
	edge := hi
	if abs(lo) > abs(hi) {
		edge = lo
	} else {
		s = -s
	}
	if q0 := literalRound(enc, edge/s); q0 != 0 {
		s, z = edge/q0, edge
	}
	codes = make([]uint8, len(x))
	for i, v := range x {
		codes[i] = uint8(max(min(literalRound(enc, (v-z)/s), n), 0))
	}
	return codes, s, z
}

func literalRound(enc Encoder, v float32) float32 {
	if enc == CPU {
		return float32(math.RoundToEven(float64(v)))
	}
	return float32(math.Round(float64(v)))
}

// sameAsLiteral reports where QuantizeGroup and its twin differ on x.
func sameAsLiteral(bits int, enc Encoder, x []float32) error {
	codes := make([]uint8, len(x))
	s, z, err := QuantizeGroup(codes, bits, enc, x)
	for i, v := range x {
		if v-v != 0 {
			if err == nil {
				return fmt.Errorf("weight %d, %v, accepted", i, v)
			}
			return nil
		}
	}
	want, wantS, wantZ := literalGroup(bits, enc, x)
	if refused := wantS == 0 || wantS-wantS != 0; refused || err != nil {
		if !refused || err == nil {
			return fmt.Errorf("literal scale %v, error %v", wantS, err)
		}
		return nil
	}
	if math.Float32bits(s) != math.Float32bits(wantS) || math.Float32bits(z) != math.Float32bits(wantZ) {
		return fmt.Errorf("scale %v, bias %v, want %v, %v", s, z, wantS, wantZ)
	}
	for i, q := range codes {
		if q != want[i] {
			return fmt.Errorf("weight %d, %v: code %d, want %d (scale %v, bias %v)", i, x[i], q, want[i], s, z)
		}
	}
	return nil
}

// families are the shapes of data on which ties are frequent or an encoder takes
// another branch. Each fills one group.
var families = []struct {
	name string
	fill func(r *rand.Rand, x []float32)
}{
	{"Gaussian BF16", func(r *rand.Rand, x []float32) {
		for i := range x {
			x[i] = bf16(float32(r.NormFloat64() * 0.02))
		}
	}},
	{"Gaussian float32", func(r *rand.Rand, x []float32) {
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
	}},
	{"FP4", func(r *rand.Rand, x []float32) {
		scale := tensor.E8M0ToFloat32(byte(110 + r.IntN(20)))
		for i := range x {
			x[i] = tensor.E2M1ToFloat32(byte(r.IntN(16))) * scale
		}
	}},
	{"FP8", func(r *rand.Rand, x []float32) {
		for i := range x {
			x[i] = tensor.E4M3ToFloat32(byte(r.IntN(127)+r.IntN(2)*128)) * 0x1p-9
		}
	}},
	{"quarter steps", func(r *rand.Rand, x []float32) {
		for i := range x {
			x[i] = float32(r.IntN(1024)-512) / 4
		}
		x[0], x[1] = -128, 127
	}},
	{"negative", func(r *rand.Rand, x []float32) {
		for i := range x {
			x[i] = bf16(-0.25 - r.Float32())
		}
	}},
	{"positive", func(r *rand.Rand, x []float32) {
		for i := range x {
			x[i] = bf16(0.25 + r.Float32())
		}
	}},
	{"constant", func(r *rand.Rand, x []float32) {
		c := bf16(float32(r.NormFloat64()))
		for i := range x {
			x[i] = c
		}
	}},
	{"near the least scale", func(r *rand.Rand, x []float32) {
		scale := float32(math.Exp2(-30 + 14*r.Float64()))
		for i := range x {
			x[i] = bf16(float32(r.NormFloat64()) * scale)
		}
	}},
	{"any bits", func(r *rand.Rand, x []float32) {
		for i := range x {
			x[i] = math.Float32frombits(r.Uint32() & 0xbfffffff)
		}
	}},
}

func bf16(v float32) float32 { return tensor.BF16ToFloat32(tensor.BF16FromFloat32(v)) }

// 10 families · 1200 groups · 12 of bits and encoder: 10 million weights.
func TestFastIsLiteral(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for _, f := range families {
		for range 1200 {
			x := make([]float32, 32<<r.IntN(3))
			f.fill(r, x)
			for _, bits := range widths {
				for _, enc := range []Encoder{GPU, CPU} {
					if err := sameAsLiteral(bits, enc, x); err != nil {
						t.Fatalf("%s, %d bits, %v: %v\n%v", f.name, bits, enc, err, x)
					}
				}
			}
		}
	}
}

var widths = []int{2, 3, 4, 5, 6, 8}

// With scale 1 and bias 0 assignCodes is the rounding alone. Both roundings are
// monotone, so what lies between two of these values that round alike rounds with
// them: the 512 nearest float32 on either side of each whole number and each half
// up to 512, and the least and the negative values that can occur.
func TestRoundingIsExact(t *testing.T) {
	x := []float32{0, math.Float32frombits(1 << 31), 0x1p-149, -0x1p-149, -0.25, -belowHalf, -0x1p-24}
	for half := 1; half <= 1024; half++ {
		u := math.Float32bits(float32(half) / 2)
		for d := uint32(0); d <= 512; d++ {
			x = append(x, math.Float32frombits(u-d), math.Float32frombits(u+d))
		}
	}
	codes := make([]uint8, len(x))
	for _, enc := range []Encoder{GPU, CPU} {
		for _, n := range []int32{3, 15, 255} {
			assignCodes(codes, enc, n, x, 1, 0)
			for i, v := range x {
				if want := uint8(max(min(literalRound(enc, v), float32(n)), 0)); codes[i] != want {
					t.Fatalf("%v: %v becomes %d of %d, want %d", enc, v, codes[i], n, want)
				}
			}
		}
	}
}

func FuzzQuantizeGroup(f *testing.F) {
	f.Add([]byte{0x80, 0xbf, 0x70, 0x3f}, uint8(4), true, false)
	f.Add([]byte{0, 0, 0x80, 0x7f, 1, 2, 3, 4}, uint8(8), false, true)
	f.Add([]byte{0, 0, 0, 0x80, 0xb3, 0x33, 0xb3, 0x33}, uint8(2), true, true)
	f.Fuzz(func(t *testing.T, data []byte, width uint8, gpu, wide bool) {
		enc := CPU
		if gpu {
			enc = GPU
		}
		x := weightsOf(data, wide)
		if len(x) == 0 {
			return
		}
		if err := sameAsLiteral(widths[int(width)%len(widths)], enc, x); err != nil {
			t.Fatal(err)
		}
	})
}

// weightsOf reads data as float32 or as BF16.
func weightsOf(data []byte, wide bool) (x []float32) {
	size := 2
	if wide {
		size = 4
	}
	for ; len(data) >= size; data = data[size:] {
		u := uint32(data[0])<<16 | uint32(data[1])<<24
		if wide {
			u = u>>16 | uint32(data[2])<<16 | uint32(data[3])<<24
		}
		x = append(x, math.Float32frombits(u))
	}
	return x
}
