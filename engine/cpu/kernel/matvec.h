// The matrix-vector product, straight from the stored codes.
//
// A row is read in blocks of LANES 32-bit lanes. A lane holds PER codes in a
// row, and the k-th codes of all lanes become floats together: masked where
// they stand, converted, and multiplied with activations that prepare has put
// into the same order and divided by what the place adds, a power of two.

// per_lane is how many codes a lane holds.
INLINE int per_lane(int kind, int bits) {
  switch (kind) {
  case K_F32: return 1;
  case K_BF16: return 2;
  case K_MXFP4: return 8;
  case K_MXFP8: return 4;
  default: return bits == 2 ? 16 : bits <= 4 ? 8 : 4;
  }
}

// halved says that the upper half of a lane's codes is shifted down before any
// is masked.
INLINE int halved(int kind, int bits) { return kind == K_AFFINE && per_lane(kind, bits) > 4; }

// place is how many bits the k-th code of a lane stands above bit 0 when it is
// masked: 16 at most, so that dividing by 2^place leaves all but activations
// under 2^-110 as they are. Of four codes the last is shifted, not masked.
INLINE int place(int kind, int bits, int k) {
  int per = per_lane(kind, bits);
  if (kind != K_AFFINE || (per == 4 && k == 3 && bits != 5)) return 0;
  return (halved(kind, bits) ? k % (per / 2) : k) * bits;
}

// block_code is which of its block's codes the k-th code of a lane is.
INLINE int block_code(int kind, int bits, int k, int lane) {
  if (kind == K_MXFP8) return 2 * LANES * (k & 1) + 2 * lane + k / 2; // the order of small_e4m3
  return per_lane(kind, bits) * lane + k;
}

// SUMS_AT is where the group sums stand in a prepared x: behind whole blocks.
#define SUMS_AT(cols) (((cols) + 255) & ~255L)

NATIVE void prepare_as(const struct matrix *w, int kind, int bits, const float *x, float *out) {
  enum { MOST = 16 * LANES };
  const int per = per_lane(kind, bits), block = per * LANES;
  for (long c = 0; c < w->cols; c += block, out += block) {
    float edge[MOST];
    const float *from = x + c;
    if (w->cols - c < block) {
      memset(edge, 0, sizeof edge);
      memcpy(edge, from, (w->cols - c) * 4);
      from = edge;
    }
    for (int k = 0; k < per; k++) {
      float unit = kind == K_MXFP8 ? 256.0f : 1.0f / (1 << place(kind, bits, k));
#pragma GCC unroll 16
      for (int l = 0; l < LANES; l++) out[k * LANES + l] = from[block_code(kind, bits, k, l)] * unit;
    }
  }
}

STATIC void prepare(const struct matrix *w, const float *x, float *out) {
  BY_FORMAT(prepare_as, x, out)
  if (w->kind != K_AFFINE) return;
  long groups = w->cols / w->group, n = (groups + 15) & ~15L;
  float *sum = out + SUMS_AT(w->cols);
  for (long g = 0; g < n; g++) {
    vf s = SPLAT(0);
    if (g < groups)
      for (long c = g * w->group; c < (g + 1) * w->group; c += 16) s += LOAD(vf, x + c);
    sum[g] = vsum(&s);
  }
}

// code gives the k-th codes of a block's lanes as floats, times 2^place. v is the
// block as stored and its codes' upper half, or for the MX formats what a format
// is decoded to at once.
union block {
  vtu v[2];
  vt small[4];
};

NATIVE void open_block(int kind, int bits, vtu v, union block *out) {
  if (kind == K_MXFP8) {
    small_e4m3(&v, out->small);
    return;
  }
  if (kind == K_AFFINE) spread(bits, &v);
  out->v[0] = v;
  if (kind == K_MXFP4) e2m1_bytes(&v, out->v);
  else out->v[1] = v >> (per_lane(kind, bits) * bits / 2 & 31);
}

NATIVE void code(int kind, int bits, const union block *b, int k, vt *out) {
  const int per = per_lane(kind, bits), half = halved(kind, bits) && k >= per / 2;
  const vtu v = b->v[half];
  if (kind == K_F32) *out = (vt)v;
  else if (kind == K_BF16) *out = (vt)(k ? v & 0xffff0000 : v << 16);
  else if (kind == K_MXFP4) e2m1(b->v, k, out);
  else if (kind == K_MXFP8) *out = b->small[k];
  else if ((bits == 3 || bits == 4) && place(kind, bits, k) == 0) lowest(bits, &v, out);
  else if (per == 4 && k == 3 && bits != 5) *out = __builtin_convertvector((vti)(v >> 3 * bits), vt);
  else *out = __builtin_convertvector((vti)(v & ((1u << bits) - 1) << place(kind, bits, k)), vt);
}

