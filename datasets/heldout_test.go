package datasets

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"assay/engine/token"
)

// The promise of the held-out text: original, varied, natural. What of it a
// machine can see is held here.

// bounds of what one stratum's pieces may have in common. Beside each stands what
// they have, and TestHeldoutChecksSee shows what the bounds find.
var bounds = map[string]struct {
	shared float64 // of the words in either of two pieces, the share in both
	topics int     // of twelve, how many two pieces share
	shape  int     // least length of a shape that may not stand twice
}{
	"prose":     {0.15, 3, 16}, // 0.093, 2, 10
	"technical": {0.15, 3, 24}, // 0.074, 1, 15
	"chinese":   {0.10, 3, 32}, // 0.056, 2, 24
	"code":      {0.15, 3, 32}, // 0.129, 2, 23
}

func pieces(t *testing.T, stratum string) []piece {
	t.Helper()
	p, err := heldoutPieces(stratum)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func shapes(stratum string, pieces []piece) []stream {
	of := shape
	if stratum == "chinese" {
		of = chineseShape
	}
	var s []stream
	for _, p := range pieces {
		s = append(s, stream{p.name, of(string(p.data))})
	}
	return s
}

func TestHeldoutStrata(t *testing.T) {
	texts, err := Heldout()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, text := range texts {
		names = append(names, text.Name)
		if text.Corpus != "heldout" || text.Digest != digest(text.Data) {
			t.Errorf("%s: corpus %s, digest %s", text.Name, text.Corpus, text.Digest)
		}
		if len(text.Data) < 22*1024 {
			t.Errorf("%s: %d bytes, want at least 22 KB", text.Name, len(text.Data))
		}
		ps := pieces(t, text.Name)
		if len(ps) < 8 {
			t.Errorf("%s: %d pieces, want at least 8", text.Name, len(ps))
		}
		// Joined by one newline, in name order, and nothing else.
		var joined []byte
		for i, p := range ps {
			if i > 0 {
				joined = append(joined, '\n')
				if ps[i-1].name >= p.name {
					t.Errorf("%s: %s before %s", text.Name, ps[i-1].name, p.name)
				}
			}
			joined = append(joined, p.data...)
		}
		if !bytes.Equal(joined, text.Data) {
			t.Errorf("%s is not its pieces", text.Name)
		}
	}
	if want := []string{"prose", "technical", "chinese", "code"}; !slices.Equal(names, want) {
		t.Errorf("strata %v, want %v", names, want)
	}
	if err := Distinct(texts); err != nil {
		t.Error(err)
	}
}

func TestHeldoutPiecesAreText(t *testing.T) {
	name := regexp.MustCompile(`^[0-9]{2}-[a-z0-9-]+\.txt$`)
	for _, stratum := range strata {
		for _, p := range pieces(t, stratum) {
			if _, err := NewText(HeldoutCorpus, stratum+"/"+p.name, p.data); err != nil {
				t.Error(err)
			}
			text := string(p.data)
			if !name.MatchString(p.name) || len(text) < 1500 {
				t.Errorf("%s/%s: a strange name, or only %d bytes", stratum, p.name, len(text))
			}
			if strings.TrimSpace(text[:1]) == "" || !strings.HasSuffix(text, "\n") || strings.HasSuffix(text, "\n\n") {
				t.Errorf("%s/%s: want text from the first byte on and one newline at the end", stratum, p.name)
			}
			if strings.ContainsAny(text, "\r\ufeff\ufffd") {
				t.Errorf("%s/%s: a carriage return, byte order mark or replacement character", stratum, p.name)
			}
		}
	}
}

// Each stratum is what its name says: by script, and code by what is not letters.
func TestHeldoutScripts(t *testing.T) {
	for _, stratum := range strata {
		for _, p := range pieces(t, stratum) {
			han := 0
			chars := characters(string(p.data))
			for _, c := range chars {
				if c >= "\u4e00" && c <= "\u9fff" {
					han++
				}
			}
			if share := float64(han) / float64(len(chars)); stratum == "chinese" && share < 0.9 || stratum != "chinese" && share > 0.1 {
				t.Errorf("%s/%s: %.0f %% of its characters are Chinese", stratum, p.name, 100*share)
			}
		}
	}
}

// No run of 12 words, or of 30 characters in Chinese, stands twice anywhere.
func TestHeldoutHasNoRepeats(t *testing.T) {
	texts, err := Heldout()
	if err != nil {
		t.Fatal(err)
	}
	var byWord, byCharacter []stream
	for _, text := range texts {
		byWord = append(byWord, stream{text.Name, words(string(text.Data))})
		if text.Name == "chinese" {
			byCharacter = append(byCharacter, stream{text.Name, characters(string(text.Data))})
		}
	}
	if r, ok := findRepeat(byWord, 12); ok {
		t.Errorf("in %s and in %s: %q", r.first, r.then, strings.Join(r.run, " "))
	}
	if r, ok := findRepeat(byCharacter, 30); ok {
		t.Errorf("twice: %s", strings.Join(r.run, ""))
	}
	t.Logf("longest: %d words, %d characters", longestRepeat(byWord), longestRepeat(byCharacter))
}

// Pieces of a stratum are about different things: two of them share few of the
// words that either is made of, and few of the words that either comes back to.
func TestHeldoutSubjectsDiffer(t *testing.T) {
	for _, stratum := range strata {
		ps := pieces(t, stratum)
		var texts []map[string]int
		for _, p := range ps {
			texts = append(texts, contents(string(p.data), stratum == "chinese"))
		}
		top := topics(texts)
		bound, worst, most := bounds[stratum], 0.0, 0
		for i := range ps {
			for j := range i {
				both, either := common(texts[i], texts[j])
				share := float64(both) / float64(either)
				worst = max(worst, share)
				if share > bound.shared {
					t.Errorf("%s: %s and %s share %.3f of their words, want at most %.2f", stratum, ps[i].name, ps[j].name, share, bound.shared)
				}
				shared, _ := common(top[i], top[j])
				most = max(most, shared)
				if shared > bound.topics {
					t.Errorf("%s: %s and %s have %d of 12 topics in common, want at most %d: %v, %v", stratum, ps[i].name, ps[j].name, shared, bound.topics, top[i], top[j])
				}
			}
		}
		t.Logf("%s: at most %.3f of the words and %d topics are shared", stratum, worst, most)
	}
}

// No piece is another, or a part of one, with its names and nouns changed.
func TestHeldoutHasNoTemplates(t *testing.T) {
	for _, stratum := range strata {
		s := shapes(stratum, pieces(t, stratum))
		if r, ok := findRepeat(s, bounds[stratum].shape); ok {
			t.Errorf("%s: %s and %s have one shape over %d words: %s", stratum, r.first, r.then, len(r.run), strings.Join(r.run, " "))
		}
		t.Logf("%s: longest shape that stands twice: %d", stratum, longestRepeat(s))
	}
}

// Enough for the default sweep: at least 16 windows of 1024 tokens, 4 of each
// stratum.
func TestHeldoutWindows(t *testing.T) {
	file, err := os.ReadFile("../refmodel/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	tok, err := token.New(file)
	if err != nil && strings.Contains(err.Error(), "without cgo") {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer tok.Close()
	texts, err := Heldout()
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, text := range texts {
		ids, err := tok.Encode(string(text.Data))
		if err != nil {
			t.Fatal(err)
		}
		windows, unused, err := Cut(text.Name, ids, Protocol{Window: 1024})
		if err != nil {
			t.Fatal(err)
		}
		if len(windows) < 4 {
			t.Errorf("%s: %d windows of 1024 tokens, want at least 4", text.Name, len(windows))
		}
		total += len(windows)
		t.Logf("%s: %d tokens, %d windows, %d tokens unused", text.Name, len(ids), len(windows), unused)
	}
	if total < 16 {
		t.Errorf("%d windows in all, want at least 16", total)
	}
}

// The README's table is the text's own: whoever changes a piece changes it too,
// and knows that every figure measured on the old text is gone.
func TestHeldoutREADME(t *testing.T) {
	readme, err := os.ReadFile("heldout/README.md")
	if err != nil {
		t.Fatal(err)
	}
	texts, err := Heldout()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		row := fmt.Sprintf("| %s | %d | %d | `%s` |", text.Name, len(pieces(t, text.Name)), len(text.Data), text.Digest)
		if !strings.Contains(string(readme), "\n"+row+"\n") {
			t.Errorf("heldout/README.md lacks the row\n%s", row)
		}
	}
	begin, end := strings.Index(string(readme), "<!-- nll:begin -->"), strings.Index(string(readme), "<!-- nll:end -->")
	if begin < 0 || end < begin {
		t.Error("heldout/README.md lacks the marks <!-- nll:begin --> and <!-- nll:end -->")
	}
}
