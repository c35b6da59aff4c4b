package affine

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// By hand, 2 bits. The first group takes 9 steps of 1, so it is on no lattice, but
// 4 steps of 3 hold it; GPU's scale for it is −2.25. The second has the codes 0, 1,
// 2, 3 and 3: N = 5, Σq = 9, Σq² = 23, Σx = 9.5, Σqx = 24.5, so least squares give
// the scale (5·24.5 − 9·9.5)/(5·23 − 9²) = 37/34 = 139.3/128. For 139/128 the best
// bias is (9.5 − 9·139/128)/5 = −7/128 and the squared error 0.147095; for 140/128
// it is 0.14727 at least.
func TestSearchWorkedExamples(t *testing.T) {
	for _, c := range []struct {
		x           []float32
		scale, bias float32
		codes       []uint8
		err         float64
	}{
		{[]float32{-4.5, -1.5, 1.5, 4.5}, 3, -4.5, []uint8{0, 1, 2, 3}, 0},
		{[]float32{0, 1, 2, 3, 3.5}, 139. / 128, -7. / 128, []uint8{0, 1, 2, 3, 3}, 0.14709473},
	} {
		codes := make([]uint8, len(c.x))
		s, z, err := QuantizeGroup(codes, 2, Search, c.x)
		if err != nil || s != c.scale || z != c.bias || !slices.Equal(codes, c.codes) {
			t.Errorf("scale %v, bias %v, codes %v, error %v, want %v, %v, %v", s, z, codes, err, c.scale, c.bias, c.codes)
		}
		if got := squaredError(codes, s, z, c.x); math.Abs(got-c.err) > 1e-8 {
			t.Errorf("squared error %v, want %v", got, c.err)
		}
	}
}

// At every width and group size: Search is never worse than Recode, and on a
// lattice it is Lattice. Both sums are rounded, at 128 terms by 2^-46 of
// themselves, and Search adds its own in another order.
func TestSearchIsNeverWorse(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 44))
	for _, bits := range widths {
		for _, size := range []int{32, 64, 128} {
			for seed := range uint64(12) {
				for name, x := range map[string][]float32{
					"Gaussian": gaussian(seed, size), "FP4": fp4Blocks(seed, size),
					"FP8": fp8(seed, size), "skewed": skewed(seed, size),
				} {
					checkSearch(t, name, bits, x)
				}
				for _, f := range families {
					x := make([]float32, size)
					f.fill(r, x)
					checkSearch(t, f.name, bits, x)
				}
			}
		}
	}
}

func checkSearch(t *testing.T, name string, bits int, x []float32) {
	t.Helper()
	codes, other := make([]uint8, len(x)), make([]uint8, len(x))
	s, z, err := QuantizeGroup(codes, bits, Search, x)
	recodeScale, recodeBias, recodeErr := QuantizeGroup(other, bits, Recode, x)
	if err != nil {
		if recodeErr == nil {
			t.Fatalf("%s, %d bits: %v, and Recode has a pair", name, bits, err)
		}
		return
	}
	if s != bf16(s) || z != bf16(z) || s == 0 {
		t.Fatalf("%s, %d bits: scale %v, bias %v, want BF16 values", name, bits, s, z)
	}
	if recodeErr == nil {
		got, of := squaredError(codes, s, z, x), squaredError(other, recodeScale, recodeBias, x)
		if got > of*(1+0x1p-44) {
			t.Fatalf("%s, %d bits: squared error %v, Recode has %v", name, bits, got, of)
		}
	}
	if latticeScale, latticeBias, err := QuantizeGroup(other, bits, Lattice, x); err == nil {
		if s != latticeScale || z != latticeBias || !slices.Equal(codes, other) {
			t.Fatalf("%s, %d bits: scale %v, bias %v, Lattice has %v, %v", name, bits, s, z, latticeScale, latticeBias)
		}
	}
}

// The specification promises 0.24 of GPU's squared error on FP4 weights at 4-bit
// g32, where half of the groups are exact. The others are the optimum of the
// research note mlx-analysis.md, 5.4, found there by 625 seeds and all neighbours,
// with a spread of 0.3 %, which is 1.2 % on 2^17 weights; 38 seeds get within 5 %
// of it, which is what 8 % and more allow. On FP8 weights there is no such number:
// there Search is held to be better than Recode, whose ratios 5.3 has, by half.
func TestSearchGains(t *testing.T) {
	const n = 1 << 17
	for _, c := range []struct {
		name  string
		w     []float32
		p     Params
		bound float64
	}{
		{"FP4", fp4Blocks(51, n), Params{4, 32}, 0.30},
		{"FP4", fp4Blocks(52, n), Params{3, 32}, 0.627 * 1.08},
		{"FP4", fp4Blocks(53, n), Params{4, 64}, 0.414 * 1.08},
		{"FP4", fp4Blocks(54, n), Params{4, 128}, 0.439 * 1.08},
		{"FP4", fp4Blocks(55, n), Params{5, 32}, 0},
		{"Gaussian", gaussian(51, n), Params{3, 128}, 0.726 * 1.08},
		{"Gaussian", gaussian(52, n), Params{4, 32}, 0.717 * 1.08},
		{"Gaussian", gaussian(53, n), Params{4, 64}, 0.785 * 1.08},
		{"Gaussian", gaussian(54, n), Params{5, 32}, 0.701 * 1.08},
		{"FP8", fp8(51, n), Params{8, 32}, 0.647 / 2},
		{"FP8", fp8(52, n), Params{8, 128}, 0.715 / 2},
	} {
		got, err := relativeError(c.p, Search, c.w)
		if err != nil {
			t.Fatal(err)
		}
		gpu, err := relativeError(c.p, GPU, c.w)
		if err != nil {
			t.Fatal(err)
		}
		if ratio := got / gpu; ratio > c.bound {
			t.Errorf("%s, %v: squared error %.4f of GPU's, want %.3f", c.name, c.p, ratio, c.bound)
		}
	}
}

