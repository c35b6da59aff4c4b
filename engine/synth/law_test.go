package synth

import (
	"math"
	"slices"
	"strings"
	"testing"

	"assay/engine/tensor"
)

// drawn returns the chunk of a parameter, and its weights.
func drawn(t *testing.T, p tensor.Param) (m maker, weights []float64) {
	t.Helper()
	j, err := newJob(p, map[string]int{})
	if err != nil {
		t.Fatal(err)
	}
	rows, cols := 1, p.Shape[0]
	if len(p.Shape) == 2 {
		rows, cols = p.Shape[0], p.Shape[1]
	}
	m.band = make([]float32, tensor.FP8Block*tensor.FP8Block)
	m.chunk(newDraw(1, p.Name, 0), j, rows, cols, newSpread(j.law.rows), newSpread(j.law.blocks))
	for i := range rows * cols {
		var v float64
		switch {
		case p.Native == tensor.FP4:
			v = float64(tensor.E2M1ToFloat32(m.codes[i/2] >> (4 * (i % 2)) & 15))
			v *= float64(tensor.E8M0ToFloat32(m.scales[i/32]))
		case p.Native == tensor.FP8:
			v = float64(tensor.E4M3ToFloat32(m.codes[i]))
			v *= float64(tensor.E8M0ToFloat32(m.scales[i/cols/128*((cols+127)/128)+i%cols/128]))
		}
		weights = append(weights, v)
	}
	if p.Native == tensor.Plain {
		f, err := tensor.Tensor{Info: p.Info, Data: m.codes}.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range f {
			weights[i] = float64(v)
		}
	}
	return m, weights
}

func param(name string, class tensor.Class, dtype tensor.DType, native tensor.Native, shape ...int) tensor.Param {
	return tensor.Param{Info: tensor.Info{Name: name, DType: dtype, Shape: shape}, Class: class, Native: native}
}

func moments(w []float64) (mean, rms, kurtosis float64) {
	var s, s2, s4 float64
	for _, v := range w {
		s, s2, s4 = s+v, s2+v*v, s4+v*v*v*v
	}
	n := float64(len(w))
	return s / n, math.Sqrt(s2 / n), s4 * n / (s2 * s2)
}

// TestMoments holds draws to what was measured of the reference model, by
// class, in matrices as wide as its own: the range of its tensors' figures, a
// little widened.
func TestMoments(t *testing.T) {
	for _, c := range []struct {
		p                tensor.Param
		mean             float64 // 0 in matrices
		rmsLow, rmsHigh  float64
		kurtLow, kurtTop float64
	}{
		{param("w1", tensor.RoutedExpert, tensor.BF16, tensor.FP4, 1024, 256), 0, 0.07, 0.095, 3.0, 3.2},
		{param("shared", tensor.SharedExpert, tensor.BF16, tensor.FP8, 1024, 256), 0, 0.06, 0.075, 3.0, 3.3},
		{param("wq", tensor.Attention, tensor.BF16, tensor.FP8, 1024, 256), 0, 0.067, 0.1, 3.0, 3.6},
		{param("embed", tensor.Embedding, tensor.BF16, tensor.Plain, 1024, 256), 0, 0.39, 0.42, 2.95, 3.1},
		{param("head", tensor.Head, tensor.BF16, tensor.Plain, 1024, 256), 0, 0.085, 0.1, 3.1, 3.5},
		{param("wgate", tensor.Compressor, tensor.BF16, tensor.Plain, 1024, 256), 0, 0.08, 0.09, 3.1, 3.5},
		{param("wkv", tensor.Indexer, tensor.BF16, tensor.Plain, 1024, 256), 0, 0.057, 0.11, 3.4, 4.3},
		{param("gate", tensor.Router, tensor.BF16, tensor.Plain, 1024, 256), 0, 0.09, 0.11, 3.8, 4.8},
		{param("fn", tensor.Hyper, tensor.F32, tensor.Plain, 256, 1024), 0, 0.1, 0.12, 3.6, 5.5},
		{param("ape", tensor.Control, tensor.F32, tensor.Plain, 128, 1024), 0, 0.08, 0.16, 5, 15},
		{param("norm", tensor.Norm, tensor.BF16, tensor.Plain, 4096), 1, 1, 1.04, 1, 1.5},
		{param("bias", tensor.Router, tensor.F32, tensor.Plain, 4096), 0.14, 0.15, 0.17, 1, 3},
		{param("sink", tensor.Control, tensor.F32, tensor.Plain, 4096), 1.3, 1.7, 1.85, 1, 3},
		{param("base", tensor.Hyper, tensor.F32, tensor.Plain, 4096), 0.67, 1.6, 1.8, 4.5, 6.5},
		{param("hc_scale", tensor.Hyper, tensor.F32, tensor.Plain, 4096), 0.2, 0.19, 0.22, 1, 1.3},
	} {
		_, w := drawn(t, c.p)
		mean, rms, kurt := moments(w)
		if math.Abs(mean-c.mean) > 0.05*max(rms, 0.2) || rms < c.rmsLow || rms > c.rmsHigh || kurt < c.kurtLow || kurt > c.kurtTop {
			t.Errorf("%s: mean %.4f, rms %.4f, kurtosis %.2f; want %g, %g to %g, %g to %g", c.p.Info, mean, rms, kurt,
				c.mean, c.rmsLow, c.rmsHigh, c.kurtLow, c.kurtTop)
		}
		// A width of 4096 makes a matrix weight smaller by √(4096/256).
		if len(c.p.Shape) == 2 && c.p.Class != tensor.Control && c.p.Class != tensor.Hyper {
			wide := c.p
			wide.Shape = []int{256, 4096}
			if _, got, _ := moments(second(drawn(t, wide))); math.Abs(math.Log2(got*4/rms)) > 0.1 {
				t.Errorf("%s: rms %.4f at width 4096, %.4f at 256", c.p.Info, got, rms)
			}
		}
	}
}

