package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"assay/bench/scaling"
)

// TestScaling measures a small grid of all axes and wants a whole record:
// every point with its samples, whose parts are all of the time, work that grows
// as it must, and a growth for each axis.
func TestScaling(t *testing.T) {
	out := filepath.Join(t.TempDir(), "record.json")
	g := scaling.Grid{Window: 32, Base: scaling.Setup{Windows: 1, Variants: 2, Layers: 8, Experts: 32, Threads: 2},
		Windows: []int{1, 2}, Variants: []int{2, 3}, Layers: []int{2, 4}, Experts: []int{8, 32}, Threads: []int{1, 2}}
	o := &scalingOptions{run: runOptions{corpus: "heldout", engine: cpuEngine}, repetitions: 1, out: out, grid: &g}
	c := scalingCommand()
	var printed bytes.Buffer
	c.SetOut(&printed)
	c.SetErr(&bytes.Buffer{})
	c.SetContext(t.Context())
	if err := runScaling(c, o); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var r scaling.Record
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	if r.Schema != scaling.SchemaVersion || r.Kind != "scaling" || r.Window != 32 || len(r.Texts) != 4 || len(r.Axes) != 5 || r.Repetitions != 1 ||
		len(r.Rates) != 2 || r.Model.Name != referenceModel || r.Engine.Kernels == "" || r.Made.Made.IsZero() {
		t.Errorf("the record is %+v", r.Made)
	}
	want := map[string][2]float64{"tokens": {128, 256}, "variants": {2, 3}, "layers": {2, 4}, "experts": {8, 32}, "threads": {1, 2}}
	for _, a := range r.Axes {
		for i, p := range a.Points {
			if p.X != want[a.Name][i] {
				t.Errorf("%s: x is %g, want %g", a.Name, p.X, want[a.Name][i])
			}
			checkPoint(t, a.Name, p)
		}
		more := a.Points[1].Work.FLOPs > a.Points[0].Work.FLOPs
		if more != (a.Name != "threads") {
			t.Errorf("%s: from %d to %d FLOP", a.Name, a.Points[0].Work.FLOPs, a.Points[1].Work.FLOPs)
		}
		if a.Time == nil || a.Planned == nil || (a.Peak == nil) != (runtime.GOOS != "linux") {
			t.Errorf("%s: growth of time %v, peak %v, plan %v", a.Name, a.Time, a.Peak, a.Planned)
		}
		if !strings.Contains(printed.String(), "\n"+a.Name+" (first point: ") && !strings.HasPrefix(printed.String(), a.Name) {
			t.Errorf("no table of %s is printed", a.Name)
		}
	}
	for _, p := range []string{os.TempDir(), t.TempDir()} {
		if bytes.Contains(data, []byte(p)) {
			t.Errorf("the record names a folder of this machine: %s", p)
		}
	}
}

func checkPoint(t *testing.T, axis string, p *scaling.Point) {
	t.Helper()
	if len(p.Samples) != 1 || !(p.Rate > 0) || !(p.Share > 0) || p.Work.Planned == 0 || p.Work.Tokens != int64(p.Work.Fed*p.Setup.Variants) {
		t.Errorf("%s: a point is %+v", axis, p)
	}
	for _, s := range p.Samples {
		sp := s.Split
		if got := sp.Total(); got > 1.001*s.Seconds || got < 0.999*s.Seconds || !(sp.Attention > 0 && sp.Experts > 0 && sp.Head > 0 && sp.Scoring > 0 && sp.Weights > 0) {
			t.Errorf("%s: %g s are split as %+v", axis, s.Seconds, sp)
		}
		if runtime.GOOS == "linux" && s.Peak < 10<<20 {
			t.Errorf("%s: a peak of %d bytes", axis, s.Peak)
		}
	}
}

// TestGridVariants: bf16 and the first of the grid, as many as there are.
func TestGridVariants(t *testing.T) {
	if got, err := gridVariants(3); err != nil || got != "bf16,g32-n8-e4,g32-n8-e3" {
		t.Errorf("three variants are %s, %v", got, err)
	}
	for _, n := range []int{0, 20} {
		if _, err := gridVariants(n); err == nil {
			t.Errorf("there are %d variants", n)
		}
	}
}
