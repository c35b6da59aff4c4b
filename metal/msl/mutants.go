package msl

import (
	"fmt"
	"regexp"
	"strings"
)

// Mutant is one check of a program that can be taken out: a barrier, a test of a
// bound, a clamp. Who tests kernels takes each out and wants the tests to fail.
type Mutant struct {
	Kind string // "barrier", "bound" or "clamp"
	File string
	Line int
	In   string // the function
	Nth  int    // of its kind and text in the function, from 1
	Text string // what stands there
	To   string // what stands there instead

	from, to int
	chunk    int
}

// Key names a mutant for as long as its function's text stays.
func (m Mutant) Key() string {
	return fmt.Sprintf("%s %s %s#%d: %s", m.Kind, m.File, m.In, m.Nth, strings.Join(strings.Fields(m.Text), " "))
}

// Apply takes a check out of a program that begins as the source does; its lines
// stay where they are.
func (m Mutant) Apply(program string) string {
	lines := strings.Repeat("\n", strings.Count(m.Text, "\n"))
	return program[:m.from] + m.To + lines + program[m.to:]
}

// Mutants returns the checks of all kernels and functions, in order.
func (s *Source) Mutants() []Mutant {
	var out []Mutant
	for i, c := range s.chunks {
		if c.kind != kernel && c.kind != function || len(c.names) == 0 {
			continue
		}
		open := strings.IndexByte(s.text[c.from:c.to], '{')
		if open < 0 {
			continue
		}
		f := &finder{s: s, from: c.from + open, to: c.to, chunk: i, seen: map[string]int{}}
		f.calls("barrier", `\b(?:threadgroup|simdgroup)_barrier\s*\(`, func([]string) string { return "" })
		f.bounds()
		f.choices()
		f.calls("clamp", `(?:\bprecise::)?\b(?:min|max|clamp)\s*\(`, unclamped)
		out = append(out, f.found...)
	}
	return out
}

// Affected returns the kernels that a mutant changes: its own, or those that use
// the function that it stands in.
func (s *Source) Affected(m Mutant) []string {
	var out []string
	for _, k := range s.Kernels {
		if s.closure(map[string]bool{k.Name: true})[m.chunk] {
			out = append(out, k.Name)
		}
	}
	return out
}

// finder collects the mutants of one function's body.
type finder struct {
	s        *Source
	from, to int
	chunk    int
	seen     map[string]int
	found    []Mutant
}

func (f *finder) add(kind string, from, to int, with string) {
	text := f.s.raw[from:to]
	file, line := f.s.position(from)
	id := kind + strings.Join(strings.Fields(text), " ")
	f.seen[id]++
	f.found = append(f.found, Mutant{Kind: kind, File: file, Line: line, In: f.s.chunks[f.chunk].names[0], Nth: f.seen[id],
		Text: text, To: with, from: from, to: to, chunk: f.chunk})
}

// calls finds calls whose name and bracket match, and what stands for each by its
// arguments.
func (f *finder) calls(kind, pattern string, with func(args []string) string) {
	for _, m := range regexp.MustCompile(pattern).FindAllStringIndex(f.s.text[f.from:f.to], -1) {
		from, open := f.from+m[0], f.from+m[1]-1
		end := closing(f.s.text, open)
		f.add(kind, from, end+1, with(split(f.s.text[open+1:end])))
	}
}

var reNumber = regexp.MustCompile(`^\s*-?[\d.]`)

// unclamped is the value that min, max or clamp is of: the first argument, or the
// second where the first is a number.
func unclamped(args []string) string {
	v := args[0]
	if len(args) == 2 && reNumber.MatchString(v) {
		v = args[1]
	}
	return "(" + strings.Join(strings.Fields(v), " ") + ")"
}

var (
	reIf     = regexp.MustCompile(`\bif\s*\(`)
	reLeaves = regexp.MustCompile(`^\s*(?:\{\s*)?(?:return|continue|break)\b`)
	reOrder  = regexp.MustCompile(`\s[<>]=?\s`)
)

// bounds finds the comparisons of if's conditions. Taken out, a test lets pass;
// where it leaves the function or a loop, it does not.
func (f *finder) bounds() {
	text := f.s.text
	for _, m := range reIf.FindAllStringIndex(text[f.from:f.to], -1) {
		open := f.from + m[1] - 1
		end := closing(text, open)
		to := "true"
		if reLeaves.MatchString(text[end+1 : f.to]) {
			to = "false"
		}
		f.parts(open+1, end, to)
	}
}

// choices finds the comparisons of conditions of c ? a : b.
func (f *finder) choices() {
	text := f.s.text
	for i := f.from; i < f.to; i++ {
		if text[i] != '?' {
			continue
		}
		// What is in brackets before it is part of the condition, an open one is not.
		from, depth := i, 0
		for from > f.from {
			c := text[from-1]
			if c == ')' || c == ']' {
				depth++
			} else if c == '(' || c == '[' {
				if depth == 0 {
					break
				}
				depth--
			} else if depth == 0 && strings.IndexByte("{};,?:", c) >= 0 {
				break
			}
			from--
		}
		if m := regexp.MustCompile(`^(?s:.*(?:\breturn\b|\s[-+*/|&^]?=\s))`).FindStringIndex(text[from:i]); m != nil {
			from += m[1]
		}
		f.parts(from, i, "true")
	}
}

// parts adds each comparison of a condition: what && or || join is one each.
func (f *finder) parts(from, to int, with string) {
	text := f.s.text
	depth, last := 0, from
	either := false
	var ends []int
	for i := from; i < to; i++ {
		switch c := text[i]; {
		case c == '(' || c == '[':
			depth++
		case c == ')' || c == ']':
			depth--
		case depth == 0 && i+1 < to && (c == '&' && text[i+1] == '&' || c == '|' && text[i+1] == '|'):
			either = either || c == '|'
			ends = append(ends, i)
			i++
		}
	}
	if either {
		with = "false"
	}
	for _, end := range append(ends, to) {
		part := text[last:end]
		if reOrder.MatchString(part) {
			start := last + len(part) - len(strings.TrimLeft(part, " \n"))
			f.add("bound", start, start+len(strings.TrimSpace(part)), with)
		}
		last = end + 2
	}
}
