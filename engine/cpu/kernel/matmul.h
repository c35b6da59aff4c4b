// The matrix product: panels of weights are decoded, then multiplied tile by tile.

// decode_rows makes a panel [cols, PANEL] of rows r .. r+PANEL-1 of w; rows
// from r1 on are zero.
INLINE void decode_rows(const struct matrix *w, int kind, int bits, long r, long r1, float *panel) {
  long bytes = row_bytes(w), group = kind == K_AFFINE ? w->group : kind >= K_MXFP4 ? 32 : 16;
  for (long half = 0; half < PANEL; half += 16) {
    for (long c = 0; c < w->cols; c += group) {
      float s[16], b[16];
      for (int i = 0; i < 16; i++) {
        s[i] = b[i] = 0;
        if (r + half + i < r1) params(w, kind, r + half + i, c / group, s + i, b + i);
      }
      for (long k = c; k < c + group && k < w->cols; k += 16) {
        vf t[16];
        for (int i = 0; i < 16; i++) {
          t[i] = SPLAT(0);
          if (r + half + i >= r1) continue;
          quants16(kind, bits, w->codes + (r + half + i) * bytes, k / 16, t + i);
          if (kind == K_AFFINE) t[i] = t[i] * s[i] + b[i]; // the product is exact: 8 or 11 bits times 8
          else if (kind >= K_MXFP4) t[i] = t[i] * s[i];
        }
        transpose(t);
        for (int i = 0; i < 16; i++) STORE(panel + (k + i) * PANEL + half, t[i]);
      }
    }
  }
}

// decode_all writes rows r .. r1-1 of w as floats.
INLINE void decode_all(const struct matrix *w, int kind, int bits, long r, long r1, float *out) {
  long bytes = row_bytes(w), group = kind == K_AFFINE ? w->group : kind >= K_MXFP4 ? 32 : 16;
  for (; r < r1; r++)
    for (long c = 0; c < w->cols; c += group) {
      float s, b;
      params(w, kind, r, c / group, &s, &b);
      for (long k = c; k < c + group && k < w->cols; k += 16, out += 16) {
        vf t;
        quants16(kind, bits, w->codes + r * bytes, k / 16, &t);
        if (kind == K_AFFINE) t = t * s + b; // the product is exact
        else if (kind >= K_MXFP4) t = t * s;
        STORE(out, t);
      }
    }
}

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

STATIC void decode(const struct matrix *w, long r, long r1, float *out) { BY_FORMAT(decode_all, r, r1, out) }

STATIC void decode_panel(const struct matrix *w, long r, long r1, float *panel) { BY_FORMAT(decode_rows, r, r1, panel) }

// tile: y[i][j] = Σ_k x[i][k]·panel[k][j] for m rows and COLUMNS columns, one
// chain of fused multiply-adds an element.
INLINE void tile(int m, const float *const *x, const float *panel, long cols, float *const *y) {
  vt acc[ROWS][WIDE];
#pragma GCC unroll 16
  for (int i = 0; i < m; i++)
#pragma GCC unroll 4
    for (int j = 0; j < WIDE; j++) acc[i][j] = SPLAT_T(0);
  for (long k = 0; k < cols; k++, panel += PANEL) {
    vt p[WIDE];
#pragma GCC unroll 4
    for (int j = 0; j < WIDE; j++) p[j] = LOAD(vt, panel + LANES * j);
#pragma GCC unroll 16
    for (int i = 0; i < m; i++) {
      float v = x[i][k];
#pragma GCC unroll 4
      for (int j = 0; j < WIDE; j++) acc[i][j] = p[j] * v + acc[i][j];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < m; i++)
#pragma GCC unroll 4
    for (int j = 0; j < WIDE; j++) STORE(y[i] + LANES * j, acc[i][j]);
}

STATIC void tile_full(const float *const *x, const float *p, long n, float *const *y) { tile(ROWS, x, p, n, y); }
STATIC void tile_1(const float *const *x, const float *p, long n, float *const *y) { tile(1, x, p, n, y); }
STATIC void tile_2(const float *const *x, const float *p, long n, float *const *y) { tile(2, x, p, n, y); }
STATIC void tile_4(const float *const *x, const float *p, long n, float *const *y) { tile(4, x, p, n, y); }

// tiles runs a panel against n rows of x.
INLINE void tiles(const float *const *x, long n, const float *panel, long cols, float *const *y) {
  for (long j = 0; j < PANEL; j += COLUMNS) {
    float *out[ROWS];
    for (long t = 0; t < n;) {
      long m = n - t >= ROWS ? ROWS : n - t >= 4 ? 4 : n - t >= 2 ? 2 : 1;
      for (long i = 0; i < m; i++) out[i] = y[t + i] + j;
      if (m == ROWS) tile_full(x + t, panel + j, cols, out);
      else if (m == 4) tile_4(x + t, panel + j, cols, out);
      else if (m == 2) tile_2(x + t, panel + j, cols, out);
      else tile_1(x + t, panel + j, cols, out);
      t += m;
    }
  }
}

STATIC void matmul(const struct matrix *w, long r0, long r1, const float *x, long ldx, const int32_t *xidx, float *y,
                   long ldy, const int32_t *yidx, long n, float *panel) {
  enum { BLOCK = 24 * ROWS };
  for (long r = r0; r < r1; r += PANEL) {
    decode_panel(w, r, r1, panel);
    long wide = r1 - r < PANEL ? r1 - r : PANEL;
    for (long t = 0; t < n; t += BLOCK) {
      const float *xs[BLOCK];
      float *ys[BLOCK], edge[BLOCK][PANEL];
      long m = n - t < BLOCK ? n - t : BLOCK;
      for (long i = 0; i < m; i++) {
        xs[i] = x + (xidx ? xidx[t + i] : t + i) * ldx;
        ys[i] = wide == PANEL ? y + (yidx ? yidx[t + i] : t + i) * ldy + r : edge[i];
      }
      tiles(xs, m, panel, w->cols, ys);
      if (wide < PANEL)
        for (long i = 0; i < m; i++) memcpy(y + (yidx ? yidx[t + i] : t + i) * ldy + r, edge[i], wide * 4);
    }
  }
}
