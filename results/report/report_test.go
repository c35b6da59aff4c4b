package report

import (
	"bytes"
	"encoding/json"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"assay/results"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// made is a variant of a made ledger and its KL on each window.
type made struct {
	variant results.Variant
	kl      []float32
	dnll    float32 // over the KL
}

// affine returns a variant of the grid.
func affine(name string, group, n, e int, gigabytes float64, kl ...float32) made {
	return made{variant: results.Variant{Name: name, Encoder: "mlx-gpu", Digest: "d-" + name, GroupSize: group, NonExpertBits: n, ExpertBits: e,
		BytesMain: int64(gigabytes * 1e9), BytesTotal: int64(gigabytes * 1e9), BitsPerWeight: 5, BytesPerToken: 1e9}, kl: kl}
}

// native returns one whose KL is 0 on every window.
func native(gigabytes float64, windows int) made {
	return made{variant: results.Variant{Name: "native", Digest: "d", BytesMain: int64(gigabytes * 1e9), BitsPerWeight: 4.4}, kl: make([]float32, windows)}
}

// madeInput returns the input of a made ledger: bf16 of 569 GB and the variants,
// windows of two tokens, on texts prose and code in turn. Every variant is timed
// in three repetitions.
func madeInput(t *testing.T, variants ...made) Input {
	t.Helper()
	windows := len(variants[0].kl)
	run := results.Run{
		Schema: results.SchemaVersion, Made: noon,
		Tool:     results.Tool{Version: "0.1.0", Commit: "abc"},
		Model:    results.Model{Name: "made", Digest: "m1", Parameters: 284e9, Layers: 43, CacheBytes: map[string]int64{"8192": 1e9, "131072": 9e9}},
		Protocol: results.Protocol{Name: "assay", Window: 2, Reference: "bf16"},
		Texts:    []results.Text{{Name: "prose", Corpus: "heldout", Digest: "t1", Tokens: 99, Count: (windows + 1) / 2}},
		Engine:   results.Engine{Name: "cpu", Device: "CPU engine, made", Kernels: "plain", Activations: "f32", Threads: 2},
		Machine:  results.Machine{OS: "linux", Arch: "amd64", CPU: "made", Cores: 2, Memory: 1 << 34},
		Speed:    &results.Speed{PrefillTokens: 100, DecodeTokens: 2, Repetitions: 3, Seed: 7},
	}
	if windows > 1 {
		run.Texts = append(run.Texts, results.Text{Name: "code", Corpus: "heldout", Digest: "t2", Tokens: 99, Count: windows / 2})
	}
	c := &results.Contents{}
	bf16 := made{variant: results.Variant{Name: "bf16", Digest: "d0", BytesMain: 569e9, BitsPerWeight: 16}, kl: make([]float32, windows)}
	for _, m := range append([]made{bf16}, variants...) {
		run.Variants = append(run.Variants, m.variant)
		for i, kl := range m.kl {
			nll := 2 + float32(i) + kl + m.dnll
			c.Scores = append(c.Scores, results.Score{Variant: m.variant.Name, Text: run.Texts[i%2].Name, Window: i / 2, Tokens: 2, Made: noon,
				NLL: results.Floats{nll, nll}, KL: results.Floats{kl, kl}, Top1: results.Bits{true, kl == 0}})
		}
		for i := range 3 {
			c.Timings = append(c.Timings, results.Timing{Variant: m.variant.Name, Repetition: i, PrefillSeconds: 1 + float64(i)/8, DecodeSeconds: []float64{0.5, 0.5 + float64(i)/4}, Made: noon})
		}
	}
	c.Run = run
	return inputOf(t, c)
}

// inputOf judges c. A Mac keeps three quarters of its memory for weights here.
func inputOf(t *testing.T, c *results.Contents) Input {
	t.Helper()
	rows, err := results.Table(c)
	if err != nil {
		t.Fatal(err)
	}
	v, err := results.Judge(rows, []int{64, 128, 256, 512}, func(n int64, gb int) bool { return n <= int64(gb)<<30*3/4 })
	if err != nil {
		t.Fatal(err)
	}
	return Input{Contents: c, Rows: rows, Verdict: v, FitRule: "weights within three quarters of memory"}
}

// render returns the page.
func render(t *testing.T, in Input) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, in); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// own returns the page without the chart library's text.
func own(page string) string { return strings.Replace(page, echarts, "", 1) }

