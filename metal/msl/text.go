package msl

import (
	"regexp"
	"strings"
)

// blanked replaces comments, preprocessor lines and what stands in strings by
// spaces. Offsets and line ends stay.
func blanked(text string, strs, directives bool) string {
	b := []byte(text)
	wipe := func(from, to int) {
		for i := from; i < to && i < len(b); i++ {
			if b[i] != '\n' {
				b[i] = ' '
			}
		}
	}
	fresh := true // only blanks since the line began
	for i := 0; i < len(b); {
		rest := text[i:]
		switch {
		case strings.HasPrefix(rest, "//"):
			j := len(text)
			if n := strings.IndexByte(rest, '\n'); n >= 0 {
				j = i + n
			}
			wipe(i, j)
			i = j
		case strings.HasPrefix(rest, "/*"):
			j := len(text)
			if n := strings.Index(rest[2:], "*/"); n >= 0 {
				j = i + 2 + n + 2
			}
			wipe(i, j)
			i = j
		case b[i] == '"':
			j := endOfString(text, i)
			if strs {
				wipe(i+1, j)
			}
			i, fresh = j+1, false
		case directives && fresh && b[i] == '#':
			j := endOfDirective(text, i)
			wipe(i, j)
			i = j
		default:
			fresh = b[i] == '\n' || fresh && (b[i] == ' ' || b[i] == '\t')
			i++
		}
	}
	return string(b)
}

// endOfString returns where the string that begins at i ends.
func endOfString(text string, i int) int {
	for j := i + 1; j < len(text); j++ {
		switch text[j] {
		case '\\':
			j++
		case '"':
			return j
		}
	}
	return len(text)
}

// endOfDirective returns where the preprocessor line that begins at i ends:
// a line that ends in a backslash goes on.
func endOfDirective(text string, i int) int {
	for j := i; j < len(text); j++ {
		if text[j] == '\n' && text[j-1] != '\\' {
			return j
		}
	}
	return len(text)
}

var pairs = map[byte]byte{'(': ')', '<': '>', '{': '}', '[': ']'}

// closing returns the index of the bracket that closes the one at open, -1
// where none does.
func closing(s string, open int) int {
	o, c, depth := s[open], pairs[s[open]], 0
	for i := open; i < len(s); i++ {
		switch s[i] {
		case o:
			depth++
		case c:
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// unbalanced returns where a bracket of ( [ { stands that nothing closes or opens,
// -1 where there is none.
func unbalanced(s string) int {
	var open []int
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '(', '[', '{':
			open = append(open, i)
		case ')', ']', '}':
			if len(open) == 0 || pairs[s[open[len(open)-1]]] != s[i] {
				return i
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		return open[0]
	}
	return -1
}

// split cuts at the commas that stand in no bracket.
func split(s string) []string {
	var out []string
	depth, last := 0, 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '(', '<', '[', '{':
			depth++
		case ')', '>', ']', '}':
			depth--
		case ',':
			if depth == 0 {
				out = append(out, s[last:i])
				last = i + 1
			}
		}
	}
	return append(out, s[last:])
}

var reToken = regexp.MustCompile(`[A-Za-z_]\w*|\.?\d(?:[eEpP][-+]|[\w.])*|->|::|<<|\S`)

// token is a word, a number or a sign of blanked text.
type token struct {
	text string
	pos  int
}

func (t token) word() bool {
	c := t.text[0]
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func tokens(text string) []token {
	var out []token
	for _, m := range reToken.FindAllStringIndex(text, -1) {
		out = append(out, token{text[m[0]:m[1]], m[0]})
	}
	return out
}
