// Attention and the indexer's scores, on tiles of the matrix product.

// turn_lanes makes a panel [d, PANEL] of up to PANEL vectors of d floats; what
// other lanes hold stands for nothing.
STATIC void turn_lanes(const float *q, const int64_t *lane, int lanes, long d, float *panel) {
  for (int j = 0; j < PANEL && j < lanes; j += LANES) {
    const uint8_t *row[LANES];
    for (int l = 0; l < LANES; l++) row[l] = (const uint8_t *)(q + lane[j + l < lanes ? j + l : lanes - 1]);
    float *out = lane_of(panel, d, j);
    for (long c = 0; c < d; c += 4) {
      vtu t[4];
      turn_in(row, 4 * c, t);
      for (int i = 0; i < 4; i++) STORE(out + (c + i) * PART, t[i]);
    }
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

#define WEIGH_OF(name, m) \
  STATIC void name(const float *const *rows, const float *p, long n, long c, float *out) { weigh(m, rows, p, n, c, out); }
WEIGH_OF(weigh_full, ROWS)
WEIGH_OF(weigh_4, 4)
WEIGH_OF(weigh_2, 2)

// softmax turns scores [n, PANEL] of the lanes from j on into probabilities, with
// a sink a lane that adds to the denominator only; see tells which lanes see which
// row.
INLINE void softmax(float *s, const uint32_t *see, long n, const float *sinks, float scale, int j) {
  const vtu bit = (vtu)((vti){} + 1) << (vtu)LANE_NUMBERS;
  vt top = LOAD(vt, sinks), sum;
  for (long i = 0; i < n; i++) {
    vti seen = (((vtu){} + (see[i] >> j)) & bit) != 0;
    vt v = SELECT_T(seen, LOAD(vt, s + i * PANEL) * scale, SPLAT_T(-INFINITY));
    STORE(s + i * PANEL, v);
    top = SELECT_T(v > top, v, top);
  }
  sum = LOAD(vt, sinks) - top;
  vexp_t(&sum);
  for (long i = 0; i < n; i++) {
    vt e = LOAD(vt, s + i * PANEL) - top;
    vexp_t(&e);
    STORE(s + i * PANEL, e);
    sum += e;
  }
  vt inverse = 1.0f / sum;
  for (long i = 0; i < n; i++) STORE(s + i * PANEL, LOAD(vt, s + i * PANEL) * inverse);
}

// room holds d·PANEL floats of queries, as many of outputs, n·PANEL of scores
// and n pointers.
STATIC void attend(const float *q, const int64_t *lane, int lanes, long d, const float *const base[3],
                   const uint32_t *ids, const uint32_t *see, long n, const float *sinks, float scale, float *o,
                   float *room) {
  float *panel = room, *out = panel + d * PANEL, *s = out + d * PANEL, sink[PANEL] = {};
  const float **rows = (const float **)(s + n * PANEL);
  turn_lanes(q, lane, lanes, d, panel);
  for (long i = 0; i < n; i++) rows[i] = base[ids[i] >> 30] + (long)(ids[i] & 0x3fffffff) * d;
  for (long i = 0; i < n; i += ROWS) {
    float *scores[ROWS];
    long m = n - i < ROWS ? n - i : ROWS;
    for (long k = 0; k < m; k++) scores[k] = s + (i + k) * PANEL;
    tiles(rows + i, m, panel, d, lanes, scores, 0);
  }
  memcpy(sink, sinks, lanes * 4);
  for (int j = 0; j < lanes; j += LANES) softmax(s + j, see, n, sink + j, scale, j);
  for (long j = 0; j < PANEL && j < lanes; j += COLUMNS)
    for (long c = 0; c < d;) {
      long m = d - c >= ROWS ? ROWS : d - c >= 4 ? 4 : 2;
      if (m > d - c) c = d - m; // one is left where ROWS is odd: the one before it is made again
      if (m == ROWS) weigh_full(rows, s + j, n, c, out + j);
      else if (m == 4) weigh_4(rows, s + j, n, c, out + j);
      else weigh_2(rows, s + j, n, c, out + j);
      c += m;
    }
  for (int j = 0; j < lanes; j += LANES)
    for (long c = 0; c < d; c += 4) {
      float *row[LANES], none[4];
      vtu t[4];
      for (int l = 0; l < LANES; l++) row[l] = j + l < lanes ? o + lane[j + l] + c : none;
      for (int i = 0; i < 4; i++) t[i] = LOAD(vtu, out + (c + i) * PANEL + j);
      turn_out(row, t);
    }
}

// room holds d·PANEL floats of keys, ROWS·PANEL of products. A panel is of keys:
// the heads of a query, its rows, add up lane by lane.
STATIC void index_scores(const float *q, const float *w, long m, long heads, long d, const float *keys, long n,
                         float *out, float *room) {
  float *panel = room, *s = panel + d * PANEL, *scores[ROWS];
  for (long a = 0; a < ROWS; a++) scores[a] = s + a * PANEL;
  for (long from = 0; from < n; from += PANEL) {
    int64_t lane[PANEL];
    int lanes = n - from < PANEL ? n - from : PANEL;
    for (int l = 0; l < lanes; l++) lane[l] = (from + l) * d;
    turn_lanes(keys, lane, lanes, d, panel);
    for (long i = 0; i < m; i++) {
      vt sum[PANEL / LANES] = {};
      for (long h = 0; h < heads; h += ROWS) {
        const float *rows[ROWS];
        long k = heads - h < ROWS ? heads - h : ROWS;
        for (long a = 0; a < k; a++) rows[a] = q + (i * heads + h + a) * d;
        tiles(rows, k, panel, d, lanes, scores, 0);
        for (long a = 0; a < k; a++)
          for (int j = 0; j < PANEL / LANES; j++) {
            vt v = LOAD(vt, scores[a] + LANES * j);
            v = SELECT_T(v < 0.0f, SPLAT_T(0.0f), v); // a NaN stays one
            sum[j] = v * w[i * heads + h + a] + sum[j];
          }
      }
      float edge[PANEL];
      memcpy(edge, sum, sizeof edge);
      memcpy(out + i * n + from, edge, lanes * 4);
    }
  }
}
