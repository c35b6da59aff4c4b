// Metal on the CPU: what stands before a program that is compiled for it. No
// standard header is included, and none may come after: names such as exp and
// device are the kernels'.
#pragma once
#include "rt.h"

#include "math.h"
#include "types.h"

#include "simd.h"
#include "matrix.h"

namespace metal {
namespace msl_detail {
// What the wrappers pass: each becomes the type of the kernel's parameter.
struct Pointer {
  void* p;
  template <class T> operator T*() const { return static_cast<T*>(p); }
};
struct Ref {
  void* p;
  template <class T> operator const T&() const { return *static_cast<const T*>(p); }
};
struct U3 {
  msl_rt::Pos3 v;
  operator vec<uint, 3>() const { return vec<uint, 3>(v.x, v.y, v.z); }
};
template <class T> struct arginfo;
template <class T> struct arginfo<T*> { enum { kind = msl_rt::kWrite, size = sizeof(T) }; };
template <class T> struct arginfo<const T*> { enum { kind = msl_rt::kRead, size = sizeof(T) }; };
template <class T> struct arginfo<const T&> { enum { kind = msl_rt::kConstant, size = sizeof(T) }; };
}  // namespace msl_detail
}  // namespace metal

// --- the dialect ----------------------------------------------------------------
#define kernel static
#define KERNEL_MAX(n) static
#define device
#define constant const
#define thread
#define threadgroup
#if defined(MSL_CHECKED)  // inlined, an access past an array of the caller's is seen to be one
#define MSL_FN static inline __attribute__((always_inline))
#else
#define MSL_FN static inline
#endif
#define MSL_CAT_(a, b) a##b
#define MSL_CAT(a, b) MSL_CAT_(a, b)
#define TG_ARRAY(T, name, n)                     \
  static const char MSL_CAT(msl_key_, name) = 0; \
  T* const name = static_cast<T*>(msl_rt::tg_array(&MSL_CAT(msl_key_, name), sizeof(T) * (n), alignof(T) < 16 ? 16 : alignof(T), __LINE__))
#define PROGRAM_TABLE(T, name, n) static const T name[n]
#if defined(__clang__)
#define MSL_UNROLL _Pragma("clang loop unroll(enable)")
#else
#define MSL_UNROLL _Pragma("GCC unroll 64")
#endif
#define INSTANTIATE_KERNEL(host, fn, ...)
