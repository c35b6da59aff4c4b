// How matrices are stored.
#ifndef ASSAY_FORMAT_H
#define ASSAY_FORMAT_H
#include "kernel.h"
#include "vec.h"

// f16 widens an IEEE half exactly.
INLINE float f16(uint16_t u) {
  uint32_t sign = (uint32_t)(u & 0x8000) << 16, e = u >> 10 & 31, m = u & 1023, b;
  float f;
  if (e == 0) {
    f = (float)m * 0x1p-24f;
    memcpy(&b, &f, 4);
    b |= sign;
  } else {
    b = sign | (e == 31 ? 255u : e + 112) << 23 | m << 13;
  }
  memcpy(&f, &b, 4);
  return f;
}

// code_bits is the bits of one stored code, or weight.
INLINE int code_bits(int kind, int bits) {
  switch (kind) {
  case K_F32: return 32;
  case K_BF16: return 16;
  case K_AFFINE: return bits;
  case K_MXFP4: return 4;
  default: return 8;
  }
}

// row_bytes is the stored bytes of a row of codes.
INLINE long row_bytes(const struct matrix *w) { return w->cols / 8 * code_bits(w->kind, w->bits); }

// BY_FORMAT calls f(w, kind, bits, ...) with kind and bits as constants.
#define BY_FORMAT(f, ...) \
  switch (w->kind == K_AFFINE ? 16 + w->bits : w->kind) { \
  case K_F32: f(w, K_F32, 0, __VA_ARGS__); break; \
  case K_BF16: f(w, K_BF16, 0, __VA_ARGS__); break; \
  case K_MXFP4: f(w, K_MXFP4, 4, __VA_ARGS__); break; \
  case K_MXFP8: f(w, K_MXFP8, 8, __VA_ARGS__); break; \
  case 16 + 2: f(w, K_AFFINE, 2, __VA_ARGS__); break; \
  case 16 + 3: f(w, K_AFFINE, 3, __VA_ARGS__); break; \
  case 16 + 4: f(w, K_AFFINE, 4, __VA_ARGS__); break; \
  case 16 + 5: f(w, K_AFFINE, 5, __VA_ARGS__); break; \
  case 16 + 6: f(w, K_AFFINE, 6, __VA_ARGS__); break; \
  default: f(w, K_AFFINE, 8, __VA_ARGS__); \
  }

#endif
