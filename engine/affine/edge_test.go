package affine

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// The encoders that choose codes for the stored pair hold a constant that BF16
// holds, however small or large, with a scale that is not 0. GPU makes constants
// under 5e-8 to 0 and refuses those over 1e31.
func TestConstantsAreExact(t *testing.T) {
	for _, c := range []float32{0, 3, -3, 0x1p-100, -0x1p-133, 0x1p-25, bf16(1e32), bf16(-3e38)} {
		for _, enc := range []Encoder{Recode, Search, Lattice} {
			for _, bits := range widths {
				x, codes := group(func(int) float32 { return c }), make([]uint8, 32)
				s, z, err := QuantizeGroup(codes, bits, enc, x)
				if err != nil || s == 0 || s != bf16(s) {
					t.Fatalf("%v, %v: scale %v, error %v", enc, c, s, err)
				}
				for _, q := range codes {
					if float32(s*float32(q))+z != c {
						t.Fatalf("%v, %v: scale %v, bias %v, code %d", enc, c, s, z, q)
					}
				}
			}
		}
	}
}

// Both zeros become +0 in every way: in codes, in the bias, and decoded.
func TestMinusZero(t *testing.T) {
	minus := math.Float32frombits(1 << 31)
	for _, enc := range Encoders() {
		for _, x := range [][]float32{{minus, minus}, {minus, 0}, {0, minus, 1}} {
			codes := make([]uint8, len(x))
			s, z, err := QuantizeGroup(codes, 8, enc, x)
			if err != nil || codes[0] != codes[1] || enc == Lattice && math.Float32bits(z) != 0 {
				t.Fatalf("%v, %v: bias %v, codes %v, error %v", enc, x, z, codes, err)
			}
			if got := float32(bf16(s)*float32(codes[0])) + bf16(z); enc >= Search && math.Float32bits(got) != 0 {
				t.Errorf("%v, %v: 0 decodes to %v", enc, x, got)
			}
		}
	}
}

// One weight a million times the others. Recode is off by what BF16 rounds of a
// bias up to 1e6 and of n scales up to 1e6/n, 2^-9·1e6 = 1953, and by the others
// themselves, under 4: in all 32·1957² at most. Search has no more, so it keeps the
// large weight to √32·1957 = 11071.
func TestOutlier(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 66))
	for _, bits := range widths {
		x := group(func(int) float32 { return bf16(float32(r.NormFloat64())) })
		x[17] = 1e6
		codes := make([]uint8, 32)
		s, z, err := QuantizeGroup(codes, bits, Search, x)
		if err != nil {
			t.Fatal(err)
		}
		if got := float32(s*float32(codes[17])) + z; math.Abs(float64(got)-1e6) > 11071 {
			t.Errorf("%d bits: 1e6 decodes to %v (scale %v, bias %v)", bits, got, s, z)
		}
		checkSearch(t, "outlier", bits, x)
	}
}

// Weights under MLX's least scale, down to the subnormals of BF16, are 0 for GPU
// and so for Recode. Search keeps them: a lattice is exact there too, and other
// weights have the codes that they have when 2^100 times larger, where their step
// has the eight bits of a BF16 and GPU's pair, one seed of 38, is not the best.
func TestTinyWeights(t *testing.T) {
	onLattice := group(func(i int) float32 { return float32(i%16) * 0x1p-130 })
	codes := make([]uint8, 32)
	s, z, err := QuantizeGroup(codes, 4, Search, onLattice)
	if err != nil || s != 0x1p-130 || z != 0 || squaredError(codes, s, z, onLattice) != 0 {
		t.Errorf("scale %v, bias %v, codes %v, error %v", s, z, codes, err)
	}
	w := gaussian(9, 64)
	tiny := make([]float32, 64)
	for i, v := range w {
		tiny[i] = v * 0x1p-100
	}
	want := make([]uint8, 64)
	codes = make([]uint8, 64)
	largeScale, largeBias, err := QuantizeGroup(want, 4, Search, w)
	if err != nil {
		t.Fatal(err)
	}
	s, z, err = QuantizeGroup(codes, 4, Search, tiny)
	if err != nil || s != largeScale*0x1p-100 || z != largeBias*0x1p-100 || !slices.Equal(codes, want) {
		t.Errorf("scale %v, bias %v, error %v, want %v, %v", s, z, err, largeScale*0x1p-100, largeBias*0x1p-100)
	}
	s, z, err = QuantizeGroup(codes, 4, Recode, tiny)
	if err != nil || z != 0 || slices.Max(codes) != 0 {
		t.Errorf("Recode: scale %v, bias %v, codes %v, error %v", s, z, codes, err)
	}
}

