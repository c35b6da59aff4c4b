package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"assay/engine/dsv4/dsv4test"
)

// TestSmallFormats wants the roundings of kv_sim to be, bit for bit, the nearest
// values that the formats have: scales are powers of two, so that float32 does
// all of it exactly.
func TestSmallFormats(t *testing.T) {
	rng := rand.New(rand.NewPCG(31, 1))
	for _, f := range []struct {
		name  string
		block int
		fast  func([]float32)
		slow  func([]float64)
	}{{"FP8", 64, roundFP8, dsv4test.RoundFP8}, {"FP4", 32, roundFP4, dsv4test.RoundFP4}} {
		for i := range 3000 {
			v := noise(rng, 2*f.block)
			switch scale := float32(math.Ldexp(1, rng.IntN(60)-30)); i % 4 {
			case 0: // halfway cases and powers of two
				for j := range v {
					v[j] = float32(rng.IntN(897)-448) * scale / 16
				}
			case 1:
				for j := range v {
					v[j] *= scale
				}
			case 2: // one great value, and what rounds to zero beside it
				v[rng.IntN(len(v))] *= 1e6
			default:
				clear(v[:f.block])
			}
			want := make([]float64, len(v))
			for j, x := range v {
				want[j] = float64(x)
			}
			got := slices.Clone(v)
			f.fast(got)
			f.slow(want)
			for j, x := range got {
				if float64(x) != want[j] {
					t.Fatalf("%s takes %g to %g, want %g", f.name, v[j], x, want[j])
				}
			}
		}
	}
}

// TestPowerScale: exact at powers of two, one step up right after them.
func TestPowerScale(t *testing.T) {
	for _, most := range []float32{6, 448} {
		inverse := 1 / most
		for e := -100; e <= 100; e++ {
			// The least float32 whose product with 1/most reaches 2^e.
			a := float32(math.Ldexp(float64(most), e))
			for a*inverse >= float32(math.Ldexp(1, e)) {
				a = math.Nextafter32(a, 0)
			}
			for step := range 4 {
				p := a * inverse
				want := math.Ldexp(1, e)
				if float64(p) > want {
					want *= 2
				}
				if got := powerScale(a, most); float64(got) != want {
					t.Fatalf("powerScale(%g, %g), step %d at 2^%d, is %g, want %g", a, most, step, e, got, want)
				}
				a = math.Nextafter32(a, float32(math.Inf(1)))
			}
		}
	}
}

// TestHadamard holds the transform against its definition. Each of log2(n)
// butterflies rounds once, and so does the factor: the errors are at most that
// many u of Σ|x|/sqrt(n).
func TestHadamard(t *testing.T) {
	rng := rand.New(rand.NewPCG(32, 1))
	for _, n := range []int{1, 2, 32, 64, 128, 512} {
		v := noise(rng, n)
		want := make([]float64, n)
		var size float64
		for i, x := range v {
			want[i] = float64(x)
			size += math.Abs(float64(x))
		}
		dsv4test.Hadamard(want)
		got := slices.Clone(v)
		hadamard(got)
		bound := (math.Log2(float64(n)) + 2) * u * size / math.Sqrt(float64(n))
		for i, x := range got {
			within(t, fmt.Sprintf("Hadamard of %d, %d", n, i), x, want[i], bound)
		}
		hadamard(got) // its own inverse
		for i, x := range got {
			within(t, fmt.Sprintf("Hadamard of %d twice, %d", n, i), x, float64(v[i]), 2*bound*math.Sqrt(float64(n)))
		}
	}
}

// TestSmallFormatsNonFinite wants no finite value out of a block that holds a
// NaN or an infinity.
func TestSmallFormatsNonFinite(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for name, f := range map[string]func([]float32){"FP8": roundFP8, "FP4": roundFP4, "Hadamard": hadamard} {
			v := make([]float32, 64)
			for i := range v {
				v[i] = float32(i) - 20
			}
			v[9] = float32(bad)
			f(v)
			for i, x := range v[:32] {
				if !math.IsNaN(float64(x)) && !math.IsInf(float64(x), 0) {
					t.Errorf("%s of a block with %v is %v at %d", name, bad, x, i)
				}
			}
		}
	}
}
