// The matrix product: panels of weights are turned, then multiplied tile by tile.

// tile: y[i][j] = Σ_k x[i][k]·panel[k][j] for m rows and COLUMNS columns, one
// chain of fused multiply-adds an element; more says that y holds its beginning.
INLINE void tile(int m, const float *const *x, const float *panel, long n, float *const *y, int more) {
  vt acc[ROWS][WIDE];
#pragma GCC unroll 16
  for (int i = 0; i < m; i++)
#pragma GCC unroll 4
    for (int j = 0; j < WIDE; j++) acc[i][j] = SPLAT_T(0);
  if (more)
#pragma GCC unroll 16
    for (int i = 0; i < m; i++)
#pragma GCC unroll 4
      for (int j = 0; j < WIDE; j++) acc[i][j] = LOAD(vt, y[i] + LANES * j);
  for (long k = 0; k < n; k++, panel += PART) {
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

#define TILE_OF(name, m) \
  STATIC void name(const float *const *x, const float *p, long n, float *const *y, int more) { tile(m, x, p, n, y, more); }
TILE_OF(tile_full, ROWS)
TILE_OF(tile_4, 4)
TILE_OF(tile_2, 2)
TILE_OF(tile_1, 1)

// tiles multiplies m rows of x, at most ROWS, with the first wide rows of a panel
// of n columns.
STATIC void tiles(const float *const *x, long m, float *panel, long n, long wide, float *const *y, int more) {
  for (long j = 0; j < wide; j += COLUMNS) {
    const float *p = lane_of(panel, n, j);
    float *out[ROWS];
    long i = 0;
    for (; i < m; i++) out[i] = y[i] + j;
    if (m == ROWS) {
      tile_full(x, p, n, out, more);
      continue;
    }
    for (i = 0; i + 4 <= m; i += 4) tile_4(x + i, p, n, out + i, more);
    if (m & 2) tile_2(x + i, p, n, out + i, more), i += 2;
    if (m & 1) tile_1(x + i, p, n, out + i, more);
  }
}

// edge_tiles is tiles for fewer than PANEL rows of a panel, beyond which y is
// not the caller's.
STATIC void edge_tiles(const float *const *x, long m, float *panel, long n, long wide, float *const *y, int more) {
  float edge[ROWS][PANEL], *out[ROWS];
  for (long i = 0; i < m; i++) {
    out[i] = edge[i];
    if (more) memcpy(edge[i], y[i], wide * 4);
  }
  tiles(x, m, panel, n, wide, out, more);
  for (long i = 0; i < m; i++) memcpy(y[i], edge[i], wide * 4);
}

STATIC void matmul(const struct matrix *w, long r0, long r1, const float *x, long ldx, const int32_t *xidx, float *y,
                   long ldy, const int32_t *yidx, long n, float *panel) {
  for (long r = r0; r < r1; r += PANEL)
    for (long c = 0; c < w->cols; c += CHUNK) {
      long k = w->cols - c < CHUNK ? w->cols - c : CHUNK, wide = r1 - r < PANEL ? r1 - r : PANEL;
      turn_panel(w, r, r1, c, k, panel);
      for (long t = 0; t < n; t += ROWS) {
        const float *xs[ROWS];
        float *ys[ROWS];
        long m = n - t < ROWS ? n - t : ROWS;
        for (long i = 0; i < m; i++) {
          xs[i] = x + (xidx ? xidx[t + i] : t + i) * ldx + c;
          ys[i] = y + (yidx ? yidx[t + i] : t + i) * ldy + r;
        }
        if (wide == PANEL) tiles(xs, m, panel, k, wide, ys, c > 0);
        else edge_tiles(xs, m, panel, k, wide, ys, c > 0);
      }
    }
}
