package emu

import (
	"math"
	"math/bits"
	"slices"
	"testing"

	"assay/metal/host"
)

// lanes is f of each lane's v = lane − 7.5.
func lanes(f func(lane int, v float32) float32) [32]float32 {
	var out [32]float32
	for i := range out {
		out[i] = f(i, float32(i)-7.5)
	}
	return out
}

func f32(f func(float64) float64, v float32) float32 { return float32(f(float64(v))) }

// toBF16 rounds to the nearest bfloat, ties to even.
func toBF16(f float32) float32 {
	u := math.Float32bits(f)
	return math.Float32frombits((u + 0x7fff + u>>16&1) &^ 0xffff)
}

// toF16 rounds to 11 significant bits, ties to even: v is no subnormal half.
func toF16(v float32) float32 {
	if v == 0 {
		return 0
	}
	e := math.Ilogb(float64(v)) - 10
	return float32(math.Ldexp(math.RoundToEven(math.Ldexp(float64(v), -e)), e))
}

// results is what tiny.metal's kernel "library" computes, by the definitions of
// the functions.
func results() map[int][32]float32 {
	sum := func(n int) float32 { // of the first n lanes
		s := float32(0)
		for i := range n {
			s += float32(i) - 7.5
		}
		return s
	}
	all := func(x float32) func(int, float32) float32 { return func(int, float32) float32 { return x } }
	table := []float32{1.5, -2, 0.25, 8}
	return map[int][32]float32{
		0: lanes(all(sum(32))), 1: lanes(all(23.5)), 2: lanes(all(-7.5)),
		3:  lanes(func(i int, v float32) float32 { return float32((i+5)%32) - 7.5 }),
		4:  lanes(func(i int, v float32) float32 { return float32(i^9) - 7.5 }),
		5:  lanes(func(i int, v float32) float32 { return v + 3 }),
		6:  lanes(func(i int, v float32) float32 { return v - 2 }),
		7:  lanes(all(3.5)),
		8:  lanes(func(i int, v float32) float32 { return sum(i) }),
		9:  lanes(func(i int, v float32) float32 { return sum(i + 1) }),
		10: lanes(all(31*16 - 96)), 11: lanes(all(1)), 12: lanes(all(0)), 13: lanes(all(31 * 16)),
		15: lanes(func(i int, v float32) float32 { return (2*v + 0.5) + 25 + 450 + 6500 }),
		16: lanes(func(i int, v float32) float32 { return toF16(v * 0.1) }),
		17: lanes(func(i int, v float32) float32 { return toBF16(v * 0.1) }),
		18: lanes(func(i int, v float32) float32 { return float32(bits.OnesCount(uint(i * 7))) }),
		19: lanes(func(i int, v float32) float32 { return table[i%4] }),
		20: lanes(func(i int, v float32) float32 { return max(min(v, 3), -2) }),
		21: lanes(func(i int, v float32) float32 { return float32(max(i, 4)) }),
		22: lanes(func(i int, v float32) float32 {
			if i > 3 {
				return 100
			}
			return 0
		}),
		23: lanes(func(i int, v float32) float32 { return float32(math.Float32bits(v) >> 24) }),
		24: lanes(func(i int, v float32) float32 { return float32(31-i) - 6.5 }),
		25: lanes(all(255)), 26: lanes(all(3)), 27: lanes(all(0)), 28: lanes(all(-7.5)),
		29: lanes(func(i int, v float32) float32 {
			return float32(bits.LeadingZeros32(uint32(i))) + 100*float32(bits.TrailingZeros32(uint32(i)))
		}),
		30: lanes(func(i int, v float32) float32 {
			return f32(math.RoundToEven, v) + 100*f32(math.Floor, v) + 10000*f32(math.Ceil, v)
		}),
		31: lanes(func(i int, v float32) float32 {
			return f32(math.Round, v) + 100*f32(math.Trunc, v) + 10000*f32(math.Abs, v)
		}),
		36: lanes(func(i int, v float32) float32 { return max(v, -3) }), // of a number and a NaN, the number
		37: lanes(func(i int, v float32) float32 { return v*v + 1 }),
		38: lanes(all(3)),
	}
}

