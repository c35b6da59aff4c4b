package inspect

import (
	"fmt"
	"testing"

	"assay/engine/bundle"
)

// The table of the format specification, 4.3, cell by cell: what each heuristic
// makes of a pair that it knows by P = bits·G alone. "ok" is the pair itself,
// "-" a cell that the table leaves open.
func TestGuessesAreTheTable(t *testing.T) {
	for _, row := range []struct {
		pair                         Pair
		patch, tool, fix32, fix64, v string
	}{
		{Pair{2, 32}, "ok", "ok", "ok", "-", "8/8 4/16 2/32"},
		{Pair{2, 64}, "4/32", "4/32", "4/32", "ok", "8/16 4/32 2/64"},
		{Pair{2, 128}, "8/32", "8/32", "8/32", "4/64", "8/32 4/64 2/128"},
		{Pair{3, 32}, "ok", "ok", "ok", "-", "8/12 6/16 4/24 3/32 2/48"},
		{Pair{3, 64}, "ok", "6/32", "6/32", "ok", "8/24 6/32 4/48 3/64 2/96"},
		{Pair{3, 128}, "ok", "6/64", "6/64", "6/64", "8/48 6/64 4/96 3/128 2/192"},
		{Pair{4, 32}, "ok", "ok", "ok", "2/64", "8/16 4/32 2/64"},
		{Pair{4, 64}, "8/32", "8/32", "8/32", "ok", "8/32 4/64 2/128"},
		{Pair{4, 128}, "8/64", "8/64", "8/64", "8/64", "8/64 4/128 2/256"},
		{Pair{5, 32}, "globals", "ok", "ok", "-", "8/20 4/40 2/80"},
		{Pair{5, 64}, "globals", "ok", "ok", "ok", "8/40 4/80 2/160"},
		{Pair{5, 128}, "globals", "ok", "ok", "ok", "8/80 4/160 2/320"},
		{Pair{6, 32}, "3/64", "ok", "ok", "3/64", "8/24 6/32 4/48 3/64 2/96"},
		{Pair{6, 64}, "3/128", "ok", "ok", "ok", "8/48 6/64 4/96 3/128 2/192"},
		{Pair{6, 128}, "ok", "ok", "ok", "ok", "8/96 6/128 4/192 3/256 2/384"},
		{Pair{8, 32}, "ok", "ok", "ok", "4/64", "8/32 4/64 2/128"},
		{Pair{8, 64}, "ok", "ok", "ok", "ok", "8/64 4/128 2/256"},
		{Pair{8, 128}, "ok", "ok", "ok", "ok", "8/128 4/256 2/512"},
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
		viable := fmt.Sprint(Viable(p))
		for _, c := range []struct{ name, got, want string }{
			{"patch", text(PatchGuess(p)), row.patch}, {"tool", text(ToolGuess(p)), row.tool},
			{"repair at 32", text(RepairGuess(p, 32)), row.fix32}, {"repair at 64", text(RepairGuess(p, 64)), row.fix64},
			{"viable", viable[1 : len(viable)-1], row.v},
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