// add_blocks adds the products of a block of each of two rows to two sums a row;
// for mxfp8 those of the block's halves.
NATIVE void add_blocks(int kind, int bits, vtu v, vtu w, const float *x, vt *sum, vt *other) {
  union block a, b;
  if (per_lane(kind, bits) > 1) {
    KEEP(v);
    KEEP(w);
  }
  open_block(kind, bits, v, &a);
  open_block(kind, bits, w, &b);
#pragma GCC unroll 16
  for (int k = 0; k < per_lane(kind, bits); k++) {
    vt q, at = LOAD(vt, x + k * LANES);
    KEEP(at);
    code(kind, bits, &a, k, &q);
    sum[k & 1] = q * at + sum[k & 1];
    code(kind, bits, &b, k, &q);
    other[k & 1] = q * at + other[k & 1];
  }
}

// plain_pair adds n columns of two rows of floats to their sums. Meanwhile it asks
// for as much of ahead, the rows that come after those under way: hardware stops
// looking ahead at the end of a page.
NATIVE void plain_pair(int kind, const uint8_t **row, const uint8_t *end, const uint8_t **ahead, const float *x, long n, vt *acc, vt *other) {
  const int per = per_lane(kind, 0);
  const long bytes = n * 4 / per;
  const uint8_t *p = row[0], *q = row[1];
  long at = 0;
  vt sum[2][4] = {};
  for (; at + 8 * LANES <= bytes; at += 8 * LANES)
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++, x += per * LANES) {
      vtu v = LOAD(vtu, p + at + 4 * LANES * i), u = LOAD(vtu, q + at + 4 * LANES * i);
      __builtin_prefetch(ahead[0] + at + 4 * LANES * i, 0, 2);
      __builtin_prefetch(ahead[1] + at + 4 * LANES * i, 0, 2);
      add_blocks(kind, 0, v, u, x, sum[0] + 2 * i, sum[1] + 2 * i);
    }
  for (; at < bytes; at += 4 * LANES, x += per * LANES) {
    long some = bytes - at < 4 * LANES ? bytes - at : 4 * LANES;
    vtu v, u;
    read_block(p + at, some, end, &v);
    read_block(q + at, some, end, &u);
    add_blocks(kind, 0, v, u, x, sum[0], sum[1]);
  }
  *acc += sum[0][0] + sum[0][1] + (sum[0][2] + sum[0][3]);
  *other += sum[1][0] + sum[1][1] + (sum[1][2] + sum[1][3]);
  for (int i = 0; i < 2; i++) row[i] += bytes, ahead[i] += bytes;
}

// PAIRS is how many pairs of rows go by together, and STRETCH how many columns of
// them before the next: so much of x stays in the first cache meanwhile.
enum { PAIRS = LANES / 2, STRETCH = 1024 };

// plain_pairs adds up n pairs of rows of floats, a + i and b + i.
NATIVE void plain_pairs(const struct matrix *w, int kind, long a, long b, long n, long m, const float *x, vt *acc) {
  const long bytes = row_bytes(w);
  const uint8_t *end = w->codes + w->rows * bytes;
  const uint8_t *ahead[2] = {w->codes + (a + PAIRS) * bytes, w->codes + (b + PAIRS) * bytes};
  for (long c = 0; c < w->cols; c += STRETCH)
    for (long i = 0; i < n; i++) {
      const long d = w->cols - c < STRETCH ? w->cols - c : STRETCH, at = c * 4 / per_lane(kind, 0);
      const uint8_t *row[2] = {w->codes + (a + i) * bytes + at, w->codes + (i < m ? b + i : a + i) * bytes + at};
      plain_pair(kind, row, end, ahead, x + c, d, acc + i, acc + PAIRS + i);
    }
}

// AHEAD is how many bytes a stream of codes is asked for early: hardware does
// not look beyond a page, nor far enough for memory.
#define AHEAD 2048

// stream is one row's codes under way.
struct stream {
  const uint8_t *codes, *end;
  vt scales, acc;
};

