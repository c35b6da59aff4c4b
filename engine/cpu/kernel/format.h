// How stored weights become whole numbers q with w = scale·q + bias.
#ifndef ASSAY_FORMAT_H
#define ASSAY_FORMAT_H
#include "kernel.h"
#include "vec.h"

INLINE float bf16(uint16_t u) {
  uint32_t b = (uint32_t)u << 16;
  float f;
  memcpy(&f, &b, 4);
  return f;
}

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

INLINE uint16_t u16(const uint8_t *p, long i) {
  uint16_t u;
  memcpy(&u, p + 2 * i, 2);
  return u;
}

// e8m0 is 2^(b-127), exact from the subnormal end on.
INLINE float e8m0(uint8_t b) {
  uint32_t u = b ? (uint32_t)b << 23 : 0x400000;
  float f;
  memcpy(&f, &u, 4);
  return f;
}

// word reads eight codes of b bits: b bytes, low bits first.
INLINE uint64_t word(const uint8_t *p, int b) {
  uint64_t w = 0;
  switch (b) { // a constant size compiles to loads
  case 2: memcpy(&w, p, 2); break;
  case 3: memcpy(&w, p, 3); break;
  case 4: memcpy(&w, p, 4); break;
  case 5: memcpy(&w, p, 5); break;
  case 6: memcpy(&w, p, 6); break;
  }
  return w;
}

// codes16 unpacks codes 16i .. 16i+15 of a row.
INLINE void codes16(const uint8_t *row, long i, int b, vu *out) {
  if (b == 8) {
    *out = __builtin_convertvector(LOAD(vb, row + 16 * i), vu);
    return;
  }
  uint64_t w0 = word(row + 2 * b * i, b), w1 = word(row + 2 * b * i + b, b);
  uint32_t m = (1u << 4 * b) - 1, l0 = w0 & m, h0 = w0 >> 4 * b, l1 = w1 & m, h1 = w1 >> 4 * b;
  vu v = {l0, l0, l0, l0, h0, h0, h0, h0, l1, l1, l1, l1, h1, h1, h1, h1};
  const vu shift = {0, b, 2 * b, 3 * b, 0, b, 2 * b, 3 * b, 0, b, 2 * b, 3 * b, 0, b, 2 * b, 3 * b};
  *out = v >> shift & ((1u << b) - 1);
}

// quants16 gives weights 16i .. 16i+15 of a row as the numbers that the scale
// multiplies: codes, E2M1 doubled, E4M3 times 512, or the weights themselves.
INLINE void quants16(int kind, int bits, const uint8_t *row, long i, vf *out) {
  vu c;
  switch (kind) {
  case K_F32:
    *out = LOAD(vf, row + 64 * i);
    return;
  case K_BF16: {
    vh h = LOAD(vh, row + 32 * i);
    *out = (vf)(__builtin_convertvector(h, vu) << 16);
    return;
  }
  case K_AFFINE:
    codes16(row, i, bits, &c);
    *out = __builtin_convertvector((vi)c, vf);
    return;
  case K_MXFP4: {
    codes16(row, i, 4, &c);
    vi mag = (vi)(c & 7), e = mag >> 1, normal = -(vi)(e != 0) & 1;
    vi q = ((mag & 1) + 2 * normal) << (e - normal);
    *out = __builtin_convertvector(q * (1 - (vi)(c >> 3) * 2), vf);
    return;
  }
  default: { // K_MXFP8
    codes16(row, i, 8, &c);
    vi mag = (vi)(c & 127), e = mag >> 3, normal = -(vi)(e != 0) & 1;
    vi q = ((mag & 7) + 8 * normal) << (e - normal);
    *out = __builtin_convertvector(q * (1 - (vi)(c >> 7) * 2), vf);
  }
  }
}

// row_bytes is the stored bytes of a row of codes.
INLINE long row_bytes(const struct matrix *w) {
  switch (w->kind) {
  case K_F32: return 4 * w->cols;
  case K_BF16: return 2 * w->cols;
  case K_AFFINE: return w->cols / 8 * w->bits;
  case K_MXFP4: return w->cols / 2;
  default: return w->cols;
  }
}

// params gives scale and bias of group g of row r, so that w = s·q + b.
INLINE void params(const struct matrix *w, int kind, long r, long g, float *s, float *b) {
  *s = 1, *b = 0;
  if (kind == K_AFFINE) {
    long at = r * (w->cols / w->group) + g;
    uint16_t us = u16(w->scales, at), ub = u16(w->biases, at);
    *s = w->f16 ? f16(us) : bf16(us);
    *b = w->f16 ? f16(ub) : bf16(ub);
  } else if (kind == K_MXFP4) {
    *s = e8m0(w->scales[r * (w->cols / 32) + g]) * 0.5f;
  } else if (kind == K_MXFP8) {
    *s = e8m0(w->scales[r * (w->cols / 32) + g]) * 0x1p-9f;
  }
}

#endif
