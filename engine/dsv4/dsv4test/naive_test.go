package dsv4test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"assay/engine/dsv4"
	"assay/engine/token"
)

// golden runs the tiny model naively.
func golden(t *testing.T, n *Naive, chunks []int) [][]float32 {
	t.Helper()
	if n.C == nil {
		n.C = GoldenConfig()
	}
	got, err := Run(t.Context(), n, n.C, NewGolden(n.C), GoldenTokens(), chunks)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestGolden(t *testing.T) {
	for _, sim := range []bool{false, true} {
		for _, chunks := range Chunkings {
			t.Run(fmt.Sprintf("sim=%v/%v", sim, chunks), func(t *testing.T) {
				got := golden(t, &Naive{Options: dsv4.Options{KVSim: sim}}, chunks)
				if err := CheckGolden(got, sim, 4e-6); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestFingerprints makes each known mistake and wants the values that it gives:
// the golden vectors see it, and the operations are where we think they are.
func TestFingerprints(t *testing.T) {
	for _, f := range Fingerprints {
		t.Run(string(f.Mistake), func(t *testing.T) {
			chunks := []int{40}
			if f.Singles {
				chunks = Singles
			}
			n := &Naive{Mistake: f.Mistake}
			got := golden(t, n, chunks)
			if nll := MeanNLL(got, GoldenTokens()); math.Abs(nll-f.NLL) > 5e-7 {
				t.Errorf("mean NLL %.7f, want %.7f", nll, f.NLL)
			}
			for _, x := range []struct {
				position, token int
				want            float64
			}{{39, 0, f.Last[0]}, {39, 1, f.Last[1]}, {5, 0, f.Fifth}} {
				// 2e-6: six decimals, and float32 of the logarithm.
				if l := float64(got[x.position][x.token]) + n.LogSumExp[x.position]; math.Abs(l-x.want) > 2e-6 {
					t.Errorf("logit %d at %d is %.6f, want %.6f", x.token, x.position, l, x.want)
				}
			}
		})
	}
}

// TestGoldenInside holds what happens inside against the specification's 7.1.
func TestGoldenInside(t *testing.T) {
	c := GoldenConfig()
	o := &Observer{Ops: &Naive{C: c}, C: c}
	if _, err := Run(t.Context(), o, c, NewGolden(c), GoldenTokens(), []int{40}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		token int
		sums  []float64
	}{
		{39, []float64{-9.895937, -35.879342, -19.645371, -26.702765, -22.658459, -12.907778}},
		{0, []float64{-14.465116, -23.671132, -21.798172, -10.425475, -3.078966, 7.033073}},
	} {
		for layer, sum := range want.sums {
			if got := o.Streams[layer][want.token]; math.Abs(got-sum) > 5e-6 {
				t.Errorf("token %d, layer %d: the streams sum to %.6f, want %.6f", want.token, layer, got, sum)
			}
		}
	}
	var experts, blocks [][]int32
	for _, s := range o.Log.All {
		if s.Position == 39 {
			picks := slices.DeleteFunc(slices.Sorted(slices.Values(s.Picks)), func(p int32) bool { return p < 0 })
			if s.Kind == "router" {
				experts = append(experts, picks)
			} else {
				blocks = append(blocks, picks)
			}
		}
	}
	if got, want := fmt.Sprint(experts), "[[2 7] [0 3] [1 4] [6 7] [4 6] [5 6]]"; got != want {
		t.Errorf("experts %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(blocks), "[[2 4 7] [4 6 7]]"; got != want {
		t.Errorf("blocks %s, want %s", got, want)
	}
}

// TestWindowIsNotRatio takes a window other than the compression ratio.
func TestWindowIsNotRatio(t *testing.T) {
	for sim, want := range map[bool][3]float64{
		false: {4.0942486, -1.763048, 1.225705},
		true:  {4.1075306, -1.339893, 1.144288},
	} {
		for _, chunks := range Chunkings {
			c := GoldenConfig()
			c.SlidingWindow = 6
			n := &Naive{C: c, Options: dsv4.Options{KVSim: sim}}
			got := golden(t, n, chunks)
			if nll := MeanNLL(got, GoldenTokens()); math.Abs(nll-want[0]) > 5e-7 {
				t.Errorf("kv_sim %v, %v: mean NLL %.7f, want %.7f", sim, chunks, nll, want[0])
			}
			for i := range 2 {
				if l := float64(got[39][i]) + n.LogSumExp[39]; math.Abs(l-want[1+i]) > 2e-6 {
					t.Errorf("kv_sim %v, %v: logit %d is %.6f, want %.6f", sim, chunks, i, l, want[1+i])
				}
			}
		}
	}
}

// TestHyperExample holds the mHC step against the specification's 3.2.
func TestHyperExample(t *testing.T) {
	for _, iters := range HyperIterations {
		e := NewHyperExample(iters)
		n := &Naive{C: e.C}
		b := &dsv4.Batch{Tokens: make([]token.ID, 2)}
		h := &dsv4.Hyper{Fn: load(e.Fn), Base: e.Base, Scale: e.Scale, Norm: vector(wide(e.Norm))}
		x, u, mix := array(wide(e.X)), make(array, 2*4), make(array, 2*20)
		n.HyperIn(b, h, x, u, mix)
		n.HyperOut(b, mix, array(wide(e.Y)), x)
		got, in := make([]float32, len(x)), make([]float32, len(u))
		n.Read(got, x, 0)
		n.Read(in, u, 0)
		// Seven decimals, float32 weights and a float32 of the result.
		if err := e.Check(in, got, 2e-7); err != nil {
			t.Error(err)
		}
	}
}

// TestSmallFormats holds the roundings of kv_sim against the specification's 3.13.
func TestSmallFormats(t *testing.T) {
	v := make([]float64, 64)
	for i := range v {
		v[i] = 3 * math.Sin(0.37*float64(i))
	}
	if s := powerScale(v, 448, 1e-4); s != 0.0078125 {
		t.Errorf("the FP8 scale is %v, want 0.0078125", s)
	}
	RoundFP8(v)
	for i, want := range []float64{0, 1.125, 2, 2.75, 3, 3} {
		if v[i] != want {
			t.Errorf("FP8 gives %v at %d, want %v", v[i], i, want)
		}
	}
	x := make([]float64, 128)
	for i := range x {
		x[i] = math.Cos(0.11 * float64(i))
	}
	Hadamard(x)
	for i, want := range []float64{0.843078, 0.039240, 0.078718, -0.005126, 0.159381, -0.010380} {
		if math.Abs(x[i]-want) > 6e-7 {
			t.Errorf("Hadamard gives %.6f at %d, want %.6f", x[i], i, want)
		}
	}
	for i, want := range []float64{0.25, 1, 0.125, 0.5} {
		if s := powerScale(x[32*i:][:32], 6, 0); s != want {
			t.Errorf("the FP4 scale of block %d is %v, want %v", i, s, want)
		}
	}
	RoundFP4(x)
	for i, want := range []float64{0.75, 0, 0.125, 0, 0.125, 0} {
		if x[i] != want {
			t.Errorf("FP4 gives %v at %d, want %v", x[i], i, want)
		}
	}
}

func TestScore(t *testing.T) {
	n := &Naive{}
	for l, want := range map[float64]float64{-20: 4.53999297e-5, -5: 0.0819472299, -1: 0.559697854,
		0: 0.832554611, 1: 1.1459763, 5: 2.23756907, 20: 4.47213596} {
		if got := n.score(l); math.Abs(got/want-1) > 1e-8 {
			t.Errorf("sqrt softplus of %v is %v, want %v", l, got, want)
		}
	}
}
