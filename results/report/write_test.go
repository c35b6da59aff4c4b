package report_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"assay/results/report"
)

var update = flag.Bool("update", false, "rewrite the goldens")

var (
	breaks = regexp.MustCompile(`</(?:p|li|h3|summary|tr|td|th)>`)
	tags   = regexp.MustCompile(`<[^>]*>`)
	blanks = regexp.MustCompile(`[ \t]*\n\s*`)
)

// textOf returns the words of a section of the page, a line for each paragraph.
func textOf(t *testing.T, page, section string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, `<section id="`+section+`"`)
	if !ok {
		t.Fatalf("the page has no section %q", section)
	}
	body, _, _ := strings.Cut(rest[strings.IndexByte(rest, '>')+1:], "</section>")
	body = tags.ReplaceAllString(breaks.ReplaceAllString(strings.ReplaceAll(body, "\n", " "), "\n"), "")
	body = strings.ReplaceAll(html.UnescapeString(body), "\u00a0", " ") // where a line may break is no promise
	return strings.TrimSpace(blanks.ReplaceAllString(body, "\n")) + "\n"
}

// The verdict of each made ledger, in all its words.
func TestVerdict(t *testing.T) {
	for name, m := range map[string]made{"native-wins": nativeWins(), "close-pair": closePair(), "too-large": tooLarge()} {
		t.Run(name, func(t *testing.T) {
			got := textOf(t, write(t, m), "verdict")
			file := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("the verdict is\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// The sentences that a reader must find, whatever the words around them.
func TestVerdictSays(t *testing.T) {
	for _, c := range []struct {
		what string
		m    made
		want []string // regular expressions, each on one line
	}{
		{"native leaves no reason for 4 bits", nativeWins(), []string{`native dominates .*g32-n8-e4`, `512 GB: native`}},
		{"less perplexity at a KL above 0", nativeWins(), []string{`^g32-n8-e4 has a lower perplexity than bf16 .*KL is 0\.02.*within noise`}},
		{"what MLX's GPU rule costs", nativeWins(), []string{`^Rule mlx-gpu costs more KL than rule mlx-cpu: g32-n8-e4 .*, cpu-g32-n8-e4 .*paired difference 0\.00\d+ \[`}},
		{"a pair not told apart", closePair(), []string{`^g128-n8-e4 and g64-n8-e4\b.*\[−0\.\d+, 0\.\d+\]`, `not told apart from the smaller g128-n8-e4`}},
		{"nothing fits", tooLarge(), []string{`^64, 96 and 128 GB: none`, `^192 GB: g128-n4-e3`, `told apart`}},
	} {
		t.Run(c.what, func(t *testing.T) {
			text := textOf(t, write(t, c.m), "verdict")
			for _, want := range c.want {
				if !regexp.MustCompile(`(?m)` + want).MatchString(text) {
					t.Errorf("nothing matches %q in\n%s", want, text)
				}
			}
		})
	}
}

// Names of models, variants and texts are text wherever they stand.
func TestHostileNames(t *testing.T) {
	const bad = `</script><img src=x onerror=alert(1)>`
	m := nativeWins()
	m.model = bad
	m.variants[1].Name = `<\script><img\src=x\onerror="alert('1')">&` // no space, no slash: Open's rule
	m.texts[0].Name, m.texts[0].Corpus = bad, bad
	page := write(t, m)
	for _, s := range []string{bad, m.variants[1].Name} {
		if strings.Contains(page, s) {
			t.Errorf("%q stands in the page unescaped", s)
		}
	}
	opened, closed := strings.Count(page, "<script"), strings.Count(page, "</script>")
	if want := strings.Count(write(t, nativeWins()), "<script"); opened != want || closed != want {
		t.Errorf("%d script elements opened, %d closed, want %d", opened, closed, want)
	}
	optionsOf(t, page)
}

var optionElement = regexp.MustCompile(`(?s)<script type="application/json" id="option-([a-z-]+)">(.*?)</script>`)

// optionsOf returns the page's chart options by name.
func optionsOf(t *testing.T, page string) map[string]map[string]any {
	t.Helper()
	out := map[string]map[string]any{}
	for _, m := range optionElement.FindAllStringSubmatch(page, -1) {
		var o map[string]any
		if err := json.Unmarshal([]byte(m[2]), &o); err != nil {
			t.Fatalf("options of %s: %v", m[1], err)
		}
		out[m[1]] = o
	}
	return out
}

// The page fetches nothing and links nowhere.
func TestNoAddress(t *testing.T) {
	page := write(t, nativeWins())
	address := regexp.MustCompile(`(?i)(src|href|action|data|poster|srcset|content)\s*=\s*["']?\s*(https?:)?//|url\(\s*["']?(https?:)?//|@import`)
	for _, at := range address.FindAllStringIndex(page, -1) {
		t.Errorf("the page holds %q", page[max(0, at[0]-40):min(len(page), at[1]+40)])
	}
	if !strings.Contains(page, `http-equiv="Content-Security-Policy" content="default-src 'none'`) {
		t.Error("no policy forbids the network")
	}
	if n := len(page); n > 5_000_000 {
		t.Errorf("%d bytes, want fewer than 5 MB", n)
	}
}

func TestSameInputSameBytes(t *testing.T) {
	in := input(t, nativeWins().contents(t))
	var a, b bytes.Buffer
	for _, w := range []*bytes.Buffer{&a, &b} {
		if err := report.Write(w, in); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("two pages of one ledger differ")
	}
}

// A KL of exactly 0 has no place on the logarithmic axis.
func TestZeroIsNotOnTheLogarithm(t *testing.T) {
	o := optionsOf(t, write(t, nativeWins()))["size"]
	strip := 0
	for _, s := range o["series"].([]any) {
		s := s.(map[string]any)
		if s["type"] != "scatter" {
			continue
		}
		for _, d := range s["data"].([]any) {
			name := d.(map[string]any)["name"].(string)
			isZero := strings.HasPrefix(name, "bf16") || name == "native"
			_, onStrip := s["yAxisIndex"]
			if isZero != onStrip {
				t.Errorf("%s: on the strip is %v, want %v", name, onStrip, isZero)
			}
			if onStrip {
				strip++
			}
		}
	}
	if strip != 2 {
		t.Errorf("%d marks on the strip, want bf16 and native", strip)
	}
}

func TestWithheld(t *testing.T) {
	one := made{model: "reference", texts: twoTexts(1), variants: []madeVariant{
		plain("bf16", 69_100_000, 1, 0), affine(32, 8, 4, 27_530_000, []float64{0.02}, []float64{-0.01}, 0),
		affine(64, 8, 4, 25_530_000, []float64{0.03}, []float64{0.01}, 0)}}
	for _, c := range []struct {
		what    string
		m       made
		section string
		want    string
	}{
		{"no speed", closePair(), "charts", `Not measured in this run`},
		{"no speed in the table", closePair(), "table", `not measured`},
		{"one window in the table", one, "table", `one window: no interval`},
		{"one window in the verdict", one, "verdict", `no interval`},
		{"a token lost", nativeWins().notFinite("g64-n8-e3"), "verdict", `g64-n8-e3: 64 of 512 tokens`},
		{"a token lost, in the table", nativeWins().notFinite("g64-n8-e3"), "table", `64 of 512 tokens are not finite`},
	} {
		t.Run(c.what, func(t *testing.T) {
			page := write(t, c.m)
			if text := textOf(t, page, c.section); !regexp.MustCompile(c.want).MatchString(text) {
				t.Errorf("nothing matches %q in\n%s", c.want, text)
			}
			for _, s := range []string{"verdict", "table", "charts", "method", "manifest"} {
				if text := textOf(t, page, s); strings.Contains(text, "NaN") || strings.Contains(text, "%!") || strings.Contains(text, "+Inf") {
					t.Errorf("section %s holds what no reader reads", s)
				}
			}
			optionsOf(t, page)
		})
	}
}

// Write refuses parts of different ledgers, and writes nothing.
func TestWriteRefuses(t *testing.T) {
	good := func() report.Input { return input(t, nativeWins().contents(t)) }
	other := input(t, tooLarge().contents(t))
	for name, breakIt := range map[string]func(*report.Input){
		"no ledger":              func(in *report.Input) { in.Contents = nil },
		"no rows":                func(in *report.Input) { in.Rows = nil },
		"rows of another ledger": func(in *report.Input) { in.Rows = other.Rows },
		"rows in another order":  func(in *report.Input) { in.Rows[0], in.Rows[1] = in.Rows[1], in.Rows[0] },
		"another verdict":        func(in *report.Input) { in.Verdict = other.Verdict },
	} {
		t.Run(name, func(t *testing.T) {
			in := good()
			breakIt(&in)
			var b bytes.Buffer
			if err := report.Write(&b, in); err == nil || !strings.HasPrefix(err.Error(), "report: ") {
				t.Errorf("error %v, want one of report", err)
			}
			if b.Len() > 0 {
				t.Errorf("%d bytes were written", b.Len())
			}
		})
	}
}
