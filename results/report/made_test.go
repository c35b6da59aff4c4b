package report_test

import (
	"bytes"
	"fmt"
	"math"
	"path/filepath"
	"testing"
	"time"

	"assay/results"
	"assay/results/report"
)

// noon is when everything in these tests was made.
var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// madeVariant is a variant and what it scored.
type madeVariant struct {
	results.Variant
	kl   []float64 // nats, one a window
	dnll []float64 // to the reference, likewise
	tok  float64   // decode, tokens a second; 0 is not timed
}

// affine returns a variant of the grid, whose name is what it says.
func affine(group, n, e int, bytes int64, kl, dnll []float64, tok float64) madeVariant {
	return madeVariant{results.Variant{Name: fmt.Sprintf("g%d-n%d-e%d", group, n, e), Rule: "mlx-gpu", GroupSize: group,
		NonExpertBits: n, ExpertBits: e, BytesMain: bytes, BytesTotal: bytes}, kl, dnll, tok}
}

// plain returns a variant without a quantizer, equal to the reference in all it
// scored.
func plain(name string, bytes int64, windows int, tok float64) madeVariant {
	zero := make([]float64, windows)
	return madeVariant{results.Variant{Name: name, BytesMain: bytes, BytesTotal: bytes}, zero, zero, tok}
}

// windowNLL is the reference's NLL by window, as transformers gave it on 8
// windows of Wikitext-2 with the reference model.
var windowNLL = []float64{4.624, 4.647, 5.033, 4.849, 4.766, 4.807, 4.872, 4.335}

// made is a ledger to be.
type made struct {
	texts    []results.Text // one window each at least
	variants []madeVariant
	speed    bool
	model    string
}

// twoTexts are texts of so many windows in all.
func twoTexts(windows int) []results.Text {
	t := []results.Text{{Name: "prose", Corpus: "heldout", Digest: "d1", Count: (windows + 1) / 2, Unused: 12}}
	if windows > 1 {
		t = append(t, results.Text{Name: "code", Corpus: "heldout", Digest: "d2", Count: windows / 2, Unused: 7})
	}
	return t
}

// windowTokens is the tokens of a window.
const windowTokens = 64

// run returns the ledger's first record.
func (m made) run() results.Run {
	r := results.Run{
		Schema: results.SchemaVersion, Made: noon,
		Tool:     results.Tool{Version: "0.1.0", Commit: "0123456789abcdef"},
		Model:    results.Model{Name: m.model, Digest: "m1", Parameters: 33_700_000, Layers: 8, CacheBytes: map[string]int64{"8192": 2_000_000}},
		Protocol: results.Protocol{Name: "assay", Window: windowTokens, Reference: "bf16"},
		Texts:    m.texts,
		Engine:   results.Engine{Name: "cpu", Device: "CPU engine, made", Kernels: "plain", Activations: "f32", Threads: 2},
		Machine:  results.Machine{OS: "linux", Arch: "amd64", CPU: "made", Cores: 2, Memory: 1 << 30},
	}
	if m.speed {
		r.Speed = &results.Speed{PrefillTokens: 512, DecodeTokens: 4, Repetitions: 5, Discarded: 1, Seed: 7}
	}
	for _, v := range m.variants {
		r.Variants = append(r.Variants, v.Variant)
	}
	return r
}

