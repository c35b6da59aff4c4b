package affine

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"assay/engine/tensor"
)

// By hand. The differences from the least weight are 9, 12, 13 and 20 halves, and
// then 2, 3, 5 and 6 twos, which 4 bits hold.
func TestLatticeWorkedExamples(t *testing.T) {
	for _, c := range []struct {
		bits        int
		x           []float32
		scale, bias float32
		codes       []uint8
	}{
		{5, []float32{-6, -1.5, 0, 0.5, 4}, 0.5, -6, []uint8{0, 9, 12, 13, 20}},
		{4, []float32{0, -6, -2, 4, 6}, 2, -6, []uint8{3, 0, 2, 5, 6}},
		{2, []float32{0x1p-133, 0, 0x1p-132}, 0x1p-133, 0, []uint8{1, 0, 2}},
		{8, []float32{-0x1p127, 0, 0x1p126}, 0x1p126, -0x1p127, []uint8{0, 2, 3}},
		{4, []float32{3, 3}, bf16(-1e-7), 3, []uint8{0, 0}},
	} {
		codes := make([]uint8, len(c.x))
		s, z, err := QuantizeGroup(codes, c.bits, Lattice, c.x)
		if err != nil || s != c.scale || z != c.bias || !slices.Equal(codes, c.codes) {
			t.Errorf("%v: scale %v, bias %v, codes %v, error %v, want %v, %v, %v", c.x, s, z, codes, err, c.scale, c.bias, c.codes)
		}
	}
}

// Every block of FP4 values is exact at 5, 6 and 8 bits: each set of the 15 values,
// times powers of two from the least E8M0 scale, 2^-127, to the largest at which
// the range, 12 of it, is a float32. What decodes is the value bit for bit, and 0
// where it was −0.
func TestLatticeHoldsFP4(t *testing.T) {
	block, decoded := make([]float32, 32), make([]float32, 32)
	for set := 1; set < 1<<15; set++ {
		scale := tensor.E8M0ToFloat32([]byte{0, 1, 60, 127, 200, 251}[set%6])
		fillFromSet(block, set, scale)
		for _, bits := range []int{5, 6, 8} {
			m, err := Quantize(Params{bits, 32}, Lattice, block, 1, 32)
			if err != nil {
				t.Fatalf("%d bits, %v: %v", bits, block, err)
			}
			m.DecodeRow(decoded, 0)
			for i, v := range block {
				if math.Float32bits(decoded[i]) != math.Float32bits(v+0) {
					t.Fatalf("%d bits, scale %#x, bias %#x: %v decodes to %v", bits, m.Scales, m.Biases, v, decoded[i])
				}
			}
		}
	}
}

// fillFromSet fills block with the FP4 values of set, one bit each, over and over.
func fillFromSet(block []float32, set int, scale float32) {
	for i, code := 0, 0; i < len(block); code++ {
		if code%16 == 8 { // −0 comes with 0
			block[i] = tensor.E2M1ToFloat32(8) * scale
			i += set & 1
		} else if at := code % 16; set>>(at-at/9)&1 == 1 {
			block[i] = tensor.E2M1ToFloat32(byte(at)) * scale
			i++
		}
	}
}

// literalLattice is the plain twin of Lattice: every power of two is tried, the
// largest first. Differences of BF16 values are exact in float64 up to 2^45 of the
// least of them, and math.Mod is exact.
func literalLattice(n int32, x []float32) (scale, bias float32, ok bool) {
	lo, hi := float64(slices.Min(x)), float64(slices.Max(x))
	if lo == hi {
		return bf16(-1e-7), float32(lo) + 0, true
	}
	for e := 127; ; e-- {
		d := math.Ldexp(1, e)
		if (hi-lo)/d > float64(n) {
			return 0, 0, false
		}
		if !slices.ContainsFunc(x, func(v float32) bool { return math.Mod(float64(v)-lo, d) != 0 }) {
			return float32(d), float32(lo) + 0, true
		}
	}
}

// Lattice finds the pair of its twin, and refuses what has none, on every family
// of BF16 weights and on weights strewn over lattices of nearly the steps at hand.
func TestLatticeIsLiteral(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 55))
	accepted := 0
	for _, bits := range widths {
		n := int32(1)<<bits - 1
		for i := range 3000 {
			x := make([]float32, 2+r.IntN(40))
			if f := families[i%len(families)]; f.name != "Gaussian float32" && f.name != "any bits" && i%2 == 0 {
				f.fill(r, x)
			} else {
				fillLattice(r, int(n), x)
			}
			codes := make([]uint8, len(x))
			s, z, err := QuantizeGroup(codes, bits, Lattice, x)
			wantS, wantZ, ok := literalLattice(n, x)
			if ok != (err == nil) || ok && (s != wantS || z != wantZ) {
				t.Fatalf("%d bits, %v: scale %v, bias %v, error %v, want %v, %v, %v", bits, x, s, z, err, wantS, wantZ, ok)
			}
			if err != nil {
				continue
			}
			accepted++
			for i, v := range x {
				if float32(s*float32(codes[i]))+z != v {
					t.Fatalf("%d bits, scale %v, bias %v: %v has code %d", bits, s, z, v, codes[i])
				}
			}
		}
	}
	if accepted < 3000 {
		t.Errorf("%d of 18000 groups on a lattice: the test tests little", accepted)
	}
}

