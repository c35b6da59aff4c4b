// Dot products of one row x with rows of a matrix, without forming a weight: what
// matvec.metal and experts.metal share. x is rounded to A; a lane takes VALS
// columns at once, which divide cols and lie in one group, and keeps them for
// all rows. Rows come ROWS at a time, the next while these are multiplied.
// Twin: engine/cpu/plain.go, MatVec.

// Rows is ROWS rows' codes and scales, of a lane's columns.
template <int BITS, typename S, int VALS, int ROWS>
struct Rows {
  uint w[ROWS * VALS * BITS / 32];
  S scale[ROWS];
  S bias[ROWS];
};

// load_rows brings a lane's columns of the next ROWS rows, of which there are
// left: codes, scales and biases point at these columns of the first. Rows that
// there are not are read as the last. Where on is false nothing is read, and all
// is zero.
template <int KIND, int BITS, int GROUP, typename S, int VALS, int ROWS>
MSL_FN void load_rows(device const uint* codes, device const S* scales, device const S* biases, uint cols, uint left, bool on,
                      thread Rows<BITS, S, VALS, ROWS>& to) {
  enum { WORDS = VALS * BITS / 32 };
  const uint words = uint(row_words<BITS>(cols));
  const uint groups = uint(row_groups<GROUP>(cols));
  MSL_UNROLL
  for (int r = 0; r < ROWS; r++) {
    to.scale[r] = S(0);
    to.bias[r] = S(0);
    if (on) {
      const uint at = min(uint(r), left - 1u);
      load_words<WORDS>(codes + at * words, to.w + r * WORDS);
      if constexpr (GROUP > 0) to.scale[r] = scales[at * groups];
      if constexpr (KIND == FORMAT_AFFINE) to.bias[r] = biases[at * groups];
    } else {
      MSL_UNROLL
      for (int i = 0; i < WORDS; i++) to.w[r * WORDS + i] = 0u;
    }
  }
}

// dot_rows is ROWS products with what load_rows brought, of this lane's columns.
template <int KIND, int BITS, typename S, int VALS, int ROWS>
MSL_FN void dot_rows(thread const Rows<BITS, S, VALS, ROWS>& rows, thread const float* x, float sum, uint e, thread float* d) {
  MSL_UNROLL
  for (int r = 0; r < ROWS; r++) {
    d[r] = add_dot<KIND, S>(0.0f, dot_codes<KIND, BITS, VALS>(rows.w + r * (VALS * BITS / 32), x, e), sum, rows.scale[r], rows.bias[r]);
  }
}

// load_lane is load_x where on is true, and zeros elsewhere.
template <int KIND, int BITS, typename A, int VALS>
MSL_FN float load_lane(device const float* x, bool on, thread float* out) {
  if (on) return load_x<KIND, BITS, A, VALS>(x, out);
  MSL_UNROLL
  for (int i = 0; i < VALS; i++) out[i] = 0.0f;
  return 0.0f;
}

// take adds d[i] to acc in lane first + i.
template <int ROWS>
MSL_FN float take(float acc, thread const float* d, uint first, uint lane) {
  MSL_UNROLL
  for (int i = 0; i < ROWS; i++) acc += lane == first + uint(i) ? d[i] : 0.0f;
  return acc;
}

