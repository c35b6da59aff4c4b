// 8x8 simdgroup matrices (2.4, 6.7) on the CPU, in two ways. Metal leaves open
// which lane holds what, so a kernel can only load, multiply and store.
//
// Fast build: lane 0 holds the whole matrix and works on it when it comes by;
// the other lanes do nothing. A right kernel cannot tell: whatever another lane
// must have done before, or may do after, has a barrier between.
//
// Checked build (MSL_CHECKED): every lane holds two elements, by a map that a seed
// permutes, so that its accesses to memory are its own and no map can be relied on.
//
// Both multiply in float, k ascending, fused, and give the same bits. What works
// on a whole matrix is no part of the kernel that calls it: inlined everywhere it
// would take most of the compiler's time.
#pragma once

#if defined(MSL_CHECKED)
#define MSL_WHOLE MSL_INTERNAL
#else
#define MSL_WHOLE __attribute__((noinline))
#endif

namespace metal {

template <class T> struct matrix_type;
template <> struct matrix_type<float> { enum { ok = 1 }; };
template <> struct matrix_type<half> { enum { ok = 1 }; };
template <> struct matrix_type<bfloat> { enum { ok = 1 }; };

template <class T, int C, int R> struct simdgroup_matrix;

namespace msl_detail {
// d = a·b + c, of 8x8. The order over k and whether it is fused are Metal's own
// affair: a perturbed build has them from its seed.
MSL_WHOLE void multiply(const float* a, const float* b, const float* c, float* d) {
#if defined(MSL_PERTURB)
  const uint seed = msl_rt::cur->seed;
#endif
  for (int r = 0; r < 8; r++) {
    float s[8];
    for (int n = 0; n < 8; n++) s[n] = c[r * 8 + n];
    for (int i = 0; i < 8; i++) {
#if defined(MSL_PERTURB)
      const int k = int((uint(i) * (2 * (seed & 3) + 1) + (seed >> 2)) & 7u);
      if (seed & 64u) {
        for (int n = 0; n < 8; n++) {
          const float p = a[r * 8 + k] * b[k * 8 + n];
          s[n] = s[n] + p;
        }
        continue;
      }
#else
      const int k = i;
#endif
      for (int n = 0; n < 8; n++) s[n] = __builtin_fmaf(a[r * 8 + k], b[k * 8 + n], s[n]);
    }
    for (int n = 0; n < 8; n++) d[r * 8 + n] = s[n];
  }
}
}  // namespace msl_detail

#if defined(MSL_CHECKED)

template <class T>
struct simdgroup_matrix<T, 8, 8> {
  static_assert(matrix_type<T>::ok, "simdgroup matrices are of float, half or bfloat");
  T e[2];
  simdgroup_matrix() = default;
  explicit simdgroup_matrix(T d) {
    const uint8_t* at = msl_rt::cur->map + 2 * msl_rt::cur->lane;
    for (int i = 0; i < 2; i++) e[i] = at[i] / 8 == at[i] % 8 ? d : T(0.0f);
  }
};

namespace msl_detail {
// The row and the column of a lane's element i.
MSL_INTERNAL uint row(int i) { return msl_rt::cur->map[2 * msl_rt::cur->lane + uint(i)] / 8u; }
MSL_INTERNAL uint col(int i) { return msl_rt::cur->map[2 * msl_rt::cur->lane + uint(i)] % 8u; }

MSL_INTERNAL vec<float, 2> mma(vec<float, 2> a, vec<float, 2> b, vec<float, 2> c, int line) {
  msl_rt::Thread* t = msl_rt::cur;
  msl_rt::Simd* s = t->simd;
  const uint par = (t->parity ^= 1);
  const uint8_t* at = t->map + 2 * t->lane;
  s->mat[par][0][at[0]] = a.x, s->mat[par][0][at[1]] = a.y;
  s->mat[par][1][at[0]] = b.x, s->mat[par][1][at[1]] = b.y;
  s->mat[par][2][at[0]] = c.x, s->mat[par][2][at[1]] = c.y;
  if (msl_rt::simd_arrive(t, line)) {
    multiply(s->mat[par][0], s->mat[par][1], s->mat[par][2], s->out[par]);
    msl_rt::simd_release(t);
  }
  return vec<float, 2>(s->out[par][at[0]], s->out[par][at[1]]);
}
// Loads and stores are made by all lanes at once.
MSL_INTERNAL void meet(int line) {
  msl_rt::Thread* t = msl_rt::cur;
  t->parity ^= 1;
  if (msl_rt::simd_arrive(t, line)) msl_rt::simd_release(t);
}
template <class T> inline vec<float, 2> pair(const simdgroup_matrix<T, 8, 8>& m) { return vec<float, 2>(float(m.e[0]), float(m.e[1])); }
}  // namespace msl_detail

template <class T, int C, int R = C>
inline simdgroup_matrix<T, C, R> make_filled_simdgroup_matrix(T v) {
  simdgroup_matrix<T, C, R> m;
  m.e[0] = m.e[1] = v;
  return m;
}
template <class T>
inline void simdgroup_load(simdgroup_matrix<T, 8, 8>& m, const T* p, ulong ld = 8, vec<ulong, 2> o = vec<ulong, 2>(0ul), bool tr = false, MSL_LINE) {
  msl_detail::meet(line);
  p += o.y * ld + o.x;
  for (int i = 0; i < 2; i++) {
    const ulong r = msl_detail::row(i), c = msl_detail::col(i);
    m.e[i] = tr ? p[c * ld + r] : p[r * ld + c];
  }
}
template <class T>
inline void simdgroup_store(simdgroup_matrix<T, 8, 8> m, T* p, ulong ld = 8, vec<ulong, 2> o = vec<ulong, 2>(0ul), bool tr = false, MSL_LINE) {
  msl_detail::meet(line);
  p += o.y * ld + o.x;
  for (int i = 0; i < 2; i++) {
    const ulong r = msl_detail::row(i), c = msl_detail::col(i);
    p[tr ? c * ld + r : r * ld + c] = m.e[i];
  }
}
template <class D, class A, class B, class E>
inline void simdgroup_multiply_accumulate(simdgroup_matrix<D, 8, 8>& d, simdgroup_matrix<A, 8, 8>& a, simdgroup_matrix<B, 8, 8>& b, simdgroup_matrix<E, 8, 8>& c, MSL_LINE) {
  const vec<float, 2> r = msl_detail::mma(msl_detail::pair(a), msl_detail::pair(b), msl_detail::pair(c), line);
  d.e[0] = D(r.x), d.e[1] = D(r.y);
}
template <class D, class A, class B>
inline void simdgroup_multiply(simdgroup_matrix<D, 8, 8>& d, simdgroup_matrix<A, 8, 8>& a, simdgroup_matrix<B, 8, 8>& b, MSL_LINE) {
  const vec<float, 2> r = msl_detail::mma(msl_detail::pair(a), msl_detail::pair(b), vec<float, 2>(0.0f), line);
  d.e[0] = D(r.x), d.e[1] = D(r.y);
}

#else  // the fast build

namespace msl_detail {
inline bool leader() { return msl_rt::cur->lane == 0; }
}

template <class T>
struct simdgroup_matrix<T, 8, 8> {
  static_assert(matrix_type<T>::ok, "simdgroup matrices are of float, half or bfloat");
  alignas(32) float e[64];  // values of type T, row by row
  simdgroup_matrix() {}
  simdgroup_matrix(const simdgroup_matrix& o) { *this = o; }
  simdgroup_matrix& operator=(const simdgroup_matrix& o) {
    if (msl_detail::leader()) __builtin_memcpy(e, o.e, sizeof e);
    return *this;
  }
  explicit simdgroup_matrix(T d) {
    if (!msl_detail::leader()) return;
    for (int i = 0; i < 64; i++) e[i] = i / 8 == i % 8 ? float(d) : 0.0f;
  }
};

template <class T, int C, int R = C>
inline simdgroup_matrix<T, C, R> make_filled_simdgroup_matrix(T v) {
  simdgroup_matrix<T, C, R> m;
  if (msl_detail::leader()) {
    for (int i = 0; i < 64; i++) m.e[i] = float(v);
  }
  return m;
}
namespace msl_detail {
template <class T>
MSL_WHOLE void load(float* e, const T* p, ulong ld, bool tr) {
  if (tr) {
    for (int r = 0; r < 8; r++) {
      for (int c = 0; c < 8; c++) e[c * 8 + r] = float(p[ulong(r) * ld + ulong(c)]);
    }
    return;
  }
  for (int r = 0; r < 8; r++) {
    for (int c = 0; c < 8; c++) e[r * 8 + c] = float(p[ulong(r) * ld + ulong(c)]);
  }
}
template <class T>
MSL_WHOLE void store(const float* e, T* p, ulong ld, bool tr) {
  for (int r = 0; r < 8; r++) {
    for (int c = 0; c < 8; c++) p[ulong(r) * ld + ulong(c)] = T(tr ? e[c * 8 + r] : e[r * 8 + c]);
  }
}
template <class T> MSL_WHOLE void rounded(float* e) {
  for (int i = 0; i < 64; i++) e[i] = float(T(e[i]));
}
template <> inline void rounded<float>(float*) {}
}  // namespace msl_detail

template <class T>
inline void simdgroup_load(simdgroup_matrix<T, 8, 8>& m, const T* p, ulong ld = 8, vec<ulong, 2> o = vec<ulong, 2>(0ul), bool tr = false) {
  if (msl_detail::leader()) msl_detail::load(m.e, p + o.y * ld + o.x, ld, tr);
}
template <class T>
inline void simdgroup_store(const simdgroup_matrix<T, 8, 8>& m, T* p, ulong ld = 8, vec<ulong, 2> o = vec<ulong, 2>(0ul), bool tr = false) {
  if (msl_detail::leader()) msl_detail::store(m.e, p + o.y * ld + o.x, ld, tr);
}
template <class D, class A, class B, class E>
inline void simdgroup_multiply_accumulate(simdgroup_matrix<D, 8, 8>& d, simdgroup_matrix<A, 8, 8>& a, simdgroup_matrix<B, 8, 8>& b, simdgroup_matrix<E, 8, 8>& c) {
  if (!msl_detail::leader()) return;
  msl_detail::multiply(a.e, b.e, c.e, d.e);
  msl_detail::rounded<D>(d.e);
}
template <class D, class A, class B>
inline void simdgroup_multiply(simdgroup_matrix<D, 8, 8>& d, simdgroup_matrix<A, 8, 8>& a, simdgroup_matrix<B, 8, 8>& b) {
  if (!msl_detail::leader()) return;
  alignas(32) const float zero[64] = {};
  msl_detail::multiply(a.e, b.e, zero, d.e);
  msl_detail::rounded<D>(d.e);
}

#endif

typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;

}  // namespace metal