// loose is the functions that Metal need not round correctly: of each the value
// and by how much it may be off, from table 8.1 of the specification, with one
// more unit for the rounding of sums and of the float64 result.
func loose() map[int]func(v float64) (want, bound float64) {
	ulp := func(x, n float64) float64 { return n * math.Abs(x) * 0x1p-23 }
	return map[int]func(v float64) (float64, float64){
		32: func(v float64) (float64, float64) { x := math.Exp(v * 0.5); return x, ulp(x, 5) },
		33: func(v float64) (float64, float64) { x := math.Log(v + 8); return x, ulp(x, 5) },
		34: func(v float64) (float64, float64) {
			a, b := math.Sqrt(v+8), 1/math.Sqrt(v+8)
			return a + b, ulp(a, 0.5) + ulp(b, 0.5) + ulp(a+b, 0.5)
		},
		35: func(v float64) (float64, float64) {
			a, b := math.Sin(v), math.Cos(v)
			return a + b, ulp(a, 5) + ulp(b, 5) + ulp(a+b, 1)
		},
		39: func(v float64) (float64, float64) {
			a, b, c, d := math.Exp2(v), math.Log2(v+8), math.Tanh(v), math.Pow(v+8, 1.5)
			return a + b + c + d, ulp(a, 5) + ulp(b, 5) + ulp(c, 6) + ulp(d, 17) + ulp(math.Abs(a)+math.Abs(b)+math.Abs(c)+d, 3)
		},
	}
}

// TestLibrary holds the library's functions to their definitions on every build.
func TestLibrary(t *testing.T) {
	for name, opt := range builds {
		t.Run(name, func(t *testing.T) {
			d := tiny(t, opt)
			o, counter := poisoned(t, d, 32*40), floats(t, d, 0)
			run := host.Dispatch{Kernel: "library", Label: "all", Grid: [3]int{1, 1, 1}, Threads: 32,
				Args: []host.Arg{out(o), {Buffer: counter, Uses: []host.Use{{Len: 4, Access: host.ReadWrite}}}}}
			if err := d.Submit([]host.Dispatch{run}); err != nil {
				t.Fatal(err)
			}
			got := read(t, o)
			for i, want := range results() {
				for lane := range 32 {
					skip := i == 5 && lane > 28 || i == 6 && lane < 2 // such a lane keeps its own value
					if g := got[40*lane+i]; g != want[lane] && !skip {
						t.Errorf("function %d, lane %d: %g, want %g", i, lane, g, want[lane])
					}
				}
			}
			for i, f := range loose() {
				for lane := range 32 {
					want, bound := f(float64(lane) - 7.5)
					if g := float64(got[40*lane+i]); !(math.Abs(g-want) <= bound) {
						t.Errorf("function %d, lane %d: %g, want %g ± %g", i, lane, g, want, bound)
					}
				}
			}
			var before []float32 // every lane saw another count
			for lane := range 32 {
				before = append(before, got[40*lane+14])
			}
			slices.Sort(before)
			for i, v := range before {
				if v != float32(i) {
					t.Fatalf("the lanes' counts are %v", before)
				}
			}
		})
	}
}

// TestMatrices multiplies small integers, exact in every type and order.
func TestMatrices(t *testing.T) {
	encode := map[string]func(float32) []byte{
		"product_f32": func(v float32) []byte {
			u := math.Float32bits(v)
			return []byte{byte(u), byte(u >> 8), byte(u >> 16), byte(u >> 24)}
		},
		"product_bf16": func(v float32) []byte { u := math.Float32bits(v); return []byte{byte(u >> 16), byte(u >> 24)} },
		"product_f16": func(v float32) []byte { // whole numbers up to 8
			if v == 0 {
				return []byte{0, 0}
			}
			s, a := uint16(0), v
			if v < 0 {
				s, a = 0x8000, -v
			}
			e := math.Ilogb(float64(a))
			u := s | uint16(e+15)<<10 | uint16(float64(a)/math.Ldexp(1, e)*1024)&1023
			return []byte{byte(u), byte(u >> 8)}
		},
	}
	for name, opt := range builds {
		d := tiny(t, opt)
		for kernel, enc := range encode {
			var a, b [64]float32
			var da, db []byte
			for i := range 64 {
				a[i], b[i] = float32(i*5%13-6), float32(i*7%11-5)
				da, db = append(da, enc(a[i])...), append(db, enc(b[i])...)
			}
			x, _ := d.NewBuffer(int64(len(da)))
			y, _ := d.NewBuffer(int64(len(db)))
			copy(x.Bytes(), da)
			copy(y.Bytes(), db)
			z := poisoned(t, d, 64)
			err := d.Submit([]host.Dispatch{{Kernel: kernel, Label: name, Grid: [3]int{1, 1, 1}, Threads: 32, Args: []host.Arg{in(x), in(y), out(z)}}})
			if err != nil {
				t.Fatal(err)
			}
			for i, got := range read(t, z) {
				want := float32(0)
				for k := range 8 {
					want += a[i/8*8+k] * b[i%8*8+k]
				}
				if got != want {
					t.Errorf("%s, %s: element %d is %g, want %g", name, kernel, i, got, want)
				}
			}
			x.Free()
			y.Free()
		}
	}
}