// add_units adds a unit's products, of n bytes, of two rows: as many blocks as a
// group has, or one that has many groups. which tells the group of each lane.
NATIVE void add_units(int kind, int bits, struct stream *s, const float *x, long blocks, long n, const vti *which) {
  const int per = per_lane(kind, bits), bytes = per * bits * LANES / 8;
  vt sum[2][2] = {}, scale;
  if (n > bytes) n = bytes;
  for (long i = 0; i < blocks; i++, x += per * LANES) {
    vtu v, w;
    __builtin_prefetch(s[0].codes + AHEAD);
    __builtin_prefetch(s[1].codes + AHEAD);
    read_block(s[0].codes, n, s[0].end, &v);
    read_block(s[1].codes, n, s[1].end, &w);
    add_blocks(kind, bits, v, w, x, sum[0], sum[1]);
    s[0].codes += n, s[1].codes += n;
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; i++) {
    pick(&s[i].scales, which, &scale);
    if (kind == K_MXFP8 && LANES == 16) { // a half is a group
      vti next = *which + 1;
      s[i].acc = sum[i][0] * scale + s[i].acc;
      pick(&s[i].scales, &next, &scale);
      s[i].acc = sum[i][1] * scale + s[i].acc;
    } else {
      s[i].acc = (sum[i][0] + sum[i][1]) * scale + s[i].acc;
    }
  }
}

// group_pair adds up two rows of codes with scales.
NATIVE void group_pair(const struct matrix *w, int kind, int bits, long a, long b, const float *x, vt *acc) {
  const int per = per_lane(kind, bits), block = per * LANES;
  const long group = kind == K_AFFINE ? w->group : 32, groups = w->cols / group, rows[2] = {a, b};
  const long blocks = group > block ? group / block : 1, many = group > block ? 1 : block / group; // of a unit
  const float *xsum = x + SUMS_AT(w->cols);
  vti lanes = many > 1 && kind != K_MXFP8 ? LANE_NUMBERS * per >> __builtin_ctzl(group) : LANE_NUMBERS * 0;
  struct stream s[2];
  for (int i = 0; i < 2; i++) {
    s[i].codes = w->codes + rows[i] * (w->cols / 8 * bits);
    s[i].end = w->codes + w->rows * (w->cols / 8 * bits);
    s[i].acc = (vt){};
  }
  for (long g = 0; g < groups; g += LANES) {
    long n = groups - g < LANES ? groups - g : LANES;
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
      long at = rows[i] * groups + g;
      read_scales(w, kind, w->scales, at, n, &s[i].scales);
      __builtin_prefetch(w->scales + 2 * at + AHEAD / 4);
      if (kind != K_AFFINE) continue;
      vt bias;
      read_scales(w, kind, w->biases, at, n, &bias);
      __builtin_prefetch(w->biases + 2 * at + AHEAD / 4);
      s[i].acc = bias * LOAD(vt, xsum + g) + s[i].acc;
    }
    vti which = lanes;
    long unit = 0;
    for (; unit + many <= n; unit += many, x += blocks * block, which += (int)many)
      add_units(kind, bits, s, x, blocks, block * bits / 8, &which);
    if (unit < n) {
      add_units(kind, bits, s, x, 1, (n - unit) * group / 8 * bits, &which);
      x += block;
    }
  }
  acc[0] = s[0].acc, acc[1] = s[1].acc;
}

// matvec_as takes rows two by two, from two places of memory far apart, which
// read faster than one; a row's sum depends on no other.
NATIVE void matvec_as(const struct matrix *w, int kind, int bits, long r0, long r1, const float *x, float *y) {
  long half = (r1 - r0 + 1) / 2;
  for (long r = r0; r < r0 + half; r += PAIRS) {
    vt acc[LANES] = {}, out;
    float t[LANES];
    long n = r0 + half - r < PAIRS ? r0 + half - r : PAIRS, m = r1 - r - half < n ? r1 - r - half : n;
    if (kind == K_F32 || kind == K_BF16) {
      plain_pairs(w, kind, r, r + half, n, m, x, acc);
    } else {
      for (long i = 0; i < n; i++) {
        vt pair[2];
        group_pair(w, kind, bits, r + i, i < m ? r + i + half : r + i, x, pair);
        acc[i] = pair[0], acc[PAIRS + i] = pair[1];
      }
    }
    sums(acc, &out);
    STORE(t, out);
    memcpy(y + r, t, n * 4);
    memcpy(y + r + half, t + PAIRS, m * 4);
  }
}

STATIC void matvec(const struct matrix *w, long r0, long r1, const float *x, float *y) { BY_FORMAT(matvec_as, r0, r1, x, y) }
