package results

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// macs are the memory sizes that these tests ask about.
var macs = []int{1, 2, 4, 8}

// hundreds is a made memory rule: 100 bytes run in each GB.
func hundreds(bytesMain int64, macGB int) bool { return bytesMain <= 100*int64(macGB) }

// judge returns the verdict on a made ledger.
func judge(t *testing.T, c *Contents) Verdict {
	t.Helper()
	rows, err := Table(c)
	if err != nil {
		t.Fatal(err)
	}
	v, err := Judge(rows, macs, hundreds)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// names of choices, by memory.
func chosen(v Verdict) []string {
	var out []string
	for _, c := range v.ByMemory {
		out = append(out, c.Name)
	}
	return out
}

func TestTable(t *testing.T) {
	c := madeContents(t, madeRun([]string{"q4"}, 300), map[string]fourKL{
		"bf16": {}, "q4": {0.125, 0.25, 0.375, 0.25},
	})
	c.Timings = []Timing{madeTiming("q4", 1, 0.5, 1, 1)}
	rows, err := Table(c)
	if err != nil {
		t.Fatal(err)
	}
	ref, q4 := rows[0], rows[1]
	if len(rows) != 2 || ref.Variant != c.Run.Variants[0] || q4.Variant != c.Run.Variants[1] || ref.Missing+q4.Missing != 0 {
		t.Errorf("%+v", rows)
	}
	if s := ref.Summary; s.Windows != 4 || s.Scored != 8 || s.KL.Value != 0 || s.KL.Confidence != 1 || s.Ratio.Hi != 1 {
		t.Errorf("the reference: %+v", s)
	}
	// By hand: the mean of 0.125, 0.25, 0.375 and 0.25; s² = (2·0.125²)/3.
	half := 3.1824463052837078 * math.Sqrt(2*0.125*0.125/3/4)
	if k := q4.Summary.KL; k.Value != 0.25 || math.Abs(k.Hi-0.25-half) > 1e-12 || k.N != 4 {
		t.Errorf("q4: %+v", k)
	}
	if len(q4.Summary.Strata) != 2 || q4.Summary.Strata[1].Text != "code" || q4.Summary.Strata[1].KL.Value != 0.3125 {
		t.Errorf("strata: %+v", q4.Summary.Strata)
	}
	if q4.Prefill.Value != 200 || q4.Decode.Value != 1 || ref.Prefill.Known() {
		t.Errorf("speeds: %+v, %+v", q4.Prefill, ref.Prefill)
	}
}

// A sweep under way has rows for all, and figures for what is finished.
func TestTableUnfinished(t *testing.T) {
	c := madeContents(t, madeRun([]string{"q4", "q3"}, 300, 200), map[string]fourKL{"bf16": {}, "q4": {}})
	c.Scores = c.Scores[:7]
	rows, err := Table(c)
	if err != nil {
		t.Fatal(err)
	}
	for i, missing := range []int{0, 1, 4} {
		r := rows[i]
		if r.Missing != missing || r.Summary.KL.Known() != (missing == 0) || r.Summary.Name != r.Variant.Name {
			t.Errorf("%+v", r)
		}
	}
	if w := rows[1].Summary.NLL.Warnings; len(w) != 1 || w[0] != "3 of 4 windows are scored" {
		t.Errorf("%q", w)
	}
	if v := judge(t, c); !slices.Equal(v.Unknown, []string{"q4", "q3"}) || !slices.Equal(v.Front, []string{"bf16"}) {
		t.Errorf("%+v", v)
	}
	c.Scores = c.Scores[:3]
	if _, err := Table(c); err == nil || err.Error() != "results: the reference bf16 has 3 of 4 windows" {
		t.Errorf("%v", err)
	}
}

// The reference's windows and a variant's are of one length.
func TestTableRefusesOtherTokens(t *testing.T) {
	c := madeContents(t, madeRun([]string{"q4"}, 300), map[string]fourKL{"bf16": {}, "q4": {}})
	s := &c.Scores[7]
	s.Tokens, s.NLL, s.KL, s.Top1 = 1, s.NLL[:1], s.KL[:1], s.Top1[:1]
	if _, err := Table(c); err == nil || err.Error() != `results: eval: q4 scored 1 tokens of window 1 of "code", bf16 2` {
		t.Errorf("%v", err)
	}
}

// The first made ledger: every knob does what it should. q2 < q4 < q8 in bytes
// and the other way round in KL, by far more than windows differ; fat has more
// bytes than q4 for more KL, and even q8 bytes; native loses nothing, so bf16 is
// dominated by it.
func TestVerdictOrdered(t *testing.T) {
	v := judge(t, madeContents(t, madeRun([]string{"native", "q8", "fat", "q4", "q2"}, 600, 400, 400, 300, 150), map[string]fourKL{
		"bf16": {}, "native": {},
		"q8":  {0.01, 0.02, 0.01, 0.02},
		"fat": {0.75, 0.75, 0.75, 0.75},
		"q4":  {0.25, 0.5, 0.25, 0.5},
		"q2":  {1, 1.5, 1, 1.5},
	}))
	if want := []string{"q2", "q4", "q8", "native"}; !slices.Equal(v.Front, want) {
		t.Errorf("front %v, want %v", v.Front, want)
	}
	// In table order; each by what has no more of both. fat − q4 is 0.5, 0.25,
	// 0.5, 0.25 by window: 0.375, and its interval, ±0.23, excludes 0.
	if len(v.Dominated) != 2 || v.Dominated[0].Name != "bf16" || v.Dominated[1].Name != "fat" {
		t.Fatalf("dominated %+v", v.Dominated)
	}
	if by := v.Dominated[0].By; len(by) != 1 || by[0].Name != "native" || by[0].Bytes != 200 || by[0].KL.Value != 0 || !by[0].KL.Includes(0) {
		t.Errorf("bf16 by %+v", by)
	}
	by := v.Dominated[1].By
	if len(by) != 2 || by[0].Name != "q4" || by[0].Bytes != 100 || by[1].Name != "q8" || by[1].Bytes != 0 {
		t.Fatalf("fat by %+v", by)
	}
	if k := by[0].KL; k.Value != 0.375 || k.Includes(0) {
		t.Errorf("fat less q4: %+v", k)
	}
	if len(v.NotToldApart) != 0 || len(v.Unknown) != 0 {
		t.Errorf("%+v, %v", v.NotToldApart, v.Unknown)
	}
	// 100, 200, 400 and 800 bytes fit.
	if want := []string{"", "q2", "q8", "native"}; !slices.Equal(chosen(v), want) {
		t.Errorf("by memory %v, want %v", chosen(v), want)
	}
}

// The second: a and b differ by more in each window than in the mean, so they
// are not told apart, though the front needs both; b and c differ by a steady
// 0.125, far less than their own intervals, and are. One token of broken is NaN.
func TestVerdictNotToldApart(t *testing.T) {
	c := madeContents(t, madeRun([]string{"a", "b", "c", "broken"}, 100, 200, 300, 50), map[string]fourKL{
		"bf16":   {},
		"a":      {1, 2, 3, 2},
		"b":      {2, 1, 2, 2.5},
		"c":      {1.875, 0.875, 1.875, 2.375},
		"broken": {0, 0, 0, float32(math.NaN())},
	})
	v := judge(t, c)
	if want := []string{"a", "b", "c", "bf16"}; !slices.Equal(v.Front, want) {
		t.Errorf("front %v, want %v", v.Front, want)
	}
	// By hand: a − b is −1, 1, 1, −0.5, mean 0.125; a − c is 0.125 more.
	want := map[string]float64{"a b": 0.125, "a c": 0.25}
	for _, p := range v.NotToldApart {
		if x, ok := want[p.Small+" "+p.Large]; !ok || p.KL.Value != x || !p.KL.Includes(0) {
			t.Errorf("%+v", p)
		}
	}
	if len(v.NotToldApart) != 2 || len(v.Dominated) != 0 || !slices.Equal(v.Unknown, []string{"broken"}) {
		t.Errorf("%+v", v)
	}
	rows, _ := Table(c)
	if s := rows[4].Summary; s.NonFinite != 2 || s.KL.Known() {
		t.Errorf("broken: %+v", s)
	}
	if want := []string{"a", "b", "c", "bf16"}; !slices.Equal(chosen(v), want) {
		t.Errorf("by memory %v, want %v", chosen(v), want)
	}
}

// The third: one window only. There is no interval, so no pair of the front is
// told apart; equals are both on it, and the smaller-named choice is the first
// of the table. Nothing fits the least memory.
func TestVerdictOneWindow(t *testing.T) {
	run := madeRun([]string{"twin", "other", "worse"}, 300, 300, 300)
	run.Texts = run.Texts[:1]
	run.Texts[0].Count = 1
	c := &Contents{Run: run, Scores: []Score{
		madeScore("bf16", "prose", 0, 0), madeScore("twin", "prose", 0, 0.5),
		madeScore("other", "prose", 0, 0.5), madeScore("worse", "prose", 0, 0.75),
	}}
	v := judge(t, c)
	if want := []string{"twin", "other", "bf16"}; !slices.Equal(v.Front, want) {
		t.Errorf("front %v, want %v", v.Front, want)
	}
	var pairs []string
	for _, p := range v.NotToldApart {
		pairs = append(pairs, p.Small+" "+p.Large)
		if p.KL.HasInterval() || !p.KL.Known() {
			t.Errorf("%+v", p)
		}
	}
	if want := []string{"twin other", "twin bf16", "other bf16"}; !slices.Equal(pairs, want) {
		t.Errorf("not told apart %v, want %v", pairs, want)
	}
	if d := v.Dominated; len(d) != 1 || d[0].Name != "worse" || len(d[0].By) != 2 || d[0].By[1].Name != "other" {
		t.Errorf("%+v", d)
	}
	if want := []string{"", "", "twin", "bf16"}; !slices.Equal(chosen(v), want) {
		t.Errorf("by memory %v, want %v", chosen(v), want)
	}
}

// Nothing on the front dominates another; whatever is off it is dominated.
func TestVerdictProperties(t *testing.T) {
	x := uint64(1)
	next := func(n uint64) uint64 { x = x*6364136223846793005 + 1442695040888963407; return (x >> 40) % n }
	for range 20 {
		names, sizes, kl := []string{}, []int64{}, map[string]fourKL{"bf16": {}}
		for _, n := range strings.Split("abcdefghi", "") {
			names, sizes = append(names, n), append(sizes, int64(next(6))*100)
			k := float32(next(5)) / 4
			kl[n] = fourKL{k, k, k, k}
		}
		c := madeContents(t, madeRun(names, sizes...), kl)
		v := judge(t, c)
		if len(v.Front)+len(v.Dominated) != 10 {
			t.Fatalf("%+v", v)
		}
		rows, _ := Table(c)
		row := func(name string) Row {
			return rows[slices.IndexFunc(rows, func(r Row) bool { return r.Variant.Name == name })]
		}
		for _, a := range v.Front {
			for _, r := range rows {
				if r.dominates(row(a)) {
					t.Errorf("%s of the front is dominated by %s", a, r.Variant.Name)
				}
			}
		}
		for _, d := range v.Dominated {
			if len(d.By) == 0 {
				t.Errorf("%s is dominated by none", d.Name)
			}
			for _, b := range d.By {
				if !slices.Contains(v.Front, b.Name) || b.KL.Value < 0 || b.Bytes < 0 {
					t.Errorf("%s by %+v", d.Name, b)
				}
			}
		}
	}
}

func TestVerdictOfNothing(t *testing.T) {
	v, err := Judge(nil, nil, hundreds)
	data, _ := json.Marshal(v)
	if want := `{"front":[],"dominated":[],"not_told_apart":[],"by_memory":[],"unknown":[]}`; err != nil || string(data) != want {
		t.Errorf("%s, %v, want %s", data, err, want)
	}
}

// A score becomes a window's figures and back.
func TestScoreOf(t *testing.T) {
	s := madeScore("q4", "prose", 1, 0.5)
	if got := ScoreOf(s.WindowScore(), noon); !reflect.DeepEqual(got, s) {
		t.Errorf("%+v, want %+v", got, s)
	}
}
