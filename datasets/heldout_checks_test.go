package datasets

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// What the checks of the held-out text find when it is there to be found.

func TestFindRepeat(t *testing.T) {
	run := "one two three four five six seven eight nine ten eleven twelve"
	other := "ONE, two-three\n\tfour (five) six; seven. Eight nine “ten” eleven twelve"
	for _, c := range []struct {
		name  string
		texts []string
		want  bool
	}{
		{"in two texts, in other dress", []string{"a " + run + " b", "c d " + other + " e"}, true},
		{"twice in one text", []string{run + " x " + other}, true},
		{"eleven words", []string{run, strings.TrimSuffix(other, " twelve") + " thirteen"}, false},
		{"once", []string{run, "nothing like it"}, false},
		{"not beside itself", []string{strings.Repeat("ha ", 23)}, false},
		{"twice over", []string{strings.Repeat("ha ", 24)}, true},
		{"over the end of a text", []string{run, "one two three four five six", "seven eight nine ten eleven twelve"}, false},
	} {
		var s []stream
		for i, text := range c.texts {
			s = append(s, stream{fmt.Sprint(i), words(text)})
		}
		if _, ok := findRepeat(s, 12); ok != c.want {
			t.Errorf("%s: found %v, want %v", c.name, ok, c.want)
		}
	}
	chinese := "梅雨不是一场雨，是一种住法。它来了就不走，东西都换了脾气：火柴要划三四下，盐罐里的盐结成一块"
	s := []stream{{"a", characters(chinese)}, {"b", characters("后来，" + strings.ReplaceAll(chinese, "，", "\n"))}}
	if r, ok := findRepeat(s, 30); !ok || len(r.run) != 30 {
		t.Error("a run of 30 characters with other marks between them is not found")
	}
}

// swapped is a text made from another as from a template: names, numbers and
// every second or so of the other words that carry the subject are new.
func swapped(text string, chinese bool) string {
	n := 0
	if chinese {
		var out []rune
		for _, r := range text {
			if s := string(r); r >= 0x4e00 && r <= 0x9fff && !functionCharacters[s] {
				if n++; n%2 == 0 {
					r = '甲' + rune(n%7)
				}
			}
			out = append(out, r)
		}
		return string(out)
	}
	return regexp.MustCompile(`\pL+|\d+`).ReplaceAllStringFunc(text, func(w string) string {
		n++
		switch {
		case w[0] >= '0' && w[0] <= '9':
			return fmt.Sprint(n)
		case functionWords[strings.ToLower(w)] || n%2 == 0:
			return w
		case w[0] >= 'A' && w[0] <= 'Z':
			return "Zeb" + strings.Repeat("o", n%5)
		}
		return "blick" + strings.Repeat("e", n%7)
	})
}

// One retelling of another piece, made for this test.
const retelling = `When Father hurt his ankle I had to look after the boat. It leaked, so each morning before
school I went along the harbour in the cold, found the ladder by feel, climbed down with the bucket and bailed.
The ladder was slippery; there was ice on the harbour some mornings, and the gulls stood about on the ice. A woman
came out of the ice house every morning and called me Captain. The bucket froze to the boat once. Father said the
boat would not sink. He leaned on the bollard with his crutches, and the gulls stood on the ladder and looked at
the bucket, the harbour, the boat and me. My school was not pleased with me that morning. The ladder, the bucket,
the cold: that was my winter.
`

func TestHeldoutChecksSee(t *testing.T) {
	for _, stratum := range strata {
		ps := pieces(t, stratum)
		for _, p := range ps {
			made := piece{"made from " + p.name, []byte(swapped(string(p.data), stratum == "chinese"))}
			if _, ok := findRepeat(shapes(stratum, []piece{p, made}), bounds[stratum].shape); !ok {
				t.Errorf("%s/%s with its names swapped is not found", stratum, p.name)
			}
		}
		// A single paragraph is enough.
		body := string(ps[2].data)
		from := body[len(body)/3 : len(body)/3+400]
		made := piece{"paragraph", []byte(strings.ToValidUTF8(swapped(from, stratum == "chinese"), ""))}
		if _, ok := findRepeat(shapes(stratum, append(ps, made)), bounds[stratum].shape); !ok {
			t.Errorf("%s: a paragraph of %s with its names swapped is not found", stratum, ps[2].name)
		}
	}

	var texts []map[string]int
	for _, p := range pieces(t, "prose") {
		texts = append(texts, contents(string(p.data), false))
	}
	texts = append(texts, contents(retelling, false))
	top := topics(texts)
	if n, _ := common(top[0], top[len(top)-1]); n <= bounds["prose"].topics {
		t.Errorf("a retelling shares %d topics with the piece it retells: %v, %v", n, top[0], top[len(top)-1])
	}
}
