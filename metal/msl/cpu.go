package msl

import (
	"fmt"
	"regexp"
	"strings"
)

// CPU returns a program as C++17 for the CPU shim: the text as it is, without
// its #include lines, and a wrapper for each instance. The shim's header stands
// before it. The result exports msl_table, which lists the kernels with what
// they are bound to and, of their argument structs, offsets and sizes of fields.
func CPU(source string) (string, error) {
	s, err := Parse(source)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(s.withoutIncludes(s.raw))
	b.WriteString("\n#line 1 \"wrappers\"\nnamespace {\n")
	var list strings.Builder
	for n, in := range s.Instances {
		k, err := s.instantiated(in)
		if err != nil {
			return "", err
		}
		s.cpuWrapper(&b, n, in, k)
		fmt.Fprintf(&list, "  {%q, %q, msl_k%d, msl_a%d, %d, %s, %s},\n", in.Name, in.Kernel, n, n, len(k.Buffers()),
			in.max(k), s.cpuStruct(&b, n, k))
	}
	fmt.Fprintf(&b, "const msl_rt::KernelInfo msl_kernels[] = {\n%s};\n}  // namespace\n", list.String())
	fmt.Fprintf(&b, "extern \"C\" const msl_rt::Table msl_table = {msl_kernels, %d};\n", len(s.Instances))
	return b.String(), nil
}

// instantiated returns the kernel of an instance, with as many template
// parameters as it has arguments.
func (s *Source) instantiated(in Instance) (*Kernel, error) {
	k := s.Kernel(in.Kernel)
	if k == nil {
		return nil, Failure([]Problem{s.problem(in.pos, "%q: no kernel %s", in.Name, in.Kernel)})
	}
	if len(k.Template) != len(in.Args) {
		return nil, Failure([]Problem{s.problem(in.pos, "%q: %d template arguments for %d parameters", in.Name, len(in.Args), len(k.Template))})
	}
	return k, nil
}

// cpuWrapper writes msl_kN, which calls an instance with what a launch says, and
// msl_aN, which describes its buffers. Types come from the signature: templates
// need no parser of types.
func (s *Source) cpuWrapper(b *strings.Builder, n int, in Instance, k *Kernel) {
	const d = "metal::msl_detail::"
	var args []string
	infos := make([]string, len(k.Buffers()))
	for i, p := range k.Params {
		switch p.Kind() {
		case Builtin:
			args = append(args, builtins[p.Attribute].cpu)
			continue
		case Constant:
			args = append(args, fmt.Sprintf("%sRef{l.buf[%d]}", d, p.Index))
		default:
			args = append(args, fmt.Sprintf("%sPointer{l.buf[%d]}", d, p.Index))
		}
		t := fmt.Sprintf("%sarginfo<msl_s%d::arg<%d>::t>", d, n, i)
		infos[p.Index] = fmt.Sprintf("{%s::kind, %s::size, %q}", t, t, p.Name)
	}
	fmt.Fprintf(b, "void msl_k%d(const msl_rt::Launch& l) { %s(%s); }\n", n, in.call(in.Args), strings.Join(args, ", "))
	fmt.Fprintf(b, "typedef %ssig<decltype(%s)> msl_s%d;\n", d, in.call(in.Args), n)
	if len(infos) == 0 {
		infos = []string{"{0, 0, \"\"}"}
	}
	fmt.Fprintf(b, "const msl_rt::ArgInfo msl_a%d[] = {%s};\n", n, strings.Join(infos, ", "))
}

// cpuStruct writes the offsets and sizes of an instance's argument struct and
// returns what the table says of it.
func (s *Source) cpuStruct(b *strings.Builder, n int, k *Kernel) string {
	t := s.Arguments(k)
	if t == nil {
		return "nullptr, 0, 0"
	}
	var fields []string
	for _, f := range t.Fields {
		fields = append(fields, fmt.Sprintf("{%q, %q, __builtin_offsetof(%s, %s), sizeof(%s::%s)}", f.Name, f.Type, t.Name, f.Name, t.Name, f.Name))
	}
	fmt.Fprintf(b, "const msl_rt::Field msl_f%d[] = {%s};\n", n, strings.Join(fields, ", "))
	return fmt.Sprintf("msl_f%d, %d, sizeof(%s)", n, len(fields), t.Name)
}

// withoutIncludes blanks the #include lines.
func (s *Source) withoutIncludes(text string) string {
	return reInclude.ReplaceAllString(text, "")
}

var reInclude = regexp.MustCompile(`(?m)^[ \t]*#[ \t]*include\b[^\n]*`)

// call is how C++ names the instance with these template arguments.
func (in Instance) call(args []string) string {
	if len(args) == 0 {
		return in.Kernel
	}
	return in.Kernel + "<" + strings.Join(args, ", ") + ">"
}

// max is the instance's KERNEL_MAX: the expression with its template arguments.
func (in Instance) max(k *Kernel) string {
	if k.Max == "" {
		return "1024"
	}
	expr := k.Max
	for i, t := range k.Template {
		expr = regexp.MustCompile(`\b`+t+`\b`).ReplaceAllLiteralString(expr, "("+in.Args[i]+")")
	}
	return expr
}
