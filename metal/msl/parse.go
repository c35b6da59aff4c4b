package msl

import (
	"regexp"
	"strconv"
	"strings"
)

// chunk is one declaration at namespace scope.
type chunk struct {
	from, to int
	kind     chunkKind
	names    []string // what it declares
	words    []string // what it mentions, once somebody asked
}

type chunkKind int

const (
	other     chunkKind = iota // using namespace, static_assert
	kernel                     // a kernel function
	function                   // any other function
	record                     // struct or enum
	table                      // PROGRAM_TABLE
	alias                      // typedef or using
	instance                   // INSTANTIATE_KERNEL
	directive                  // a preprocessor line
)

var (
	reLine   = regexp.MustCompile(`(?m)^[ \t]*#[ \t]*line[ \t]+(\d+)[ \t]*(?:"([^"\n]*)")?[^\n]*\n?`)
	reKernel = regexp.MustCompile(`\b(kernel|KERNEL_MAX\s*\(([^()]*)\))\s+void\s+(\w+)\s*\(`)
	reAttr   = regexp.MustCompile(`\[\[\s*(\w+)(?:\s*\(\s*(\w+)\s*\))?\s*\]\]\s*$`)
	reName   = regexp.MustCompile(`(\w+)\s*$`)
	reRecord = regexp.MustCompile(`^(?:struct|enum(?:\s+(?:class|struct))?)\b\s*(\w*)`)
	reWord   = regexp.MustCompile(`[A-Za-z_]\w*`)
)

// Parse reads a program. What it cannot read is an error; what is read and
// against the rules is Lint's.
func Parse(text string) (*Source, error) {
	s := &Source{raw: text, text: blanked(text, true, true)}
	for _, m := range reLine.FindAllStringSubmatchIndex(text, -1) {
		n, _ := strconv.Atoi(text[m[2]:m[3]])
		file := "source"
		if m[4] >= 0 {
			file = text[m[4]:m[5]]
		} else if len(s.marks) > 0 {
			file = s.marks[len(s.marks)-1].file
		}
		s.marks = append(s.marks, mark{m[1], file, n})
	}
	if at := unbalanced(s.text); at >= 0 {
		s.fail(at, "a bracket that nothing closes or opens")
		return s, Failure(s.errs)
	}
	s.cut()
	for i := range s.chunks {
		s.read(&s.chunks[i])
	}
	for _, k := range s.Kernels {
		if len(k.Template) == 0 {
			s.Instances = append(s.Instances, Instance{Name: k.Name, Kernel: k.Name, pos: k.pos})
		}
	}
	return s, Failure(s.errs)
}

func (s *Source) fail(pos int, format string, args ...any) {
	s.errs = append(s.errs, s.problem(pos, format, args...))
}

// cut finds the declarations at namespace scope, and the preprocessor lines.
func (s *Source) cut() {
	plain := blanked(s.raw, true, false) // the same with preprocessor lines
	for i := 0; i < len(s.text); {
		switch c := s.text[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == ';':
			if plain[i] != '#' {
				i++
				continue
			}
			end := endOfDirective(s.raw, i)
			s.chunks = append(s.chunks, chunk{from: i, to: end, kind: directive})
			i = end
		default:
			end := s.declaration(i)
			if end < 0 {
				s.fail(i, "a declaration without an end")
				return
			}
			s.chunks = append(s.chunks, chunk{from: i, to: end})
			i = end
		}
	}
}

// declaration returns where the declaration that begins at i ends, -1 where it does
// not.
func (s *Source) declaration(i int) int {
	from := i
	initializer := false
	for i < len(s.text) {
		switch s.text[i] {
		case ';':
			return i + 1
		case '=':
			initializer = true
			i++
		case '(', '[', '{':
			open := s.text[i]
			j := closing(s.text, i)
			head := afterTemplate(s.text[from:i])
			switch {
			case open == '{' && !initializer && !reRecord.MatchString(head):
				return j + 1 // a function's body
			case open == '(' && strings.TrimSpace(head) == "INSTANTIATE_KERNEL":
				return j + 1
			}
			i = j + 1
		default:
			i++
		}
	}
	if strings.TrimSpace(s.text[from:]) == "" {
		return len(s.text)
	}
	return -1
}

// afterTemplate returns a declaration without template<…> before it.
func afterTemplate(head string) string {
	head = strings.TrimLeft(head, " \t\n")
	if !strings.HasPrefix(head, "template") {
		return head
	}
	open := strings.IndexByte(head, '<')
	if open < 0 {
		return head
	}
	end := closing(head, open)
	if end < 0 {
		return head
	}
	return strings.TrimLeft(head[end+1:], " \t\n")
}

