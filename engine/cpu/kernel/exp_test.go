package kernel

import (
	"math"
	"testing"
)

// TestExp measures e^x of every set on every 61st float32 between −87.33654 and
// 88.72283 against float64: within 1.02 units in the last place, as vec.h says
// after all of them, and monotonic.
func TestExp(t *testing.T) {
	for _, name := range Names {
		set, err := For(name)
		if err != nil {
			continue
		}
		worst, at := 0.0, float32(0)
		check := func(from, to float32) {
			in := []float32{from}
			for b := math.Float32bits(from); b < math.Float32bits(to); b += 61 {
				in = append(in, math.Float32frombits(b))
			}
			in = append(in, to)
			out := append([]float32(nil), in...)
			set.Exp(out)
			for i, x := range in {
				want := math.Exp(float64(x))
				ulp := float64(math.Nextafter32(float32(want), float32(math.Inf(1))) - float32(want))
				if d := math.Abs(float64(out[i])-want) / ulp; !(d <= worst) {
					worst, at = d, x
				}
				if i > 0 && (out[i] < out[i-1]) != (to < 0) && out[i] != out[i-1] {
					t.Fatalf("%s: e^%g is %g, e^%g is %g", name, in[i-1], out[i-1], x, out[i])
				}
			}
		}
		check(1e-9, 88.72283)
		check(-1e-9, -87.33654)
		check(-5.8778844, -5.87789) // from the worst of all
		if !(worst <= 1.02) {
			t.Errorf("%s: %.4f units in the last place at %g", name, worst, at)
		}
		t.Logf("%s: %.4f units in the last place, at %g", name, worst, at)
	}
}

// TestExpEdges: signed zeros, what is too small or too great, NaN, in vectors and
// what is left of them.
func TestExpEdges(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, name := range Names {
		set, err := For(name)
		if err != nil {
			continue
		}
		for _, x := range []struct{ in, least, most float32 }{
			{0, 1, 1}, {float32(math.Copysign(0, -1)), 1, 1}, {1e-30, 1, 1},
			{-87.4, 0, 0}, {-1e30, 0, 0}, {-inf, 0, 0}, {100, 3.4027e38, inf}, {inf, 3.4027e38, inf},
		} {
			for _, n := range []int{1, 15, 16, 17, 33} {
				v := make([]float32, n)
				for i := range v {
					v[i] = nan
				}
				v[n-1] = x.in
				set.Exp(v)
				if v[n-1] < x.least || v[n-1] > x.most || v[n-1] != v[n-1] {
					t.Errorf("%s: e^%g, last of %d, is %g", name, x.in, n, v[n-1])
				}
				for i, y := range v[:n-1] {
					if y == y {
						t.Errorf("%s: e^NaN, %d of %d, is %g", name, i, n, y)
					}
				}
			}
		}
	}
}

// TestFor: the sets by name, and no other.
func TestFor(t *testing.T) {
	best, err := For("")
	if err != nil {
		t.Skip(err)
	}
	found := false
	for _, name := range Names {
		if s, err := For(name); err == nil {
			found = found || s.Name() == best.Name()
			if s.Name() != name {
				t.Errorf("asked for %q, got %q", name, s.Name())
			}
		}
	}
	if !found {
		t.Errorf("the best set, %q, is none of %v", best.Name(), Names)
	}
	if _, err := For("avx1024"); err == nil {
		t.Error("an unknown set is there")
	}
}
