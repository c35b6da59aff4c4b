package kernel

import (
	"math"
	"testing"
)

// TestExp measures e^x of every set on every 61st float32 between −87.3 and 88.7
// against float64: within 2 units in the last place, as vec.h says.
func TestExp(t *testing.T) {
	for _, name := range []string{"avx512", "avx2", "neon", "base"} {
		set, err := For(name)
		if err != nil {
			continue
		}
		var worst float64
		check := func(from, to float32) {
			var in []float32
			for b := math.Float32bits(from); b < math.Float32bits(to); b += 61 {
				in = append(in, math.Float32frombits(b))
			}
			out := append([]float32(nil), in...)
			set.Exp(out)
			for i, x := range in {
				want := math.Exp(float64(x))
				ulp := float64(math.Nextafter32(float32(want), float32(math.Inf(1))) - float32(want))
				worst = max(worst, math.Abs(float64(out[i])-want)/ulp)
			}
		}
		check(1e-9, 88.72)
		check(-1e-9, -87.3)
		if !(worst <= 2) {
			t.Errorf("%s: %.3f units in the last place", name, worst)
		}
		t.Logf("%s: %.3f units in the last place", name, worst)
		edge := []float32{0, -88, -1e30, float32(math.Inf(-1)), float32(math.NaN()), 100}
		set.Exp(edge)
		if edge[0] != 1 || edge[1] != 0 || edge[2] != 0 || edge[3] != 0 || edge[4] == edge[4] || !(edge[5] > 3e38) {
			t.Errorf("%s: at the edges %v", name, edge)
		}
	}
}
