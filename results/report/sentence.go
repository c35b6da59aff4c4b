package report

import (
	"fmt"
	"strings"
)

// name is a variant's or a text's name in a sentence.
type name string

// part is a stretch of a sentence.
type part struct {
	Text string
	Name bool // set as a name is
}

// sentence is text with names in it, for people.
type sentence []part

// String returns the plain text.
func (s sentence) String() string {
	var b strings.Builder
	for _, p := range s {
		b.WriteString(p.Text)
	}
	return b.String()
}

// say returns format with each %v replaced by an argument: a name, a sentence,
// or what fmt makes of it; as many as there are arguments. A space before a
// percent sign does not break the line.
func say(format string, args ...any) sentence {
	var s sentence
	pieces := strings.Split(format, "%v")
	if len(pieces) != len(args)+1 {
		panic(fmt.Sprintf("report: %q with %d arguments", format, len(args)))
	}
	for i, text := range pieces {
		if text != "" {
			s = append(s, part{Text: strings.ReplaceAll(text, " %", space+"%")})
		}
		if i == len(args) {
			break
		}
		switch a := args[i].(type) {
		case name:
			s = append(s, part{string(a), true})
		case sentence:
			s = append(s, a...)
		default:
			s = append(s, part{Text: fmt.Sprint(a)})
		}
	}
	return s
}

// list returns "a, b and c".
func list(items []sentence) sentence {
	var s sentence
	for i, item := range items {
		switch {
		case i == 0:
		case i == len(items)-1:
			s = append(s, part{Text: " and "})
		default:
			s = append(s, part{Text: ", "})
		}
		s = append(s, item...)
	}
	return s
}

// names returns the names as sentences, for list.
func names(of []string) []sentence {
	out := make([]sentence, len(of))
	for i, n := range of {
		out[i] = sentence{{n, true}}
	}
	return out
}

// texts returns plain texts as sentences, for list.
func texts(of []string) []sentence {
	out := make([]sentence, len(of))
	for i, t := range of {
		out[i] = sentence{{Text: t}}
	}
	return out
}