// read says what a chunk declares, and keeps what Lint and the generators need.
func (s *Source) read(c *chunk) {
	if c.kind == directive {
		return
	}
	text := s.text[c.from:c.to]
	head := afterTemplate(text)
	first := firstWord(head)
	switch {
	case first == "INSTANTIATE_KERNEL":
		c.kind = instance
		s.readInstance(c)
	case first == "kernel" || first == "KERNEL_MAX":
		c.kind = kernel
		s.readKernel(c)
	case first == "struct" || first == "enum":
		c.kind = record
		s.readRecord(c, head)
	case first == "PROGRAM_TABLE":
		c.kind = table
		if open := strings.IndexByte(head, '('); open >= 0 {
			if f := split(head[open+1 : closing(head, open)]); len(f) == 3 {
				c.names = []string{strings.TrimSpace(f[1])}
			}
		}
	case first == "typedef":
		c.kind = alias
		c.names = []string{reName.FindString(strings.TrimRight(head, "; \n\t"))}
	case first == "using" && strings.Contains(head, "="):
		c.kind = alias
		c.names = []string{reWord.FindString(strings.TrimPrefix(head, "using"))}
	case strings.HasSuffix(text, "}"):
		c.kind = function
		if open := strings.IndexByte(head, '('); open >= 0 {
			c.names = []string{strings.TrimSpace(reName.FindString(strings.TrimRight(head[:open], " \t\n")))}
		}
	}
}

// firstWord is the word that text begins with.
func firstWord(text string) string {
	if m := reWord.FindStringIndex(text); m != nil && m[0] == 0 {
		return text[:m[1]]
	}
	return ""
}

func (s *Source) readInstance(c *chunk) {
	raw := blanked(s.raw[c.from:c.to], false, true)
	open := strings.IndexByte(raw, '(')
	f := split(raw[open+1 : len(raw)-1])
	if len(f) < 3 {
		s.fail(c.from, "INSTANTIATE_KERNEL needs a name, a kernel and template arguments")
		return
	}
	in := Instance{Name: strings.Trim(strings.TrimSpace(f[0]), `"`), Kernel: strings.TrimSpace(f[1]), pos: c.from}
	for _, a := range f[2:] {
		in.Args = append(in.Args, strings.TrimSpace(a))
	}
	s.Instances = append(s.Instances, in)
}

func (s *Source) readKernel(c *chunk) {
	text := s.text[c.from:c.to]
	m := reKernel.FindStringSubmatchIndex(text)
	if m == nil {
		s.fail(c.from, "a kernel must be written as: kernel void name(…), or KERNEL_MAX(n) void name(…)")
		return
	}
	k := &Kernel{Name: text[m[6]:m[7]], pos: c.from + m[0]}
	if m[4] >= 0 {
		k.Max = strings.TrimSpace(text[m[4]:m[5]])
	}
	k.Template = templateNames(text[:m[0]])
	open := m[1] - 1
	end := closing(text, open)
	at := c.from + open + 1
	for _, p := range split(text[open+1 : end]) {
		pr := Param{Index: -1, pos: at + len(p) - len(strings.TrimLeft(p, " \t\n"))}
		at += len(p) + 1
		if strings.TrimSpace(p) == "" {
			continue
		}
		if a := reAttr.FindStringSubmatchIndex(p); a != nil {
			pr.Attribute = p[a[2]:a[3]]
			if a[4] >= 0 {
				n, err := strconv.Atoi(p[a[4]:a[5]])
				if err != nil {
					s.fail(pr.pos, "%s: an index must be a number, not %s", k.Name, p[a[4]:a[5]])
				}
				pr.Index = n
			}
			p = p[:a[0]]
		}
		p = strings.TrimSpace(p)
		pr.Name = reName.FindString(p)
		pr.Type = strings.Join(strings.Fields(strings.TrimSuffix(p, pr.Name)), " ")
		k.Params = append(k.Params, pr)
	}
	c.names = []string{k.Name}
	s.Kernels = append(s.Kernels, k)
}

// templateNames returns the names of template<…>'s parameters.
func templateNames(head string) []string {
	var out []string
	open := strings.IndexByte(head, '<')
	if open < 0 || closing(head, open) < 0 {
		return nil
	}
	for _, t := range split(head[open+1 : closing(head, open)]) {
		if i := strings.IndexByte(t, '='); i >= 0 {
			t = t[:i]
		}
		out = append(out, reName.FindString(strings.TrimSpace(t)))
	}
	return out
}

// readRecord keeps a struct's fields, and for an enum its constants' names.
func (s *Source) readRecord(c *chunk, head string) {
	if name := reRecord.FindStringSubmatch(head)[1]; name != "" {
		c.names = append(c.names, name)
	}
	open := strings.IndexByte(head, '{')
	if open < 0 {
		return
	}
	at := c.to - len(head) + open + 1
	body := head[open+1 : closing(head, open)]
	if strings.HasPrefix(head, "enum") {
		for _, e := range split(body) {
			if w := reWord.FindString(e); w != "" {
				c.names = append(c.names, w)
			}
		}
		return
	}
	if len(c.names) == 0 {
		s.fail(c.from, "a struct without a name")
		return
	}
	t := &Struct{Name: c.names[0], pos: c.from}
	for _, f := range strings.Split(body, ";") {
		pos := at + len(f) - len(strings.TrimLeft(f, " \t\n"))
		at += len(f) + 1
		f = strings.TrimSpace(f)
		if f == "" {
			continue
		}
		name := reName.FindString(f)
		t.Fields = append(t.Fields, Field{strings.Join(strings.Fields(strings.TrimSuffix(f, name)), " "), name, pos})
	}
	if !strings.HasPrefix(strings.TrimLeft(s.text[c.from:c.to], " \t\n"), "template") {
		s.Structs = append(s.Structs, t)
	}
}
