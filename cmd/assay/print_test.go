package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"assay/eval/stat"
	"assay/eval/sweep"
)

func TestInterval(t *testing.T) {
	for _, c := range []struct {
		e    stat.Estimate
		want string
	}{
		{stat.Estimate{Value: 1.5, Lo: 1, Hi: 2, Confidence: 0.95, N: 3}, "1.50 [1.00, 2.00]"},
		{stat.Exact(0), "0.00"},
		{stat.Estimate{Value: 1.5, Lo: math.NaN(), Hi: math.NaN(), N: 1}, "1.50"},
		{stat.Unknown(3, "a token was not finite"), "unknown"},
	} {
		if got := interval(c.e, "%.2f"); got != c.want {
			t.Errorf("%+v prints as %q, want %q", c.e, got, c.want)
		}
	}
}

func TestSizes(t *testing.T) {
	for n, want := range map[int64]string{0: "0.00 MB", 27_530_000: "27.53 MB", 181_521_067_100: "181.52 GB"} {
		if got := size(n); got != want {
			t.Errorf("%d bytes print as %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", -5_000_000: "-5.00 MB", 2_000_000_000: "+2.00 GB"} {
		if got := difference(n); got != want {
			t.Errorf("a difference of %d prints as %q, want %q", n, got, want)
		}
	}
}

// TestProgress wants a line now and then with the time left, which counts the
// work of this run only.
func TestProgress(t *testing.T) {
	var b strings.Builder
	p := newProgress(&b)
	p.every = 0
	p.step(sweep.Step{Stage: "score", Variant: "native", Detail: "layer 1 of 8", Done: 500, Total: 2000, Skipped: 400})
	if got := b.String(); got != "score: native, layer 1 of 8, 25%\n" {
		t.Errorf("the first step prints %q", got)
	}
	b.Reset()
	p.started = time.Now().Add(-10 * time.Second) // 600 tokens in ten seconds
	p.step(sweep.Step{Stage: "score", Variant: "native", Detail: "layer 2 of 8", Done: 1000, Total: 2000, Skipped: 400})
	if got := b.String(); got != "score: native, layer 2 of 8, 50%, 60 tok/s, 17s left\n" {
		t.Errorf("a later step prints %q", got)
	}
	b.Reset()
	p.every = time.Hour
	p.step(sweep.Step{Stage: "score", Variant: "native", Done: 1001, Total: 2000})
	if b.Len() > 0 {
		t.Errorf("a step soon after prints %q", b.String())
	}
}

// TestFits holds the plan's rule at its border.
func TestFits(t *testing.T) {
	m, err := openConfig(flashModel)
	if err != nil {
		t.Fatal(err)
	}
	beside := runBytes(m.config, 0, 8192)
	for bytes, want := range map[int64][2]bool{
		64<<30*3/4 - beside:         {true, true},
		64<<30*3/4 - beside + 1:     {false, true},
		64<<30 - 8<<30 - beside:     {false, true},
		64<<30 - 8<<30 - beside + 1: {false, false},
	} {
		f := fitsOf(m.config, bytes)[0]
		if f.MacGB != 64 || f.Depth != 8192 || f.Default != want[0] || f.Raised != want[1] {
			t.Errorf("%d bytes: %+v, want default %v, raised %v", bytes, f, want[0], want[1])
		}
	}
}
