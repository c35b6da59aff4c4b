package msl

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
)

const good = `
struct AddArgs {
  uint n;
  float by;
};
enum { kTwo = 2, kThree };
PROGRAM_TABLE(float, kTable, 2) = {1.0f, 2.0f};

template <typename T>
MSL_FN float twice(T v) { return float(v) * float(kTwo); }
MSL_FN float unused(float v) { return v; }

// a kernel
template <typename T, int NSG>
KERNEL_MAX(32 * NSG) void add(
    device const T* x [[buffer(0)]],
    device float* y [[buffer(1)]],
    constant AddArgs& p [[buffer(2)]],
    uint3 at [[thread_position_in_grid]]) {
  if (at.x < p.n) y[at.x] = twice<T>(x[at.x]) + p.by;
}

kernel void plain(device float* y [[buffer(0)]], uint tid [[thread_index_in_threadgroup]]) {
  y[tid] = kTable[tid % 2u];
}
`

func program(body string, instances ...Instance) string {
	return Program([]File{{"test.metal", body}}, instances)
}

var addHalf = Instance{Name: "add_f16", Kernel: "add", Args: []string{"half", "4"}}

func TestParse(t *testing.T) {
	s, err := Parse(program(good, addHalf))
	if err != nil {
		t.Fatal(err)
	}
	k := s.Kernel("add")
	if k == nil || !reflect.DeepEqual(k.Template, []string{"T", "NSG"}) || k.Max != "32 * NSG" {
		t.Fatalf("add is %+v", k)
	}
	var got []string
	for _, p := range k.Params {
		got = append(got, fmt.Sprintf("%s|%s|%s|%d|%d", p.Type, p.Name, p.Attribute, p.Index, p.Kind()))
	}
	want := []string{"device const T*|x|buffer|0|1", "device float*|y|buffer|1|2", "constant AddArgs&|p|buffer|2|3",
		"uint3|at|thread_position_in_grid|-1|0"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("parameters %q, want %q", got, want)
	}
	if a := s.Arguments(k); a == nil || a.Name != "AddArgs" || len(a.Fields) != 2 || a.Fields[1].Name != "by" || a.Fields[1].Type != "float" {
		t.Errorf("argument struct %+v", a)
	}
	if file, line := s.KernelFile(k); file != "test.metal" || line != 15 {
		t.Errorf("add stands at %s:%d, want test.metal:15", file, line)
	}
	for _, name := range []string{"add_f16", "plain"} {
		if _, ok := s.Instance(name); !ok {
			t.Errorf("no instance %s of %v", name, s.Instances)
		}
	}
	if p := s.Lint(); len(p) > 0 {
		t.Errorf("problems in a good program: %v", p)
	}
	if _, err := Parse("MSL_FN int f() { return 1;"); err == nil {
		t.Error("an open bracket is no error")
	}
}

// TestLint has one mistake a line, and a part of what must be said of it.
func TestLint(t *testing.T) {
	body := func(s string) string {
		return "kernel void k(device float* y [[buffer(0)]], uint tid [[thread_index_in_threadgroup]]) {\n" + s + "\n}\n"
	}
	params := func(s string) string { return "kernel void k(" + s + ") {}\n" }
	for _, c := range []struct{ text, want string }{
		{body("double d = 1.0f;"), "no double"},
		{body("float d = 1.0;"), "f suffix"},
		{body("float d = 1e3;"), "f suffix"},
		{body("static float d;"), "no static"},
		{body("auto d = y[0];"), "hides the address space"},
		{body("y[0] = exp(y[1]);"), "write precise::exp"},
		{body("y[0] = precise::floor(y[1]);"), "precise::floor is not"},
		{body("y[0] = fast::exp(y[1]);"), "fast is not in the table"},
		{body("y[0] = nonsense(y[1]);"), "nonsense is not in the table"},
		{body("y[0] = INFINITY;"), "INFINITY is not in the table"},
		{body("float* q = y;"), "without an address space"},
		{body("threadgroup float t[4];"), "TG_ARRAY"},
		{body("float4 v = float4(1.0f); y[0] = v.xy.x;"), "no swizzles"},
		{body("threadgroup float* q = (threadgroup float*)y;"), "C-style pointer cast"},
		{body("goto out;"), "goto is not"},
		{params("device float* y"), "no attribute"},
		{params("float* y [[buffer(0)]]"), "address space"},
		{params("threadgroup float* y [[buffer(0)]]"), "not threadgroup"},
		{params("device float* y [[buffer(1)]]"), "gaps"},
		{params("device float* y [[buffer(0)]], device float* z [[buffer(0)]]"), "share"},
		{params("device float* y [[buffer(31)]]"), "outside"},
		{params("device float* y [[buffer(0)]], uint at [[thread_position_in_grid]]"), "is uint3"},
		{params("device float* y [[buffer(0)]], uint at [[lane_id]]"), "not in the dialect"},
		{params("device float* y [[buffer(0)]], constant Missing& p [[buffer(1)]]"), "not declared"},
		{"struct A { uint n; uint m; };\n" + params("constant A& p [[buffer(0)]], device float* y [[buffer(1)]]"), "last buffer"},
		{"struct A { uint n; };\n" + params("device float* y [[buffer(0)]], constant A& p [[buffer(1)]]"), "multiple of 8"},
		{"struct A { uint n; ulong m; };\n" + params("device float* y [[buffer(0)]], constant A& p [[buffer(1)]]"), "padding"},
		{"struct A { half n; };\n" + params("device float* y [[buffer(0)]], constant A& p [[buffer(1)]]"), "uint, int, float and ulong"},
		{"float f(float a) { return a; }\n", "start with MSL_FN"},
		{"constant float a = 1.0f;\n", "namespace scope"},
		{"#include <cmath>\n", "no files"},
		{"#pragma once\n", "#pragma is not"},
		{"#define SQUARE(a) pow_of(a)\n", "pow_of is not"},
		{"INSTANTIATE_KERNEL(\"k\", missing, 1)\n", "no kernel missing"},
		{good + "INSTANTIATE_KERNEL(\"k\", add, half)\n", "1 template arguments for 2"},
		{good + "INSTANTIATE_KERNEL(\"plain\", add, half, 1)\n", "used twice"},
		{good + "INSTANTIATE_KERNEL(\"a-b\", add, half, 1)\n", "must be a word"},
	} {
		found := false
		p := Lint(program(c.text))
		for _, q := range p {
			found = found || strings.Contains(q.Text, c.want)
		}
		if !found {
			t.Errorf("of %q Lint says %v, want %q", c.text, p, c.want)
		}
	}
}

