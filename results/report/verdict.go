package report

import (
	"fmt"
	"slices"

	"assay/results"
)

// section is one answer of the verdict.
type section struct {
	ID      string
	Title   string
	Text    []sentence
	Items   []sentence
	After   []sentence // what is said once the items are
	Numbers *numbersTable
	Summary string // what Numbers are
}

// verdict is an Input with its rows by name.
type verdict struct {
	Input
	row    map[string]results.Row
	digits int
}

// verdictSections puts the verdict into sentences.
func verdictSections(in Input) ([]section, error) {
	v := verdict{in, map[string]results.Row{}, klDigits(in.Rows)}
	for _, r := range in.Rows {
		v.row[r.Variant.Name] = r
	}
	if err := v.check(); err != nil {
		return nil, err
	}
	surprises, err := v.surprises()
	if err != nil {
		return nil, err
	}
	return []section{v.front(), v.memory(), v.apart(), v.dominated(), surprises}, nil
}

// check refuses a verdict on other rows.
func (v verdict) check() error {
	named := slices.Clone(v.Verdict.Front)
	for _, d := range v.Verdict.Dominated {
		named = append(named, d.Name)
	}
	for _, n := range append(named, v.Verdict.Unknown...) {
		if _, ok := v.row[n]; !ok {
			return fmt.Errorf("report: the verdict names %q, the rows have no such variant", n)
		}
	}
	return nil
}

// reference is the name of the run's reference.
func (v verdict) reference() name { return name(v.Contents.Run.Protocol.Reference) }

// front says which variants no other one makes pointless.
func (v verdict) front() section {
	s := section{ID: "front", Title: "The Pareto front of bytes and KL"}
	f := v.Verdict.Front
	if len(f) == 0 {
		s.Text = []sentence{say("No variant has a known KL divergence: there is no front.")}
		return s
	}
	known := len(f) + len(v.Verdict.Dominated)
	s.Text = []sentence{say("%v of %v on the front: no other variant has as few bytes and as little KL divergence from %v, and less of one. From the smallest:",
		integer(len(f)), plural(known, "variant")+verb(len(f)), v.reference())}
	for _, n := range f {
		r := v.row[n]
		s.Items = append(s.Items, say("%v: %v (%v), KL %v", name(n), decimal(r.Variant.BytesMain), binary(r.Variant.BytesMain), klOf(r, v.digits)))
	}
	last := v.row[f[len(f)-1]]
	ref, ok := v.row[string(v.reference())]
	if ok && zeroKL(last) && last.Variant.Name != ref.Variant.Name {
		s.After = append(s.After, say("%v has a KL of exactly 0 on every token at %v of the bytes of %v: on this text its output is that of the reference.",
			name(last.Variant.Name), number(100*float64(last.Variant.BytesMain)/float64(ref.Variant.BytesMain), 1)+" %", v.reference()))
	}
	if u := v.Verdict.Unknown; len(u) > 0 {
		s.After = append(s.After, say("Not judged, since the KL divergence is not known: %v.", list(names(u))))
	}
	return s
}

// memory says what to take for each size of memory.
func (v verdict) memory() section {
	s := section{ID: "memory", Title: "By Mac memory"}
	s.Text = []sentence{say("The member of the front of least KL that fits: %v.", v.FitRule)}
	choices := v.Verdict.ByMemory
	for i := 0; i < len(choices); {
		j := i
		var sizes []string
		for ; j < len(choices) && choices[j].Name == choices[i].Name; j++ {
			sizes = append(sizes, integer(choices[j].MacGB))
		}
		s.Items = append(s.Items, v.choice(list(texts(sizes)), choices[i].Name))
		i = j
	}
	return s
}

// choice says what to take on machines of the given sizes in GB.
func (v verdict) choice(sizes sentence, chosen string) sentence {
	if chosen == "" {
		return say("%v GB: none. No member of the front fits.", sizes)
	}
	r := v.row[chosen]
	text := say("%v GB: %v (%v, KL %v)", sizes, name(chosen), binary(r.Variant.BytesMain), klOf(r, v.digits))
	var smaller []string
	for _, p := range v.Verdict.NotToldApart {
		if p.Large == chosen {
			smaller = append(smaller, p.Small)
		}
	}
	if len(smaller) > 0 {
		text = append(text, say(", not told apart from the smaller %v", list(names(smaller)))...)
	}
	return append(text, part{Text: "."})
}

