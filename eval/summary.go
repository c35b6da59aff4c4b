package eval

import (
	"encoding/json"
	"fmt"
	"math"

	"assay/eval/stat"
)

// Summary is one variant's figures over a set of windows. Every figure's
// interval comes from the spread of the windows (stat.MeanOfWindows); its N is
// the number of windows.
type Summary struct {
	Name      string `json:"name"`           // of the variant
	Text      string `json:"text,omitempty"` // the stratum; "" over all texts
	Scored    int    `json:"scored"`         // tokens
	Windows   int    `json:"windows"`
	NonFinite int    `json:"nonfinite"` // tokens whose NLL or KL, or the reference's NLL, is not finite

	NLL        stat.Estimate `json:"nll"`        // nats a token
	Perplexity stat.Estimate `json:"perplexity"` // exp(NLL)
	DNLL       stat.Estimate `json:"dnll"`       // variant − reference, nats a token, paired by token
	Ratio      stat.Estimate `json:"ratio"`      // exp(DNLL): perplexity over the reference's
	KL         stat.Estimate `json:"kl"`         // mean of D(reference ‖ variant), nats a token
	Top1       stat.Estimate `json:"top1"`       // share of tokens, 0 to 1

	KLPercentiles Percentiles `json:"kl_percentiles"`
	Strata        []Summary   `json:"strata,omitempty"` // one a text, in the reference's order; nil in a stratum
}

// Percentiles are of the KL divergence over scored tokens, in nats. Each is the
// value of a token (stat.Percentiles); all are NaN where a token is not finite.
type Percentiles struct {
	P50, P90, P99, P999, Max float64
}

// MarshalJSON gives {"p50", "p90", "p99", "p999", "max"}, with null for what is
// not known.
func (p Percentiles) MarshalJSON() ([]byte, error) {
	known := func(x float64) *float64 {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return nil
		}
		return &x
	}
	return json.Marshal(struct {
		P50  *float64 `json:"p50"`
		P90  *float64 `json:"p90"`
		P99  *float64 `json:"p99"`
		P999 *float64 `json:"p999"`
		Max  *float64 `json:"max"`
	}{known(p.P50), known(p.P90), known(p.P99), known(p.P999), known(p.Max)})
}

// Summarize returns the figures of a variant, paired by token with those of the
// reference. Either set may be in any order. It refuses two sets that are not
// of the same windows and token counts, and names the first difference.
//
// A token that is not finite is counted, and all six figures are unknown. Where
// both sets are the reference's own, kl, dnll, ratio and top1 are exactly 0, 0,
// 1 and 1, and it refuses scores that say otherwise. Fewer than two windows
// leave every figure, those too, without an interval.
func Summarize(reference, variant []WindowScore) (Summary, error) {
	pairs, err := pair(reference, variant)
	if err != nil {
		return Summary{}, err
	}
	name, self := variant[0].Variant, variant[0].Variant == reference[0].Variant
	if self {
		if err := checkSelf(variant); err != nil {
			return Summary{}, err
		}
	}
	s := summarize(name, pairs, self)
	var texts []string
	byText := make(map[string][]scorePair)
	for _, p := range pairs {
		if _, ok := byText[p.ref.Text]; !ok {
			texts = append(texts, p.ref.Text)
		}
		byText[p.ref.Text] = append(byText[p.ref.Text], p)
	}
	for _, t := range texts {
		stratum := summarize(name, byText[t], self)
		stratum.Text = t
		s.Strata = append(s.Strata, stratum)
	}
	return s, nil
}

// UnknownSummary returns the summary of a variant that has no figures, and why.
func UnknownSummary(name, why string) Summary {
	s := Summary{Name: name}
	s.setUnknown(why)
	return s
}

// setUnknown makes all figures unknown.
func (s *Summary) setUnknown(why string) {
	nan := math.NaN()
	for _, e := range []*stat.Estimate{&s.NLL, &s.Perplexity, &s.DNLL, &s.Ratio, &s.KL, &s.Top1} {
		*e = stat.Unknown(s.Windows, why)
	}
	s.KLPercentiles = Percentiles{nan, nan, nan, nan, nan}
}

