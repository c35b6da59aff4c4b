package msl

import "strings"

// Name is a word of Metal's that the kernels may use.
type Name struct {
	Word  string
	Where string // section of the Metal Shading Language Specification
	Since string // first language version on macOS
	Type  string // what it is, or its declaration
	kind  nameKind
}

type nameKind int

const (
	aType     nameKind = iota // names a type
	aFunction                 // a function in namespace metal
	aPrecise                  // a function that must be called as precise::
	aMember                   // after ::, or a component after a dot
	anAttribute
	aSpace // an address space
)

// Names is every word of the Metal language and its library, beyond C++, that
// the dialect has. Sections are those of version 4 of the specification (of
// 2025-06-05); all of it is in 3.1. Accuracies of functions are in table 8.1, in units in the last
// place of float.
var Names = []Name{
	{"bool", "2.1", "1.0", "true or false", aType},
	{"char", "2.1", "1.0", "8-bit signed integer", aType},
	{"uchar", "2.1", "1.0", "8-bit unsigned integer", aType},
	{"short", "2.1", "1.0", "16-bit signed integer", aType},
	{"ushort", "2.1", "1.0", "16-bit unsigned integer", aType},
	{"int", "2.1", "1.0", "32-bit signed integer", aType},
	{"uint", "2.1", "1.0", "32-bit unsigned integer", aType},
	{"long", "2.1", "2.2", "64-bit signed integer", aType},
	{"ulong", "2.1", "2.2", "64-bit unsigned integer; not for SIMD-group functions", aType},
	{"float", "2.1", "1.0", "IEEE binary32", aType},
	{"half", "2.1", "1.0", "IEEE binary16", aType},
	{"bfloat", "2.1", "3.1", "upper half of a float", aType},
	{"void", "2.1", "1.0", "no value", aType},
	{"vec", "2.2", "1.0", "vec<T, n> of 2 or 4 components", aType},
	{"float2", "2.2", "1.0", "vec<float, 2>", aType},
	{"float4", "2.2", "1.0", "vec<float, 4>", aType},
	{"half2", "2.2", "1.0", "vec<half, 2>", aType},
	{"half4", "2.2", "1.0", "vec<half, 4>", aType},
	{"bfloat2", "2.2", "3.1", "vec<bfloat, 2>", aType},
	{"bfloat4", "2.2", "3.1", "vec<bfloat, 4>", aType},
	{"uint2", "2.2", "1.0", "vec<uint, 2>", aType},
	{"uint3", "2.2", "1.0", "vec<uint, 3>, of positions", aType},
	{"uint4", "2.2", "1.0", "vec<uint, 4>", aType},
	{"int2", "2.2", "1.0", "vec<int, 2>", aType},
	{"int4", "2.2", "1.0", "vec<int, 4>", aType},
	{"uchar2", "2.2", "1.0", "vec<uchar, 2>", aType},
	{"uchar4", "2.2", "1.0", "vec<uchar, 4>", aType},
	{"ushort2", "2.2", "1.0", "vec<ushort, 2>", aType},
	{"ushort4", "2.2", "1.0", "vec<ushort, 4>", aType},
	{"ulong2", "2.2", "2.2", "vec<ulong, 2>", aType},
	{"x", "2.2.1", "1.0", "first component", aMember},
	{"y", "2.2.1", "1.0", "second component", aMember},
	{"z", "2.2.1", "1.0", "third component", aMember},
	{"w", "2.2.1", "1.0", "fourth component", aMember},
	{"simdgroup_matrix", "2.4", "2.3", "simdgroup_matrix<T, 8, 8>; T half, float, and bfloat from 3.1", aType},
	{"simdgroup_float8x8", "2.4", "2.3", "simdgroup_matrix<float, 8, 8>", aType},
	{"simdgroup_half8x8", "2.4", "2.3", "simdgroup_matrix<half, 8, 8>", aType},
	{"simdgroup_bfloat8x8", "2.4", "3.1", "simdgroup_matrix<bfloat, 8, 8>", aType},
	{"atomic_uint", "2.6", "1.0", "opaque 32-bit atomic", aType},
	{"atomic_int", "2.6", "1.0", "opaque 32-bit atomic", aType},
	{"as_type", "2.21", "1.0", "To as_type<To>(From), equal sizes", aFunction},

	{"device", "4.1", "1.0", "address space of buffers", aSpace},
	{"constant", "4.2", "1.0", "address space of arguments and tables, read-only", aSpace},
	{"thread", "4.3", "1.0", "a thread's own address space", aSpace},
	{"threadgroup", "4.4", "1.0", "address space that a threadgroup shares", aSpace},

	{"kernel", "5.1.3", "1.0", "marks a compute function", anAttribute},
	{"max_total_threads_per_threadgroup", "5.1.3", "1.0", "[[…(n)]] of a kernel; in KERNEL_MAX", anAttribute},
	{"host_name", "5.1.10", "2.2", "[[host_name(\"…\")]]; in INSTANTIATE_KERNEL", anAttribute},
	{"buffer", "5.2.1", "1.0", "[[buffer(index)]], index below 31", anAttribute},
	{"thread_position_in_grid", "5.2.3.6", "1.0", "uint3", anAttribute},
	{"thread_position_in_threadgroup", "5.2.3.6", "1.0", "uint3", anAttribute},
	{"threadgroup_position_in_grid", "5.2.3.6", "1.0", "uint3", anAttribute},
	{"threadgroups_per_grid", "5.2.3.6", "1.0", "uint3", anAttribute},
	{"threads_per_threadgroup", "5.2.3.6", "1.0", "uint3", anAttribute},
	{"thread_index_in_threadgroup", "5.2.3.6", "1.0", "uint", anAttribute},
	{"thread_index_in_simdgroup", "5.2.3.6", "2.0", "uint", anAttribute},
	{"simdgroup_index_in_threadgroup", "5.2.3.6", "2.0", "uint", anAttribute},
	{"simdgroups_per_threadgroup", "5.2.3.6", "2.0", "uint", anAttribute},

	{"metal", "6.1", "1.0", "namespace of the library", aMember},
	{"precise", "6.5", "1.0", "namespace of the functions with the accuracy of table 8.1", aMember},
	{"clamp", "6.2, 6.3", "1.0", "T clamp(T, T min, T max)", aFunction},
	{"abs", "6.3, 6.5", "1.0", "T abs(T)", aFunction},
	{"min", "6.3, 6.5", "1.0", "T min(T, T); of a number and a NaN the number", aFunction},
	{"max", "6.3, 6.5", "1.0", "T max(T, T); of a number and a NaN the number", aFunction},
	{"clz", "6.3", "1.0", "T clz(T)", aFunction},
	{"ctz", "6.3", "1.0", "T ctz(T)", aFunction},
	{"popcount", "6.3", "1.0", "T popcount(T)", aFunction},
	{"select", "6.4", "1.0", "T select(T a, T b, bool c): c ? b : a", aFunction},
	{"fma", "6.5", "1.0", "T fma(T, T, T), rounded once", aFunction},
	{"fabs", "6.5", "1.0", "T fabs(T)", aFunction},
	{"floor", "6.5", "1.0", "T floor(T)", aFunction},
	{"ceil", "6.5", "1.0", "T ceil(T)", aFunction},
	{"rint", "6.5", "1.0", "T rint(T), ties to even", aFunction},
	{"round", "6.5", "1.0", "T round(T), ties away from zero", aFunction},
	{"trunc", "6.5", "1.0", "T trunc(T)", aFunction},
	{"exp", "6.5", "1.0", "float precise::exp(float), 4 ulp", aPrecise},
	{"exp2", "6.5", "1.0", "float precise::exp2(float), 4 ulp", aPrecise},
	{"log", "6.5", "1.0", "float precise::log(float), 4 ulp", aPrecise},
	{"log2", "6.5", "1.0", "float precise::log2(float), 4 ulp", aPrecise},
	{"sin", "6.5", "1.0", "float precise::sin(float), 4 ulp", aPrecise},
	{"cos", "6.5", "1.0", "float precise::cos(float), 4 ulp", aPrecise},
	{"tanh", "6.5", "1.0", "float precise::tanh(float), 5 ulp", aPrecise},
	{"pow", "6.5", "1.0", "float precise::pow(float, float), 16 ulp", aPrecise},
	{"sqrt", "6.5", "1.0", "float precise::sqrt(float), correctly rounded", aPrecise},
	{"rsqrt", "6.5", "1.0", "float precise::rsqrt(float), correctly rounded", aPrecise},
	{"make_filled_simdgroup_matrix", "6.7.1", "2.3", "simdgroup_matrix<T, 8, 8> make_filled_simdgroup_matrix<T, 8, 8>(T)", aFunction},
	{"simdgroup_load", "6.7.1", "2.3", "void simdgroup_load(thread simdgroup_matrix&, const device|threadgroup T*, ulong elements_per_row = 8, ulong2 origin = 0, bool transpose = false)", aFunction},
	{"simdgroup_store", "6.7.1", "2.3", "void simdgroup_store(simdgroup_matrix, device|threadgroup T*, ulong elements_per_row = 8, ulong2 origin = 0, bool transpose = false)", aFunction},
	{"simdgroup_multiply", "6.7.2", "2.3", "void simdgroup_multiply(d, a, b): d = a·b", aFunction},
	{"simdgroup_multiply_accumulate", "6.7.2", "2.3", "void simdgroup_multiply_accumulate(d, a, b, c): d = a·b + c", aFunction},
	{"dot", "6.8", "1.0", "T dot(vec<T, n>, vec<T, n>)", aFunction},
	{"threadgroup_barrier", "6.9.1", "1.0", "void threadgroup_barrier(mem_flags)", aFunction},
	{"simdgroup_barrier", "6.9.1", "2.0", "void simdgroup_barrier(mem_flags)", aFunction},
	{"mem_flags", "6.9.1", "1.0", "what memory a barrier orders", aType},
	{"mem_none", "6.9.1", "1.0", "mem_flags::mem_none", aMember},
	{"mem_device", "6.9.1", "1.0", "mem_flags::mem_device", aMember},
	{"mem_threadgroup", "6.9.1", "1.0", "mem_flags::mem_threadgroup", aMember},
	{"simd_all", "6.9.2", "2.1", "bool simd_all(bool)", aFunction},
	{"simd_any", "6.9.2", "2.1", "bool simd_any(bool)", aFunction},
	{"simd_broadcast", "6.9.2", "2.0", "T simd_broadcast(T, ushort lane)", aFunction},
	{"simd_broadcast_first", "6.9.2", "2.1", "T simd_broadcast_first(T)", aFunction},
	{"simd_shuffle", "6.9.2", "2.0", "T simd_shuffle(T, ushort lane)", aFunction},
	{"simd_shuffle_xor", "6.9.2", "2.0", "T simd_shuffle_xor(T, ushort mask)", aFunction},
	{"simd_shuffle_down", "6.9.2", "2.0", "T simd_shuffle_down(T, ushort delta)", aFunction},
	{"simd_shuffle_up", "6.9.2", "2.0", "T simd_shuffle_up(T, ushort delta)", aFunction},
	{"simd_sum", "6.9.2", "2.1", "T simd_sum(T)", aFunction},
	{"simd_product", "6.9.2", "2.1", "T simd_product(T)", aFunction},
	{"simd_max", "6.9.2", "2.1", "T simd_max(T)", aFunction},
	{"simd_min", "6.9.2", "2.1", "T simd_min(T)", aFunction},
	{"simd_and", "6.9.2", "2.1", "T simd_and(T), integers", aFunction},
	{"simd_or", "6.9.2", "2.1", "T simd_or(T), integers", aFunction},
	{"simd_xor", "6.9.2", "2.1", "T simd_xor(T), integers", aFunction},
	{"simd_prefix_exclusive_sum", "6.9.2", "2.1", "T simd_prefix_exclusive_sum(T)", aFunction},
	{"simd_prefix_inclusive_sum", "6.9.2", "2.1", "T simd_prefix_inclusive_sum(T)", aFunction},
	{"memory_order_relaxed", "6.15.1", "1.0", "the only memory_order", aFunction},
	{"atomic_store_explicit", "6.15.4.1", "1.0", "void atomic_store_explicit(A*, T, memory_order)", aFunction},
	{"atomic_load_explicit", "6.15.4.2", "1.0", "T atomic_load_explicit(const A*, memory_order)", aFunction},
	{"atomic_exchange_explicit", "6.15.4.3", "1.0", "T atomic_exchange_explicit(A*, T, memory_order)", aFunction},
	{"atomic_fetch_add_explicit", "6.15.4.5", "1.0", "T atomic_fetch_add_explicit(A*, T, memory_order)", aFunction},
	{"atomic_fetch_sub_explicit", "6.15.4.5", "1.0", "T atomic_fetch_sub_explicit(A*, T, memory_order)", aFunction},
	{"atomic_fetch_and_explicit", "6.15.4.5", "1.0", "T atomic_fetch_and_explicit(A*, T, memory_order)", aFunction},
	{"atomic_fetch_or_explicit", "6.15.4.5", "1.0", "T atomic_fetch_or_explicit(A*, T, memory_order)", aFunction},
	{"atomic_fetch_max_explicit", "6.15.4.5", "1.0", "T atomic_fetch_max_explicit(A*, T, memory_order)", aFunction},
	{"atomic_fetch_min_explicit", "6.15.4.5", "1.0", "T atomic_fetch_min_explicit(A*, T, memory_order)", aFunction},
}