// apart says which members of the front the measurement does not tell apart.
func (v verdict) apart() section {
	s := section{ID: "apart", Title: "Not told apart"}
	n := len(v.Verdict.Front)
	pairs := n * (n - 1) / 2
	if pairs == 0 {
		s.Text = []sentence{say("The front has no pair to tell apart.")}
		return s
	}
	var without int
	for _, p := range v.Verdict.NotToldApart {
		if !p.KL.HasInterval() {
			without++
			continue
		}
		s.Items = append(s.Items, say("%v and %v: their KL differs by %v nats; the interval includes 0.",
			name(p.Small), name(p.Large), estimate(p.KL, v.digits)))
	}
	switch {
	case without == pairs:
		s.Text = append(s.Text, say("No pair on the front is told apart: no paired difference in KL has an interval, so the order of their KL is not known."))
	case without > 0:
		s.Text = append(s.Text, say("%v of the front's %v: the paired difference in KL has no interval, so the order of their KL is not known.",
			integer(without), plural(pairs, "pair")))
	}
	switch {
	case len(s.Items) > 0:
		s.Text = append(s.Text, say("On the front, but their paired difference in KL has a 95 % interval that includes 0 (the first less the second; %v looked at, no correction for their number):", plural(pairs, "pair")))
	case without == 0 && pairs == 1:
		s.Text = append(s.Text, say("The front's one pair is told apart: the 95 % interval of its paired difference in KL leaves out 0."))
	case without == 0:
		s.Text = append(s.Text, say("All %v pairs on the front are told apart: the 95 % interval of each paired difference in KL leaves out 0 (no correction for their number).", integer(pairs)))
	}
	return s
}

// dominated says which variants not to take, each once, under the member of the
// front that dominates most of them.
func (v verdict) dominated() section {
	s := section{ID: "dominated", Title: "Dominated"}
	left := slices.Clone(v.Verdict.Dominated)
	if len(left) == 0 {
		s.Text = []sentence{say("No variant of known KL is dominated: each one off the front would be listed here.")}
		return s
	}
	s.Text = []sentence{say("%v dominated: a member of the front has as few bytes and as little KL, and less of one. Each is named once, under the member that dominates most.", plural(len(left), "variant")+verb(len(left)))}
	for len(left) > 0 {
		best, taken := v.widest(left)
		s.Items = append(s.Items, v.dominates(best, taken))
		left = slices.DeleteFunc(left, func(d results.Dominated) bool { return slices.Contains(taken, d.Name) })
	}
	s.Summary = "Every dominated variant with all that dominate it"
	s.Numbers = &numbersTable{Head: []string{"dominated", "by", "bytes saved", "KL difference (nats, paired)", "told apart by KL"}}
	for _, d := range v.Verdict.Dominated {
		for _, b := range d.By {
			s.Numbers.Rows = append(s.Numbers.Rows, []string{d.Name, b.Name, decimal(b.Bytes), estimate(b.KL, v.digits), toldApart(b)})
		}
	}
	return s
}

// widest returns the member of the front that dominates most of left, of equals
// the one of least KL, and which.
func (v verdict) widest(left []results.Dominated) (best string, taken []string) {
	for _, f := range v.Verdict.Front {
		var mine []string
		for _, d := range left {
			if slices.ContainsFunc(d.By, func(b results.Dominator) bool { return b.Name == f }) {
				mine = append(mine, d.Name)
			}
		}
		if len(mine) >= max(len(taken), 1) {
			best, taken = f, mine
		}
	}
	if best == "" { // a verdict of another make: every variant left names its own
		return left[0].By[0].Name, []string{left[0].Name}
	}
	return best, taken
}

// dominates says what one member of the front dominates.
func (v verdict) dominates(best string, taken []string) sentence {
	text := say("%v dominates %v", name(best), list(names(taken)))
	for bits := 1; bits <= 16; bits++ {
		all := v.withExpertBits(bits)
		if len(all) > 1 && !slices.ContainsFunc(all, func(n string) bool { return !slices.Contains(v.dominatedBy(best), n) }) {
			text = append(text, say(": every variant with %v-bit experts (%v of %v)", bits, len(all), len(all))...)
		}
	}
	text = append(text, part{Text: "."})
	var bytesOnly, open []string
	for _, d := range v.Verdict.Dominated {
		for _, b := range d.By {
			switch {
			case b.Name != best || !slices.Contains(taken, d.Name) || toldApart(b) != "no":
			case b.Bytes > 0:
				bytesOnly = append(bytesOnly, d.Name)
			default:
				open = append(open, d.Name)
			}
		}
	}
	if len(bytesOnly) > 0 {
		text = append(text, say(" Its KL is not told apart from that of %v: there it is the bytes that speak.", list(names(bytesOnly)))...)
	}
	if len(open) > 0 {
		text = append(text, say(" It has as many bytes as %v and their KL is not told apart: which of them is better is open.", list(names(open)))...)
	}
	return text
}

// withExpertBits returns the names of affine variants of known KL with so many
// expert bits.
func (v verdict) withExpertBits(bits int) []string {
	var out []string
	for _, r := range v.Rows {
		if r.Variant.GroupSize > 0 && r.Variant.ExpertBits == bits && r.Summary.KL.Known() {
			out = append(out, r.Variant.Name)
		}
	}
	return out
}

// dominatedBy returns the names of all that a member of the front dominates.
func (v verdict) dominatedBy(member string) []string {
	var out []string
	for _, d := range v.Verdict.Dominated {
		if slices.ContainsFunc(d.By, func(b results.Dominator) bool { return b.Name == member }) {
			out = append(out, d.Name)
		}
	}
	return out
}

// toldApart says whether the interval of a difference in KL leaves out 0.
func toldApart(d results.Dominator) string {
	switch {
	case d.KL.Value == 0 && d.KL.Lo == 0 && d.KL.Hi == 0:
		return "same KL"
	case !d.KL.HasInterval():
		return "no interval"
	case d.KL.Includes(0):
		return "no"
	}
	return "yes"
}
