package eval

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"assay/eval/stat"
)

// t1 is Student's 0.975 quantile with one degree of freedom, tan(0.475·π).
var t1 = math.Tan(0.475 * math.Pi)

// window returns a score whose top-1 flags are all on.
func window(variant, text string, i int, nll, kl []float32) WindowScore {
	top1 := make([]bool, len(nll))
	for j := range top1 {
		top1[j] = true
	}
	return WindowScore{Variant: variant, Text: text, Window: i, NLL: nll, KL: kl, Top1: top1}
}

// handMade is two windows of two tokens for a reference and a variant.
func handMade() (ref, got []WindowScore) {
	ref = []WindowScore{
		window("bf16", "prose", 0, []float32{1, 2}, []float32{0, 0}),
		window("bf16", "prose", 1, []float32{3, 4}, []float32{0, 0}),
	}
	got = []WindowScore{
		window("q4", "prose", 1, []float32{3.5, 4.5}, []float32{0.25, 0.75}), // another order
		window("q4", "prose", 0, []float32{1.25, 2.25}, []float32{0, 0.5}),
	}
	got[0].Top1[1] = false
	return ref, got
}

// figure holds an estimate's value and interval against others.
func figure(t *testing.T, name string, e stat.Estimate, value, lo, hi float64) {
	t.Helper()
	near := func(a, b float64) bool {
		return same(a, b) || math.Abs(a-b) <= 1e-12*max(1, math.Abs(b))
	}
	if !near(e.Value, value) || !near(e.Lo, lo) || !near(e.Hi, hi) {
		t.Errorf("%s %v [%v, %v], want %v [%v, %v]", name, e.Value, e.Lo, e.Hi, value, lo, hi)
	}
}

// By hand, with two windows of equal counts, mean m ± t1·|m₁−m₂|/2:
// NLL of windows 1.75 and 4; differences 0.25 and 0.5; KL 0.25 and 0.5; top-1
// shares 1 and 0.5. KL sorted is 0, 0.25, 0.5, 0.75.
func TestSummarize(t *testing.T) {
	ref, got := handMade()
	s, err := Summarize(ref, got)
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "q4" || s.Text != "" || s.Scored != 4 || s.Windows != 2 || s.NonFinite != 0 {
		t.Errorf("%+v", s)
	}
	figure(t, "nll", s.NLL, 2.875, 2.875-t1*1.125, 2.875+t1*1.125)
	figure(t, "perplexity", s.Perplexity, math.Exp(2.875), math.Exp(2.875-t1*1.125), math.Exp(2.875+t1*1.125))
	figure(t, "dnll", s.DNLL, 0.375, 0.375-t1/8, 0.375+t1/8)
	figure(t, "ratio", s.Ratio, math.Exp(0.375), math.Exp(0.375-t1/8), math.Exp(0.375+t1/8))
	figure(t, "kl", s.KL, 0.375, 0.375-t1/8, 0.375+t1/8)
	figure(t, "top1", s.Top1, 0.75, 0.75-t1/4, 0.75+t1/4)
	if s.KLPercentiles != (Percentiles{0.25, 0.75, 0.75, 0.75, 0.75}) {
		t.Errorf("percentiles %+v", s.KLPercentiles)
	}
	if len(s.KL.Warnings) != 1 || len(s.Top1.Warnings) != 1 {
		t.Errorf("intervals beyond the possible, warnings %q and %q", s.KL.Warnings, s.Top1.Warnings)
	}
	if len(s.Strata) != 1 || s.Strata[0].Text != "prose" || s.Strata[0].KL.Value != s.KL.Value || s.Strata[0].Strata != nil {
		t.Errorf("strata %+v", s.Strata)
	}
}

// The reference's own four figures are exact, however its NLL spreads.
func TestSummarizeReference(t *testing.T) {
	ref, _ := handMade()
	s, err := Summarize(ref, ref)
	if err != nil {
		t.Fatal(err)
	}
	figure(t, "nll", s.NLL, 2.5, 2.5-t1, 2.5+t1)
	for name, e := range map[string]stat.Estimate{"kl": s.KL, "dnll": s.DNLL} {
		figure(t, name, e, 0, 0, 0)
	}
	for name, e := range map[string]stat.Estimate{"ratio": s.Ratio, "top1": s.Top1} {
		figure(t, name, e, 1, 1, 1)
	}
	if s.KL.Confidence != 1 || s.KLPercentiles != (Percentiles{}) {
		t.Errorf("%+v", s)
	}
}

