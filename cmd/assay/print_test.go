package main

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"assay/eval"
	"assay/eval/stat"
	"assay/eval/sweep"
	"assay/results"
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
	p.step(sweep.Step{Stage: "score", Variant: "native", Detail: "layer 2 of 8", Done: 1000, Total: 2000, Skipped: 400, Tokens: 2000})
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

// TestNonFinite wants a variant with a NaN printed with nulls, and its own exit
// code after that.
func TestNonFinite(t *testing.T) {
	nan := float32(math.NaN())
	windows := func(name string, nll, kl float32) []eval.WindowScore {
		return []eval.WindowScore{
			{Variant: name, Text: "t", Window: 0, NLL: []float32{2, nll}, KL: []float32{0, kl}, Top1: []bool{true, true}},
			{Variant: name, Text: "t", Window: 1, NLL: []float32{1, 1}, KL: []float32{0, 0}, Top1: []bool{true, true}},
		}
	}
	c := &results.Contents{Run: results.Run{Protocol: results.Protocol{Reference: "bf16"}}}
	var rows []results.Row
	for _, v := range [][]eval.WindowScore{windows("bf16", 3, 0), windows("g32-n8-e4", nan, nan)} {
		s, err := eval.Summarize(windows("bf16", 3, 0), v)
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, results.Row{Variant: results.Variant{Name: s.Name}, Summary: s})
	}
	var b strings.Builder
	if err := printTableJSON(&b, c, rows); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Variants []struct {
			NonFinite                              int
			NLL, Perplexity, DNLL, Ratio, KL, Top1 struct{ Value, Lo, Hi *float64 }
		}
	}
	if err := json.Unmarshal([]byte(b.String()), &got); err != nil {
		t.Fatal(err)
	}
	bad := got.Variants[1]
	for i, e := range []struct{ Value, Lo, Hi *float64 }{bad.NLL, bad.Perplexity, bad.DNLL, bad.Ratio, bad.KL, bad.Top1} {
		if e.Value != nil || e.Lo != nil || e.Hi != nil {
			t.Errorf("figure %d of a variant with a NaN is known", i)
		}
	}
	if good := got.Variants[0]; bad.NonFinite != 1 || good.NonFinite != 0 || good.NLL.Value == nil || *good.KL.Value != 0 {
		t.Errorf("%s", b.String())
	}
	if err := nonFinite(rows); exitCode(err) != exitNonFinite {
		t.Errorf("exit code %d (%v), want %d", exitCode(err), err, exitNonFinite)
	}
	if err := nonFinite(rows[:1]); err != nil {
		t.Error(err)
	}
}
