package dsv4test

import (
	"errors"
	"fmt"

	"assay/engine/token"
)

// NearTie is the gap between the last taken and the first left out that no
// float32 sum can turn if it is larger.
const NearTie = 1e-4

// Flips compares the selections of two runs over windows, want's with their
// gaps. It returns the first position of each window where one fell the other
// way, the window's length if none did, and a sentence for each flip. It errs
// where the runs selected at different places, and on a flip that is no near tie
// and does not follow another of its window: what follows one may differ anyhow.
func Flips(want, got []Selection, windows [][]token.ID) (first []int, named []string, err error) {
	type place struct {
		kind                    string
		layer, window, position int
	}
	at := func(s Selection) place { return place{s.Kind, s.Layer, s.Window, s.Position} }
	took := map[place]Selection{}
	for _, s := range got {
		took[at(s)] = s
	}
	for _, w := range windows {
		first = append(first, len(w))
	}
	if len(want) != len(got) || len(took) != len(got) {
		return first, nil, fmt.Errorf("%d selections at %d places, want %d", len(got), len(took), len(want))
	}
	var errs []error
	for _, w := range want {
		s, ok := took[at(w)]
		if !ok {
			return first, named, fmt.Errorf("no selection at %s", w)
		}
		if w.Same(s) {
			continue
		}
		named = append(named, fmt.Sprintf("%s: took %v, want %v", w, s.Picks, w.Picks))
		if w.Gap > NearTie && w.Position < first[w.Window] {
			errs = append(errs, fmt.Errorf("%s is no near tie", w))
		}
		first[w.Window] = min(first[w.Window], w.Position)
	}
	return first, named, errors.Join(errs...)
}
