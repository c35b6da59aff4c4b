package msl

import (
	"fmt"
	"regexp"
	"strings"
)

// CUDA returns a program as CUDA C++ for the CUDA shim, whose header stands
// before it: Metal's address spaces become macros of names that CUDA does not
// have, the types that CUDA has too are qualified, attributes and #include lines
// go. Each instance gets a global function, named by Export.
//
// A global function takes a kernel's buffers in order of their index: a pointer
// for each, and the argument struct by value.
func CUDA(source string) (string, error) {
	s, err := Parse(source)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(s.withoutIncludes(s.rewritten()))
	b.WriteString("\n#line 1 \"wrappers\"\n")
	for n, in := range s.Instances {
		k, err := s.instantiated(in)
		if err != nil {
			return "", err
		}
		cudaWrapper(&b, n, in, k)
	}
	return b.String(), nil
}

// Export is the name of the global function that CUDA calls an instance by.
func Export(instance string) string { return "msl_k_" + instance }

func cudaWrapper(b *strings.Builder, n int, in Instance, k *Kernel) {
	const d = "metal::msl_detail::"
	targs := make([]string, len(in.Args))
	for i, a := range in.Args {
		targs[i] = cudaType(a)
	}
	call := in.call(targs)
	fmt.Fprintf(b, "typedef %ssig<decltype(%s)> msl_s%d;\n", d, call, n)
	decls := make([]string, len(k.Buffers()))
	var args []string
	for i, p := range k.Params {
		t := fmt.Sprintf("msl_s%d::arg<%d>::t", n, i)
		switch p.Kind() {
		case Builtin:
			args = append(args, builtins[p.Attribute].cuda)
			continue
		case Constant:
			decls[p.Index] = fmt.Sprintf("const %snocv<%snoref<%s>::t>::t a%d", d, d, t, p.Index)
		case Read:
			decls[p.Index] = fmt.Sprintf("%s __restrict__ a%d", t, p.Index)
		default:
			decls[p.Index] = fmt.Sprintf("%s a%d", t, p.Index)
		}
		args = append(args, fmt.Sprintf("a%d", p.Index))
	}
	fmt.Fprintf(b, "extern \"C\" __global__ void __launch_bounds__(%s) %s(%s) {\n  %s(%s);\n}\n",
		in.max(k), Export(in.Name), strings.Join(decls, ", "), call, strings.Join(args, ", "))
}

var (
	reVector     = regexp.MustCompile(`^(?:u?(?:char|short|int|long)|float|half|bfloat)[234]$`)
	reHalf       = regexp.MustCompile(`^b?(?:float)?half$|^bfloat$`)
	reAttributes = regexp.MustCompile(`\[\[[^\[\]]*\]\]`)
)

// cudaType is how CUDA text names a word, which may be a type.
func cudaType(w string) string {
	switch {
	case reVector.MatchString(w): // nvcc's own stubs would find CUDA's uint3
		return "metal::v_" + w
	case reHalf.MatchString(w):
		return "metal::" + w
	}
	return w
}

// rewritten returns the text for CUDA. Lines stay.
func (s *Source) rewritten() string {
	raw := reAttributes.ReplaceAllStringFunc(s.raw, func(a string) string {
		return strings.Repeat("\n", strings.Count(a, "\n"))
	})
	mask := blanked(raw, true, true)
	var b strings.Builder
	last := 0
	for _, m := range reWord.FindAllStringIndex(mask, -1) {
		w := mask[m[0]:m[1]]
		to := cudaType(w)
		switch w {
		case "device", "constant", "thread", "threadgroup", "kernel":
			to = "MSL_" + w
		}
		if to == w {
			continue
		}
		if before := strings.TrimRight(mask[:m[0]], " "); strings.HasSuffix(before, "metal::") {
			to = strings.TrimPrefix(to, "metal::")
		}
		b.WriteString(raw[last:m[0]] + to)
		last = m[1]
	}
	return b.String() + raw[last:]
}
