// The kernels, compiled once for each instruction set: a file defines TARGET
// (the attribute), NAME (of the set), TABLE (of the variable), and the tile of
// the matrix product, which must fit the set's registers: ROWS rows of WIDE
// vectors of LANES floats; and includes this.
#include "format.h"
#include "quantize.h"

typedef float vt __attribute__((vector_size(4 * LANES)));
#define COLUMNS (LANES * WIDE) // of a tile
#define SPLAT_T(x) ((vt){} + (x))

#define STATIC static TARGET

// ---- matrix product -------------------------------------------------------

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

// ---- matrix-vector product ------------------------------------------------

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

// ---- attention ------------------------------------------------------------

// turn_in makes a panel [d, PANEL] of up to PANEL vectors; other lanes are zero.
INLINE void turn_in(const float *q, const int64_t *lane, int lanes, long d, float *panel) {
  for (int half = 0; half < PANEL; half += 16)
    for (long c = 0; c < d; c += 16) {
      vf t[16];
      for (int i = 0; i < 16; i++) t[i] = half + i < lanes ? LOAD(vf, q + lane[half + i] + c) : SPLAT(0);
      transpose(t);
      for (int i = 0; i < 16; i++) STORE(panel + (c + i) * PANEL + half, t[i]);
    }
}