// gridOf12 is a complete grid of 3 × 2 × 2, and native.
func gridOf12() []made {
	var out []made
	for i, g := range []int{32, 64, 128} {
		for j, n := range []int{8, 4} {
			for k, e := range []int{4, 3} {
				name := "g" + integer(g) + "-n" + integer(n) + "-e" + integer(e)
				kl := 0.02 * float32(1+i) * float32(1+2*j) * float32(1+3*k)
				out = append(out, affine(name, g, n, e, 170-8*float64(i)-9*float64(j)-35*float64(k), kl, kl*1.2, kl*0.9, kl*1.1))
			}
		}
	}
	return append(out, native(156.2, 4))
}

// The page reaches for nothing outside itself.
func TestNoAddress(t *testing.T) {
	page := render(t, madeInput(t, gridOf12()...))
	for _, bad := range []string{
		`(?i)\b(src|href|srcset|action|data|poster)\s*=\s*["']?\s*(https?:|//)`,
		`(?i)url\(\s*["']?\s*(https?:|//)`, `(?i)@import`, `(?i)<link\b`, `(?i)<base\b`, `(?i)<iframe\b`,
	} {
		if m := regexp.MustCompile(bad).FindString(page); m != "" {
			t.Errorf("the page holds %q", m)
		}
	}
	if !strings.Contains(page, `http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'`) {
		t.Error("no content security policy")
	}
	if len(page) > 5<<20 {
		t.Errorf("%d bytes", len(page))
	}
}

// The same input gives the same bytes.
func TestSameBytes(t *testing.T) {
	first := render(t, madeInput(t, gridOf12()...))
	for range 5 {
		if render(t, madeInput(t, gridOf12()...)) != first {
			t.Fatal("two pages of one input differ")
		}
	}
}

// Options are plain JSON, and name only the functions that the page has.
func TestOptions(t *testing.T) {
	page := render(t, madeInput(t, gridOf12()...))
	options := regexp.MustCompile(`(?s)<script type="application/json" id="option-([a-z-]+)">(.*?)</script>`).FindAllStringSubmatch(page, -1)
	var ids []string
	for _, o := range options {
		ids = append(ids, o[1])
		if !json.Valid([]byte(o[2])) {
			t.Errorf("%s: not JSON: %.200s", o[1], o[2])
		}
		for _, fn := range regexp.MustCompile(`__fn:(\w+)`).FindAllStringSubmatch(o[2], -1) {
			if !strings.Contains(pageJS, "    "+fn[1]+": function (") {
				t.Errorf("%s: no function %q in the page's script", o[1], fn[1])
			}
		}
		if strings.Contains(o[2], "__f__") || strings.Contains(o[2], "function") {
			t.Errorf("%s: holds a function", o[1])
		}
		if !strings.Contains(page, `id="chart-`+o[1]+`"`) {
			t.Errorf("%s: no box", o[1])
		}
	}
	if got, want := strings.Join(ids, " "), "size ratio prefill decode strata-kl strata-nll factors"; got != want {
		t.Errorf("charts %s, want %s", got, want)
	}
}

// A KL of 0 has a mark on the strip; the logarithmic axis has no invented value.
func TestExactZero(t *testing.T) {
	in := madeInput(t, gridOf12()...)
	p := newSizePlot(in)
	if len(p.zero) != 2 || len(p.above) != 12 || p.off != "bf16" {
		t.Errorf("%d at 0, %d above, off the axis %q", len(p.zero), len(p.above), p.off)
	}
	f, err := sizeFigure(in)
	if err != nil {
		t.Fatal(err)
	}
	var o struct {
		Series []struct {
			Type       string
			XAxisIndex int
			Data       []struct {
				Name  string
				Value []any
			}
		}
	}
	if err := json.Unmarshal([]byte(f[0].Option), &o); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range o.Series {
		for _, d := range s.Data {
			zero := strings.HasPrefix(d.Name, "native") || strings.HasPrefix(d.Name, "bf16")
			if s.Type == "scatter" && zero {
				seen[d.Name] = true
				if s.XAxisIndex != 1 || d.Value[1] != stripLabel {
					t.Errorf("%s stands at %v of axis %d", d.Name, d.Value[1], s.XAxisIndex)
				}
			} else if zero {
				t.Errorf("%s is in a series of type %s", d.Name, s.Type)
			}
		}
	}
	if len(seen) != 2 {
		t.Errorf("on the strip: %v", seen)
	}
	if zeroKL(in.Rows[1]) || !zeroKL(in.Rows[0]) || !zeroKL(in.Rows[13]) {
		t.Error("exact zeros")
	}
}

