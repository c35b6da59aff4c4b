package msl

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Metal's limits on a kernel's arguments.
const (
	maxIndex  = 30   // the last of the table of buffers
	maxStruct = 4096 // bytes of an argument struct (setBytes)
)

// Lint returns what in a program is against the dialect's rules, in order. A
// program without problems may still be refused by a compiler: types and address
// spaces are checked by clang, roundings by compiling for the CPU.
func Lint(text string) []Problem {
	s, err := Parse(text)
	if err != nil {
		return s.errs
	}
	return s.Lint()
}

// Lint is the function of that name, of a parsed program.
func (s *Source) Lint() []Problem {
	l := &linter{Source: s}
	for _, k := range s.Kernels {
		l.params(k)
	}
	l.instances()
	for _, b := range banned {
		for _, m := range b.re.FindAllStringIndex(s.text, -1) {
			l.add(m[0], "%q: %s", strings.TrimSpace(s.text[m[0]:m[1]]), b.why)
		}
	}
	l.scope()
	l.pointers()
	l.names()
	slices.SortStableFunc(l.found, func(a, b placed) int { return cmp.Compare(a.pos, b.pos) })
	var out []Problem
	for _, p := range l.found {
		if len(out) == 0 || out[len(out)-1] != p.Problem {
			out = append(out, p.Problem)
		}
	}
	return out
}

type linter struct {
	*Source
	found []placed
}

type placed struct {
	pos int
	Problem
}

func (l *linter) add(pos int, format string, args ...any) {
	l.found = append(l.found, placed{pos, l.problem(pos, format, args...)})
}

// params wants an attribute on every parameter, of a type that both shims know,
// buffers numbered from 0 on, and the argument struct last.
func (l *linter) params(k *Kernel) {
	used := map[int]string{}
	last, structs := -1, 0
	for _, p := range k.Params {
		switch p.Attribute {
		case "":
			l.add(p.pos, "%s: parameter %s has no attribute", k.Name, p.Name)
		case "buffer":
			if o, ok := used[p.Index]; ok {
				l.add(p.pos, "%s: %s and %s share buffer(%d)", k.Name, o, p.Name, p.Index)
			}
			used[p.Index] = p.Name
			last = max(last, p.Index)
			l.buffer(k, p)
			if p.Kind() == Constant {
				structs++
			}
		default:
			if b, ok := builtins[p.Attribute]; !ok {
				l.add(p.pos, "%s: attribute %s is not in the dialect", k.Name, p.Attribute)
			} else if b.typ != p.Type {
				l.add(p.pos, "%s: %s is %s in the dialect, not %s", k.Name, p.Attribute, b.typ, p.Type)
			}
		}
	}
	if last <= maxIndex && len(used) != last+1 {
		l.add(k.pos, "%s: buffer indices leave gaps: %d buffers, the last is %d", k.Name, len(used), last)
	}
	if structs > 1 {
		l.add(k.pos, "%s: %d argument structs, want at most one", k.Name, structs)
	}
	for _, p := range k.Params {
		if p.Kind() == Constant && p.Index != last {
			l.add(p.pos, "%s: the argument struct %s is the last buffer", k.Name, p.Name)
		}
	}
	if t := l.Arguments(k); t != nil {
		l.argumentStruct(t)
	} else if structs > 0 {
		l.add(k.pos, "%s: its argument struct is not declared", k.Name)
	}
}

var reSpace = regexp.MustCompile(`^(?:const )?(device|constant|threadgroup|thread)\b`)

func (l *linter) buffer(k *Kernel, p Param) {
	if p.Index < 0 || p.Index > maxIndex {
		l.add(p.pos, "%s: buffer index %d is outside Metal's table of %d", k.Name, p.Index, maxIndex+1)
	}
	space := reSpace.FindStringSubmatch(p.Type)
	switch {
	case space == nil:
		l.add(p.pos, "%s: %s must start with its address space", k.Name, p.Name)
	case space[1] == "constant":
		if !strings.HasSuffix(p.Type, "&") {
			l.add(p.pos, "%s: %s: constant arguments are references to argument structs", k.Name, p.Name)
		}
	case space[1] != "device":
		l.add(p.pos, "%s: %s: a buffer is in device memory, not %s", k.Name, p.Name, space[1])
	case !strings.HasSuffix(p.Type, "*"):
		l.add(p.pos, "%s: %s: device arguments are pointers", k.Name, p.Name)
	}
}

var fieldSizes = map[string]int{"uint": 4, "int": 4, "float": 4, "ulong": 8}

