// Sixteen floats at a time, in the compiler's own vector types, so that one
// source serves every instruction set.
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
typedef double vd __attribute__((vector_size(128)));

// Vectors are handed around by pointer or macro: by value their calling
// convention depends on the instruction set.
#define LOAD(type, p) ({ type v_; memcpy(&v_, (p), sizeof v_); v_; })
#define STORE(p, v) ({ __typeof__(v) v_ = (v); memcpy((p), &v_, sizeof v_); })
#define SPLAT(x) ((vf){} + (x))
#define SELECT(mask, a, b) ((vf)(((mask) & (vi)(a)) | (~(mask) & (vi)(b))))
#define VMAX(a, b) ({ vf a_ = (a), b_ = (b); SELECT(a_ > b_, a_, b_); })
#define VMIN(a, b) ({ vf a_ = (a), b_ = (b); SELECT(a_ < b_, a_, b_); })

INLINE float vsum(const vf *v) {
  float t[16], s = 0;
  STORE(t, *v);
  for (int w = 8; w; w /= 2)
    for (int i = 0; i < w; i++) t[i] += t[i + w];
  s = t[0];
  return s;
}

// vexp replaces *x by e^x, within 1.02 ULP (of every float32, 1.0103 was the
// worst, at -5.8778844); it never falls where x rises. NaN stays NaN, below
// -87.33654 becomes 0, above 88.72283 stays at e^88.72283, just under 2^128.
// Cody-Waite reduction and a polynomial of degree 6; source of the
// coefficients: S. L. Moshier, Cephes, single/expf.c.
INLINE void vexp(vf *x) {
  vf v = *x;
  vi low = v < SPLAT(-87.33654f);
  v = SELECT(v > SPLAT(88.72283f), SPLAT(88.72283f), v);
  vf n = v * 1.44269504088896341f + 12582912.0f; // 1.5·2^23: rounds to a whole number
  n = n - 12582912.0f;
  vf r = v - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  vf p = SPLAT(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // 2^n in two factors, so that n = 128 does not overflow on its own.
  vi k = __builtin_convertvector(n, vi), half = k >> 1;
  p = p * (vf)((half + 127) << 23);
  p = p * (vf)((k - half + 127) << 23);
  *x = SELECT(low, SPLAT(0.0f), p);
}

// transpose turns sixteen rows of sixteen floats in place.
#define SHUF2(a, b, ...) __builtin_shufflevector((a), (b), __VA_ARGS__)
INLINE void transpose(vf r[16]) {
  vf t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) { // pairs of rows, 1 apart
    t[2 * i] = SHUF2(r[2 * i], r[2 * i + 1], 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30);
    t[2 * i + 1] = SHUF2(r[2 * i], r[2 * i + 1], 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 4)
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
      vf a = t[i + j], b = t[i + 2 + j];
      r[i + j] = SHUF2(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
      r[i + 2 + j] = SHUF2(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    }
#pragma GCC unroll 2
  for (int i = 0; i < 16; i += 8)
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
      vf a = r[i + j], b = r[i + 4 + j];
      t[i + j] = SHUF2(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
      t[i + 4 + j] = SHUF2(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
    }
#pragma GCC unroll 8
  for (int j = 0; j < 8; j++) {
    vf a = t[j], b = t[8 + j];
    r[j] = SHUF2(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
    r[8 + j] = SHUF2(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  }
}

#endif