// fillLattice fills x from a lattice of up to 1.25·n steps whose values are BF16.
func fillLattice(r *rand.Rand, n int, x []float32) {
	steps, d := 1+r.IntN(n+n/4), float32(math.Ldexp(1, r.IntN(40)-30))
	if steps > 255 {
		steps = 255
	}
	first := r.IntN(256-steps) * (1 - 2*r.IntN(2))
	for i := range x {
		x[i] = d * float32(first+r.IntN(steps+1))
	}
}

// A refusal names the weight that is at fault, where it is one, and why.
func TestLatticeRefuses(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		bits int
		x    []float32
		want string
	}{
		{5, []float32{-6, 6, 0, 0.3125}, "affine: weight 3: not on a lattice of 31 steps: " +
			"from -6 to 6 a step is at least 0.5, and 0.3125 is 12.625 steps from -6"},
		{4, []float32{-6, 6, 0, 0.5}, "affine: weight 3: not on a lattice of 15 steps: " +
			"from -6 to 6 a step is at least 1, and 0.5 is 6.5 steps from -6"},
		{8, []float32{0, 256, 1}, "affine: weight 2: not on a lattice of 255 steps: from 0 to 256 a step is at least 2, and 1 is 0.5 steps from 0"},
		{5, []float32{1.064453125, 1.001953125}, "affine: weight 1: not on a lattice of 31 steps: " +
			"the bias would be 1.0019531, which is no BF16 value"},
		{5, []float32{0.1, 0.1}, "affine: weight 0: not on a lattice of 31 steps: the bias would be 0.1, which is no BF16 value"},
		{5, []float32{0, 0x1p-149}, "affine: not on a lattice of 31 steps: scale 1e-45 and bias 0 do not decode to these weights"},
		{5, []float32{0, -0x1p127, 0x1p127}, "affine: weights from -1.7014118e+38 to 1.7014118e+38 have no finite scale"},
		{5, []float32{0, -inf}, "affine: weight 1 is -Inf"},
		{5, []float32{float32(math.NaN()), 0.3}, "affine: weight 0 is NaN"},
	} {
		if _, _, err := QuantizeGroup(make([]uint8, len(c.x)), c.bits, Lattice, c.x); err == nil || err.Error() != c.want {
			t.Errorf("error %v, want %s", err, c.want)
		}
	}
	w := make([]float32, 3*64)
	w[64+40], w[64+41] = 1, 0x1p-7
	_, err := Quantize(Params{5, 32}, Lattice, w, 3, 64)
	if err == nil || !strings.HasPrefix(err.Error(), "affine: row 1, column 41: not on a lattice of 31 steps: ") {
		t.Errorf("error %v", err)
	}
	w[64+40], w[64+41] = 0, 0x1p-149
	_, err = Quantize(Params{5, 32}, Lattice, w, 3, 64)
	if err == nil || !strings.HasPrefix(err.Error(), "affine: row 1, columns 32 to 63: not on a lattice of 31 steps: ") {
		t.Errorf("error %v", err)
	}
}

// What the research note mlx-analysis.md counted in 5.4: of Gaussian FP4 groups of
// 32, 4 bits hold 49.5 %, and of 64, 19.0 %. Of N groups the share is off by
// √(p(1 − p)/N), 0.8 % for 4096 at 1/2; bounds are four of it.
func TestLatticeShares(t *testing.T) {
	for _, c := range []struct {
		bits, size int
		share      float64
	}{{4, 32, 0.495}, {4, 64, 0.190}, {5, 32, 1}, {5, 64, 0.988}, {6, 32, 1}, {8, 128, 1}} {
		t.Run(fmt.Sprint(c.bits, "-bit g", c.size), func(t *testing.T) {
			const groups = 4096
			w, held := fp4Blocks(41, groups*c.size), 0
			codes := make([]uint8, c.size)
			for ; len(w) > 0; w = w[c.size:] {
				if _, _, err := QuantizeGroup(codes, c.bits, Lattice, w[:c.size]); err == nil {
					held++
				}
			}
			share := float64(held) / groups
			if math.Abs(share-c.share) > 4*math.Sqrt(c.share*(1-c.share)/groups) {
				t.Errorf("%.1f %% of groups are exact, want %.1f %%", 100*share, 100*c.share)
			}
		})
	}
}