// TestExtract wants what an instance needs, nothing else, and lines that stay.
func TestExtract(t *testing.T) {
	s, err := Parse(program(good, addHalf, Instance{Name: "add_f32", Kernel: "add", Args: []string{"float", "1"}}))
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.Extract("add_f16")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{"AddArgs", "twice", "kTwo", "add_f16", "define MSL_FN"} {
		if !strings.Contains(text, w) {
			t.Errorf("the extract lacks %s:\n%s", w, text)
		}
	}
	for _, w := range []string{"unused", "plain", "kTable", "add_f32", "a kernel"} {
		if strings.Contains(text, w) {
			t.Errorf("the extract has %s:\n%s", w, text)
		}
	}
	e, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if file, line := e.KernelFile(e.Kernel("add")); file != "test.metal" || line != 15 {
		t.Errorf("in the extract, add stands at %s:%d, want test.metal:15", file, line)
	}
	again, err := e.Extract("add_f16")
	if err != nil || again != text {
		t.Errorf("an extract's extract differs (%v):\n%s\n---\n%s", err, text, again)
	}
	if _, err := s.Extract("add_f64"); err == nil {
		t.Error("an instance that is not there is extracted")
	}
}

// TestExtractTogether wants the same of a source that many goroutines extract
// from at once, as devices do when they compile.
func TestExtractTogether(t *testing.T) {
	want := ""
	for range 200 {
		s, err := Parse(program(good, addHalf))
		if err != nil {
			t.Fatal(err)
		}
		var texts [8]string
		var wg sync.WaitGroup
		for i := range texts {
			wg.Go(func() { texts[i], _ = s.Extract("add_f16") })
		}
		wg.Wait()
		if want == "" {
			want = texts[0]
		}
		for _, text := range texts {
			if text != want {
				t.Fatalf("two extracts differ:\n%s\n---\n%s", want, text)
			}
		}
	}
}

func TestCPU(t *testing.T) {
	text, err := CPU(program(good, addHalf))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{
		"add<half, 4>(metal::msl_detail::Pointer{l.buf[0]}, metal::msl_detail::Pointer{l.buf[1]}, metal::msl_detail::Ref{l.buf[2]}",
		`{"by", "float", __builtin_offsetof(AddArgs, by), sizeof(AddArgs::by)}`,
		`{"add_f16", "add", msl_k0, msl_a0, 3, 32 * (4), msl_f0, 2, sizeof(AddArgs)}`,
		`{"plain", "plain", msl_k1, msl_a1, 1, 1024, nullptr, 0, 0}`,
	} {
		if !strings.Contains(text, w) {
			t.Errorf("the CPU's text lacks %s:\n%s", w, text)
		}
	}
	if strings.Contains(text, "#include") {
		t.Error("the CPU's text includes files")
	}
	if _, err := CPU(program(good, Instance{Name: "k", Kernel: "add", Args: []string{"half"}})); err == nil {
		t.Error("an instance with too few arguments compiles")
	}
}

func TestCUDA(t *testing.T) {
	source := program(good, addHalf, Instance{Name: "v", Kernel: "add", Args: []string{"half4", "1"}})
	text, err := CUDA(source)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{
		"MSL_device const T* x", "MSL_constant AddArgs& p", "metal::v_uint3 at",
		"add<metal::half, 4>", "add<metal::v_half4, 1>",
		`extern "C" __global__ void __launch_bounds__(32 * (4)) msl_k_add_f16(msl_s0::arg<0>::t __restrict__ a0, msl_s0::arg<1>::t a1, const`,
		"msl_u3(blockIdx.x * blockDim.x + threadIdx.x",
	} {
		if !strings.Contains(text, w) {
			t.Errorf("CUDA's text lacks %s:\n%s", w, text)
		}
	}
	for _, w := range []string{"[[buffer", "#include", " device "} {
		if strings.Contains(text, w) {
			t.Errorf("CUDA's text has %s:\n%s", w, text)
		}
	}
	if Export("add_f16") != "msl_k_add_f16" {
		t.Error("Export names another function than the text does")
	}
}

// TestNames holds the table together: words once, sections and versions that are some.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, n := range Names {
		if seen[n.Word] {
			t.Errorf("%s stands twice", n.Word)
		}
		seen[n.Word] = true
		if n.Where == "" || n.Type == "" || !strings.Contains(n.Since, ".") || n.Since > "3.1" {
			t.Errorf("%s: where %q, since %q, type %q", n.Word, n.Where, n.Since, n.Type)
		}
		if keywords[n.Word] || macros[n.Word] {
			t.Errorf("%s is a keyword too", n.Word)
		}
	}
	for a := range builtins {
		if known[a].kind != anAttribute {
			t.Errorf("the shims know %s, the table does not", a)
		}
	}
}
