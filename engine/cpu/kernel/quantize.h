// MLX's affine quantizer; the rule stands in engine/affine/quantize.go, whose
// code is the twin, bit for bit.
#ifndef ASSAY_QUANTIZE_H
#define ASSAY_QUANTIZE_H
#include "vec.h"

// vmin16 and vmax16 put the least, or the largest, of row i in lane i.
INLINE void vmin16(vf r[16], vf *out) {
  transpose(r);
  *out = r[0];
  for (int i = 1; i < 16; i++) *out = VMIN(*out, r[i]);
}

INLINE void vmax16(vf r[16], vf *out) {
  transpose(r);
  *out = r[0];
  for (int i = 1; i < 16; i++) *out = VMAX(*out, r[i]);
}

// vround is to whole numbers: half to even, or half away from zero.
INLINE void vround(int even, vf *x) {
  vu sign = (vu)*x & 0x80000000u;
  vf a = (vf)((vu)*x & 0x7fffffffu), r;
  if (even) r = (a + 0x1p23f) - 0x1p23f;
  else r = __builtin_convertvector(__builtin_convertvector(a + 0x1.fffffep-2f, vi), vf);
  r = SELECT(a < 0x1p23f, r, a); // from 2^23 on all are whole
  *x = (vf)((vu)r | sign);
}

// vbf16 rounds to BF16, as the upper half of each lane's bits moved down.
INLINE void vbf16(const vf *x, vu *out) {
  vu u = (vu)*x;
  *out = (u + 0x7fff + (u >> 16 & 1)) >> 16;
}

// scales chooses scale and bias of 16 groups whose weights go from lo to hi. It
// returns 0 unless all are finite and not 0, in BF16 too.
INLINE int scales(int even, float n, vf lo, vf hi, float *s, float *z, uint16_t *bs, uint16_t *bz) {
  if (!even) hi = VMAX(hi, SPLAT(0.0f));
  vf step = VMAX((hi - lo) / n, SPLAT(1e-7f));
  vf abs_lo = (vf)((vu)lo & 0x7fffffffu), abs_hi = (vf)((vu)hi & 0x7fffffffu);
  vi neg = abs_lo > abs_hi;
  vf edge = SELECT(neg, lo, hi);
  step = SELECT(neg, step, -step);
  vf q0 = edge / step;
  vround(even, &q0);
  vi whole = q0 != 0.0f;
  vf scale = SELECT(whole, edge / q0, step), bias = SELECT(whole, edge, SPLAT(0.0f));
  vu us, uz;
  vbf16(&scale, &us);
  vbf16(&bias, &uz);
  vi ok = (hi - lo < INFINITY) & (scale != 0.0f) & ((us & 0x7fff) < 0x7f80) & ((uz & 0x7fff) < 0x7f80);
  STORE(s, scale);
  STORE(z, bias);
  STORE(bs, __builtin_convertvector(us, vh));
  STORE(bz, __builtin_convertvector(uz, vh));
  int32_t all[16], good = -1;
  STORE(all, ok);
  for (int i = 0; i < 16; i++) good &= all[i];
  return good;
}

// pack writes eight codes of b bits, one a byte in q, as b bytes, low bits first.
INLINE void pack(uint8_t *out, const uint8_t *q, int b) {
  uint64_t x;
  memcpy(&x, q, 8);
  if (b < 8) {
    uint64_t m = 0x00ff00ff00ff00ff;
    x = (x & m) | (x >> 8 & m) << b;
    m = 0x0000ffff0000ffff;
    x = (x & m) | (x >> 16 & m) << 2 * b;
    x = (x & 0xffffffff) | x >> 32 << 4 * b;
  }
  switch (b) { // a constant size compiles to stores
  case 2: memcpy(out, &x, 2); break;
  case 3: memcpy(out, &x, 3); break;
  case 4: memcpy(out, &x, 4); break;
  case 5: memcpy(out, &x, 5); break;
  case 6: memcpy(out, &x, 6); break;
  default: memcpy(out, &x, 8); break;
  }
}

// quantize_groups is quantize for constant bits and rounding.
INLINE int quantize_groups(const float *x, long groups, int size, int bits, int even, uint8_t *codes,
                           uint16_t *out_s, uint16_t *out_z) {
  const int most = (1 << bits) - 1;
  vf bad = SPLAT(0.0f); // NaN where any weight is not finite
  for (long g = 0; g < groups; g += 16) {
    int count = groups - g < 16 ? groups - g : 16;
    vf lo[16], hi[16];
    for (int k = 0; k < 16; k++) {
      const float *p = x + (g + (k < count ? k : count - 1)) * size;
      lo[k] = hi[k] = LOAD(vf, p);
      bad += lo[k] * 0.0f;
      for (int i = 16; i < size; i += 16) {
        vf v = LOAD(vf, p + i);
        lo[k] = VMIN(lo[k], v);
        hi[k] = VMAX(hi[k], v);
        bad += v * 0.0f;
      }
    }
    vf least, largest;
    vmin16(lo, &least);
    vmax16(hi, &largest);
    float s[16], z[16];
    uint16_t bs[16], bz[16];
    if (!scales(even, most, least, largest, s, z, bs, bz)) return 0;
    memcpy(out_s + g, bs, 2 * count);
    memcpy(out_z + g, bz, 2 * count);
    for (int k = 0; k < count; k++) {
      const float *p = x + (g + k) * size;
      uint8_t q[128], *to = codes + (g + k) * (size / 8) * bits;
      for (int i = 0; i < size; i += 16) {
        vf r = (LOAD(vf, p + i) - z[k]) / s[k];
        vi c;
        if (even) c = (vi)(r + 12582912.0f) - 0x4b400000; // 1.5·2^23
        else c = __builtin_convertvector(r + 0x1.fffffep-2f, vi);
        vi high = c > most;
        c = (high & most) | (~high & c);
        STORE(q + i, __builtin_convertvector(c, vb));
      }
      for (int i = 0; i < size; i += 8) pack(to + i / 8 * bits, q + i, bits);
    }
  }
  float sum = vsum(&bad);
  return sum == 0;
}

#endif
