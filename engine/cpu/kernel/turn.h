// Rows of stored weights, turned: LANES rows, a strip, one in each lane of a
// vector. Products run on panels of turned rows.

typedef uint64_t vtl __attribute__((vector_size(4 * LANES)));

#if LANES == 16
#define LOW32(a, b) SHUF2(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define HIGH32(a, b) SHUF2(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define LOW64(a, b) (vtu) SHUF2((vtl)(a), (vtl)(b), 0, 8, 2, 10, 4, 12, 6, 14)
#define HIGH64(a, b) (vtu) SHUF2((vtl)(a), (vtl)(b), 1, 9, 3, 11, 5, 13, 7, 15)
#elif LANES == 8
#define LOW32(a, b) SHUF2(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define HIGH32(a, b) SHUF2(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define LOW64(a, b) (vtu) SHUF2((vtl)(a), (vtl)(b), 0, 4, 2, 6)
#define HIGH64(a, b) (vtu) SHUF2((vtl)(a), (vtl)(b), 1, 5, 3, 7)
#else
#define LOW32(a, b) SHUF2(a, b, 0, 4, 1, 5)
#define HIGH32(a, b) SHUF2(a, b, 2, 6, 3, 7)
#define LOW64(a, b) (vtu) SHUF2((vtl)(a), (vtl)(b), 0, 2)
#define HIGH64(a, b) (vtu) SHUF2((vtl)(a), (vtl)(b), 1, 3)
#endif

// turn_fours transposes every four by four words of four vectors.
INLINE void turn_fours(vtu a[4]) {
  vtu t0 = LOW32(a[0], a[1]), t1 = LOW32(a[2], a[3]), t2 = HIGH32(a[0], a[1]), t3 = HIGH32(a[2], a[3]);
  a[0] = LOW64(t0, t1), a[1] = HIGH64(t0, t1), a[2] = LOW64(t2, t3), a[3] = HIGH64(t2, t3);
}

typedef uint32_t four __attribute__((vector_size(16)));
typedef uint32_t eight __attribute__((vector_size(32)));

