// The matrix-vector product, straight from the stored codes.

INLINE float row_dot(const struct matrix *w, int kind, int bits, int group, long r, const float *x, const float *xsum) {
  const uint8_t *row = w->codes + r * row_bytes(w);
  vf acc[4] = {};
  float bias = 0;
  if (kind == K_F32 || kind == K_BF16) {
    long k = 0;
    for (; k + 64 <= w->cols; k += 64)
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++) {
        vf q;
        quants16(kind, bits, row, k / 16 + j, &q);
        acc[j] = q * LOAD(vf, x + k + 16 * j) + acc[j];
      }
    for (; k < w->cols; k += 16) {
      vf q;
      quants16(kind, bits, row, k / 16, &q);
      acc[0] = q * LOAD(vf, x + k) + acc[0];
    }
  } else {
    for (long g = 0; g < w->cols / group; g++) {
      float s, b;
      params(w, kind, r, g, &s, &b);
      vf sum[2] = {};
#pragma GCC unroll 8
      for (int j = 0; j < group / 16; j++) {
        vf q;
        quants16(kind, bits, row, g * (group / 16) + j, &q);
        sum[j & 1] = q * LOAD(vf, x + g * group + 16 * j) + sum[j & 1];
      }
      acc[g & 3] = (sum[0] + sum[1]) * s + acc[g & 3];
      if (kind == K_AFFINE) bias = b * xsum[g] + bias;
    }
  }
  vf all = acc[0] + acc[1] + (acc[2] + acc[3]);
  return vsum(&all) + bias;
}

#define ROWS_OF(kind, bits, group) \
  for (long r = r0; r < r1; r++) y[r] = row_dot(w, kind, bits, group, r, x, xsum)
#define BITS_OF(bits) \
  switch (w->group) { \
  case 32: ROWS_OF(K_AFFINE, bits, 32); break; \
  case 64: ROWS_OF(K_AFFINE, bits, 64); break; \
  default: ROWS_OF(K_AFFINE, bits, 128); break; \
  }

STATIC void matvec_affine(const struct matrix *w, long r0, long r1, const float *x, const float *xsum, float *y) {
  switch (w->bits) {
  case 2: BITS_OF(2); break;
  case 3: BITS_OF(3); break;
  case 4: BITS_OF(4); break;
  case 5: BITS_OF(5); break;
  case 6: BITS_OF(6); break;
  default: BITS_OF(8); break;
  }
}

STATIC void matvec(const struct matrix *w, long r0, long r1, const float *x, const float *xsum, float *y) {
  switch (w->kind) {
  case K_F32: ROWS_OF(K_F32, 0, 16); break;
  case K_BF16: ROWS_OF(K_BF16, 0, 16); break;
  case K_MXFP4: ROWS_OF(K_MXFP4, 4, 32); break;
  case K_MXFP8: ROWS_OF(K_MXFP8, 8, 32); break;
  default: matvec_affine(w, r0, r1, x, xsum, y);
  }
}