// A name is never markup, in the page or in an option.
func TestHostileNames(t *testing.T) {
	const evil = `</script><img src=x onerror=alert(1)>`
	variants := append(gridOf12(), affine(`"><svg/onload=alert(2)>`, 32, 8, 2, 100, .5, .5, .5, .6))
	in := madeInput(t, variants...)
	c := in.Contents
	c.Run.Model.Name, c.Run.Engine.Device = evil, "CPU engine, "+evil
	c.Run.Texts[0].Name, c.Run.Texts[1].Corpus = evil, evil
	for i := range c.Scores {
		if c.Scores[i].Text == "prose" {
			c.Scores[i].Text = evil
		}
	}
	page := own(render(t, inputOf(t, c)))
	for _, bad := range []string{"<img", "<svg/", evil, "--><"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	if got, want := strings.Count(page, "</script"), 6+2; got != want {
		t.Errorf("%d ends of script elements, want %d", got, want)
	}
	if !strings.Contains(page, "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;") {
		t.Error("the name is not shown as text")
	}
}

func TestWithoutSpeed(t *testing.T) {
	in := madeInput(t, gridOf12()...)
	in.Contents.Run.Speed, in.Contents.Timings = nil, nil
	page := render(t, inputOf(t, in.Contents))
	if strings.Contains(page, "option-prefill") || strings.Count(page, `class="withheld">not measured`) != 2*14 || !strings.Contains(page, "Not measured in this run.") {
		t.Error("speed that was not measured is not said to be so")
	}
	if !strings.Contains(render(t, madeInput(t, gridOf12()...)), "These are not Apple-silicon speeds") {
		t.Error("speeds without the sentence that says whose they are")
	}
}

// One window has no interval, and none is drawn.
func TestOneWindow(t *testing.T) {
	in := madeInput(t, affine("g32-n8-e4", 32, 8, 4, 170, .02), affine("g32-n8-e3", 32, 8, 3, 130, .08), native(156, 1))
	page := own(render(t, in))
	if !strings.Contains(page, "one window: no interval") || strings.Contains(page, "NaN") || strings.Contains(page, "not finite,") {
		t.Error("a missing interval is not explained")
	}
	if !strings.Contains(page, "One window: no intervals.") || strings.Contains(page, "Intervals: 95") {
		t.Error("captions speak of intervals")
	}
	f, err := sizeFigure(in)
	if err != nil || strings.Contains(string(f[0].Option), `"custom"`) {
		t.Errorf("%v: an interval is drawn", err)
	}
	if strings.Contains(page, "option-strata-kl") {
		t.Error("strata of one text")
	}
}

// A variant that is not finite is shown, with its figures withheld.
func TestNonFinite(t *testing.T) {
	nan := float32(math.NaN())
	in := madeInput(t, affine("g32-n8-e4", 32, 8, 4, 170, .02, .03, .02, .03), affine("g32-n8-e2", 32, 8, 2, 90, .5, nan, .5, .5))
	page := render(t, in)
	for _, want := range []string{
		`class="withheld">2 of 8 tokens are not finite`,
		"2 of 8 tokens have no finite score, so its figures are withheld.",
		"Not judged, since the KL divergence is not known: <code>g32-n8-e2</code>.",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestRefusals(t *testing.T) {
	in := madeInput(t, native(156, 2))
	for _, bad := range []Input{{}, {Contents: in.Contents}, {Contents: in.Contents, Rows: in.Rows[:1]}} {
		if err := Write(&bytes.Buffer{}, bad); err == nil {
			t.Errorf("%d rows are taken", len(bad.Rows))
		}
	}
	swapped := in
	swapped.Rows = []results.Row{in.Rows[1], in.Rows[0]}
	if err := Write(&bytes.Buffer{}, swapped); err == nil || !strings.Contains(err.Error(), "report: ") {
		t.Errorf("rows in another order are taken: %v", err)
	}
	in.Verdict.Front = []string{"of another run"}
	if err := Write(&bytes.Buffer{}, in); err == nil || err.Error() != `report: the verdict names "of another run", the rows have no such variant` {
		t.Error(err)
	}
}
