package report

import (
	"slices"

	"assay/eval"
	"assay/eval/stat"
	"assay/results"
)

// surprises says what a reader would take for a mistake, with its interval.
func (v verdict) surprises() (section, error) {
	s := section{ID: "surprises", Title: "Surprises"}
	for _, r := range v.Rows {
		if t, ok := v.unscored(r); ok {
			s.Items = append(s.Items, t)
		}
	}
	for _, r := range v.Rows {
		if t, ok := v.lowerPerplexity(r); ok {
			s.Items = append(s.Items, t)
		}
		if r.Variant.Name == "native" && r.Summary.KL.Known() && !zeroKL(r) {
			s.Items = append(s.Items, say("%v is a repack of the stored weights, and yet its KL is not 0: %v nats.", name("native"), estimate(r.Summary.KL, v.digits)))
		}
	}
	for _, find := range []func() ([]sentence, error){v.rules, v.inversions} {
		found, err := find()
		if err != nil {
			return s, err
		}
		s.Items = append(s.Items, found...)
	}
	if len(s.Items) == 0 {
		s.Text = []sentence{say("None of those looked for: no perplexity under that of %v at a KL above 0, no finer variant with more KL than a coarser one that differs in one choice, no token without a finite score.", v.reference())}
	}
	return s, nil
}

// unscored says why r has no figures.
func (v verdict) unscored(r results.Row) (sentence, bool) {
	switch n := r.Summary.NonFinite; {
	case n > 0:
		return say("%v: %v of %v tokens have no finite score, so its figures are withheld.", name(r.Variant.Name), integer(n), integer(r.Summary.Scored)), true
	case r.Missing > 0:
		return say("%v: %v not scored, so its figures are withheld.", name(r.Variant.Name), plural(r.Missing, "window")), true
	}
	return nil, false
}

// lowerPerplexity says that r predicts the text better than the reference does,
// although its distribution is another one.
func (v verdict) lowerPerplexity(r results.Row) (sentence, bool) {
	ratio, kl := r.Summary.Ratio, r.Summary.KL
	if !ratio.Known() || !kl.Known() || zeroKL(r) || ratio.Value >= 1 {
		return nil, false
	}
	text := say("%v has a lower perplexity than %v (ratio %v) while its KL is %v: ", name(r.Variant.Name), v.reference(), estimate(ratio, 4), klOf(r, v.digits))
	switch {
	case !ratio.HasInterval():
		text = append(text, say("without an interval nothing says whether that is noise.")...)
	case ratio.Includes(1):
		text = append(text, say("the interval includes 1, so that is within noise.")...)
	default:
		text = append(text, say("the interval leaves out 1, so on this text that is not noise of the windows; the distribution has moved all the same.")...)
	}
	return text, true
}

// knobs are the three choices of an affine variant.
type knobs struct{ group, nonExpert, expert int }

// finer says whether a makes one choice more finely than b and the other two
// alike; what names that choice.
func finer(a, b results.Variant) (what string, ok bool) {
	if a.GroupSize == 0 || b.GroupSize == 0 || a.Encoder != b.Encoder {
		return "", false
	}
	x, y := knobs{a.GroupSize, a.NonExpertBits, a.ExpertBits}, knobs{b.GroupSize, b.NonExpertBits, b.ExpertBits}
	switch {
	case x.group < y.group && x.nonExpert == y.nonExpert && x.expert == y.expert:
		return "smaller groups", true
	case x.group == y.group && x.nonExpert > y.nonExpert && x.expert == y.expert:
		return "more non-expert bits", true
	case x.group == y.group && x.nonExpert == y.nonExpert && x.expert > y.expert:
		return "more expert bits", true
	}
	return "", false
}

// rules returns what one encoder costs over another, for each pair of
// variants that differ in nothing else. It names the encoder with the more KL first.
func (v verdict) rules() ([]sentence, error) {
	var out []sentence
	for i, a := range v.Rows {
		for _, b := range v.Rows[i+1:] {
			x, y := a.Variant, b.Variant
			if x.GroupSize == 0 || x.Encoder == y.Encoder || !a.Summary.KL.Known() || !b.Summary.KL.Known() ||
				(knobs{x.GroupSize, x.NonExpertBits, x.ExpertBits}) != (knobs{y.GroupSize, y.NonExpertBits, y.ExpertBits}) {
				continue
			}
			more, less := a, b
			if less.Summary.KL.Value > more.Summary.KL.Value {
				more, less = b, a
			}
			d, err := eval.PairedKL(more.Scores, less.Scores)
			if err != nil {
				return nil, err
			}
			// With the digits of the difference, which is far less than either KL.
			out = append(out, say("Encoder %v costs more KL than %v: %v has %v, %v has %v, paired difference %v nats%v: %v.",
				name(more.Variant.Encoder), name(less.Variant.Encoder), name(more.Variant.Name), klOf(more, v.digits),
				name(less.Variant.Name), klOf(less, v.digits), estimate(d, max(v.digits, digitsOf(d.Value, 2))), share(d.Value, less.Summary.KL.Value), noise(d)))
		}
	}
	return out, nil
}

// share says what part of whole a difference is; "" where whole is not above 0.
func share(difference, whole float64) string {
	if !(whole > 0) {
		return ""
	}
	percent := 100 * difference / whole
	return " (" + number(percent, digitsOf(percent, 2)) + " % more)"
}

// inversions returns the pairs that differ in one choice, of which the finer one
// has more KL.
func (v verdict) inversions() ([]sentence, error) {
	var out []sentence
	for _, a := range v.Rows {
		for _, b := range v.Rows {
			what, ok := finer(a.Variant, b.Variant)
			if !ok || !a.Summary.KL.Known() || !b.Summary.KL.Known() || a.Summary.KL.Value <= b.Summary.KL.Value {
				continue
			}
			d, err := eval.PairedKL(a.Scores, b.Scores)
			if err != nil {
				return nil, err
			}
			out = append(out, say("%v has %v than %v and yet more KL, by %v nats: %v.",
				name(a.Variant.Name), what, name(b.Variant.Name), estimate(d, v.digits), noise(d)))
		}
	}
	return out, nil
}

// noise says what the interval of a difference allows.
func noise(d stat.Estimate) string {
	switch {
	case !d.HasInterval():
		return "without an interval nothing says whether that is noise"
	case d.Includes(0):
		return "the interval includes 0, so that is within noise"
	}
	return "the interval leaves out 0, so that is not noise of the windows"
}

// protocolLine says in a line what was scored.
func protocolLine(in Input) string {
	run, scored, windows := in.Contents.Run, 0, 0
	for _, r := range in.Rows {
		if r.Variant.Name == run.Protocol.Reference {
			scored, windows = r.Summary.Scored, r.Summary.Windows
		}
	}
	return plural(scored, "token") + " scored in " + plural(windows, "window") + " of " + integer(run.Protocol.Window) +
		" from " + plural(len(run.Texts), "text") + " (" + corpora(run) + "), protocol " + run.Protocol.Name
}

// corpora names the corpora of the run's texts, each once.
func corpora(run results.Run) string {
	var seen []string
	for _, t := range run.Texts {
		if !slices.Contains(seen, t.Corpus) {
			seen = append(seen, t.Corpus)
		}
	}
	return list(texts(seen)).String()
}
