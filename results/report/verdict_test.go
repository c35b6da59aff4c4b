package report

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var goldens = flag.Bool("goldens", false, "write the goldens of the sentences anew")

// told returns the verdict as plain text.
func told(t *testing.T, in Input) string {
	t.Helper()
	sections, err := verdictSections(in)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, s := range sections {
		b.WriteString("# " + s.Title + "\n")
		for _, x := range s.Text {
			b.WriteString(x.String() + "\n")
		}
		for _, x := range s.Items {
			b.WriteString("- " + x.String() + "\n")
		}
		for _, x := range s.After {
			b.WriteString(x.String() + "\n")
		}
		if s.Numbers != nil {
			for _, r := range s.Numbers.Rows {
				b.WriteString("  | " + strings.Join(r, " | ") + "\n")
			}
		}
	}
	return strings.ReplaceAll(b.String(), space, " ")
}

// better returns m with a lower NLL.
func better(m made, by float32) made {
	m.dnll = -by
	return m
}

// byCPU returns m as MLX's CPU rule makes it.
func byCPU(m made) made {
	m.variant.Encoder = "mlx-cpu"
	return m
}

// The verdict's sentences, on made ledgers.
func TestVerdictSentences(t *testing.T) {
	for _, c := range []struct {
		name     string
		variants []made
		want     []string // what the golden must say, so that a careless update fails
	}{
		{"native-dominates", []made{
			affine("g32-n8-e4", 32, 8, 4, 181.5, .02, .03, .02, .03), affine("g64-n8-e4", 64, 8, 4, 171, .03, .04, .03, .04), affine("g128-n8-e4", 128, 8, 4, 166, .05, .05, .05, .06),
			affine("g32-n8-e3", 32, 8, 3, 146, .09, .1, .09, .1), affine("g128-n8-e3", 128, 8, 3, 130, .2, .22, .2, .22), native(156.2, 4)},
			[]string{"native dominates bf16, g32-n8-e4, g64-n8-e4 and g128-n8-e4: every variant with 4-bit experts (3 of 3).", "64 and 128 GB: none.", "256 and 512 GB: native"}},
		{"not-told-apart", []made{
			affine("g64-n8-e4", 64, 8, 4, 80, .02, .05, .03, .07), affine("g64-n6-e4", 64, 6, 4, 78, .03, .04, .04, .07), affine("g64-n8-e3", 64, 8, 3, 40, .2, .22, .2, .21)},
			[]string{"g64-n6-e4 and g64-n8-e4: their KL differs by 0.0025 [", "64 GB: g64-n8-e3", "128, 256 and 512 GB: g64-n8-e4 (74.51 GiB, KL 0.0425 [", ", not told apart from the smaller g64-n6-e4."}},
		{"nothing-fits", []made{
			affine("g32-n8-e4", 32, 8, 4, 600, .02, .02, .02, .03), affine("g128-n8-e4", 128, 8, 4, 580, .05, .05, .05, .06)},
			[]string{"64, 128, 256 and 512 GB: none. No member of the front fits."}},
		{"surprises", []made{
			better(affine("g32-n8-e4", 32, 8, 4, 180, .02, .03, .02, .03), .03), better(affine("g64-n8-e4", 64, 8, 4, 170, .01, .02, .01, .02), .09), affine("g64-n8-e3", 64, 8, 3, 140, .1, .1, .1, .12)},
			[]string{"g32-n8-e4 has a lower perplexity than bf16", "includes 1, so that is within noise", "leaves out 1", "g32-n8-e4 has smaller groups than g64-n8-e4 and yet more KL, by 0.0100 [0.0100, 0.0100] nats"}},
		{"rules", []made{
			affine("g32-n8-e4", 32, 8, 4, 180, .022, .024, .02, .03), byCPU(affine("cpu-g32-n8-e4", 32, 8, 4, 180, .021, .022, .019, .028))},
			[]string{"Encoder mlx-gpu costs more KL than mlx-cpu: g32-n8-e4", "cpu-g32-n8-e4 dominates g32-n8-e4"}},
		{"equal-bytes", []made{
			affine("g32-n8-e4", 32, 8, 4, 180, .02, .03, .02, .03), byCPU(affine("cpu-g32-n8-e4", 32, 8, 4, 180, .03, .019, .019, .031))},
			[]string{"It has as many bytes as", "which of them is better is open"}},
		{"one-window", []made{
			affine("g32-n8-e4", 32, 8, 4, 180, .02), affine("g32-n8-e3", 32, 8, 3, 140, .1)},
			[]string{"No pair on the front is told apart: no paired difference in KL has an interval"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := told(t, madeInput(t, c.variants...))
			file := filepath.Join("testdata", "verdict-"+c.name+".txt")
			if *goldens {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
			}
			for _, s := range c.want {
				if !strings.Contains(got, s) {
					t.Errorf("lacks %q", s)
				}
			}
		})
	}
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{number(-0.00001, 3), "0.000"}, {number(-1.25, 1), "−1.2"}, {number(0.02098, 4), "0.0210"},
		{integer(8192), "8,192"}, {integer(int64(-1234567)), "−1,234,567"}, {integer(12), "12"},
		{decimal(156198382684), "156.20\u00a0GB"}, {decimal(999), "999\u00a0B"}, {binary(1 << 30), "1.00\u00a0GiB"},
		{plural(1, "token"), "1 token"}, {plural(1000, "token"), "1,000 tokens"},
		{list(texts([]string{"a", "b", "c"})).String(), "a, b and c"}, {say("at 95 % of %v", name("x")).String(), "at 95\u00a0% of x"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	s := linearScale(16.9, 29.1, 8)
	if s.lo != 16 || s.hi != 30 || len(s.ticks) != 8 {
		t.Errorf("%+v", s)
	}
	if s = logScale(0.015, 0.19); len(s.ticks) != 4 || s.ticks[0] != 0.02 || s.ticks[3] != 0.2 || s.lo >= 0.015 {
		t.Errorf("%+v", s)
	}
}