// turn_in reads four words of each row of a strip: d[k] is word k of all.
INLINE void turn_in(const uint8_t *const *row, long at, vtu d[4]) {
#pragma GCC unroll 4
  for (int k = 0; k < 4; k++) {
#define WORDS(i) LOAD(four, row[k + (i)] + at)
#if LANES == 4
    d[k] = WORDS(0);
#elif LANES == 8
    d[k] = SHUF2(WORDS(0), WORDS(4), 0, 1, 2, 3, 4, 5, 6, 7);
#else
    eight low = SHUF2(WORDS(0), WORDS(4), 0, 1, 2, 3, 4, 5, 6, 7);
    eight high = SHUF2(WORDS(8), WORDS(12), 0, 1, 2, 3, 4, 5, 6, 7);
    d[k] = SHUF2(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#endif
#undef WORDS
  }
  turn_fours(d);
}

// turn_out is turn_in's inverse: it uses d up.
INLINE void turn_out(float *const *row, vtu d[4]) {
  turn_fours(d);
#pragma GCC unroll 4
  for (int k = 0; k < 4; k++) {
#define WORDS(i) STORE(row[k + 4 * (i)], SHUF2(d[k], d[k], 4 * (i), 4 * (i) + 1, 4 * (i) + 2, 4 * (i) + 3))
    WORDS(0);
#if LANES > 4
    WORDS(1);
#endif
#if LANES > 8
    WORDS(2), WORDS(3);
#endif
#undef WORDS
  }
}

// A run is as many columns as are turned together: few words, of which no cache
// line is read twice.
#define RUN 128
#define RUN_WORDS 24
INLINE int run_columns(int kind, int bits) {
  return code_bits(kind, bits) == 32 ? 16 : code_bits(kind, bits) == 16 ? 32 : code_bits(kind, bits) == 8 ? 64 : RUN;
}

// value gives the code, or weight, that begins at bit at of the words d.
NATIVE void value(int kind, int bits, const vtu *d, int at, vt *out) {
  const int low = at % 32;
  d += at / 32;
  if (kind == K_F32) {
    *out = (vt)d[0];
  } else if (kind == K_BF16) {
    *out = (vt)(low ? d[0] & 0xffff0000 : d[0] << 16);
  } else if (kind == K_MXFP4) {
    vtu bytes[2] = {d[0]};
    e2m1_bytes(d, bytes); // once for eight codes: compilers see that
    e2m1(bytes, low / 4, out);
  } else if (kind == K_MXFP8) {
    // A float's fields, with the least exponent, 2^-6, for the subnormal codes too.
    vtu m = d[0] >> low & 127, sign = d[0] << (24 - low) & 0x80000000;
    vt f = (vt)((m << 20) + (120u << 23)), g = f * 2.0f - 0x1p-6f;
    vtu small = (vtu)(m < 8);
    *out = (vt)(((small & (vtu)g) | (~small & (vtu)f)) ^ sign);
  } else {
    vtu v = d[0] >> low;
    if (low + bits > 32) v |= d[1] << (32 - low);
    if (bits == 3 || bits == 4) {
      lowest(bits, &v, out);
      return;
    }
    if (low + bits != 32) v &= (1u << bits) - 1;
    *out = __builtin_convertvector((vti)v, vt);
  }
}

// turn_run writes the weights of a run of a strip, column after column, step
// floats apart. Scales and biases are those of its groups of 2^log columns.
NATIVE void turn_run(int kind, int bits, const uint8_t *const *row, long at, const vt *s, const vt *b, int log, float *out, long step) {
  const int columns = run_columns(kind, bits), width = code_bits(kind, bits), part = width == 32 ? 16 : 32;
  vtu d[RUN_WORDS];
#pragma GCC unroll 6
  for (int k = 0; k < columns * width / 32; k += 4) turn_in(row, at + 4 * k, d + k);
  for (int i = 0; i < columns; i += part)
#pragma GCC unroll 32
    for (int j = 0; j < part; j++) {
      vt v;
      value(kind, bits, d + i * width / 32, j * width, &v);
      if (kind == K_AFFINE) v = v * s[i >> log] + b[i >> log]; // the product is exact: 8 or 11 bits times 8
      else if (kind >= K_MXFP4) v = v * s[i >> log] + 0.0f; // no weight is -0
      STORE(out + (i + j) * step, v);
    }
}

typedef void run(const uint8_t *const *row, long at, const vt *s, const vt *b, int log, float *out, long step);
#define RUN_OF(name, kind, bits) \
  STATIC void name(const uint8_t *const *row, long at, const vt *s, const vt *b, int log, float *out, long step) { \
    turn_run(kind, bits, row, at, s, b, log, out, step); \
  }
RUN_OF(run_f32, K_F32, 0)
RUN_OF(run_bf16, K_BF16, 0)
RUN_OF(run_mxfp4, K_MXFP4, 4)
RUN_OF(run_mxfp8, K_MXFP8, 8)
RUN_OF(run_2, K_AFFINE, 2)
RUN_OF(run_3, K_AFFINE, 3)
RUN_OF(run_4, K_AFFINE, 4)
RUN_OF(run_5, K_AFFINE, 5)
RUN_OF(run_6, K_AFFINE, 6)
RUN_OF(run_8, K_AFFINE, 8)

static run *run_of(const struct matrix *w) {
  static run *const affine[] = {0, 0, run_2, run_3, run_4, run_5, run_6, 0, run_8};
  switch (w->kind) {
  case K_F32: return run_f32;
  case K_BF16: return run_bf16;
  case K_MXFP4: return run_mxfp4;
  case K_MXFP8: return run_mxfp8;
  default: return affine[w->bits];
  }
}

// CHUNK is the most columns that are turned at once: a panel of as many stays in
// a second-level cache.
#define CHUNK 4096

// strip is LANES rows of a matrix under way, from a column on.
struct strip {
  const struct matrix *w;
  run *run;
  int columns, width, log; // of a run, of a code in bits, of a group
  long row[LANES];
  const uint8_t *codes[LANES];
  vt scales[CHUNK / 32], biases[CHUNK / 32];
};

// strip_scales reads scales or biases of n groups from group g on.
NATIVE void strip_scales(const struct strip *s, const uint8_t *all, long g, long n, vt *out) {
  const struct matrix *w = s->w;
  const int width = w->kind == K_AFFINE ? 2 : 1, many = 16 / width;
  const uint8_t *p[LANES], *e[LANES];
  uint8_t edge[LANES][16] = {};
  for (int l = 0; l < LANES; l++) p[l] = all + (s->row[l] * (w->cols >> s->log) + g) * width, e[l] = edge[l];
  for (long i = 0; i < n; i += many) {
    vtu d[4];
    if (n - i >= many) {
      turn_in(p, i * width, d);
    } else {
      for (int l = 0; l < LANES; l++)
        for (long k = 0; k < (n - i) * width; k++) edge[l][k] = p[l][i * width + k];
      turn_in(e, 0, d);
    }
    for (int k = 0; k < many && i + k < n; k++, out++) {
      vtu u = d[k * width / 4] >> k * width % 4 * 8;
      if (w->kind != K_AFFINE) {
        u = u << 23 & 0x7f800000;
        *out = (vt)(u | ((vtu)(u == 0) & 0x400000)); // e8m0
        if (w->kind == K_MXFP4) *out = *out * (1.0f / E2M1_UNIT);
      } else if (!w->f16) {
        *out = (vt)(u << 16);
      } else {
        uint16_t h[LANES];
        for (int l = 0; l < LANES; l++) h[l] = u[l];
        widen_halves(h, out);
      }
    }
  }
}

// strip_open begins at column c of rows r, r+1, ..., of which there are n, with
// the scales of the columns up to to.
NATIVE void strip_open(struct strip *s, const struct matrix *w, long r, long n, long c, long to) {
  s->w = w, s->run = run_of(w);
  s->columns = run_columns(w->kind, w->bits), s->width = code_bits(w->kind, w->bits);
  s->log = w->kind == K_AFFINE ? __builtin_ctz(w->group) : 5;
  for (int l = 0; l < LANES; l++) {
    s->row[l] = r + (l < n ? l : n - 1);
    s->codes[l] = w->codes + s->row[l] * row_bytes(w) + c / 8 * s->width;
  }
  if (w->kind >= K_AFFINE) strip_scales(s, w->scales, c >> s->log, (to - c) >> s->log, s->scales);
  if (w->kind == K_AFFINE) strip_scales(s, w->biases, c >> s->log, (to - c) >> s->log, s->biases);
}

// strip_run writes the columns from the i-th on, of n that there are, step
// floats apart, and returns how many. room is for one run.
NATIVE long strip_run(const struct strip *s, long i, long n, float *out, long step, float *room) {
  const vt *scales = s->scales + (i >> s->log), *biases = s->biases + (i >> s->log);
  if (n - i >= s->columns) {
    s->run(s->codes, i / 8 * s->width, scales, biases, s->log, out, step);
    return s->columns;
  }
  uint8_t edge[LANES][4 * RUN_WORDS];
  const uint8_t *e[LANES];
  for (int l = 0; l < LANES; l++) e[l] = memcpy(edge[l], s->codes[l] + i / 8 * s->width, (n - i) / 8 * s->width);
  s->run(e, 0, scales, biases, s->log, room, LANES);
  for (long k = 0; k < n - i; k++) STORE(out + k * step, LOAD(vt, room + k * LANES));
  return n - i;
}

// A panel of PANEL rows is parts [columns, PART], one after the other; a tile of
// the product is COLUMNS of its rows wide.
#define PART (COLUMNS > 16 ? COLUMNS : 16)

// lane is where row j of a panel of n columns begins.
INLINE float *lane_of(float *panel, long n, long j) { return panel + j / PART * PART * n + j % PART; }

// turn_panel makes a panel of columns c .. c+n-1, at most CHUNK, of rows r .. r+PANEL-1;
// those from r1 on stand for nothing.
STATIC void turn_panel(const struct matrix *w, long r, long r1, long c, long n, float *panel) {
  float room[RUN * LANES];
  for (long j = 0; j < PANEL && r + j < r1; j += LANES) {
    struct strip s;
    strip_open(&s, w, r + j, r1 - r - j, c, c + n);
    float *out = lane_of(panel, n, j);
    for (long i = 0; i < n;) i += strip_run(&s, i, n, out + i * PART, PART, room);
  }
}

// decode writes rows r .. r1-1 as floats: turned, and turned back.
STATIC void decode(const struct matrix *w, long r, long r1, float *out) {
  float t[RUN * LANES], room[RUN * LANES], back[LANES][RUN];
  for (; r < r1; r += LANES, out += LANES * w->cols)
    for (long c = 0; c < w->cols; c += CHUNK) {
      long n = w->cols - c < CHUNK ? w->cols - c : CHUNK, rows = r1 - r < LANES ? r1 - r : LANES, k;
      struct strip s;
      strip_open(&s, w, r, rows, c, c + n);
      for (long i = 0; i < n; i += k) {
        k = strip_run(&s, i, n, t, LANES, room);
        for (long j = 0; j < k; j += 4) {
          float *row[LANES];
          vtu d[4];
          for (int l = 0; l < LANES; l++) row[l] = back[l] + j;
          for (int l = 0; l < 4; l++) d[l] = LOAD(vtu, t + (j + l) * LANES);
          turn_out(row, d);
        }
        for (long l = 0; l < rows; l++)
          for (long j = 0; j < k; j += 16) STORE(out + l * w->cols + c + i + j, LOAD(vf, back[l] + j));
      }
    }
}
