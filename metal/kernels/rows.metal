// Dot products of one row x with rows of a matrix, without forming a weight: what
// matvec.metal and experts.metal share. x is rounded to A; VALS columns of a lane
// at once divide cols and lie in one group. Twin: engine/cpu/plain.go, MatVec.

// dot_rows adds to acc[r] the part of rows row..row+ROWS−1 in columns from,
// from + step and so on. Rows after last are read as last.
template <int KIND, int BITS, int GROUP, typename S, typename A, int VALS, int ROWS>
MSL_FN void dot_rows(device const uint* codes, device const S* scales, device const S* biases, device const float* x, uint cols,
                     uint row, uint last, uint from, uint step, thread float* acc) {
  enum { WORDS = VALS * BITS / 32 };
  const ulong words = row_words<BITS>(cols);
  const ulong groups = row_groups<GROUP>(cols);
  for (uint k = from; k < cols; k += step) {
    uint w[ROWS * WORDS];
    S s[ROWS];
    S b[ROWS];
    MSL_UNROLL
    for (int r = 0; r < ROWS; r++) {
      const ulong at = min(row + uint(r), last);
      load_words<WORDS>(codes + at * words + k / VALS * WORDS, w + r * WORDS);
      s[r] = S(0);
      b[r] = S(0);
      if constexpr (GROUP > 0) s[r] = scales[at * groups + k / uint(GROUP)];
      if constexpr (KIND == FORMAT_AFFINE) b[r] = biases[at * groups + k / uint(GROUP)];
    }
    float xv[VALS];
    const float sum = load_x<KIND, BITS, A, VALS>(x + k, xv);
    MSL_UNROLL
    for (int r = 0; r < ROWS; r++) {
      acc[r] = add_dot<KIND, S>(acc[r], dot_codes<KIND, BITS, VALS>(w + r * WORDS, xv), sum, s[r], b[r]);
    }
  }
}

// dot_pairs is dot_rows of the same rows of two matrices.
template <int KIND, int BITS, int GROUP, typename S, typename A, int VALS, int ROWS>
MSL_FN void dot_pairs(device const uint* codes1, device const S* scales1, device const S* biases1, device const uint* codes3,
                      device const S* scales3, device const S* biases3, device const float* x, uint cols, uint row, uint last,
                      uint lane, thread float* g, thread float* u) {
  enum { WORDS = VALS * BITS / 32 };
  const ulong words = row_words<BITS>(cols);
  const ulong groups = row_groups<GROUP>(cols);
  for (uint k = lane * VALS; k < cols; k += 32u * VALS) {
    uint w1[ROWS * WORDS];
    uint w3[ROWS * WORDS];
    S s1[ROWS];
    S b1[ROWS];
    S s3[ROWS];
    S b3[ROWS];
    MSL_UNROLL
    for (int r = 0; r < ROWS; r++) {
      const ulong at = min(row + uint(r), last);
      load_words<WORDS>(codes1 + at * words + k / VALS * WORDS, w1 + r * WORDS);
      load_words<WORDS>(codes3 + at * words + k / VALS * WORDS, w3 + r * WORDS);
      s1[r] = S(0);
      b1[r] = S(0);
      s3[r] = S(0);
      b3[r] = S(0);
      if constexpr (GROUP > 0) {
        s1[r] = scales1[at * groups + k / uint(GROUP)];
        s3[r] = scales3[at * groups + k / uint(GROUP)];
      }
      if constexpr (KIND == FORMAT_AFFINE) {
        b1[r] = biases1[at * groups + k / uint(GROUP)];
        b3[r] = biases3[at * groups + k / uint(GROUP)];
      }
    }
    float xv[VALS];
    const float sum = load_x<KIND, BITS, A, VALS>(x + k, xv);
    MSL_UNROLL
    for (int r = 0; r < ROWS; r++) {
      g[r] = add_dot<KIND, S>(g[r], dot_codes<KIND, BITS, VALS>(w1 + r * WORDS, xv), sum, s1[r], b1[r]);
      u[r] = add_dot<KIND, S>(u[r], dot_codes<KIND, BITS, VALS>(w3 + r * WORDS, xv), sum, s3[r], b3[r]);
    }
  }
}