// summarize returns the figures of pairs; self says that they are the
// reference against itself.
func summarize(name string, pairs []scorePair, self bool) Summary {
	s := Summary{Name: name, Windows: len(pairs)}
	var nll, dnll, kl, top1 []stat.Window
	var tokens []float64 // KL of each
	for _, p := range pairs {
		n := len(p.got.NLL)
		a, b, c, d := stat.Window{N: n}, stat.Window{N: n}, stat.Window{N: n}, stat.Window{N: n}
		for i := range n {
			l, r, k := float64(p.got.NLL[i]), float64(p.ref.NLL[i]), float64(p.got.KL[i])
			if !finite(l) || !finite(r) || !finite(k) {
				s.NonFinite++
			}
			a.Sum += l
			b.Sum += l - r
			c.Sum += k
			if p.got.Top1[i] {
				d.Sum++
			}
			tokens = append(tokens, k)
		}
		s.Scored += n
		nll, dnll, kl, top1 = append(nll, a), append(dnll, b), append(kl, c), append(top1, d)
	}
	if s.NonFinite > 0 {
		s.setUnknown(fmt.Sprintf("%d of %d tokens are not finite", s.NonFinite, s.Scored))
		return s
	}
	s.NLL, s.DNLL, s.KL, s.Top1 = stat.MeanOfWindows(nll), stat.MeanOfWindows(dnll), stat.MeanOfWindows(kl), stat.MeanOfWindows(top1)
	if self && s.Windows > 1 {
		s.DNLL, s.KL, s.Top1 = stat.Exact(0), stat.Exact(0), stat.Exact(1)
	}
	s.Perplexity, s.Ratio = s.NLL.Exp(), s.DNLL.Exp()
	if s.KL.Lo < 0 {
		s.KL.Warnings = append(s.KL.Warnings, "the interval reaches below 0, where no mean KL lies: too few windows for their spread")
	}
	if s.Top1.Hi > 1 {
		s.Top1.Warnings = append(s.Top1.Warnings, "the interval reaches above 1, where no share lies: too few windows for their spread")
	}
	q := stat.Percentiles(tokens, 0.5, 0.9, 0.99, 0.999, 1)
	s.KLPercentiles = Percentiles{P50: q[0], P90: q[1], P99: q[2], P999: q[3], Max: q[4]}
	return s
}

// PairedKL returns mean KL of a less mean KL of b, in nats a token, paired by
// window, with the interval of the difference: much narrower than either's own,
// since both meet the same hard windows. Where it includes 0 the two are not
// told apart. It refuses what Summarize refuses.
func PairedKL(a, b []WindowScore) (stat.Estimate, error) {
	pairs, err := pair(b, a)
	if err != nil {
		return stat.Estimate{}, err
	}
	windows := make([]stat.Window, len(pairs))
	for i, p := range pairs {
		windows[i].N = len(p.got.KL)
		for j := range p.got.KL {
			windows[i].Sum += float64(p.got.KL[j]) - float64(p.ref.KL[j])
		}
	}
	return stat.MeanOfWindows(windows), nil
}

// checkSelf refuses scores of the reference against itself that are not exact.
// A token that is not finite is left to be counted.
func checkSelf(scores []WindowScore) error {
	for _, w := range scores {
		for i, k := range w.KL {
			if !finite(float64(k)) || !finite(float64(w.NLL[i])) {
				continue
			}
			if k != 0 || !w.Top1[i] {
				return fmt.Errorf("eval: %s: token %d of window %d of %q: KL %g and top-1 %v against itself, want 0 and true",
					w.Variant, i, w.Window, w.Text, k, w.Top1[i])
			}
		}
	}
	return nil
}

// finite says whether x is neither NaN nor infinite.
func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
