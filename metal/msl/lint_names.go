package msl

import (
	"regexp"
	"strings"
)

var reDecl = regexp.MustCompile(`(?:^|[;{}(,>])\s*((?:(?:const|device|constant|thread|threadgroup)\s+)*)((?:metal::)?\w+(?:\s*<[^<>;{}()]*>)?)\s*(?:const\s*)?([*&])+\s*(?:const\s+)?(\w+)\s*(\[\[|[=;,)\[])`)

var reAnySpace = regexp.MustCompile(`\b(device|constant|thread|threadgroup)\b`)

// pointers wants an address space on every declared pointer and reference.
func (l *linter) pointers() {
	types := l.types()
	for at := 0; at < len(l.text); {
		m := reDecl.FindStringSubmatchIndex(l.text[at:])
		if m == nil {
			return
		}
		quals, base := l.text[at+m[2]:at+m[3]], l.text[at+m[4]:at+m[5]]
		base, _, _ = strings.Cut(base, "<")
		base = strings.TrimPrefix(strings.TrimSpace(base), "metal::")
		if types[base] && !reAnySpace.MatchString(quals) {
			l.add(at+m[8], "%s: pointer or reference without an address space", l.text[at+m[8]:at+m[9]])
		}
		at += m[9]
	}
}

// types returns the words that name a type somewhere in the program.
func (l *linter) types() map[string]bool {
	types := map[string]bool{}
	for _, n := range Names {
		if n.kind == aType {
			types[n.Word] = true
		}
	}
	for _, m := range regexp.MustCompile(`\b(?:struct|typename|class|enum)\s+(\w+)`).FindAllStringSubmatch(l.text, -1) {
		types[m[1]] = true
	}
	for _, c := range l.chunks {
		if c.kind == alias {
			types[c.names[0]] = true
		}
	}
	for _, m := range regexp.MustCompile(`\busing\s+(\w+)\s*=|\btypedef\b[^;]*?(\w+)\s*;`).FindAllStringSubmatch(l.text, -1) {
		types[m[1]+m[2]] = true
	}
	return types
}

// names wants every word to be C++'s, the program's own, or in the table.
func (l *linter) names() {
	ts := tokens(l.text)
	defined, bodies := l.defines()
	own := l.declared(ts, l.types())
	for w := range defined {
		own[w] = true
	}
	for i, t := range ts {
		if !t.word() || own[t.text] || keywords[t.text] || macros[t.text] {
			continue
		}
		n, ok := known[t.text]
		if !ok {
			l.add(t.pos, "%s is not in the table of names", t.text)
			continue
		}
		before := ""
		if i > 0 {
			before = ts[i-1].text
		}
		precise := before == "::" && i > 1 && ts[i-2].text == "precise"
		switch {
		case n.kind == aPrecise && !precise:
			l.add(t.pos, "%s: write precise::%s, whose accuracy is stated", t.text, t.text)
		case n.kind != aPrecise && precise:
			l.add(t.pos, "precise::%s is not in the table of names", t.text)
		case n.kind == aMember && t.text != "metal" && t.text != "precise" && before != "." && before != "->" && before != "::":
			l.add(t.pos, "%s is not in the table of names", t.text)
		}
	}
	for _, b := range bodies {
		for _, t := range tokens(b.text) {
			_, ok := known[t.text]
			if t.word() && !own[t.text] && !keywords[t.text] && !macros[t.text] && !b.params[t.text] && !ok {
				l.add(b.pos, "%s is not in the table of names", t.text)
			}
		}
	}
}

var reDefine = regexp.MustCompile(`(?s)^#\s*define\s+(\w+)(\([^)]*\))?(.*)`)

type macroBody struct {
	text   string
	pos    int
	params map[string]bool
}