// weigh: out[c][j] = Σ_i rows[i][c]·p[i][j] for m channels from c on and COLUMNS lanes.
INLINE void weigh(int m, const float *const *rows, const float *p, long n, long c, float *out) {
  vt acc[ROWS][WIDE];
#pragma GCC unroll 16
  for (int i = 0; i < m; i++)
#pragma GCC unroll 4
    for (int j = 0; j < WIDE; j++) acc[i][j] = SPLAT_T(0);
  for (long k = 0; k < n; k++, p += PANEL) {
    const float *row = rows[k] + c;
    vt v[WIDE];
#pragma GCC unroll 4
    for (int j = 0; j < WIDE; j++) v[j] = LOAD(vt, p + LANES * j);
#pragma GCC unroll 16
    for (int i = 0; i < m; i++) {
      float x = row[i];
#pragma GCC unroll 4
      for (int j = 0; j < WIDE; j++) acc[i][j] = v[j] * x + acc[i][j];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < m; i++)
#pragma GCC unroll 4
    for (int j = 0; j < WIDE; j++) STORE(out + (c + i) * PANEL + LANES * j, acc[i][j]);
}

#if ROWS >= 8
STATIC void weigh_8(const float *const *rows, const float *p, long n, long c, float *out) { weigh(8, rows, p, n, c, out); }
#else
STATIC void weigh_4(const float *const *rows, const float *p, long n, long c, float *out) { weigh(4, rows, p, n, c, out); }
STATIC void weigh_8(const float *const *rows, const float *p, long n, long c, float *out) {
  weigh_4(rows, p, n, c, out);
  weigh_4(rows, p, n, c + 4, out);
}
#endif

// softmax turns scores [n, PANEL] into probabilities, with a sink a lane that
// adds to the denominator only; see tells which lanes see which row.
INLINE void softmax(float *s, const uint32_t *see, long n, const float *sinks, float scale, int half) {
  const vi lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  vf top = LOAD(vf, sinks), sum;
  for (long i = 0; i < n; i++) {
    vi seen = -((vi)(SPLAT(0) == SPLAT(0)) & ((vi){} + (int32_t)(see[i] >> half)) >> lane & 1);
    vf v = SELECT(seen, LOAD(vf, s + i * PANEL) * scale, SPLAT(-INFINITY));
    STORE(s + i * PANEL, v);
    top = SELECT(v > top, v, top);
  }
  sum = LOAD(vf, sinks) - top;
  vexp(&sum);
  for (long i = 0; i < n; i++) {
    vf e = LOAD(vf, s + i * PANEL) - top;
    vexp(&e);
    STORE(s + i * PANEL, e);
    sum += e;
  }
  vf inverse = 1.0f / sum;
  for (long i = 0; i < n; i++) STORE(s + i * PANEL, LOAD(vf, s + i * PANEL) * inverse);
}

// room holds d·PANEL floats of queries, as many of outputs, n·PANEL of scores
// and n pointers.
STATIC void attend(const float *q, const int64_t *lane, int lanes, long d, const float *const base[3],
                   const uint32_t *ids, const uint32_t *see, long n, const float *sinks, float scale, float *o,
                   float *room) {
  float *panel = room, *out = panel + d * PANEL, *s = out + d * PANEL, sink[PANEL] = {};
  const float **rows = (const float **)(s + n * PANEL);
  float *scores[ROWS];
  turn_in(q, lane, lanes, d, panel);
  for (long i = 0; i < n; i++) rows[i] = base[ids[i] >> 30] + (long)(ids[i] & 0x3fffffff) * d;
  for (long j = 0; j < PANEL && j < lanes; j += COLUMNS)
    for (long i = 0; i < n;) {
      long m = n - i >= ROWS ? ROWS : n - i >= 4 ? 4 : n - i >= 2 ? 2 : 1;
      for (long k = 0; k < m; k++) scores[k] = s + (i + k) * PANEL + j;
      if (m == ROWS) tile_full(rows + i, panel + j, d, scores);
      else if (m == 4) tile_4(rows + i, panel + j, d, scores);
      else if (m == 2) tile_2(rows + i, panel + j, d, scores);
      else tile_1(rows + i, panel + j, d, scores);
      i += m;
    }
  memcpy(sink, sinks, lanes * 4);
  for (int half = 0; half < lanes; half += 16) softmax(s + half, see, n, sink + half, scale, half);
  for (long j = 0; j < PANEL && j < lanes; j += COLUMNS)
    for (long c = 0; c < d; c += 8) weigh_8(rows, s + j, n, c, out + j);
  for (int half = 0; half < lanes; half += 16)
    for (long c = 0; c < d; c += 16) {
      vf t[16];
      for (int i = 0; i < 16; i++) t[i] = LOAD(vf, out + (c + i) * PANEL + half);
      transpose(t);
      for (int i = 0; i < 16 && half + i < lanes; i++) STORE(o + lane[half + i] + c, t[i]);
    }
}

// room holds d·PANEL floats of queries, PANEL·ROWS of scores.
STATIC void index_scores(const float *q, const float *w, long m, long heads, long d, const float *keys, long n,
                         float *out, float *room) {
  float *panel = room, *s = panel + d * PANEL, *scores[ROWS];
  const float *rows[ROWS];
  for (long i = 0; i < m * n; i++) out[i] = 0;
  for (long from = 0; from < m * heads; from += PANEL) { // lanes are pairs of query and head
    int lanes = m * heads - from < PANEL ? m * heads - from : PANEL;
    int64_t lane[PANEL];
    for (int l = 0; l < lanes; l++) lane[l] = (from + l) * d;
    turn_in(q, lane, lanes, d, panel);
    for (long i = 0; i < n; i += ROWS) {
      long k = n - i < ROWS ? n - i : ROWS;
      for (long a = 0; a < ROWS; a++) {
        rows[a] = keys + (i + (a < k ? a : 0)) * d;
        scores[a] = s + a * PANEL;
      }
      for (long j = 0; j < PANEL && j < lanes; j += COLUMNS) {
        float *at[ROWS];
        for (long a = 0; a < ROWS; a++) at[a] = scores[a] + j;
        tile_full(rows, panel + j, d, at);
      }
      for (long a = 0; a < k; a++)
        for (int l = 0; l < lanes; l++) {
          float v = s[a * PANEL + l];
          out[(from + l) / heads * n + i + a] += w[from + l] * (v < 0 ? 0 : v); // a NaN stays one
        }
    }
  }
}

// ---- the rest -------------------------------------------------------------

STATIC void pool(const float *values, const float *gates, const int64_t *rows, const float *ring_values,
                 const float *ring_gates, long n, long width, float *out) {
  for (long c = 0; c < width; c += 16) {
    vf top = SPLAT(-INFINITY), sum = SPLAT(0), acc = SPLAT(0);
#define ROW(a, ring) LOAD(vf, (rows[i] < 0 ? (ring) + (-1 - rows[i]) : (a) + rows[i]) + c)
    for (long i = 0; i < n; i++) {
      vf g = ROW(gates, ring_gates);
      top = SELECT(g > top, g, top);
    }
    for (long i = 0; i < n; i++) {
      vf e = ROW(gates, ring_gates) - top;
      vexp(&e);
      sum += e;
      acc = e * ROW(values, ring_values) + acc;
    }
#undef ROW
    STORE(out + c, acc / sum);
  }
}

STATIC float sum_squares(const float *x, long n) {
  vf acc[4] = {};
  long i = 0;
  for (; i + 64 <= n; i += 64)
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
      vf v = LOAD(vf, x + i + 16 * j);
      acc[j] = v * v + acc[j];
    }
  for (; i + 16 <= n; i += 16) {
    vf v = LOAD(vf, x + i);
    acc[0] = v * v + acc[0];
  }
  vf all = acc[0] + acc[1] + (acc[2] + acc[3]);
  float s = vsum(&all);
  for (; i < n; i++) s += x[i] * x[i];
  return s;
}

