package eval

import (
	"cmp"
	"fmt"
	"slices"
)

// scorePair is one window under both.
type scorePair struct{ ref, got WindowScore }

// windowKey names a window.
type windowKey struct {
	text   string
	window int
}

func (k windowKey) compare(l windowKey) int {
	return cmp.Or(cmp.Compare(k.text, l.text), cmp.Compare(k.window, l.window))
}

func (k windowKey) String() string { return fmt.Sprintf("window %d of %q", k.window, k.text) }

// pair matches two sets of windows, in ref's order. It refuses sets that differ
// in their windows or token counts, and sets that are not one variant's.
func pair(ref, got []WindowScore) ([]scorePair, error) {
	refs, err := index(ref)
	if err != nil {
		return nil, err
	}
	gots, err := index(got)
	if err != nil {
		return nil, err
	}
	refName, gotName := ref[0].Variant, got[0].Variant
	for _, k := range sortedKeys(refs) {
		if _, ok := gots[k]; !ok {
			return nil, fmt.Errorf("eval: %s lacks %v, which %s has", gotName, k, refName)
		}
	}
	for _, k := range sortedKeys(gots) {
		if _, ok := refs[k]; !ok {
			return nil, fmt.Errorf("eval: %s has %v, which %s lacks", gotName, k, refName)
		}
	}
	pairs := make([]scorePair, len(ref))
	for i, r := range ref {
		k := windowKey{r.Text, r.Window}
		g := gots[k]
		if len(g.NLL) != len(r.NLL) {
			return nil, fmt.Errorf("eval: %s scored %d tokens of %v, %s %d", gotName, len(g.NLL), k, refName, len(r.NLL))
		}
		pairs[i] = scorePair{ref: r, got: g}
	}
	return pairs, nil
}

// index returns the windows of one variant by name.
func index(scores []WindowScore) (map[windowKey]WindowScore, error) {
	if len(scores) == 0 {
		return nil, fmt.Errorf("eval: no windows are scored")
	}
	m := make(map[windowKey]WindowScore, len(scores))
	for _, w := range scores {
		k := windowKey{w.Text, w.Window}
		if w.Variant != scores[0].Variant {
			return nil, fmt.Errorf("eval: scores of %s among those of %s", w.Variant, scores[0].Variant)
		}
		if _, twice := m[k]; twice {
			return nil, fmt.Errorf("eval: %s has %v twice", w.Variant, k)
		}
		n := len(w.NLL)
		if n == 0 || len(w.KL) != n || len(w.Top1) != n {
			return nil, fmt.Errorf("eval: %s: %v: %d NLL, %d KL and %d top-1, want the same number and one at least",
				w.Variant, k, n, len(w.KL), len(w.Top1))
		}
		m[k] = w
	}
	return m, nil
}

// sortedKeys returns m's keys by text and window.
func sortedKeys[V any](m map[windowKey]V) []windowKey {
	keys := make([]windowKey, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, windowKey.compare)
	return keys
}