// known finds a word of the table.
var known = func() map[string]Name {
	m := map[string]Name{}
	for _, n := range Names {
		m[n.Word] = n
	}
	return m
}()

func words(list string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(list) {
		m[w] = true
	}
	return m
}

// macros are the dialect's own words.
var macros = words("MSL_FN TG_ARRAY PROGRAM_TABLE MSL_UNROLL KERNEL_MAX INSTANTIATE_KERNEL")

// keywords is what the dialect has of C++14, and if constexpr, which Apple's
// compiler takes with a warning.
var keywords = words(`break case const constexpr continue default do else enum false for if namespace
	reinterpret_cast return signed sizeof static_assert static_cast struct switch template true
	typedef typename class unsigned using while`)

// builtin says how the two shims know a position.
type builtin struct{ typ, cpu, cuda string }

var builtins = map[string]builtin{
	"thread_position_in_grid": {"uint3", "metal::msl_detail::U3{{l.tg.x * l.threads + l.tid, l.tg.y, l.tg.z}}",
		"msl_u3(blockIdx.x * blockDim.x + threadIdx.x, blockIdx.y, blockIdx.z)"},
	"thread_position_in_threadgroup": {"uint3", "metal::msl_detail::U3{{l.tid, 0, 0}}", "msl_u3(threadIdx.x, 0u, 0u)"},
	"threadgroup_position_in_grid":   {"uint3", "metal::msl_detail::U3{l.tg}", "msl_u3(blockIdx.x, blockIdx.y, blockIdx.z)"},
	"threads_per_threadgroup":        {"uint3", "metal::msl_detail::U3{{l.threads, 1, 1}}", "msl_u3(blockDim.x, 1u, 1u)"},
	"threadgroups_per_grid":          {"uint3", "metal::msl_detail::U3{l.grid}", "msl_u3(gridDim.x, gridDim.y, gridDim.z)"},
	"thread_index_in_threadgroup":    {"uint", "l.tid", "threadIdx.x"},
	"thread_index_in_simdgroup":      {"uint", "(l.tid & 31u)", "(threadIdx.x & 31u)"},
	"simdgroup_index_in_threadgroup": {"uint", "(l.tid >> 5)", "(threadIdx.x >> 5)"},
	"simdgroups_per_threadgroup":     {"uint", "(l.threads >> 5)", "(blockDim.x >> 5)"},
}