// dot_block is, in lane r, row r of a block of count rows, over the columns of this
// simdgroup: 32·VALS from from on, from from + step on, and so forth. All lanes
// call it with the same but for lane. 0 < count ≤ 32. While some rows are
// multiplied the next are under way.
template <int KIND, int BITS, int GROUP, typename S, typename A, int VALS, int ROWS>
MSL_FN float dot_block(device const uint* codes, device const S* scales, device const S* biases, device const float* x, uint cols,
                       uint count, uint from, uint step, uint lane) {
  enum { WORDS = VALS * BITS / 32, G = GROUP > 0 ? GROUP : 1 };
  const uint e = exponent_of(cols);
  const ulong words = row_words<BITS>(cols) * ROWS;
  const ulong groups = row_groups<GROUP>(cols) * ROWS;
  float acc = 0.0f;
  for (uint base = from; base < cols; base += step) {
    const uint k = base + lane * VALS;
    const bool on = k < cols;
    device const uint* c = codes + k / VALS * WORDS;
    device const S* s = scales + k / uint(G);
    device const S* b = biases + k / uint(G);
    Rows<BITS, S, VALS, ROWS> one;
    Rows<BITS, S, VALS, ROWS> two;
    load_rows<KIND, BITS, GROUP, S, VALS, ROWS>(c, s, b, cols, count, on, one);
    float xv[VALS];
    const float sum = load_lane<KIND, BITS, A, VALS>(x + k, on, xv);
    for (uint r = 0; r < count; r += 2u * ROWS) {
      float d[ROWS];
      c += words;
      s += groups;
      b += groups;
      load_rows<KIND, BITS, GROUP, S, VALS, ROWS>(c, s, b, cols, count - r - ROWS, on && r + ROWS < count, two);
      dot_rows<KIND, BITS, S, VALS, ROWS>(one, xv, sum, e, d);
      simd_sums<ROWS>(d);
      acc = take<ROWS>(acc, d, r, lane);
      if (r + ROWS >= count) break;
      c += words;
      s += groups;
      b += groups;
      load_rows<KIND, BITS, GROUP, S, VALS, ROWS>(c, s, b, cols, count - r - 2u * ROWS, on && r + 2u * ROWS < count, one);
      dot_rows<KIND, BITS, S, VALS, ROWS>(two, xv, sum, e, d);
      simd_sums<ROWS>(d);
      acc = take<ROWS>(acc, d, r + ROWS, lane);
    }
  }
  return acc;
}

// dot_pairs is dot_block of the same rows of two matrices at once: g and u.
template <int KIND, int BITS, int GROUP, typename S, typename A, int VALS, int ROWS>
MSL_FN void dot_pairs(device const uint* codes1, device const S* scales1, device const S* biases1, device const uint* codes3,
                      device const S* scales3, device const S* biases3, device const float* x, uint cols, uint count, uint from,
                      uint step, uint lane, thread float& g, thread float& u) {
  enum { WORDS = VALS * BITS / 32, G = GROUP > 0 ? GROUP : 1 };
  const uint e = exponent_of(cols);
  const ulong words = row_words<BITS>(cols) * ROWS;
  const ulong groups = row_groups<GROUP>(cols) * ROWS;
  g = 0.0f;
  u = 0.0f;
  for (uint base = from; base < cols; base += step) {
    const uint k = base + lane * VALS;
    const bool on = k < cols;
    ulong c = k / VALS * WORDS;
    ulong s = k / uint(G);
    Rows<BITS, S, VALS, ROWS> next1;
    Rows<BITS, S, VALS, ROWS> next3;
    load_rows<KIND, BITS, GROUP, S, VALS, ROWS>(codes1 + c, scales1 + s, biases1 + s, cols, count, on, next1);
    load_rows<KIND, BITS, GROUP, S, VALS, ROWS>(codes3 + c, scales3 + s, biases3 + s, cols, count, on, next3);
    float xv[VALS];
    const float sum = load_lane<KIND, BITS, A, VALS>(x + k, on, xv);
    for (uint r = 0; r < count; r += ROWS) {
      const Rows<BITS, S, VALS, ROWS> now1 = next1;
      const Rows<BITS, S, VALS, ROWS> now3 = next3;
      const bool more = on && r + ROWS < count;
      c += words;
      s += groups;
      load_rows<KIND, BITS, GROUP, S, VALS, ROWS>(codes1 + c, scales1 + s, biases1 + s, cols, count - r - ROWS, more, next1);
      load_rows<KIND, BITS, GROUP, S, VALS, ROWS>(codes3 + c, scales3 + s, biases3 + s, cols, count - r - ROWS, more, next3);
      float d[2 * ROWS];
      dot_rows<KIND, BITS, S, VALS, ROWS>(now1, xv, sum, e, d);
      dot_rows<KIND, BITS, S, VALS, ROWS>(now3, xv, sum, e, d + ROWS);
      simd_sums<2 * ROWS>(d);
      g = take<ROWS>(g, d, r, lane);
      u = take<ROWS>(u, d + ROWS, r, lane);
    }
  }
}

// joined is row i of a threadgroup, whose simdgroups left their parts of BLOCK rows
// one after another, SPLIT of them the same rows.
template <int BLOCK, int SPLIT>
MSL_FN float joined(threadgroup const float* part, uint i) {
  threadgroup const float* p = part + i / uint(BLOCK) * uint(SPLIT * BLOCK) + i % uint(BLOCK);
  float v = p[0];
  MSL_UNROLL
  for (int j = 1; j < SPLIT; j++) v += p[j * BLOCK];
  return v;
}
