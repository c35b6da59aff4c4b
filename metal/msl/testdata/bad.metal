// One mistake for each CASE; CASE 0 is clean. strict_test.go wants every other one
// refused, by the strict check or by Lint.
#include <metal_stdlib>
#include <metal_simdgroup_matrix>
using namespace metal;

struct P {
  uint n;
  float e;
#if CASE == 35
  uint odd;                                                  // 12 bytes
#elif CASE == 36
  ulong wide;
  uint behind;
  ulong padded;                                              // padding before it
#elif CASE == 37
  bool b;                                                    // no mirror in Go
#endif
};

template <typename T>
MSL_FN T first(device const T* p) { return p[0]; }
MSL_FN void store_tg(threadgroup float* p, float v) { p[0] = v; }
MSL_FN void add_to(thread float& a, float b) { a += b; }
#if CASE == 14
MSL_FN float helper(float* p) { return p[0]; }              // no address space
#elif CASE == 15
template <typename T>
MSL_FN T any(const T& p) { return p; }                      // no address space
#elif CASE == 16
inline float unmarked(float a) { return a; }                // no MSL_FN
#elif CASE == 17
float table[2] = {1.0f, 2.0f};                              // mutable program scope
#elif CASE == 18
MSL_FN float lit(float a) { return a * 2.0; }               // double literal
#elif CASE == 19
MSL_FN float dbl(float a) { double d = a; return float(d); }
#elif CASE == 20
MSL_FN float stat() { static float s; return s; }
#endif

kernel void k(
#if CASE == 21
    device const float* x,                                   // no attribute
#elif CASE == 22
    const float* x [[buffer(0)]],                            // no address space
#else
    device const float* x [[buffer(0)]],
#endif
    device float* y [[buffer(1)]],
#if CASE == 34
    constant P& p [[buffer(2)]],                             // not the last
    device atomic_uint* c [[buffer(3)]],
#else
    device atomic_uint* c [[buffer(2)]],
#if CASE == 23
    constant P& p [[buffer(1)]],                             // index used twice
#elif CASE == 24
    constant P& p [[buffer(31)]],                            // over the table
#elif CASE == 38
    constant P& p [[buffer(4)]],                             // leaves a gap
#else
    constant P& p [[buffer(3)]],
#endif
#endif
#if CASE == 25
    uint3 tid [[thread_index_in_threadgroup]]) {             // wrong type
#elif CASE == 39
    uint tid [[thread_execution_width]]) {                   // not in the dialect
#else
    uint tid [[thread_index_in_threadgroup]]) {
#endif
  TG_ARRAY(float, t, 32);
  TG_ARRAY(half, th, 64);
  float a[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  store_tg(t + tid, first(x));
  threadgroup_barrier(mem_flags::mem_threadgroup);
  add_to(a[0], t[0]);
  simdgroup_matrix<float, 8, 8> m = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  simdgroup_matrix<half, 8, 8> h;
  simdgroup_load(h, th, 8, ulong2(0), true);
#if CASE == 1
  store_tg(y, 1.0f);                        // device for threadgroup
#elif CASE == 2
  a[1] = first(t);                          // threadgroup for device
#elif CASE == 3
  add_to(y[0], 1.0f);                       // reference to device memory as thread
#elif CASE == 4
  device float* w = x;                      // drops const
#elif CASE == 5
  p.n = 3;                                  // writes constant memory
#elif CASE == 6
  threadgroup float* q = reinterpret_cast<threadgroup float*>(y);
#elif CASE == 7
  device float* q = a;                      // thread memory as device
#elif CASE == 8
  *c += 1;                                  // arithmetic on an atomic
#elif CASE == 9
  simdgroup_load(m, th, 8, ulong2(0), true);  // element types differ
#elif CASE == 10
  simdgroup_matrix<float, 16, 16> big;      // only 8x8
#elif CASE == 11
  simdgroup_matrix<int, 8, 8> ints;         // only float, half, bfloat
#elif CASE == 12
  a[1] = min(tid, 3);                       // uint and int: ambiguous in MSL
#elif CASE == 13
  threadgroup float u[8];                   // not by TG_ARRAY
  u[0] = 1.0f;
#elif CASE == 26
  a[1] = simd_sum(t);                       // pointer where a value is wanted
#elif CASE == 27
  barrier(mem_flags::mem_threadgroup);      // no such function
#elif CASE == 28
  device const P* dp = reinterpret_cast<device const P*>(x);
  P copy = dp[0];                           // struct copy across address spaces
  a[1] = copy.e;
#elif CASE == 29
  threadgroup float* q = (threadgroup float*)y;  // C cast across address spaces
  q[0] = 1.0f;
#elif CASE == 30
  float4 v = float4(1.0f);
  a[1] = v.xy.x;                            // swizzle: not in the shims
#elif CASE == 31
  a[1] = tid < 3 ? INFINITY : a[2];         // depends on the math mode
#elif CASE == 32
  a[1] = float(simd_sum(ulong(tid)));       // no 64-bit type
#elif CASE == 33
  a[1] = exp(a[2]);                         // of unstated accuracy
#elif CASE == 40
  simdgroup_matrix<bfloat, 8, 8> b;
  simdgroup_multiply_accumulate(m, h, b, m);  // half by bfloat
#elif CASE == 41
  a[1] = log1p(a[2]);                       // not in Metal
#elif CASE == 42
  a[1] = m.thread_elements()[0];            // who holds what is left open
#elif CASE == 43
  a[1] = precise::floor(a[2]);              // no such function
#endif
  simdgroup_multiply_accumulate(m, h, h, m);
  simdgroup_store(m, y, 8);
  if (tid == 0) atomic_fetch_add_explicit(c, 1u, memory_order_relaxed);
  y[tid] = a[0] + a[1] + p.e;
}
