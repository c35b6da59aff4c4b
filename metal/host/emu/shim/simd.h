// SIMD-group functions (6.9.2), barriers (6.9.1) and atomics (6.15) on the CPU.
// Each lane leaves its value in a slot; the last to come computes for all.
#pragma once

// A default argument: the line of the call in the kernel's source.
#define MSL_LINE int line = __builtin_LINE()

namespace metal {
namespace msl_detail {

struct Add { template <class T> T operator()(T a, T b) const { return a + b; } };
struct Mul { template <class T> T operator()(T a, T b) const { return a * b; } };
struct Max { template <class T> T operator()(T a, T b) const { return max(a, b); } };
struct Min { template <class T> T operator()(T a, T b) const { return min(a, b); } };
struct And { template <class T> T operator()(T a, T b) const { return a & b; } };
struct Or { template <class T> T operator()(T a, T b) const { return a | b; } };
struct Xor { template <class T> T operator()(T a, T b) const { return a ^ b; } };

// The types that Metal's SIMD-group functions take: none of 64 bits, no bool.
template <class T> struct simd_type { enum { ok = sizeof(T) <= 4 }; };
template <> struct simd_type<bool> { enum { ok = false }; };
template <class T, int N> struct simd_type<vec<T, N>> { enum { ok = simd_type<T>::ok }; };

// Every lane's value, one behind the other, once all have come.
template <class T>
MSL_INTERNAL const T* gather(T v, int line, uint& par) {
  static_assert(simd_type<T>::ok, "SIMD-group functions take no bool and no 64-bit type");
  msl_rt::Thread* t = msl_rt::cur;
  par = (t->parity ^= 1);
  T* slots = reinterpret_cast<T*>(t->simd->slot[par]);
  slots[t->lane] = v;
  if (msl_rt::simd_arrive(t, line)) msl_rt::simd_release(t);
  return slots;
}

// The order of a reduction is Metal's own affair: a perturbed build permutes the
// lanes by its seed. Otherwise it is a butterfly, as in the CUDA shim.
template <class T, class Op>
MSL_INTERNAL T reduce(T v, Op op, int line) {
  static_assert(simd_type<T>::ok, "SIMD-group functions take no bool and no 64-bit type");
  msl_rt::Thread* t = msl_rt::cur;
  msl_rt::Simd* s = t->simd;
  const uint par = (t->parity ^= 1);
  T* slots = reinterpret_cast<T*>(s->slot[par]);
  T* result = reinterpret_cast<T*>(s->result[par]);
  slots[t->lane] = v;
  if (msl_rt::simd_arrive(t, line)) {
    T a[32];
#if defined(MSL_PERTURB)
    for (uint i = 0, n = 0; i < 64; i++) {  // the first half of the cells, in the order of the map
      if (t->map[i] < 32) a[n++] = slots[t->map[i]];
    }
#else
    for (uint i = 0; i < 32; i++) a[i] = slots[i];
#endif
    for (uint d = 16; d > 0; d /= 2) {
      for (uint i = 0; i < d; i++) a[i] = op(a[i], a[i + d]);
    }
    *result = a[0];
    msl_rt::simd_release(t);
  }
  return *result;
}

template <class T>
MSL_INTERNAL T shuffle(T v, uint from, bool own, int line) {
  uint par;
  const T* slots = gather(v, line, par);
  return own ? v : slots[from & 31u];
}

template <class T>
MSL_INTERNAL T prefix(T v, bool inclusive, int line) {
  uint par;
  const T* slots = gather(v, line, par);
  const uint n = msl_rt::cur->lane + (inclusive ? 1 : 0);
  T a = T(0);
  for (uint i = 0; i < n; i++) a = a + slots[i];
  return a;
}

MSL_INTERNAL uint lane() { return msl_rt::cur->lane; }

// What must be the same in all lanes, and what must be a lane.
#if defined(MSL_CHECKED)
MSL_INTERNAL void uniform(uint v, const char* what, int line) {
  const uint first = shuffle(v, 0, false, line);
  if (v != first || v > 31u) msl_rt::fail("%s at line %d with %u, in lane 0 with %u: it must be the same in all lanes, and below 32", what, line, v, first);
}
MSL_INTERNAL void valid(uint v, int line) {
  if (v > 31u) msl_rt::fail("simd_shuffle at line %d from lane %u", line, v);
}
#else
inline void uniform(uint, const char*, int) {}
inline void valid(uint, int) {}
#endif

}  // namespace msl_detail

template <class T> inline T simd_sum(T v, MSL_LINE) { return msl_detail::reduce(v, msl_detail::Add(), line); }
template <class T> inline T simd_product(T v, MSL_LINE) { return msl_detail::reduce(v, msl_detail::Mul(), line); }
template <class T> inline T simd_max(T v, MSL_LINE) { return msl_detail::reduce(v, msl_detail::Max(), line); }
template <class T> inline T simd_min(T v, MSL_LINE) { return msl_detail::reduce(v, msl_detail::Min(), line); }
template <class T> inline T simd_and(T v, MSL_LINE) { return msl_detail::reduce(v, msl_detail::And(), line); }
template <class T> inline T simd_or(T v, MSL_LINE) { return msl_detail::reduce(v, msl_detail::Or(), line); }
template <class T> inline T simd_xor(T v, MSL_LINE) { return msl_detail::reduce(v, msl_detail::Xor(), line); }
inline bool simd_any(bool b, MSL_LINE) { return msl_detail::reduce(uint(b), msl_detail::Or(), line) != 0; }
inline bool simd_all(bool b, MSL_LINE) { return msl_detail::reduce(uint(b), msl_detail::And(), line) != 0; }
template <class T> inline T simd_prefix_exclusive_sum(T v, MSL_LINE) { return msl_detail::prefix(v, false, line); }
template <class T> inline T simd_prefix_inclusive_sum(T v, MSL_LINE) { return msl_detail::prefix(v, true, line); }
template <class T> inline T simd_shuffle(T v, ushort l, MSL_LINE) {
  msl_detail::valid(l, line);
  return msl_detail::shuffle(v, l, false, line);
}
template <class T> inline T simd_broadcast(T v, ushort l, MSL_LINE) {
  msl_detail::uniform(l, "simd_broadcast", line);
  return msl_detail::shuffle(v, l, false, line);
}
template <class T> inline T simd_broadcast_first(T v, MSL_LINE) { return msl_detail::shuffle(v, 0, false, line); }
template <class T> inline T simd_shuffle_xor(T v, ushort m, MSL_LINE) {
  msl_detail::uniform(m, "simd_shuffle_xor", line);
  return msl_detail::shuffle(v, msl_detail::lane() ^ m, false, line);
}
// A lane without a partner keeps its own value.
template <class T> inline T simd_shuffle_down(T v, ushort d, MSL_LINE) {
  msl_detail::uniform(d, "simd_shuffle_down", line);
  const uint l = msl_detail::lane() + d;
  return msl_detail::shuffle(v, l, l > 31u, line);
}
template <class T> inline T simd_shuffle_up(T v, ushort d, MSL_LINE) {
  msl_detail::uniform(d, "simd_shuffle_up", line);
  const uint l = msl_detail::lane();
  return msl_detail::shuffle(v, l - d, l < d, line);
}

inline void threadgroup_barrier(mem_flags f, MSL_LINE) { msl_rt::barrier(int(f), line); }
inline void simdgroup_barrier(mem_flags f, MSL_LINE) { msl_rt::simd_barrier(int(f), line); }

struct atomic_uint { uint v; };
struct atomic_int { int v; };
#define MSL_AT(A, T)                                                                                                      \
  inline T atomic_load_explicit(const A* p, memory_order) { return T(msl_rt::atomic_op((void*)p, 0, msl_rt::kLoad)); }    \
  inline void atomic_store_explicit(A* p, T v, memory_order) { msl_rt::atomic_op(p, uint(v), msl_rt::kStore); }           \
  inline T atomic_fetch_add_explicit(A* p, T v, memory_order) { return T(msl_rt::atomic_op(p, uint(v), msl_rt::kAdd)); }  \
  inline T atomic_fetch_sub_explicit(A* p, T v, memory_order) { return T(msl_rt::atomic_op(p, uint(v), msl_rt::kSub)); }  \
  inline T atomic_fetch_and_explicit(A* p, T v, memory_order) { return T(msl_rt::atomic_op(p, uint(v), msl_rt::kAnd)); }  \
  inline T atomic_fetch_or_explicit(A* p, T v, memory_order) { return T(msl_rt::atomic_op(p, uint(v), msl_rt::kOr)); }    \
  inline T atomic_exchange_explicit(A* p, T v, memory_order) { return T(msl_rt::atomic_op(p, uint(v), msl_rt::kSwap)); }
MSL_AT(atomic_uint, uint)
MSL_AT(atomic_int, int)
#undef MSL_AT
inline uint atomic_fetch_max_explicit(atomic_uint* p, uint v, memory_order) { return msl_rt::atomic_op(p, v, msl_rt::kMaxU); }
inline uint atomic_fetch_min_explicit(atomic_uint* p, uint v, memory_order) { return msl_rt::atomic_op(p, v, msl_rt::kMinU); }
inline int atomic_fetch_max_explicit(atomic_int* p, int v, memory_order) { return int(msl_rt::atomic_op(p, uint(v), msl_rt::kMaxI)); }
inline int atomic_fetch_min_explicit(atomic_int* p, int v, memory_order) { return int(msl_rt::atomic_op(p, uint(v), msl_rt::kMinI)); }

}  // namespace metal