// defines returns the macros that the program defines, outside the part that is
// Metal's alone, and their bodies.
func (l *linter) defines() (names map[string]bool, bodies []macroBody) {
	names = map[string]bool{}
	metal := 0 // how deep in #ifdef __METAL_VERSION__
	for _, c := range l.chunks {
		if c.kind != directive {
			continue
		}
		text := blanked(l.raw[c.from:c.to], true, false)
		d := reDirective.FindStringSubmatch(text)
		switch {
		case d == nil:
		case metal > 0 && strings.HasPrefix(d[1], "if"):
			metal++
		case metal > 0 && d[1] == "endif":
			metal--
		case d[1] == "ifdef" && strings.TrimSpace(d[2]) == "__METAL_VERSION__":
			metal = 1
		case metal == 0 && d[1] == "define":
			m := reDefine.FindStringSubmatch(text)
			names[m[1]] = true
			bodies = append(bodies, macroBody{strings.ReplaceAll(m[3], "\\", " "), c.from, words(strings.NewReplacer("(", " ", ")", " ", ",", " ").Replace(m[2]))})
		}
	}
	return names, bodies
}

// declared returns the words that the program declares: types, functions,
// parameters, variables and fields. It takes a word for declared anywhere once
// it is somewhere.
func (l *linter) declared(ts []token, types map[string]bool) map[string]bool {
	own := map[string]bool{}
	for w := range types {
		if _, ok := known[w]; !ok {
			own[w] = true
		}
	}
	for _, c := range l.chunks {
		for _, n := range c.names {
			own[n] = true
		}
	}
	for i, t := range ts {
		switch {
		case !t.word() || keywords[t.text]:
		case t.text == "TG_ARRAY":
			if j := afterComma(ts, i); j > 0 {
				own[ts[j].text] = true
			}
		case follows(ts, i, types) && !types[t.text]:
			own[t.text] = true
			declarators(ts, i, own)
		case i > 0 && (ts[i-1].text == "{" || ts[i-1].text == ",") && inEnum(ts, i):
			own[t.text] = true
		}
	}
	return own
}

// follows says whether the word at i stands behind a type, as its declaration does.
func follows(ts []token, i int, types map[string]bool) bool {
	j := i - 1
	for j >= 0 && (ts[j].text == "*" || ts[j].text == "&" || ts[j].text == "const") {
		j--
	}
	if j < 0 {
		return false
	}
	if ts[j].text != ">" {
		return types[ts[j].text] || ts[j].text == "namespace"
	}
	depth := 0
	for ; j >= 0; j-- {
		switch ts[j].text {
		case ">":
			depth++
		case "<":
			if depth--; depth == 0 {
				return j > 0 && types[ts[j-1].text]
			}
		case ";", "{", "}":
			return false
		}
	}
	return false
}

// declarators adds the further names of a declaration such as "float a = 1, b".
func declarators(ts []token, i int, own map[string]bool) {
	depth := 0
	for j := i + 1; j+1 < len(ts); j++ {
		switch ts[j].text {
		case "(", "[", "{":
			depth++
		case ")", "]", "}":
			if depth--; depth < 0 {
				return
			}
		case ";":
			return
		case ",":
			next := ts[j+1]
			if _, ok := known[next.text]; depth == 0 && next.word() && !keywords[next.text] && !ok {
				own[next.text] = true
			}
		}
	}
}

// afterComma returns the token behind the next comma outside brackets, of a call
// whose name stands at i; -1 where there is none.
func afterComma(ts []token, i int) int {
	depth := 0
	for j := i + 1; j+1 < len(ts); j++ {
		switch ts[j].text {
		case "(", "<", "[":
			depth++
		case ")", ">", "]":
			depth--
		case ",":
			if depth == 1 {
				return j + 1
			}
		case ";":
			return -1
		}
	}
	return -1
}

// inEnum says whether the token at i stands in an enum's braces.
func inEnum(ts []token, i int) bool {
	for j := i - 1; j >= 0; j-- {
		switch ts[j].text {
		case "}", ";":
			return false
		case "{":
			for k := j - 1; k >= 0 && k >= j-4; k-- {
				if ts[k].text == "enum" {
					return true
				}
			}
			return false
		}
	}
	return false
}
