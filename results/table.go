package results

import (
	"fmt"
	"time"

	"assay/eval"
	"assay/eval/stat"
)

// Row is all that is known of one variant.
type Row struct {
	Variant Variant
	Summary eval.Summary
	Prefill stat.Estimate // tokens a second; unknown where not timed
	Decode  stat.Estimate // tokens a second; unknown where not timed
	Missing int           // windows not scored; where any is, Summary's figures are unknown
	// Scores are the windows that Summary comes from, in the ledger's order.
	// They share the ledger's memory.
	Scores []eval.WindowScore
}

// Table returns a row for each of the run's variants, in the run's order, from
// the ledger alone. It errs where the reference lacks windows, for then nothing
// can be compared; another variant that lacks some has unknown figures.
func Table(c *Contents) ([]Row, error) {
	scores := make(map[string][]eval.WindowScore)
	for _, s := range c.Scores {
		scores[s.Variant] = append(scores[s.Variant], s.WindowScore())
	}
	timings := make(map[string][]Timing)
	for _, t := range c.Timings {
		timings[t.Variant] = append(timings[t.Variant], t)
	}
	windows := 0
	for _, t := range c.Run.Texts {
		windows += t.Count
	}
	ref := scores[c.Run.Protocol.Reference]
	if len(ref) == 0 || len(ref) < windows {
		return nil, fmt.Errorf("results: the reference %s has %d of %d windows", c.Run.Protocol.Reference, len(ref), windows)
	}
	rows := make([]Row, len(c.Run.Variants))
	for i, v := range c.Run.Variants {
		r := Row{Variant: v, Scores: scores[v.Name], Missing: windows - len(scores[v.Name])}
		r.Prefill, r.Decode = SpeedOf(timings[v.Name], c.Run)
		if r.Missing > 0 {
			r.Summary = eval.UnknownSummary(v.Name, fmt.Sprintf("%d of %d windows are scored", len(r.Scores), windows))
		} else {
			s, err := eval.Summarize(ref, r.Scores)
			if err != nil {
				return nil, fmt.Errorf("results: %w", err)
			}
			r.Summary = s
		}
		rows[i] = r
	}
	return rows, nil
}

// WindowScore returns s for eval. It shares s's memory.
func (s Score) WindowScore() eval.WindowScore {
	return eval.WindowScore{Variant: s.Variant, Text: s.Text, Window: s.Window, NLL: s.NLL, KL: s.KL, Top1: s.Top1}
}

// ScoreOf returns the record of w, made at a time. It shares w's memory.
func ScoreOf(w eval.WindowScore, made time.Time) Score {
	return Score{Variant: w.Variant, Text: w.Text, Window: w.Window, Tokens: len(w.NLL),
		NLL: w.NLL, KL: w.KL, Top1: w.Top1, Made: made}
}
