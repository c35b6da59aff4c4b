package datasets

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"assay/engine/token"
)

// count returns n ids, each its place in the text plus 100.
func count(n int) []token.ID {
	ids := make([]token.ID, n)
	for i := range ids {
		ids[i] = token.ID(100 + i)
	}
	return ids
}

// Worked by hand from the rule, on texts whose token i has the id 100 + i.
func TestCut(t *testing.T) {
	type want struct {
		tokens, scored string // of each window, joined
		from, to       int
		unused         int
	}
	for _, c := range []struct {
		name   string
		tokens int
		p      Protocol
		want   want
	}{
		{"one window and its last target", 5, Protocol{Window: 4},
			want{"100 101 102 103", "101 102 103 104", 0, 4, 0}},
		{"the last target is the next window's first token", 9, Protocol{Window: 4},
			want{"100 101 102 103 | 104 105 106 107", "101 102 103 104 | 105 106 107 108", 0, 4, 0}},
		{"no target for a window that ends the text", 8, Protocol{Window: 4},
			want{"100 101 102 103", "101 102 103 104", 0, 4, 3}},
		{"limit", 14, Protocol{Window: 4, Windows: 2},
			want{"100 101 102 103 | 104 105 106 107", "101 102 103 104 | 105 106 107 108", 0, 4, 5}},
		{"limit beyond the text", 6, Protocol{Window: 4, Windows: 9},
			want{"100 101 102 103", "101 102 103 104", 0, 4, 1}},
		{"score from", 9, Protocol{Window: 4, ScoreFrom: 3},
			want{"100 101 102 103 | 104 105 106 107", "104 | 108", 3, 4, 0}},
		{"bos", 9, Protocol{Window: 4, BOS: true},
			want{"0 100 101 102 103 | 0 104 105 106 107", "101 102 103 104 | 105 106 107 108", 1, 5, 0}},
		{"bos and score from", 5, Protocol{Window: 4, BOS: true, ScoreFrom: 1},
			want{"0 100 101 102 103", "102 103 104", 2, 5, 0}},
		{"llama.cpp, even", 9, Protocol{Window: 8, LlamaCPP: true},
			want{"100 101 102 103 104 105 106 107", "105 106 107", 4, 7, 0}},
		{"llama.cpp, odd", 6, Protocol{Window: 5, LlamaCPP: true},
			want{"100 101 102 103 104", "103 104", 2, 4, 0}},
		{"llama.cpp, least", 7, Protocol{Window: 3, LlamaCPP: true},
			want{"100 101 102 | 103 104 105", "102 | 105", 1, 2, 0}},
		{"llama.cpp and bos", 6, Protocol{Window: 5, LlamaCPP: true, BOS: true},
			want{"0 100 101 102 103 104", "103 104", 3, 5, 0}},
		{"window of one", 3, Protocol{Window: 1},
			want{"100 | 101", "101 | 102", 0, 1, 0}},
	} {
		windows, unused, err := Cut("t", count(c.tokens), c.p)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var tokens, scored []string
		for i, w := range windows {
			tokens = append(tokens, strings.Trim(fmt.Sprint(w.Tokens), "[]"))
			scored = append(scored, strings.Trim(fmt.Sprint(w.Scored()), "[]"))
			if w.Index != i || w.Text != "t" || w.From != c.want.from || w.To != c.want.to {
				t.Errorf("%s: window %d of %s scores from %d to %d", c.name, w.Index, w.Text, w.From, w.To)
			}
		}
		got := want{strings.Join(tokens, " | "), strings.Join(scored, " | "), c.want.from, c.want.to, unused}
		if got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestCutErrors(t *testing.T) {
	for _, c := range []struct {
		tokens int
		p      Protocol
		want   string
	}{
		{0, Protocol{Window: 4}, "t: 0 tokens, want at least 5 for one window of 4"},
		{4, Protocol{Window: 4}, "t: 4 tokens, want at least 5 for one window of 4"},
		{4, Protocol{Window: 1<<63 - 1}, "4 tokens, want at least 9223372036854775808"},
		{9, Protocol{}, "window of 0 tokens, want at least 1"},
		{9, Protocol{Window: -4}, "window of -4 tokens"},
		{9, Protocol{Window: 4, Windows: -1}, "-1 windows of each text"},
		{9, Protocol{Window: 4, ScoreFrom: -1}, "score-from -1"},
		{9, Protocol{Window: 4, ScoreFrom: 4}, "score-from 4 leaves no target of a window of 4"},
		{9, Protocol{Window: 4, ScoreFrom: 5}, "score-from 5 leaves no target"},
		{9, Protocol{Window: 2, LlamaCPP: true}, "scores nothing of a window of 2"},
		{9, Protocol{Window: 4, ScoreFrom: 1, LlamaCPP: true}, "score-from 1 together with protocol llama.cpp"},
	} {
		windows, _, err := Cut("t", count(c.tokens), c.p)
		if err == nil || windows != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d tokens, %+v: error %v, want one with %q", c.tokens, c.p, err, c.want)
		}
	}
}

// The properties that every use of windows rests on, for any text and protocol:
// targets are the tokens that follow, no token is a scored target twice, and what
// is left over is less than a window unless the limit leaves it.
func FuzzCut(f *testing.F) {
	f.Add(uint16(9), int16(4), int16(0), int16(0), false, false)
	f.Add(uint16(2049), int16(1024), int16(2), int16(7), true, false)
	f.Add(uint16(77), int16(5), int16(0), int16(0), true, true)
	f.Fuzz(func(t *testing.T, tokens uint16, window, limit, from int16, withBOS, llama bool) {
		ids := count(int(tokens))
		p := Protocol{Window: int(window), Windows: int(limit), ScoreFrom: int(from), BOS: withBOS, LlamaCPP: llama}
		windows, unused, err := Cut("t", ids, p)
		if err != nil {
			if p.Check() == nil && len(ids) > p.Window {
				t.Fatal(err)
			}
			return
		}
		next, per := 0, p.Window-p.ScoreFrom
		if llama {
			per = p.Window - 1 - p.Window/2
		}
		for i, w := range windows {
			fed := w.Tokens
			if withBOS {
				if fed[0] != 0 || w.From == 0 {
					t.Fatalf("window %d: no unscored id 0 in front", i)
				}
				fed = fed[1:]
			}
			if !slices.Equal(fed, ids[p.Window*i:p.Window*(i+1)]) {
				t.Fatalf("window %d feeds %v", i, fed)
			}
			if len(w.Targets) != len(w.Tokens) || len(w.Scored()) != per {
				t.Fatalf("window %d: %d targets for %d tokens, %d scored, want %d", i, len(w.Targets), len(w.Tokens), len(w.Scored()), per)
			}
			for q := w.From; q < w.To; q++ {
				place := int(w.Targets[q]) - 100
				if place <= next-1 || w.Tokens[q] != ids[place-1] {
					t.Fatalf("window %d: position %d has target %d after token %d", i, q, w.Targets[q], w.Tokens[q])
				}
				next = place + 1
			}
		}
		if n := len(windows); unused != len(ids)-p.Window*n-1 || unused < 0 || unused >= p.Window && n != p.Windows {
			t.Fatalf("%d tokens in %d windows of %d: %d unused", len(ids), n, p.Window, unused)
		}
	})
}

// Appending to what a window carries must not reach the text's other tokens.
func TestWindowsAreClipped(t *testing.T) {
	ids := count(9)
	windows, _, err := Cut("t", ids, Protocol{Window: 4})
	if err != nil {
		t.Fatal(err)
	}
	_ = append(windows[0].Tokens, 7)
	_ = append(windows[0].Targets, 7)
	if !slices.Equal(ids, count(9)) {
		t.Errorf("ids became %v", ids)
	}
}

// The digest's bytes are as its doc says. Pinned from Python, by hand:
//
//	hashlib.sha256(b"assay windows 1: window 2 score-from 1 bos true llama.cpp false\n"
//	    + struct.pack("<10I", 0, 2, 3, 3,  0, 7, 8,  7, 8, 9)).hexdigest()
func TestDigestIsPinned(t *testing.T) {
	p := Protocol{Window: 2, ScoreFrom: 1, BOS: true}
	windows, _, err := Cut("t", []token.ID{7, 8, 9}, p)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Digest(p, windows)
	if err != nil {
		t.Fatal(err)
	}
	if want := "2966e7a053f40bc418ce0273cf9534ca619b00e7d7dd5fe22e5e74ffd062dfc8"; got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
}

// Whatever changes what is fed or scored changes the digest; the limit and the
// text's name do not.
func TestDigestTellsApart(t *testing.T) {
	of := func(text string, ids []token.ID, p Protocol) string {
		t.Helper()
		windows, _, err := Cut(text, ids, p)
		if err != nil {
			t.Fatal(err)
		}
		sum, err := Digest(p, windows)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	plain := of("t", count(9), Protocol{Window: 4})
	if got := of("u", count(9), Protocol{Window: 4, Windows: 2}); got != plain {
		t.Error("the same windows, by another limit, have another digest")
	}
	seen := map[string]string{plain: "plain"}
	fed, target := count(9), count(9)
	fed[2], target[8] = 1, 1
	for name, got := range map[string]string{
		"another fed token":   of("t", fed, Protocol{Window: 4}),
		"another last target": of("t", target, Protocol{Window: 4}),
		"fewer windows":       of("t", count(9), Protocol{Window: 4, Windows: 1}),
		"window 8":            of("t", count(9), Protocol{Window: 8}),
		"score from":          of("t", count(9), Protocol{Window: 4, ScoreFrom: 2}),
		"bos":                 of("t", count(9), Protocol{Window: 4, BOS: true}),
		"llama.cpp":           of("t", count(9), Protocol{Window: 4, LlamaCPP: true}),
	} {
		if other, ok := seen[got]; ok {
			t.Errorf("%s and %s have the same digest", name, other)
		}
		seen[got] = name
	}
}

func TestDigestErrors(t *testing.T) {
	p := Protocol{Window: 4}
	if _, err := Digest(p, nil); err == nil {
		t.Error("no windows have a digest")
	}
	windows, _, err := Cut("t", count(9), p)
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []Protocol{{Window: 2}, {Window: 4, ScoreFrom: 1}, {Window: 4, BOS: true}, {}} {
		if _, err := Digest(other, windows); err == nil {
			t.Errorf("windows of %+v have a digest under %+v", p, other)
		}
	}
}