// A variant that loses nothing has a KL of 0 as measured.
func TestSummarizeLossless(t *testing.T) {
	ref, _ := handMade()
	native := slices.Clone(ref)
	for i := range native {
		native[i].Variant = "native"
	}
	s, err := Summarize(ref, native)
	if err != nil {
		t.Fatal(err)
	}
	figure(t, "kl", s.KL, 0, 0, 0)
	figure(t, "top1", s.Top1, 1, 1, 1)
	if s.KL.Confidence != stat.Level || s.KL.N != 2 {
		t.Errorf("%+v", s.KL)
	}
}

// One window has values and no interval, the reference's own included.
func TestSummarizeOneWindow(t *testing.T) {
	nan := math.NaN()
	ref, got := handMade()
	for _, scores := range [][]WindowScore{got[1:], ref[:1]} {
		s, err := Summarize(ref[:1], scores)
		if err != nil {
			t.Fatal(err)
		}
		for name, e := range figures(&s) {
			figure(t, s.Name+" "+name, *e, e.Value, nan, nan)
			if !e.Known() {
				t.Errorf("%s %s: no value", s.Name, name)
			}
		}
	}
	s, _ := Summarize(ref[:1], ref[:1])
	if s.KL.Value != 0 || s.DNLL.Value != 0 || s.Ratio.Value != 1 || s.Top1.Value != 1 {
		t.Errorf("%+v", s)
	}
}

// figures returns the six figures by name.
func figures(s *Summary) map[string]*stat.Estimate {
	return map[string]*stat.Estimate{"nll": &s.NLL, "perplexity": &s.Perplexity, "dnll": &s.DNLL,
		"ratio": &s.Ratio, "kl": &s.KL, "top1": &s.Top1}
}

// A token that is not finite is counted once, and no figure is given, in its
// stratum and over all; the other stratum keeps its own.
func TestSummarizeNotFinite(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for name, spoil := range map[string]func(ref, got []WindowScore){
		"nll":           func(_, got []WindowScore) { got[0].NLL[1] = inf },
		"kl":            func(_, got []WindowScore) { got[0].KL[1] = nan },
		"both":          func(_, got []WindowScore) { got[0].KL[1], got[0].NLL[1] = inf, nan },
		"the reference": func(ref, _ []WindowScore) { ref[1].NLL[0] = nan },
	} {
		ref, got := handMade()
		spoil(ref, got)
		ref = append(ref, window("bf16", "code", 0, []float32{1}, []float32{0}))
		got = append(got, window("q4", "code", 0, []float32{2}, []float32{0.5}))
		s, err := Summarize(ref, got)
		if err != nil {
			t.Fatal(err)
		}
		if s.NonFinite != 1 || s.Scored != 5 || s.Strata[0].NonFinite != 1 || s.Strata[1].NonFinite != 0 {
			t.Errorf("%s: %d of %d not finite", name, s.NonFinite, s.Scored)
		}
		for f, e := range figures(&s) {
			if e.Known() || e.HasInterval() || len(e.Warnings) != 1 {
				t.Errorf("%s: %s is %+v", name, f, *e)
			}
		}
		if !math.IsNaN(s.KLPercentiles.P50) || !math.IsNaN(s.KLPercentiles.Max) {
			t.Errorf("%s: %+v", name, s.KLPercentiles)
		}
		if s.Strata[1].KL.Value != 0.5 {
			t.Errorf("%s: the other stratum is %+v", name, s.Strata[1])
		}
	}
}

func TestSummaryJSON(t *testing.T) {
	ref, got := handMade()
	got[0].NLL[0] = float32(math.NaN())
	s, err := Summarize(ref, got)
	if err != nil {
		t.Fatal(err)
	}
	s.Strata = nil
	data, err := json.Marshal(s)
	null := `{"value":null,"lo":null,"hi":null}`
	want := `{"name":"q4","scored":4,"windows":2,"nonfinite":1,"nll":` + null + `,"perplexity":` + null + `,"dnll":` + null +
		`,"ratio":` + null + `,"kl":` + null + `,"top1":` + null +
		`,"kl_percentiles":{"p50":null,"p90":null,"p99":null,"p999":null,"max":null}}`
	if err != nil || string(data) != want {
		t.Errorf("%s, %v, want %s", data, err, want)
	}
}