// A group is a set of weights: their order changes no scale, no bias and no
// weight's code, and the same group gives the same result.
func TestSearchKnowsNoOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 88))
	for _, f := range families {
		for range 20 {
			x := make([]float32, 64)
			f.fill(r, x)
			order := r.Perm(len(x))
			shuffled := make([]float32, len(x))
			for to, from := range order {
				shuffled[to] = x[from]
			}
			bits := widths[r.IntN(len(widths))]
			codes, again := make([]uint8, len(x)), make([]uint8, len(x))
			s, z, err := QuantizeGroup(codes, bits, Search, x)
			s2, z2, err2 := QuantizeGroup(again, bits, Search, shuffled)
			if s != s2 || z != z2 || (err == nil) != (err2 == nil) {
				t.Fatalf("%s, %d bits: scale %v, bias %v, %v, shuffled %v, %v, %v", f.name, bits, s, z, err, s2, z2, err2)
			}
			for to, from := range order {
				if err == nil && again[to] != codes[from] {
					t.Fatalf("%s, %d bits: weight %v has code %d, shuffled %d", f.name, bits, x[from], codes[from], again[to])
				}
			}
		}
	}
}

// The sums of the search are those of the codes themselves, its fit is the least
// of all, and its error from sums is the error. Integers keep all of it exact.
func TestSums(t *testing.T) {
	x := []float32{3, -1, 4, -1, 5, 9, -2, 6, -5, 3, 5}
	p := newPoints(nil, 15, x)
	if len(p.list) != 8 || p.list[0] != (point{-5, 1, -5}) || p.list[2] != (point{-1, 2, -2}) {
		t.Errorf("points %v", p.list)
	}
	if p.count != 11 || p.x != 26 || p.xx != 232 {
		t.Errorf("sums %v, %v, %v, want 11, 26, 232", p.count, p.x, p.xx)
	}
	// Codes with scale 1/2 and bias −2, clamped: 10, 2, 12, 2, 14, 15, 0, 15, 0, 10, 14.
	m := p.moments(0.5, -2)
	if want := (moments{94, 1194, 469}); m != want {
		t.Errorf("moments %v, want %v", m, want)
	}
	f, ok := p.fit(m)
	if !ok {
		t.Fatal("no fit")
	}
	least := p.errorOf(m, f.scale, f.bias)
	for _, d := range []float64{-1e-3, 1e-3} {
		if e := p.errorOf(m, f.scale+d, f.bias); e <= least {
			t.Errorf("error %v at scale %v, %v at the fit", e, f.scale+d, least)
		}
		if e := p.errorOf(m, f.scale, f.bias+d); e <= least {
			t.Errorf("error %v at bias %v, %v at the fit", e, f.bias+d, least)
		}
	}
	codes := []uint8{10, 2, 12, 2, 14, 15, 0, 15, 0, 10, 14}
	want := squaredError(codes, 0.5, -2, x)
	if got := p.errorOf(m, 0.5, -2); got != want {
		t.Errorf("error %v from sums, want %v", got, want)
	}
	if got := p.squaredError(0.5, -2); got != want {
		t.Errorf("error %v, want %v", got, want)
	}
	if _, ok := p.fit(moments{q: 11, qq: 11, qx: 26}); ok {
		t.Error("a fit where all codes are 1")
	}
}

// MLX clips the far end of an FP4 block, −6, to −5.625. Lattice takes the block's
// own step, half its exponent.
func ExampleEncoder() {
	fp4 := []float32{-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6}
	for _, enc := range Encoders() {
		codes := make([]uint8, len(fp4))
		scale, bias, err := QuantizeGroup(codes, 5, enc, fp4)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Printf("%-7v scale %7.4f, bias %2v, codes %v\n", enc, scale, bias, codes)
	}
	// Output:
	// mlx-gpu scale -0.3750, bias  6, codes [31 27 24 21 20 19 17 16 15 13 12 11 8 5 0]
	// mlx-cpu scale -0.3750, bias  6, codes [31 27 24 21 20 19 17 16 15 13 12 11 8 5 0]
	// recode  scale -0.3750, bias  6, codes [31 27 24 21 20 19 17 16 15 13 12 11 8 5 0]
	// search  scale  0.5000, bias -6, codes [0 4 6 8 9 10 11 12 13 14 15 16 18 20 24]
	// lattice scale  0.5000, bias -6, codes [0 4 6 8 9 10 11 12 13 14 15 16 18 20 24]
}