// argumentStruct wants fields that Go can mirror, and all padding written out.
func (l *linter) argumentStruct(t *Struct) {
	size := 0
	for _, f := range t.Fields {
		n, ok := fieldSizes[f.Type]
		if !ok {
			l.add(f.pos, "%s.%s is %s: argument structs have uint, int, float and ulong only", t.Name, f.Name, f.Type)
			return
		}
		if size%n != 0 {
			l.add(f.pos, "%s.%s would stand behind padding that is not written out", t.Name, f.Name)
			return
		}
		size += n
	}
	if size%8 != 0 || size == 0 || size > maxStruct {
		l.add(t.pos, "%s has %d bytes: want a multiple of 8, at most %d", t.Name, size, maxStruct)
	}
}

var reHost = regexp.MustCompile(`^[A-Za-z_]\w*$`)

func (l *linter) instances() {
	seen := map[string]bool{}
	for _, in := range l.Instances {
		if seen[in.Name] {
			l.add(in.pos, "kernel name %q is used twice", in.Name)
		}
		seen[in.Name] = true
		if !reHost.MatchString(in.Name) {
			l.add(in.pos, "kernel name %q must be a word: CUDA exports it", in.Name)
		}
		k := l.Kernel(in.Kernel)
		if k == nil {
			l.add(in.pos, "%q: no kernel %s", in.Name, in.Kernel)
		} else if len(k.Template) != len(in.Args) {
			l.add(in.pos, "%q: %d template arguments for %d parameters", in.Name, len(in.Args), len(k.Template))
		}
	}
}

// banned is what neither all shims nor Metal have, or what they have differently.
var banned = func() []struct {
	re  *regexp.Regexp
	why string
} {
	var out []struct {
		re  *regexp.Regexp
		why string
	}
	for _, b := range [][2]string{
		{`\bdouble\b`, "MSL has no double"},
		{`\blong\s+long\b`, "MSL has no long long; long has 64 bits"},
		{`\bstatic\b`, "no static in MSL functions; use PROGRAM_TABLE or an enum"},
		{`\bauto\b`, "write the type: auto hides the address space"},
		{`\bconst\s+constant\b|\bconstant\s+const\b`, "constant is const already"},
		{`\(\s*(const\s+)?(device|constant|threadgroup|thread)\b[^()]*\*\s*\)\s*[\w(&*]`,
			"C-style pointer cast: write reinterpret_cast, which may not change the address space"},
		{`\bthreadgroup\s+[\w:<>, ]+\s+\w+\s*\[`, "declare threadgroup arrays with TG_ARRAY"},
		{`\[\s*[=&]?\s*\]\s*\(`, "no lambdas before Metal 3.2"},
		{`(^|[^\w.])(\d+\.\d*|\.\d+)([eE][-+]?\d+)?([^\w.]|$)`, "a floating literal needs the f suffix: it is double in the shims"},
		{`(^|[^\w.])\d+[eE][-+]?\d+([^\w.]|$)`, "a floating literal needs the f suffix: it is double in the shims"},
		{`\b(float|half|bfloat|u?int|u?short|u?char|u?long)3\b\s*\*`, "a pointer to 3-vectors steps by 4 elements: use scalars"},
		{`\.([xyzw]{2,4}|[rgba]{1,4})\b`, "no swizzles and no colour names in the shims: name the components x, y, z, w"},
	} {
		out = append(out, struct {
			re  *regexp.Regexp
			why string
		}{regexp.MustCompile(b[0]), b[1]})
	}
	return out
}()

// scope allows only types, tables, functions and kernels at namespace scope.
func (l *linter) scope() {
	for _, c := range l.chunks {
		text := l.text[c.from:c.to]
		head := afterTemplate(text)
		first := firstWord(head)
		switch c.kind {
		case function:
			if first != "MSL_FN" {
				name := "a function"
				if len(c.names) > 0 {
					name = c.names[0]
				}
				l.add(c.from, "%s: functions start with MSL_FN", name)
			}
		case other:
			if first != "static_assert" && strings.Join(strings.Fields(text), " ") != "using namespace metal;" {
				l.add(c.from, "%q at namespace scope: only types, PROGRAM_TABLE constants, MSL_FN functions and kernels", first)
			}
		case directive:
			l.directive(c)
		}
	}
}

var reDirective = regexp.MustCompile(`^#\s*(\w+)\s*(.*)`)

// directive allows the preprocessor lines that all readers take the same way.
func (l *linter) directive(c chunk) {
	m := reDirective.FindStringSubmatch(l.raw[c.from:c.to])
	if m == nil {
		l.add(c.from, "a preprocessor line that is none")
		return
	}
	switch m[1] {
	case "include":
		switch strings.TrimSpace(m[2]) {
		case "<metal_stdlib>", "<metal_simdgroup_matrix>":
		default:
			l.add(c.from, "include %s: a program has no files of its own", m[2])
		}
	case "define", "undef", "ifdef", "ifndef", "if", "elif", "else", "endif", "line":
	default:
		l.add(c.from, "#%s is not in the dialect", m[1])
	}
}

// String lists a table of names for a person.
func (n Name) String() string {
	return fmt.Sprintf("%-34s %-10s %-4s %s", n.Word, n.Where, n.Since, n.Type)
}