func TestSummarizeRefuses(t *testing.T) {
	for want, change := range map[string]func(ref, got []WindowScore) ([]WindowScore, []WindowScore){
		`eval: q4 lacks window 0 of "prose", which bf16 has`: func(ref, got []WindowScore) ([]WindowScore, []WindowScore) {
			return ref, got[:1]
		},
		`eval: q4 has window 1 of "prose", which bf16 lacks`: func(ref, got []WindowScore) ([]WindowScore, []WindowScore) {
			return ref[:1], got
		},
		`eval: q4 lacks window 1 of "prose", which bf16 has`: func(ref, got []WindowScore) ([]WindowScore, []WindowScore) {
			got[0].Text = "code"
			return ref, got
		},
		`eval: q4 has window 0 of "prose" twice`: func(ref, got []WindowScore) ([]WindowScore, []WindowScore) {
			return ref, append(got, got[1])
		},
		`eval: q4 scored 1 tokens of window 0 of "prose", bf16 2`: func(ref, got []WindowScore) ([]WindowScore, []WindowScore) {
			got[1] = window("q4", "prose", 0, []float32{1}, []float32{1})
			return ref, got
		},
		`eval: q4: window 1 of "prose": 2 NLL, 1 KL and 2 top-1, want the same number and one at least`: func(ref, got []WindowScore) ([]WindowScore, []WindowScore) {
			got[0].KL = got[0].KL[:1]
			return ref, got
		},
		`eval: scores of q3 among those of q4`: func(ref, got []WindowScore) ([]WindowScore, []WindowScore) {
			got[1].Variant = "q3"
			return ref, got
		},
		`eval: no windows are scored`: func(ref, got []WindowScore) ([]WindowScore, []WindowScore) {
			return ref, nil
		},
		`eval: bf16: token 1 of window 0 of "prose": KL 1e-06 and top-1 true against itself, want 0 and true`: func(ref, got []WindowScore) ([]WindowScore, []WindowScore) {
			ref[0].KL[1] = 1e-6
			return ref, ref
		},
	} {
		ref, got := change(handMade())
		if _, err := Summarize(ref, got); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		if strings.Contains(want, "itself") {
			continue
		}
		if _, err := PairedKL(got, ref); err == nil {
			t.Errorf("PairedKL does not refuse: %s", want)
		}
	}
}

// By hand: KL sums of a − b are 0.5−1 and 1−1.5 over 2 tokens each: −0.25 in
// both windows, so the difference is known exactly where each KL is not.
func TestPairedKL(t *testing.T) {
	_, a := handMade()
	b := []WindowScore{
		window("q3", "prose", 0, []float32{9, 9}, []float32{0.75, 0.25}),
		window("q3", "prose", 1, []float32{9, 9}, []float32{0.5, 1}),
	}
	d, err := PairedKL(a, b)
	if err != nil {
		t.Fatal(err)
	}
	figure(t, "difference", d, -0.25, -0.25, -0.25)
	if d.N != 2 || d.Confidence != stat.Level {
		t.Errorf("%+v", d)
	}
	d, _ = PairedKL(b, a)
	figure(t, "the other way", d, 0.25, 0.25, 0.25)
}

// The figures do not depend on the order in which windows were scored, up to
// the rounding of sums; the whole's value is the strata's, weighed by tokens.
func TestSummarizeProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	for range 50 {
		var ref, got []WindowScore
		for i := range 12 {
			n := 1 + r.IntN(40)
			a, b, k := make([]float32, n), make([]float32, n), make([]float32, n)
			for j := range a {
				a[j], b[j], k[j] = 4*r.Float32(), 4*r.Float32(), r.Float32()
			}
			text := []string{"prose", "code", "chinese"}[i%3]
			ref = append(ref, window("bf16", text, i/3, a, make([]float32, n)))
			got = append(got, window("q4", text, i/3, b, k))
		}
		s, err := Summarize(ref, got)
		if err != nil {
			t.Fatal(err)
		}
		r.Shuffle(len(ref), func(i, j int) { ref[i], ref[j] = ref[j], ref[i] })
		r.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		u, err := Summarize(ref, got)
		if err != nil {
			t.Fatal(err)
		}
		v := figures(&u)
		for f, e := range figures(&s) {
			figure(t, f, *v[f], e.Value, e.Lo, e.Hi)
		}
		var sum float64
		scored := 0
		for _, x := range s.Strata {
			sum += x.DNLL.Value * float64(x.Scored)
			scored += x.Scored
		}
		if scored != s.Scored || math.Abs(sum/float64(scored)-s.DNLL.Value) > 1e-12 {
			t.Errorf("strata give %v over %d tokens, the whole %v over %d", sum, scored, s.DNLL.Value, s.Scored)
		}
	}
}

func TestUnknownSummary(t *testing.T) {
	s := UnknownSummary("q4", "not scored")
	for f, e := range figures(&s) {
		if e.Known() || e.Warnings[0] != "not scored" {
			t.Errorf("%s: %+v", f, e)
		}
	}
}
