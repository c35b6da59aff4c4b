package datasets

import (
	"slices"
	"strings"
	"unicode"
)

// What the tests of the held-out text see in a text: its words, its subject and
// the shape of its sentences.

// stream is a text as a sequence of words, characters or shapes.
type stream struct {
	name  string
	items []string
}

// repeat is a run of items that stands in two places which do not overlap.
type repeat struct {
	run         []string
	first, then string // names of the streams
}

// findRepeat returns a run of n items that the streams have twice, if any.
func findRepeat(streams []stream, n int) (repeat, bool) {
	type place struct{ stream, at int }
	seen := map[string]place{}
	for i, s := range streams {
		for at := 0; at+n <= len(s.items); at++ {
			run := strings.Join(s.items[at:at+n], "\x00")
			before, ok := seen[run]
			switch {
			case !ok:
				seen[run] = place{i, at}
			case before.stream != i || before.at+n <= at:
				return repeat{s.items[at : at+n], streams[before.stream].name, s.name}, true
			}
		}
	}
	return repeat{}, false
}

// longestRepeat returns the length of the longest run that the streams have twice.
func longestRepeat(streams []stream) int {
	n := 0
	for {
		if _, ok := findRepeat(streams, n+1); !ok {
			return n
		}
		n++
	}
}

// words returns the runs of letters and digits of a text, in lower case.
func words(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// characters returns the letters and digits of a text, one by one: spaces and
// punctuation are left out.
func characters(text string) []string {
	return strings.Split(strings.Join(words(text), ""), "")
}

// Words that carry grammar rather than a subject.
var functionWords = set(strings.Fields(`
	a about above after again all also although always am an and any are as at away back be became because been
	before being below between both but by can could did do does done down each either else even every few for
	from get go got had has have he her here hers him his how however i if in into is it its itself just let like
	made make many may me might mine more most much must my neither never no nor not nothing now of off often on
	once one only onto or other others our out over own perhaps quite rather said same say says shall she should
	since so some still such than that the their theirs them then there these they this those though through thus
	to too two under until up upon us very was we well were what when where whether which while who whom whose why
	will with within without would yet you your yours`))

var functionCharacters = set(strings.Split("的了是在不我他她它这那有和就也都而与着过把被从到对为以于之其所又还没很上下里个们你您一两三几什么怎吗呢吧啊嘛", ""))

func set(items []string) map[string]bool {
	m := map[string]bool{}
	for _, s := range items {
		m[s] = true
	}
	return m
}

// shape returns the words and marks of a text, with all words but function words
// replaced by their class: capitalised "A", other "a", number "0". Text that
// differs in its names and nouns alone has one shape.
func shape(text string) []string {
	var out []string
	runes := []rune(text)
	for i := 0; i < len(runes); {
		r := runes[i]
		kind := func(f func(rune) bool) string {
			j := i
			for j < len(runes) && f(runes[j]) {
				j++
			}
			word := string(runes[i:j])
			i = j
			return word
		}
		switch {
		case unicode.IsSpace(r):
			i++
		case unicode.IsDigit(r):
			kind(unicode.IsDigit)
			out = append(out, "0")
		case unicode.IsLetter(r):
			switch word := strings.ToLower(kind(unicode.IsLetter)); {
			case functionWords[word]:
				out = append(out, word)
			case unicode.IsUpper(r):
				out = append(out, "A")
			default:
				out = append(out, "a")
			}
		default:
			out = append(out, string(r))
			i++
		}
	}
	return out
}

// chineseShape is shape by characters: those that carry grammar and all marks are
// kept, the others are "字".
func chineseShape(text string) []string {
	var out []string
	for _, r := range text {
		switch {
		case unicode.IsSpace(r):
		case !unicode.IsLetter(r) && !unicode.IsDigit(r), functionCharacters[string(r)]:
			out = append(out, string(r))
		default:
			out = append(out, "字")
		}
	}
	return out
}

// contents counts the words that may belong to a subject: of four letters and
// more without function words, or, in Chinese, pairs of neighbouring characters.
func contents(text string, chinese bool) map[string]int {
	counts := map[string]int{}
	for _, w := range strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) }) {
		runes := []rune(w)
		if !chinese {
			if len(runes) >= 4 && !functionWords[w] {
				counts[w]++
			}
			continue
		}
		for i := 1; i < len(runes); i++ {
			counts[string(runes[i-1:i+1])]++
		}
	}
	return counts
}

// topics returns of each text the twelve contents that it has most often, at
// least twice, and that at most half of the texts have at all.
func topics(texts []map[string]int) []map[string]bool {
	in := map[string]int{}
	for _, counts := range texts {
		for w := range counts {
			in[w]++
		}
	}
	all := make([]map[string]bool, len(texts))
	for i, counts := range texts {
		var top []string
		for w, n := range counts {
			if n >= 2 && 2*in[w] <= len(texts) {
				top = append(top, w)
			}
		}
		slices.SortFunc(top, func(a, b string) int {
			if counts[a] != counts[b] {
				return counts[b] - counts[a]
			}
			return strings.Compare(a, b)
		})
		all[i] = set(top[:min(12, len(top))])
	}
	return all
}

// common returns how many items are in both of a and b, and in either.
func common[T any](a, b map[string]T) (both, either int) {
	either = len(b)
	for w := range a {
		if _, ok := b[w]; ok {
			both++
		} else {
			either++
		}
	}
	return both, either
}