STATIC void norm(const float *x, const float *w, float *y, long n, float eps) {
  float r = 1 / sqrtf(sum_squares(x, n) / n + eps);
  if (w)
    for (long i = 0; i < n; i++) y[i] = x[i] * r * w[i];
  else
    for (long i = 0; i < n; i++) y[i] = x[i] * r;
}

STATIC void mix(const float *a, const float *x, long m, long n, float *y) {
  for (long c = 0; c + 16 <= n; c += 16) {
    vf s = SPLAT(0);
    for (long j = 0; j < m; j++) s = LOAD(vf, x + j * n + c) * a[j] + s;
    STORE(y + c, s);
  }
  for (long c = n & ~15L; c < n; c++) {
    float s = 0;
    for (long j = 0; j < m; j++) s += a[j] * x[j * n + c];
    y[c] = s;
  }
}

STATIC void remix(const float *post, const float *comb, const float *y, float *x, long m, long n) {
  for (long c = 0; c + 16 <= n; c += 16) {
    vf old[8], v = LOAD(vf, y + c);
    for (long j = 0; j < m; j++) old[j] = LOAD(vf, x + j * n + c);
    for (long k = 0; k < m; k++) {
      vf s = v * post[k];
      for (long j = 0; j < m; j++) s = old[j] * comb[j * m + k] + s;
      STORE(x + k * n + c, s);
    }
  }
  for (long c = n & ~15L; c < n; c++) {
    float old[8];
    for (long j = 0; j < m; j++) old[j] = x[j * n + c];
    for (long k = 0; k < m; k++) {
      float s = y[c] * post[k];
      for (long j = 0; j < m; j++) s += old[j] * comb[j * m + k];
      x[k * n + c] = s;
    }
  }
}

// sigmoid in place.
INLINE void vsigmoid(vf *x) {
  vf e = -*x;
  vexp(&e);
  *x = 1.0f / (1.0f + e);
}

// sinkhorn keeps sixteen tokens in the lanes of a vector.
STATIC void sinkhorn(const float *mixes, const float *rho, const float *base, const float *scale, long t, long m,
                     long iters, float eps, float *pre, float *out) {
  long all = (2 + m) * m;
  for (long from = 0; from < t; from += 16) {
    long n = t - from < 16 ? t - from : 16;
    vf v[80], c[64];
    for (long i = 0; i < all; i++) {
      float lane[16] = {};
      for (long k = 0; k < n; k++) lane[k] = mixes[(from + k) * all + i] * rho[from + k];
      v[i] = LOAD(vf, lane) * scale[i < m ? 0 : i < 2 * m ? 1 : 2] + base[i];
    }
    for (long i = 0; i < 2 * m; i++) vsigmoid(v + i);
    for (long i = 0; i < m; i++) v[i] = v[i] + eps, v[m + i] = 2.0f * v[m + i];
    for (long j = 0; j < m; j++) { // softmax of each row
      vf *row = v + 2 * m + j * m, top = row[0], sum = SPLAT(0);
      for (long k = 1; k < m; k++) top = SELECT(row[k] > top, row[k], top);
      for (long k = 0; k < m; k++) {
        vf e = row[k] - top;
        vexp(&e);
        c[j * m + k] = e;
        sum += e;
      }
      for (long k = 0; k < m; k++) c[j * m + k] = c[j * m + k] / sum + eps;
    }
    for (long it = 0; it < iters; it++) {
      for (long j = 0; it > 0 && j < m; j++) { // rows, but not the first time
        vf sum = SPLAT(eps);
        for (long k = 0; k < m; k++) sum += c[j * m + k];
        sum = 1.0f / sum;
        for (long k = 0; k < m; k++) c[j * m + k] *= sum;
      }
      for (long k = 0; k < m; k++) { // columns
        vf sum = SPLAT(eps);
        for (long j = 0; j < m; j++) sum += c[j * m + k];
        sum = 1.0f / sum;
        for (long j = 0; j < m; j++) c[j * m + k] *= sum;
      }
    }
    for (long k = 0; k < n; k++) {
      for (long i = 0; i < m; i++) pre[(from + k) * m + i] = v[i][k], out[(from + k) * (m + m * m) + i] = v[m + i][k];
      for (long i = 0; i < m * m; i++) out[(from + k) * (m + m * m) + m + i] = c[i][k];
    }
  }
}

