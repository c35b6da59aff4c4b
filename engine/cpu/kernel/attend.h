// Attention and the indexer's scores, on tiles of the matrix product.

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
