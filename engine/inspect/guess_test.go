package inspect

import (
	"testing"

	"assay/engine/bundle"
)

// The table of the format specification, 4.3, cell by cell: what each heuristic
// that runs at load makes of a pair that it knows by P = bits·G alone. "ok" is
// the pair itself, "-" a cell that the table leaves open.
func TestGuessesAreTheTable(t *testing.T) {
	for _, row := range []struct {
		pair                Pair
		patch, fix32, fix64 string
	}{
		{Pair{2, 32}, "ok", "ok", "-"},
		{Pair{2, 64}, "4/32", "4/32", "ok"},
		{Pair{2, 128}, "8/32", "8/32", "4/64"},
		{Pair{3, 32}, "ok", "ok", "-"},
		{Pair{3, 64}, "ok", "6/32", "ok"},
		{Pair{3, 128}, "ok", "6/64", "6/64"},
		{Pair{4, 32}, "ok", "ok", "2/64"},
		{Pair{4, 64}, "8/32", "8/32", "ok"},
		{Pair{4, 128}, "8/64", "8/64", "8/64"},
		{Pair{5, 32}, "globals", "ok", "-"},
		{Pair{5, 64}, "globals", "ok", "ok"},
		{Pair{5, 128}, "globals", "ok", "ok"},
		{Pair{6, 32}, "3/64", "ok", "3/64"},
		{Pair{6, 64}, "3/128", "ok", "ok"},
		{Pair{6, 128}, "ok", "ok", "ok"},
		{Pair{8, 32}, "ok", "ok", "4/64"},
		{Pair{8, 64}, "ok", "ok", "ok"},
		{Pair{8, 128}, "ok", "ok", "ok"},
	} {
		text := func(p Pair, ok bool) string {
			switch {
			case !ok:
				return "globals"
			case p == row.pair:
				return "ok"
			}
			return p.String()
		}
		p := row.pair.product()
		for _, c := range []struct{ name, got, want string }{
			{"patch", text(PatchGuess(p)), row.patch},
			{"repair at 32", text(RepairGuess(p, 32)), row.fix32}, {"repair at 64", text(RepairGuess(p, 64)), row.fix64},
		} {
			if c.want != "-" && c.got != c.want {
				t.Errorf("%v: %s gives %s, want %s", row.pair, c.name, c.got, c.want)
			}
		}
	}
}

// Every loader has the names of a runtime that there is.
func TestLoadersHaveNames(t *testing.T) {
	for _, l := range Loaders {
		if _, err := bundle.RuntimeOf(l.Names); err != nil {
			t.Error(err)
		}
		if got, err := LoaderOf(l.Name); err != nil || got != l {
			t.Errorf("%s is %v (%v)", l.Name, got, err)
		}
	}
	if _, err := LoaderOf("ollama"); err == nil || err.Error() != `inspect: no runtime is named "ollama", want mlx-lm-0.31.3, mlx-lm, mlx-vlm, vmlx` {
		t.Error(err)
	}
}
