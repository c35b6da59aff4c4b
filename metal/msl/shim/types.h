// What the shims for CPU and CUDA share of Metal's library: half, bfloat, vec<T, n>,
// and the scalar functions of sections 6.2 to 6.5 and 6.8 of the Metal Shading
// Language Specification. Host of it is a shim that defines first
//   MSL_HD                 what stands before a function
//   MSL_MEMCPY             memcpy
//   MSL_POPC, MSL_CLZ, MSL_CTZ   counts of bits of a uint that is not 0
//   MSL_EXPF and so on     float functions, see MSL_PRECISE and MSL_EXACT below
//   msl_f32_to_f16, msl_f16_to_f32   conversions of a half's bits
//   MSL_ON_CUDA            where names such as uint3 belong to CUDA
// half and bfloat become float by themselves, but float becomes them only when
// asked: code that compiles here states its roundings, as bfloat in Metal wants.
#pragma once

namespace metal {

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;

template <class To, class From>
MSL_HD inline To as_type(From f) {
  static_assert(sizeof(To) == sizeof(From), "as_type needs equal sizes");
  To t;
  MSL_MEMCPY(&t, &f, sizeof(To));
  return t;
}

struct half {
  unsigned short bits;
  half() = default;
  MSL_HD explicit half(float f) : bits(msl_f32_to_f16(f)) {}
  MSL_HD explicit half(int i) : bits(msl_f32_to_f16(float(i))) {}
  MSL_HD explicit half(uint i) : bits(msl_f32_to_f16(float(i))) {}
  MSL_HD operator float() const { return msl_f16_to_f32(bits); }
};

struct bfloat {
  unsigned short bits;
  bfloat() = default;
  // To nearest, ties to even; a NaN stays one.
  MSL_HD explicit bfloat(float f) {
    const uint u = as_type<uint>(f);
    const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
    bits = nan ? (unsigned short)((u >> 16) | 0x40u) : (unsigned short)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
  MSL_HD explicit bfloat(int i) : bfloat(float(i)) {}
  MSL_HD explicit bfloat(uint i) : bfloat(float(i)) {}
  MSL_HD operator float() const { return as_type<float>(uint(bits) << 16); }
};

// Arithmetic within one 16-bit type rounds once an operation.
#define MSL_OP16(T)                                                      \
  MSL_HD inline T operator+(T a, T b) { return T(float(a) + float(b)); } \
  MSL_HD inline T operator-(T a, T b) { return T(float(a) - float(b)); } \
  MSL_HD inline T operator*(T a, T b) { return T(float(a) * float(b)); } \
  MSL_HD inline T operator/(T a, T b) { return T(float(a) / float(b)); } \
  MSL_HD inline T& operator+=(T& a, T b) { return a = a + b; }           \
  MSL_HD inline T& operator-=(T& a, T b) { return a = a - b; }           \
  MSL_HD inline T& operator*=(T& a, T b) { return a = a * b; }
MSL_OP16(half)
MSL_OP16(bfloat)
#undef MSL_OP16

// --- vectors ------------------------------------------------------------------
template <class T, int N>
struct vec;

template <class T>
struct alignas(2 * sizeof(T)) vec<T, 2> {
  T x, y;
  vec() = default;
  MSL_HD explicit vec(T s) : x(s), y(s) {}
  MSL_HD vec(T a, T b) : x(a), y(b) {}
  template <class U>
  MSL_HD explicit vec(vec<U, 2> v) : x(T(v.x)), y(T(v.y)) {}
  MSL_HD T& operator[](int i) { return i == 0 ? x : y; }
  MSL_HD const T& operator[](int i) const { return i == 0 ? x : y; }
};

template <class T>
struct alignas(4 * sizeof(T)) vec<T, 3> {
  T x, y, z;
  vec() = default;
  MSL_HD explicit vec(T s) : x(s), y(s), z(s) {}
  MSL_HD vec(T a, T b, T c) : x(a), y(b), z(c) {}
  template <class U>
  MSL_HD explicit vec(vec<U, 3> v) : x(T(v.x)), y(T(v.y)), z(T(v.z)) {}
  MSL_HD T& operator[](int i) { return i == 0 ? x : i == 1 ? y : z; }
  MSL_HD const T& operator[](int i) const { return i == 0 ? x : i == 1 ? y : z; }
};

template <class T>
struct alignas(4 * sizeof(T)) vec<T, 4> {
  T x, y, z, w;
  vec() = default;
  MSL_HD explicit vec(T s) : x(s), y(s), z(s), w(s) {}
  MSL_HD vec(T a, T b, T c, T d) : x(a), y(b), z(c), w(d) {}
  MSL_HD vec(vec<T, 2> a, vec<T, 2> b) : x(a.x), y(a.y), z(b.x), w(b.y) {}
  template <class U>
  MSL_HD explicit vec(vec<U, 4> v) : x(T(v.x)), y(T(v.y)), z(T(v.z)), w(T(v.w)) {}
  MSL_HD T& operator[](int i) { return i < 2 ? (i == 0 ? x : y) : (i == 2 ? z : w); }
  MSL_HD const T& operator[](int i) const { return i < 2 ? (i == 0 ? x : y) : (i == 2 ? z : w); }
};

#define MSL_VOP(op)                                                    \
  template <class T, int N>                                            \
  MSL_HD inline vec<T, N> operator op(vec<T, N> a, vec<T, N> b) {      \
    vec<T, N> r;                                                       \
    for (int i = 0; i < N; i++) r[i] = a[i] op b[i];                   \
    return r;                                                          \
  }                                                                    \
  template <class T, int N>                                            \
  MSL_HD inline vec<T, N> operator op(vec<T, N> a, T b) {              \
    return a op vec<T, N>(b);                                          \
  }                                                                    \
  template <class T, int N>                                            \
  MSL_HD inline vec<T, N> operator op(T a, vec<T, N> b) {              \
    return vec<T, N>(a) op b;                                          \
  }                                                                    \
  template <class T, int N>                                            \
  MSL_HD inline vec<T, N>& operator op##=(vec<T, N>& a, vec<T, N> b) { \
    return a = a op b;                                                 \
  }
MSL_VOP(+)
MSL_VOP(-)
MSL_VOP(*)
MSL_VOP(/)
MSL_VOP(&)
MSL_VOP(|)
MSL_VOP(^)
MSL_VOP(>>)
MSL_VOP(<<)
#undef MSL_VOP

template <class T, int N>
MSL_HD inline T dot(vec<T, N> a, vec<T, N> b) {
  T s = a[0] * b[0];
  for (int i = 1; i < N; i++) s = s + a[i] * b[i];
  return s;
}

#if defined(MSL_ON_CUDA)
#define MSL_VT(T) typedef vec<T, 2> v_##T##2; typedef vec<T, 3> v_##T##3; typedef vec<T, 4> v_##T##4;
#else
#define MSL_VT(T) typedef vec<T, 2> T##2; typedef vec<T, 3> T##3; typedef vec<T, 4> T##4;
#endif
MSL_VT(char) MSL_VT(uchar) MSL_VT(short) MSL_VT(ushort) MSL_VT(int) MSL_VT(uint)
MSL_VT(long) MSL_VT(ulong) MSL_VT(float) MSL_VT(half) MSL_VT(bfloat)
#undef MSL_VT

// --- scalars ------------------------------------------------------------------
// These are templates, so that where CUDA has a function of the same name and
// exact type, that one is taken instead of there being two.

// Of a number and a NaN, min and max are the number.
template <class T> MSL_HD inline T min(T a, T b) { return b < a || a != a ? b : a; }
template <class T> MSL_HD inline T max(T a, T b) { return a < b || a != a ? b : a; }
template <class T> MSL_HD inline T clamp(T x, T lo, T hi) { return min(max(x, lo), hi); }
template <class T> MSL_HD inline T select(T a, T b, bool c) { return c ? b : a; }
template <class T> MSL_HD inline T abs(T a) { return a < T(0) ? T(-a) : a; }
MSL_HD inline float abs(float a) { return MSL_FABSF(a); }
template <class T> MSL_HD inline T fma(T a, T b, T c) { return T(MSL_FMAF(float(a), float(b), float(c))); }
MSL_HD inline uint popcount(uint v) { return uint(MSL_POPC(v)); }
MSL_HD inline uint clz(uint v) { return v ? uint(MSL_CLZ(v)) : 32u; }
MSL_HD inline uint ctz(uint v) { return v ? uint(MSL_CTZ(v)) : 32u; }

#define MSL_EXACT(name, f) \
  template <class T> MSL_HD inline T name(T v) { return T(f(float(v))); }
MSL_EXACT(fabs, MSL_FABSF)
MSL_EXACT(floor, MSL_FLOORF)
MSL_EXACT(ceil, MSL_CEILF)
MSL_EXACT(rint, MSL_RINTF)
MSL_EXACT(round, MSL_ROUNDF)
MSL_EXACT(trunc, MSL_TRUNCF)
#undef MSL_EXACT

namespace precise {
#define MSL_PRECISE(name, f) \
  MSL_HD inline float name(float v) { return f(v); }
MSL_PRECISE(exp, MSL_EXPF)
MSL_PRECISE(exp2, MSL_EXP2F)
MSL_PRECISE(log, MSL_LOGF)
MSL_PRECISE(log2, MSL_LOG2F)
MSL_PRECISE(sin, MSL_SINF)
MSL_PRECISE(cos, MSL_COSF)
MSL_PRECISE(tanh, MSL_TANHF)
MSL_PRECISE(sqrt, MSL_SQRTF)
MSL_PRECISE(rsqrt, MSL_RSQRTF)
#undef MSL_PRECISE
MSL_HD inline float pow(float a, float b) { return MSL_POWF(a, b); }
}  // namespace precise

enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2 };
MSL_HD constexpr mem_flags operator|(mem_flags a, mem_flags b) { return mem_flags(int(a) | int(b)); }
enum memory_order { memory_order_relaxed };

// --- for the generated wrappers -------------------------------------------------
namespace msl_detail {
// sig<decltype(f)>::arg<i>::t is the type of f's parameter i.
template <class F> struct sig;
template <class R, class... A>
struct sig<R(A...)> {
  template <int I, class B, class... C> struct at { typedef typename at<I - 1, C...>::t t; };
  template <class B, class... C> struct at<0, B, C...> { typedef B t; };
  template <int I> struct arg { typedef typename at<I, A...>::t t; };
};
template <class T> struct noref { typedef T t; };
template <class T> struct noref<T&> { typedef T t; };
template <class T> struct nocv { typedef T t; };
template <class T> struct nocv<const T> { typedef T t; };
}  // namespace msl_detail

}  // namespace metal