// Where BF16 rounds the scale down, the codes of the far end would go past n; they
// are n. By hand: from 0 to 255.5 GPU's scale is −255.5/255 = −1.00196, stored −1,
// and the bias 256, so 0 lies 256 steps from there, of which 255 are codes.
func TestCodesAreClamped(t *testing.T) {
	x := []float32{255.5, 0, 128}
	codes := make([]uint8, 3)
	s, z, err := QuantizeGroup(codes, 8, Recode, x)
	if err != nil || s != -1 || z != 256 || !slices.Equal(codes, []uint8{1, 255, 128}) {
		t.Errorf("scale %v, bias %v, codes %v, error %v", s, z, codes, err)
	}
}

// checkStored reports what no group may come out as under the encoders that choose
// codes for the stored pair: it has codes over n, values that BF16 does not hold, a
// scale of 0, or weights that are not finite once decoded.
func checkStored(t *testing.T, bits int, enc Encoder, x []float32) {
	t.Helper()
	codes := make([]uint8, len(x))
	s, z, err := QuantizeGroup(codes, bits, enc, x)
	if i := nonFinite(x); (i >= 0) && err == nil {
		t.Fatalf("%v, %d bits: weight %v accepted", enc, bits, x[i])
	}
	if err != nil {
		return
	}
	if s == 0 || s != bf16(s) || z != bf16(z) {
		t.Fatalf("%v, %d bits: scale %v, bias %v", enc, bits, s, z)
	}
	for i, q := range codes {
		got := float32(s*float32(q)) + z
		if int(q)>>bits != 0 || got-got != 0 {
			t.Fatalf("%v, %d bits: weight %v has code %d and decodes to %v", enc, bits, x[i], q, got)
		}
		if enc == Lattice && math.Float32bits(got) != math.Float32bits(x[i]+0) {
			t.Fatalf("%v, %d bits: weight %v decodes to %v", enc, bits, x[i], got)
		}
		if best := nearestOfAll(bits, s, z, x[i]); distance(s, z, q, x[i]) > best+slack(bits, s, z, x[i]) {
			t.Fatalf("%v, %d bits: weight %v has code %d, the nearest is %v off", enc, bits, x[i], q, best)
		}
	}
}

// Whatever bits a checkpoint holds, there is an error or a sound group.
func FuzzStoredPair(f *testing.F) {
	f.Add([]byte{0x80, 0xbf, 0x70, 0x3f}, uint8(4), false)
	f.Add([]byte{0, 0, 0x80, 0x7f, 1, 2, 3, 4}, uint8(8), true)
	f.Add([]byte{0, 0, 0, 0x80, 0x7f, 0x7f, 0x7f, 0xff}, uint8(2), false)
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0x7f, 0x7f}, uint8(3), true)
	f.Fuzz(func(t *testing.T, data []byte, width uint8, wide bool) {
		x := weightsOf(data, wide)
		if len(x) == 0 || len(x) > 256 {
			return
		}
		bits := widths[int(width)%len(widths)]
		for _, enc := range []Encoder{Recode, Search, Lattice} {
			checkStored(t, bits, enc, x)
		}
		if nonFinite(x) < 0 {
			checkSearch(t, "fuzz", bits, x)
		}
	})
}

// The same without a fuzzer: every family, from BF16 values to any bits at all.
func TestStoredPair(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 22))
	for _, f := range families {
		for range 50 {
			x := make([]float32, 32<<r.IntN(4))
			f.fill(r, x)
			for _, enc := range []Encoder{Recode, Search, Lattice} {
				checkStored(t, widths[r.IntN(len(widths))], enc, x)
			}
		}
	}
}