// contents writes the ledger and returns what it holds.
func (m made) contents(t *testing.T) *results.Contents {
	t.Helper()
	run := m.run()
	l, err := results.Open(filepath.Join(t.TempDir(), "ledger.jsonl"), run)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, v := range m.variants {
		i := 0
		for _, text := range run.Texts {
			for w := range text.Count {
				if err := l.AppendScore(v.score(text.Name, w, i)); err != nil {
					t.Fatal(err)
				}
				i++
			}
		}
		for rep := range 6 {
			if !m.speed || v.tok == 0 {
				break
			}
			second := (1 + 0.01*float64(rep)) / v.tok
			err := l.AppendTiming(results.Timing{Variant: v.Name, Repetition: rep, PrefillSeconds: 50 * second,
				DecodeSeconds: []float64{second, second, second, second}, Made: noon})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return l.Contents()
}

// score returns the i-th of all windows. Tokens differ, their mean is as made.
func (v madeVariant) score(text string, window, i int) results.Score {
	s := results.Score{Variant: v.Name, Text: text, Window: window, Tokens: windowTokens, Made: noon}
	for j := range windowTokens {
		f := float64(2*j) / (windowTokens - 1) // 0 to 2
		s.NLL = append(s.NLL, float32(windowNLL[i%8]*f+v.dnll[i]))
		s.KL = append(s.KL, float32(v.kl[i]*f))
		s.Top1 = append(s.Top1, v.kl[i] == 0 || j%7 != 0)
	}
	return s
}

// macs are the memory sizes that these tests ask about.
var macs = []int{64, 96, 128, 192, 256, 512}

// fits is the memory rule of these tests.
func fits(bytesMain int64, macGB int) bool { return bytesMain <= int64(macGB)<<30*3/4 }

// input returns what Write takes.
func input(t *testing.T, c *results.Contents) report.Input {
	t.Helper()
	rows, err := results.Table(c)
	if err != nil {
		t.Fatal(err)
	}
	v, err := results.Judge(rows, macs, fits)
	if err != nil {
		t.Fatal(err)
	}
	return report.Input{Contents: c, Rows: rows, Verdict: v, FitRule: "weights within the GPU's default limit, 75 % of memory as reported"}
}

// write returns the page of a made ledger.
func write(t *testing.T, m made) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.Write(&b, input(t, m.contents(t))); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// nativeWins is the reference model's sweep in small: native has fewer bytes
// than every 4-bit variant and no KL. g32-n8-e4 has less perplexity than bf16,
// within noise, and rule mlx-gpu costs more KL than mlx-cpu. KL is of
// transformers on weights from an independent quantizer, see windowNLL.
func nativeWins() made {
	kl := []float64{0.0269, 0.0293, 0.0184, 0.0183, 0.0208, 0.0210, 0.0202, 0.0211}
	cpu := affine(32, 8, 4, 27_530_000, []float64{0.0244, 0.0300, 0.0178, 0.0165, 0.0209, 0.0203, 0.0186, 0.0208},
		[]float64{0.004, -0.006, 0.003, -0.004, 0.002, 0.001, -0.003, 0.002}, 190)
	cpu.Name, cpu.Rule = "cpu-g32-n8-e4", "mlx-cpu"
	return made{model: "reference", speed: true, texts: twoTexts(8), variants: []madeVariant{
		plain("bf16", 69_100_000, 8, 400),
		affine(32, 8, 4, 28_530_000, kl, []float64{-0.02, 0.008, -0.011, 0.003, -0.014, 0.006, -0.009, -0.006}, 180),
		affine(64, 8, 3, 20_320_000, []float64{0.1099, 0.1231, 0.0841, 0.0796, 0.0968, 0.0931, 0.0893, 0.0835},
			[]float64{0.05, 0.02, 0.03, 0.04, 0.01, 0.02, 0.05, 0.03}, 72),
		cpu.sized(28_530_000),
		plain("native", 28_230_000, 8, 152),
	}}
}

// sized returns v with so many bytes.
func (v madeVariant) sized(bytes int64) madeVariant {
	v.BytesMain, v.BytesTotal = bytes, bytes
	return v
}

// closePair has two members of the front whose KL differs by less than the
// windows scatter, both too large for 128 GB.
func closePair() made {
	return made{model: "v4", texts: twoTexts(4), variants: []madeVariant{
		plain("bf16", 568_753_728_604, 4, 0),
		affine(64, 8, 4, 163_755_355_228, []float64{0.021, 0.030, 0.024, 0.027}, []float64{0.002, 0.001, 0.004, 0.003}, 0),
		affine(128, 8, 4, 154_872_499_292, []float64{0.024, 0.029, 0.022, 0.031}, []float64{0.003, 0.001, 0.004, 0.004}, 0),
		affine(128, 4, 3, 116_631_325_788, []float64{0.15, 0.17, 0.16, 0.18}, []float64{0.05, 0.06, 0.07, 0.06}, 0),
	}}
}

// tooLarge has no variant for 64 GB, and all members of its front told apart.
func tooLarge() made {
	return made{model: "v4", texts: twoTexts(4), variants: []madeVariant{
		plain("bf16", 568_753_728_604, 4, 0),
		affine(32, 8, 4, 181_521_067_100, []float64{0.021, 0.022, 0.020, 0.021}, []float64{0.001, 0.001, 0.002, 0.002}, 0),
		affine(128, 4, 3, 116_631_325_788, []float64{0.15, 0.17, 0.16, 0.18}, []float64{0.05, 0.06, 0.07, 0.06}, 0),
	}}
}

// notFinite returns m with one token of one variant lost.
func (m made) notFinite(name string) made {
	for i, v := range m.variants {
		if v.Name == name {
			m.variants[i].kl = append([]float64{math.NaN()}, v.kl[1:]...)
		}
	}
	return m
}