func second[A, B any](_ A, b B) B { return b }

// TestFP4Codes holds codes and scales to those of the reference model's routed
// experts: the share of each magnitude, and scales on two neighbours mostly.
func TestFP4Codes(t *testing.T) {
	m, _ := drawn(t, param("w1", tensor.RoutedExpert, tensor.BF16, tensor.FP4, 2048, 256))
	var share [8]float64
	for _, b := range m.codes {
		for _, code := range []byte{b & 15, b >> 4} {
			if code == 8 {
				t.Fatal("a code is -0, which the reference model doesn't have")
			}
			share[code&7] += 1 / float64(2*len(m.codes))
		}
	}
	for k, want := range []float64{0.115, 0.220, 0.188, 0.148, 0.148, 0.106, 0.060, 0.014} { // of w1, w2 and w3 together
		if math.Abs(share[k]-want) > 0.025 {
			t.Errorf("magnitude %v has a share of %.3f, want about %.3f", tensor.E2M1ToFloat32(byte(k)), share[k], want)
		}
	}
	count := map[byte]int{}
	for g, s := range m.scales {
		count[s]++
		top := byte(0)
		for _, b := range m.codes[16*g : 16*g+16] {
			top = max(top, b&7, b>>4&7)
		}
		if top < 5 { // the largest weight is over 3·scale: 3, 4 or 6
			t.Fatalf("group %d has %v as its largest magnitude", g, tensor.E2M1ToFloat32(top))
		}
	}
	var byCount []int
	for _, n := range count {
		byCount = append(byCount, n)
	}
	slices.Sort(byCount)
	slices.Reverse(byCount)
	if two := float64(byCount[0]+byCount[1]) / float64(len(m.scales)); len(byCount) < 3 || len(byCount) > 6 || two < 0.9 || two > 0.9999 ||
		count[127-4]+count[127-5] != byCount[0]+byCount[1] {
		t.Errorf("scales are %v, want mostly 2^-4 and 2^-5, and some others", count)
	}
}

// TestFP4IsRounding: a code drawn by tables is the rounding of size·z to its
// grid, for every size, scale and quantile.
func TestFP4IsRounding(t *testing.T) {
	f, n := fp4Tables(), tables()
	for level := range grid {
		for shift := range steps {
			scale := math.Ldexp(1, shift-6)
			for i, code := range f.codes[level][shift] {
				z := absNormal(float64(i&(1<<coarse-1)), 1<<coarse)
				if i>>coarse == 1 {
					z = -z
				}
				w := min(6, max(-6, z*math.Exp2(float64(level)/grid)/scale))
				half := 0.25 // of the grid's step, and what rounding z to 2^-12 may add
				switch {
				case math.Abs(w) > 4:
					half = 1
				case math.Abs(w) > 2:
					half = 0.5
				}
				if v := float64(tensor.E2M1ToFloat32(code)); math.Abs(v-w) > half+math.Exp2(-12)/scale {
					t.Fatalf("level %d, shift %d: %v is coded as %v", level, shift, w, v)
				}
			}
			last := f.below[level][shift]
			if size := float64(n.size[level]); last > 0 && float64(n.normal[last-1])*size > 6*scale ||
				int(last) < quants && float64(n.normal[last])*size <= 6*scale {
				t.Fatalf("level %d, shift %d: %d quantiles are at most 6·scale", level, shift, last)
			}
		}
		if f.below[level][steps-1] != quants {
			t.Errorf("level %d: the largest scale is too small", level)
		}
	}
}

// TestFP8Rule: a block's largest weight is over 224·scale and at most 448·scale.
func TestFP8Rule(t *testing.T) {
	for _, shape := range [][]int{{256, 512}, {130, 200}, {1, 1}} {
		p := param("wq", tensor.Attention, tensor.BF16, tensor.FP8, shape...)
		m, _ := drawn(t, p)
		if want := p.Stored()[1].Bytes(); int64(len(m.scales)) != want {
			t.Errorf("%v: %d scales, want %d", shape, len(m.scales), want)
		}
		tops := make([]float32, len(m.scales))
		for i, b := range m.codes {
			if b&0x7f == 0x7f {
				t.Fatalf("%v: a code is NaN", shape)
			}
			k := i/shape[1]/128*((shape[1]+127)/128) + i%shape[1]/128
			tops[k] = max(tops[k], tensor.E4M3ToFloat32(b&0x7f))
		}
		for k, top := range tops {
			if top < 224 {
				t.Errorf("%v: block %d has %v as its largest magnitude", shape, k, top)
			}
		}
	}
}

// TestEveryClass: no class of the model lacks a law.
func TestEveryClass(t *testing.T) {
	for _, class := range []tensor.Class{tensor.Embedding, tensor.Head, tensor.Attention, tensor.Compressor, tensor.Indexer,
		tensor.SharedExpert, tensor.RoutedExpert, tensor.NextToken, tensor.Router, tensor.Hyper, tensor.Control} {
		if _, err := lawOf(param("x", class, tensor.BF16, tensor.Plain, 2, 2)); err != nil {
			t.Error(err)
		}
	}
	if _, err := lawOf(param("x", tensor.Head, tensor.BF16, tensor.Plain, 2)); err == nil || !strings.Contains(err.Error(), "no law") {
		t.Errorf("a vector of a head: %v", err)
	}
}
