// Attention and the indexer's scores of a single token, whose few heads would
// leave most lanes of a panel empty: TILE heads at a time, straight from the
// keys' rows.
enum { TILE = 4, KEYS = LANES / TILE }; // a vector of sums is KEYS keys times TILE heads

// dots: out[k·TILE + h] = rows[k]·q[h] over d channels.
NATIVE void dots(const float *const *rows, const float *const *q, long d, vt *out) {
  vt acc[LANES] = {};
  for (long c = 0; c < d; c += LANES) {
    vt a[TILE];
#pragma GCC unroll 4
    for (int h = 0; h < TILE; h++) a[h] = LOAD(vt, q[h] + c);
#pragma GCC unroll 4
    for (int k = 0; k < KEYS; k++) {
      vt row = LOAD(vt, rows[k] + c);
#pragma GCC unroll 4
      for (int h = 0; h < TILE; h++) acc[k * TILE + h] = row * a[h] + acc[k * TILE + h];
    }
  }
  sums(acc, out);
}

// tile_softmax turns scores [n, TILE] into e^(s−top) and gives the inverse of
// each head's sum with its sink. n is a multiple of 4.
INLINE void tile_softmax(float *s, long n, const float *sinks, float *inverse) {
  float sink[16];
  for (int i = 0; i < 16; i++) sink[i] = sinks[i % TILE];
  vf top = LOAD(vf, sink), sum = SPLAT(0);
  for (long i = 0; i < n * TILE; i += 16) {
    vf v = LOAD(vf, s + i);
    top = SELECT(v > top, v, top);
  }
  for (int far = 8; far >= TILE; far /= 2) // the greatest of the lanes that share a head
    for (int i = 0; i < far; i++) top[i] = top[i + far] > top[i] ? top[i + far] : top[i];
  for (int i = TILE; i < 16; i++) top[i] = top[i % TILE];
  for (long i = 0; i < n * TILE; i += 16) {
    vf e = LOAD(vf, s + i) - top;
    vexp(&e);
    STORE(s + i, e);
    sum += e;
  }
  vf e = LOAD(vf, sink) - top;
  vexp(&e);
  for (int far = 8; far >= TILE; far /= 2)
    for (int i = 0; i < far; i++) sum[i] += sum[i + far];
  for (int h = 0; h < TILE; h++) inverse[h] = 1 / (sum[h] + e[h]);
}

// weigh_tile: o[h][c..] = inverse[h]·Σ_i p[i·TILE + h]·rows[i][c..] over WIDE_O vectors.
#define WIDE_O (LANES == 8 ? 2 : 4)
NATIVE void weigh_tile(const float *const *rows, const float *p, long n, long c, int wide, const float *inverse, float *const *o) {
  vt acc[TILE][WIDE_O] = {};
  for (long i = 0; i < n; i++) {
    vt v[WIDE_O];
#pragma GCC unroll 4
    for (int j = 0; j < wide; j++) v[j] = LOAD(vt, rows[i] + c + j * LANES);
#pragma GCC unroll 4
    for (int h = 0; h < TILE; h++)
#pragma GCC unroll 4
      for (int j = 0; j < wide; j++) acc[h][j] = v[j] * p[i * TILE + h] + acc[h][j];
  }
  for (int h = 0; h < TILE; h++)
    for (int j = 0; j < wide; j++) STORE(o[h] + c + j * LANES, acc[h][j] * inverse[h]);
}

// room holds n pointers, and n+4 times TILE scores.
STATIC void attend_all(const float *q, const int64_t *lane, long lanes, long d, const float *const base[3], const uint32_t *ids,
                       long n, const float *sinks, float scale, float *o, float *room) {
  const float **rows = (const float **)room;
  float *s = (float *)(rows + n);
  for (long i = 0; i < n; i++) rows[i] = base[ids[i] >> 30] + (long)(ids[i] & 0x3fffffff) * d;
  for (long l = 0; l < lanes; l += TILE) {
    const float *at[TILE], *keys[KEYS];
    float sink[TILE], inverse[TILE], *out[TILE];
    for (int h = 0; h < TILE; h++) { // the last tile takes a head again where it has none
      long i = l + h < lanes ? l + h : lanes - 1;
      at[h] = q + lane[i];
      sink[h] = sinks[i];
      out[h] = o + lane[i];
    }
    long n4 = (n + 3) & ~3L;
    for (long i = 0; i < n; i += KEYS) {
      vt v;
      for (long k = 0; k < KEYS; k++) keys[k] = rows[i + k < n ? i + k : n - 1];
      dots(keys, at, d, &v);
      v *= scale;
      STORE(s + i * TILE, v);
    }
    for (long i = n * TILE; i < n4 * TILE; i++) s[i] = -INFINITY;
    tile_softmax(s, n4, sink, inverse);
    long c = 0;
    for (; c + WIDE_O * LANES <= d; c += WIDE_O * LANES) weigh_tile(rows, s, n, c, WIDE_O, inverse, out);
    for (; c < d; c += LANES) weigh_tile(rows, s, n, c, 1, inverse, out);
  }
}

// index_one is index_scores of one query.
STATIC void index_one(const float *q, const float *w, long heads, long d, const float *keys, long n, float *out) {
  for (long i = 0; i < n; i++) out[i] = 0;
  for (long l = 0; l < heads; l += TILE) {
    const float *at[TILE], *rows[KEYS];
    float weight[TILE];
    for (int h = 0; h < TILE; h++) {
      long i = l + h < heads ? l + h : heads - 1;
      at[h] = q + i * d;
      weight[h] = l + h < heads ? w[i] : 0;
    }
    for (long i = 0; i < n; i += KEYS) {
      vt v;
      for (long k = 0; k < KEYS; k++) rows[k] = keys + (i + k < n ? i + k : n - 1) * d;
      dots(rows, at, d, &v);
      for (long k = 0; k < KEYS && i + k < n; k++)
        for (int h = 0; h < TILE && l + h < heads; h++) {
          float s = v[k * TILE + h];
          out[i + k] += weight[h] * (s < 0 ? 0 : s); // a NaN stays one
        }
    }
  }
}