STATIC void swiglu(float *g, const float *u, long n, float limit, float weight) {
  for (long i = 0; i < n; i += 16) {
    float a[16] = {}, b[16] = {};
    int whole = n - i >= 16;
    if (!whole) memcpy(a, g + i, (n - i) * 4), memcpy(b, u + i, (n - i) * 4);
    vf x = LOAD(vf, whole ? g + i : a), y = LOAD(vf, whole ? u + i : b), s;
    x = SELECT(x > limit, SPLAT(limit), x);
    y = SELECT(y > limit, SPLAT(limit), y);
    y = SELECT(y < -limit, SPLAT(-limit), y);
    s = x;
    vsigmoid(&s);
    x = x * s * y * weight;
    if (whole) STORE(g + i, x);
    else STORE(a, x), memcpy(g + i, a, (n - i) * 4);
  }
}

STATIC void exps(float *x, long n) {
  for (long i = 0; i < n; i += 16) {
    float a[16] = {};
    int whole = n - i >= 16;
    if (!whole) memcpy(a, x + i, (n - i) * 4);
    vf v = LOAD(vf, whole ? x + i : a);
    vexp(&v);
    if (whole) STORE(x + i, v);
    else STORE(a, v), memcpy(x + i, a, (n - i) * 4);
  }
}

STATIC void log_softmax(float *x, long n) {
  float top = -INFINITY;
  vf most = SPLAT(-INFINITY);
  vd acc = {};
  double sum = 0;
  long i;
  for (i = 0; i + 16 <= n; i += 16) {
    vf v = LOAD(vf, x + i);
    most = SELECT(v > most, v, most);
  }
  for (int k = 0; k < 16; k++) top = most[k] > top ? most[k] : top;
  for (; i < n; i++) top = x[i] > top ? x[i] : top;
  for (i = 0; i + 16 <= n; i += 16) {
    vf v = LOAD(vf, x + i) - top;
    vexp(&v);
    acc += __builtin_convertvector(v, vd);
  }
  for (int k = 0; k < 16; k++) sum += acc[k];
  for (; i < n; i++) sum += exp((double)(x[i] - top));
  float lse = (float)(top + log(sum));
  for (i = 0; i < n; i++) x[i] -= lse;
}

STATIC int quantize(const float *x, long groups, int size, int bits, int even, uint8_t *codes, uint16_t *s, uint16_t *z) {
#define CASE(b) \
  case b: return even ? quantize_groups(x, groups, size, b, 1, codes, s, z) : quantize_groups(x, groups, size, b, 0, codes, s, z)
  switch (bits) {
    CASE(2);
    CASE(3);
    CASE(4);
    CASE(5);
    CASE(6);
    CASE(8);
  }
#undef CASE
  return 0;
}

const struct kernels TABLE = {
  NAME, matmul, matvec, attend, index_scores, pool, norm, sum_squares, mix, remix, sinkhorn, swiglu, log_softmax, exps, quantize, decode,
};
