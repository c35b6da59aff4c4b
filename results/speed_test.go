package results

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

// By hand: 100 tokens in 0.5, 0.25 and 1 s are 200, 400 and 100 tok/s, median
// 200; 2 tokens in 0.25+0.75, 0.25+0.25 and 2+2 s are 2, 4 and 0.5, median 2.
// Repetition 0 is discarded. Three samples hold the median with 1 − 2/8.
func TestSpeedOf(t *testing.T) {
	run := madeRun(nil)
	timings := []Timing{
		madeTiming("bf16", 0, 1e-6, 1e-6, 1e-6),
		madeTiming("bf16", 1, 0.5, 0.25, 0.75),
		madeTiming("bf16", 2, 0.25, 0.25, 0.25),
		madeTiming("bf16", 3, 1, 2, 2),
	}
	p, d := SpeedOf(timings, run)
	if p.Value != 200 || p.Lo != 100 || p.Hi != 400 || p.N != 3 || p.Confidence != 0.75 || len(p.Warnings) != 1 {
		t.Errorf("prefill %+v", p)
	}
	if d.Value != 2 || d.Lo != 0.5 || d.Hi != 4 || d.N != 3 {
		t.Errorf("decode %+v", d)
	}
	if p, _ := SpeedOf(timings[:3], run); p.N != 2 || len(p.Warnings) != 2 || p.Warnings[1] != "2 of 3 repetitions are timed" {
		t.Errorf("prefill %+v", p)
	}
}

func TestSpeedUnknown(t *testing.T) {
	run := madeRun([]string{"q4"}, 300)
	silent := run
	silent.Speed = nil
	for want, c := range map[string]struct {
		timings []Timing
		run     Run
	}{
		"speed was not measured":            {nil, silent},
		"no repetition is timed":            {[]Timing{madeTiming("q4", 0, 1, 1, 1)}, run},
		"timings of q4 among those of bf16": {[]Timing{madeTiming("bf16", 1, 1, 1, 1), madeTiming("q4", 1, 1, 1, 1)}, run},
	} {
		p, d := SpeedOf(c.timings, c.run)
		if p.Known() || d.Known() || !math.IsNaN(p.Lo) || p.Warnings[0] != want {
			t.Errorf("%+v, want %s", p, want)
		}
	}
}

func TestWriteBench(t *testing.T) {
	c := &Contents{Run: madeRun([]string{"g32-n8-e4"}, 300), Timings: []Timing{
		madeTiming("g32-n8-e4", 0, 1, 1, 1), // discarded
		madeTiming("g32-n8-e4", 1, 0.3, 0.25, 0.75),
		madeTiming("bf16", 1, 0.5, 0.25, 0.25),
	}}
	const want = `goos: linux
goarch: amd64
cpu: made
engine: cpu
kernels: plain
threads: 2
model: reference
Unit tok/s better=higher
BenchmarkPrefill/variant=g32-n8-e4/tokens=100 1 333.333 tok/s
BenchmarkDecode/variant=g32-n8-e4/depth=100 1 2 tok/s
BenchmarkPrefill/variant=bf16/tokens=100 1 200 tok/s
BenchmarkDecode/variant=bf16/depth=100 1 4 tok/s
`
	var b bytes.Buffer
	if err := c.WriteBench(&b); err != nil || b.String() != want {
		t.Errorf("%v\n%s", err, b.String())
	}
	if err := c.WriteBench(full{}); err == nil || !strings.HasPrefix(err.Error(), "results: benchmark text: ") {
		t.Errorf("%v", err)
	}
}

// full is a disk that takes no more.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, bytes.ErrTooLarge }
