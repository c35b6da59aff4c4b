// Vectors in the compiler's own types, so that one source serves every instruction
// set: of LANES floats, as its registers are, and of sixteen.
#ifndef ASSAY_VEC_H
#define ASSAY_VEC_H
#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef uint32_t vu __attribute__((vector_size(64)));
typedef uint16_t vh __attribute__((vector_size(32)));
typedef uint8_t vb __attribute__((vector_size(16)));
typedef float vt __attribute__((vector_size(4 * LANES)));
typedef int32_t vti __attribute__((vector_size(4 * LANES)));
typedef uint32_t vtu __attribute__((vector_size(4 * LANES)));
typedef double vd __attribute__((vector_size(128)));

// Vectors are handed around by pointer or macro: by value their calling
// convention depends on the instruction set.
#define UNALIGNED(type) typedef type unaligned_ __attribute__((aligned(1), may_alias))
#define LOAD(type, p) ({ UNALIGNED(type); type v_ = *(const unaligned_ *)(p); v_; })
#define STORE(p, v) ({ __auto_type v_ = (v); UNALIGNED(__typeof__(v_)); *(unaligned_ *)(p) = v_; })
#define SPLAT(x) ((vf){} + (x))
#define SELECT(mask, a, b) ((vf)(((mask) & (vi)(a)) | (~(mask) & (vi)(b))))
#define SPLAT_T(x) ((vt){} + (x))
#define SELECT_T(mask, a, b) ((vt)(((vti)(mask) & (vti)(a)) | (~(vti)(mask) & (vti)(b))))
#define VMAX(a, b) ({ vf a_ = (a), b_ = (b); SELECT(a_ > b_, a_, b_); })
#define VMIN(a, b) ({ vf a_ = (a), b_ = (b); SELECT(a_ < b_, a_, b_); })

INLINE float vsum(const vf *v) {
  float t[16], s = 0;
  memcpy(t, v, sizeof t);
  for (int w = 8; w; w /= 2)
    for (int i = 0; i < w; i++) t[i] += t[i + w];
  s = t[0];
  return s;
}

// vexp_t replaces *x by e^x, within 1.02 ULP (of every float32, 1.0103 was the
// worst, at -5.8778844); it never falls where x rises. NaN stays NaN, below
// -87.33654 becomes 0, above 88.72283 stays at e^88.72283, just under 2^128.
// Cody-Waite reduction and a polynomial of degree 6; source of the
// coefficients: S. L. Moshier, Cephes, single/expf.c.
INLINE void vexp_t(vt *x) {
  vt v = *x;
  vti low = v < SPLAT_T(-87.33654f);
  v = SELECT_T(v > SPLAT_T(88.72283f), SPLAT_T(88.72283f), v);
  vt n = v * 1.44269504088896341f + 12582912.0f; // 1.5·2^23: rounds to a whole number
  n = n - 12582912.0f;
  vt r = v - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  vt p = SPLAT_T(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // 2^n in two factors, so that n = 128 does not overflow on its own.
  vti k = __builtin_convertvector(n, vti), half = k >> 1;
  p = p * (vt)((half + 127) << 23);
  p = p * (vt)((k - half + 127) << 23);
  *x = SELECT_T(low, SPLAT_T(0.0f), p);
}

// vexp is vexp_t for sixteen.
INLINE void vexp(vf *x) {
  vt part[16 / LANES];
  memcpy(part, x, sizeof part);
  for (int i = 0; i < 16 / LANES; i++) vexp_t(part + i);
  memcpy(x, part, sizeof part);
}

#define SHUF2(a, b, ...) __builtin_shufflevector((a), (b), __VA_ARGS__)

#endif
