package scaling

import (
	"math"
	"strings"
	"testing"

	"assay/bench"
	"assay/engine/dsv4"
)

// configs returns V4-Flash, and the model of some of its layers.
func configs(t *testing.T, layers ...int) (part, whole *dsv4.Config) {
	t.Helper()
	text, err := dsv4.Select(dsv4.FlashConfig(), layers)
	if err != nil {
		t.Fatal(err)
	}
	if part, err = dsv4.ParseConfig(text); err != nil {
		t.Fatal(err)
	}
	if whole, err = dsv4.ParseConfig(dsv4.FlashConfig()); err != nil {
		t.Fatal(err)
	}
	return part, whole
}

// twoLayers is a run of layers of ratios 4 and 128, of three variants that are
// still one in the first attention.
func twoLayers() Sample {
	parts := []PartTime{
		{"embedding", 1, 0.5, 0.25},
		{"layer 0 attention", 1, 1, 2}, {"layer 0 experts", 3, 10, 6},
		{"layer 1 attention", 3, 1.5, 4}, {"layer 1 experts", 3, 12, 7},
		{"final norm", 3, 0, 0.125},
		{outputProjection, 3, 2, 8},
	}
	c := &clock{scoring: 3, rest: 1}
	for i := range parts {
		c.parts = append(c.parts, &parts[i])
	}
	s := Sample{Split: c.split(), Parts: parts, Peak: 5}
	s.Seconds = s.Split.Total()
	return s
}

// By hand: Flash has 2 layers without a compressor, 21 of ratio 4 and 20 of 128.
// The first attention took 2 s for what three variants will do apart: 6 s.
func TestExtrapolate(t *testing.T) {
	part, whole := configs(t, 2, 3)
	e := Extrapolation{Samples: []Sample{twoLayers()}, Reading: bench.Reading{Bytes: 8, Seconds: 4},
		Made: Made{Rates: []Rate{{FLOPs: 4}}}, Work: Work{Source: 10, FLOPs: 467}, WholeWork: Work{Source: 160}, Planned: Predicted{Measured: 100, Whole: 1000}}
	if err := e.Extrapolate(part, whole); err != nil {
		t.Fatal(err)
	}
	want := []Kind{{0, 0, 2, 128, 4, 7, 13.5}, {4, 1, 21, 4, 6, 6, 11}, {128, 1, 20, 128, 4, 7, 13.5}}
	if len(e.Kinds) != len(want) {
		t.Fatalf("kinds are %+v", e.Kinds)
	}
	for i, k := range e.Kinds {
		if k != want[i] {
			t.Errorf("kind %d is %+v, want %+v", i, k, want[i])
		}
	}
	measured := Times{Embedding: 0.25, Attention: 6, Experts: 13, Head: 8, Scoring: 3, Quantizing: 27, Rest: 1.125, Total: 58.375}
	if e.Measured != measured {
		t.Errorf("measured %+v, want %+v", e.Measured, measured)
	}
	// Attention 22·4 + 21·6, experts 22·7 + 21·6, weights 2.5 + 22·13.5 + 21·11; 160 bytes at 2 a second.
	w := Times{Embedding: 0.25, Attention: 214, Experts: 280, Head: 8, Scoring: 3, Quantizing: 530.5, Reading: 80, Rest: 1.125}
	w.Total = 0.25 + 214 + 280 + 8 + 3 + 530.5 + 80 + 1.125
	if e.Whole != w {
		t.Errorf("the whole %+v, want %+v", e.Whole, w)
	}
	if e.Peak != 5 || e.Share != 2 || e.Planned.MeasuredRatio != 0.58375 || math.Abs(e.Planned.WholeRatio-w.Total/1000) > 1e-12 {
		t.Errorf("peak %d, plan %+v", e.Peak, e.Planned)
	}
}

// TestExtrapolateFromDisk: what the run itself read is not counted again.
func TestExtrapolateFromDisk(t *testing.T) {
	part, whole := configs(t, 2, 3)
	s := twoLayers()
	s.FromDisk = 9
	e := Extrapolation{Samples: []Sample{s}, Reading: bench.Reading{Bytes: 8, Seconds: 4}, Work: Work{Source: 12}, WholeWork: Work{Source: 160}}
	if err := e.Extrapolate(part, whole); err != nil || math.Abs(e.Whole.Reading-20) > 1e-12 {
		t.Errorf("reading takes %g s, want 20: a quarter of 160 bytes at 2 a second; %v", e.Whole.Reading, err)
	}
}

func TestExtrapolateRefuses(t *testing.T) {
	part, whole := configs(t, 2, 3)
	if err := (&Extrapolation{}).Extrapolate(part, whole); err == nil {
		t.Error("nothing is extrapolated")
	}
	s := twoLayers()
	s.Parts = s.Parts[:4]
	if err := (&Extrapolation{Samples: []Sample{s}}).Extrapolate(part, whole); err == nil || !strings.Contains(err.Error(), "layer 1 was not timed") {
		t.Errorf("without a layer: %v", err)
	}
	one, _ := configs(t, 3)
	s = twoLayers()
	if err := (&Extrapolation{Samples: []Sample{s}}).Extrapolate(one, whole); err == nil || !strings.Contains(err.Error(), "there is no layer with a compression ratio of 4 to measure") {
		t.Errorf("without a kind: %v", err)
	}
	s.Split.Scoring++
	if err := (&Extrapolation{Samples: []Sample{s}, Reading: bench.Reading{Bytes: 8, Seconds: 4}, Work: Work{Source: 1}}).Extrapolate(part, whole); err == nil {
		t.Error("parts of more seconds than the run pass")
	}
	if err := CanExtrapolate(part, whole); err != nil {
		t.Errorf("two layers of Flash are not of its shape: %v", err)
	}
	part.MoEIntermediateSize /= 2
	if err := CanExtrapolate(part, whole); err == nil || !strings.Contains(err.Error(), "moe_intermediate_size") {
		t.Errorf("narrow experts: %v", err)
	}
}
