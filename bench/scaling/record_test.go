package scaling

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"assay/engine/dsv4"
)

// TestDefault: the grid of the records, whose axes share the base point.
func TestDefault(t *testing.T) {
	axes, err := Default(8, 32, 6).Axes(nil)
	if err != nil {
		t.Fatal(err)
	}
	base := Setup{Windows: 1, Variants: 2, Layers: 8, Experts: 32, Threads: 6}
	want := map[string][]int{"tokens": {1, 2, 4, 8}, "variants": {2, 5, 10, 19}, "layers": {4, 8, 16, 24}, "experts": {16, 32, 64, 128}, "threads": {1, 2, 4, 6}}
	for i, a := range axes {
		if a.Name != AxisNames()[i] || len(a.Setups) != len(want[a.Name]) {
			t.Fatalf("axis %d is %+v", i, a)
		}
		for k, s := range a.Setups {
			p := base
			switch n := want[a.Name][k]; a.Name {
			case "tokens":
				p.Windows = n
			case "variants":
				p.Variants = n
			case "layers":
				p.Layers, p.Synthetic = n, true
			case "experts":
				p.Experts, p.Synthetic = n, true
			case "threads":
				p.Threads = n
			}
			if s != p {
				t.Errorf("%s %d is %v, want %v", a.Name, k, s, p)
			}
		}
	}
	// 20 less two that tokens, variants and threads share, and one of layers and experts.
	if r := NewRun(axes); len(r.Points) != 17 || len(r.Threads()) != 4 {
		t.Errorf("%d points, threads %v; want 17 points", len(r.Points), r.Threads())
	}
	if some, err := Default(8, 32, 1).Axes([]string{"threads", "tokens"}); err != nil || len(some) != 2 || some[0].Name != "tokens" || len(some[1].Setups) != 1 {
		t.Errorf("two axes are %+v, %v", some, err)
	}
	if _, err := Default(8, 32, 1).Axes([]string{"tokens", "heads"}); err == nil || !strings.Contains(err.Error(), `no axis "heads", want tokens, variants, layers, experts, threads`) {
		t.Errorf("an unknown axis: %v", err)
	}
}

// TestRecord sums samples up: the median's split, the most memory, rates over the
// machine's median; time that doubles with tokens grows as their first power.
func TestRecord(t *testing.T) {
	g := Grid{Window: 16, Base: Setup{Windows: 1, Variants: 2, Threads: 2}, Windows: []int{1, 2}, Threads: []int{1, 2}}
	axes, err := g.Axes([]string{"tokens", "threads"})
	if err != nil {
		t.Fatal(err)
	}
	r := NewRun(axes)
	if len(r.Points) != 3 {
		t.Fatalf("%d points, want 3", len(r.Points))
	}
	if _, err := r.Record(Made{}); err == nil || !strings.Contains(err.Error(), "rate was not measured") {
		t.Errorf("without rates: %v", err)
	}
	for i, n := range []float64{30, 10, 20} {
		r.AddRate(Rate{Threads: 1, FLOPs: n, Quantize: n})
		r.AddRate(Rate{Threads: 2, FLOPs: 2 * n, Quantize: float64(i)})
	}
	if _, err := r.Record(Made{}); err == nil || !strings.Contains(err.Error(), "nothing was measured: 1 windows, 2 variants") {
		t.Errorf("without samples: %v", err)
	}
	for _, p := range r.Points {
		n := float64(p.Setup.Windows)
		p.Work = Work{Fed: 64 * p.Setup.Windows, FLOPs: int64(100 * n), Planned: 7}
		for i, k := range []float64{3, 1, 2} { // the median is the last
			p.Samples = append(p.Samples, Sample{Seconds: k * n, Split: Split{Experts: k * n}, Peak: int64(i + 1), Parts: []PartTime{{Name: "x"}}})
		}
	}
	rec, err := r.Record(Made{Window: 16})
	if err != nil {
		t.Fatal(err)
	}
	if rec.Schema != SchemaVersion || rec.Kind != "scaling" || rec.Repetitions != 3 || rec.Rates[0] != (Rate{1, 20, 20}) || rec.Rates[1] != (Rate{2, 40, 1}) {
		t.Errorf("the record is %+v", rec)
	}
	tokens := rec.Axes[0]
	p := tokens.Points[1]
	if p.X != 128 || p.Seconds != 4 || p.Split.Experts != 4 || p.Rate != 50 || p.Share != 1.25 || p.Peak != 3 || p.Samples[0].Parts != nil {
		t.Errorf("the second point is %+v", p)
	}
	if g := tokens.Time.Power; math.Abs(g.Exponent-1) > 1e-12 || math.Abs(g.Factor-2.0/64) > 1e-12 || tokens.Time.Line.N != 2 {
		t.Errorf("time grows as %+v", tokens.Time)
	}
	if tokens.Peak == nil || tokens.Peak.Power.Exponent != 0 || tokens.Planned.Line.Intercept != 7 {
		t.Errorf("memory grows as %+v", tokens.Peak)
	}
	if x := rec.Axes[1].Points; x[0].X != 1 || x[1].X != 2 || rec.Axes[1].Name != "threads" {
		t.Errorf("threads are %+v", x)
	}
	r.Points[0].Samples[0].Peak, r.Points[0].Samples[1].Peak, r.Points[0].Samples[2].Peak = 0, 0, 0
	r.Points[0].Peak = 0
	if rec, err = r.Record(Made{}); err != nil || rec.Axes[0].Peak != nil {
		t.Errorf("a peak that is not known grows: %v", err)
	}
	if _, err := json.Marshal(rec); err != nil {
		t.Error(err)
	}
}

// TestShape: compress_ratios go round, what a model of two layers cannot have is
// less, and what is not named stays.
func TestShape(t *testing.T) {
	flash := dsv4.FlashConfig()
	out, err := Shape(flash, 45, 512)
	if err != nil {
		t.Fatal(err)
	}
	c, err := dsv4.ParseConfig(out)
	if err != nil {
		t.Fatal(err)
	}
	if c.NumHiddenLayers != 45 || c.NRoutedExperts != 512 || c.NumNextNPredict != 0 || c.NumHashLayers != 3 || c.HiddenSize != 4096 ||
		c.Ratio(42) != 4 || c.Ratio(43) != 0 || c.Ratio(44) != 0 {
		t.Errorf("the config is %+v", c)
	}
	if out, err = Shape(flash, 2, 8); err != nil || !bytes.Contains(out, []byte(`"num_hash_layers": 2`)) {
		t.Errorf("two layers: %v", err)
	}
	for _, x := range [][2]int{{0, 8}, {2, 5}} { // no layers, fewer experts than a token takes
		if _, err := Shape(flash, x[0], x[1]); err == nil {
			t.Errorf("%d layers of %d experts pass", x[0], x[1])
		}
	}
	if _, err := Shape([]byte("{}"), 2, 8); err == nil {
		t.Error("an empty config has a shape")
	}
}
