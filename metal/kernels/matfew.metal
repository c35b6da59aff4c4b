// matfew: y[t,r] = Σ_c W[r,c]·x[t,c] for up to M·TEAMS rows of x, each weight
// read once: w and x rounded to A, sums in floats.
//
//   x float [tokens, ldx]    y float [tokens, ldy]    W of one format, see common.metal
//
// A simdgroup takes BLOCK rows of W, ROWS at a time, the next while these are
// multiplied. It is TEAMS teams with M rows of x each: a lane keeps 16 columns of
// M rows for all rows of W. SPLIT simdgroups share the columns; their parts meet
// in threadgroup memory, in order. With groups, group g of x times rows g·rows..
// of W makes group g of y. Grid: (⌈rows / (BLOCK·NSG/SPLIT)⌉, 1, groups) of 32·NSG
// threads. Host checks: 1 ≤ tokens ≤ M·TEAMS. Twin: engine/cpu/plain.go, MatMul.

struct MatFewArgs {
  uint tokens;
  uint rows;  // of a group
  uint cols;
  uint ldx;  // a multiple of 4
  uint ldy;
  uint pad;
};

// reduce leaves, in lane l, the sum of v[l % N] over teams of LANES lanes; N and
// LANES are powers of 2, N ≤ LANES. Half of the values go to each half of a team,
// and so on, and each lane ends with one: fewer exchanges than N sums.
template <int N, int LANES>
MSL_FN float reduce(thread float* v, uint lane) {
  MSL_UNROLL
  for (int s = N / 2; s > 0; s /= 2) {
    const bool upper = (lane & uint(s)) != 0u;
    MSL_UNROLL
    for (int i = 0; i < s; i++) {
      const float other = simd_shuffle_xor(upper ? v[i] : v[i + s], ushort(s));
      v[i] = (upper ? v[i + s] : v[i]) + other;
    }
  }
  MSL_UNROLL
  for (int s = N; s < LANES; s *= 2) v[0] += simd_shuffle_xor(v[0], ushort(s));
  return v[0];
}

// load_few brings 16 columns from k on of rows row..row+ROWS−1, as load_rows does.
template <int KIND, int BITS, int GROUP, typename S, int ROWS>
MSL_FN void load_few(device const uint* codes, device const S* scales, device const S* biases, uint cols, uint row, uint last, uint k,
                     bool on, thread uint* w, thread S* s, thread S* b) {
  MSL_UNROLL
  for (int r = 0; r < ROWS; r++) {
    s[r] = S(0);
    b[r] = S(0);
    if (on) {
      const ulong at = min(row + uint(r), last);
      load16<BITS>(codes + at * row_words<BITS>(cols), k, w + r * ((16 * BITS + 31) / 32));
      if constexpr (GROUP > 0) s[r] = scales[at * row_groups<GROUP>(cols) + k / uint(GROUP)];
      if constexpr (KIND == FORMAT_AFFINE) b[r] = biases[at * row_groups<GROUP>(cols) + k / uint(GROUP)];
    } else {
      MSL_UNROLL
      for (int i = 0; i < (16 * BITS + 31) / 32; i++) w[r * ((16 * BITS + 31) / 32) + i] = 0u;
    }
  }
}

// dot_few is, for each row that load_few brought and each of M rows of x, the
// product of this lane's columns.
template <int KIND, int BITS, typename S, typename A, int M, int ROWS>
MSL_FN void dot_few(thread const uint* w, thread const S* s, thread const S* b, thread const float* x, uint e,
                    thread float* d) {
  MSL_UNROLL
  for (int r = 0; r < ROWS; r++) {
    float v[16];
    decode16<KIND, BITS, S>(w + r * ((16 * BITS + 31) / 32), s[r], b[r], e, v);
    MSL_UNROLL
    for (int m = 0; m < M; m++) d[r * M + m] = 0.0f;
    MSL_UNROLL
    for (int i = 0; i < 16; i++) {
      const float a = float(A(v[i]));
      MSL_UNROLL
      for (int m = 0; m < M; m++) d[r * M + m] = fma(a, x[16 * m + i], d[r * M + m]);
    }
  }
}

// Few: sizes of a simdgroup's work.
template <int BITS, int M, int TEAMS, int ROWS, int BLOCK>
struct Few {
  enum {
    lanes = 32 / TEAMS,                     // of a team
    columns = 16 * lanes,                   // of a simdgroup at once
    words = ROWS * ((16 * BITS + 31) / 32),  // of codes in a lane
    sums = ROWS * M,                        // of a team at once
    part = BLOCK * M * TEAMS,               // sums in all
  };
};

// block_few leaves in part the products of count rows, over the columns from
// sg % SPLIT · columns on: step by step of ROWS rows, team by team, row by row,
// token by token. Without columns it leaves nothing.
template <int KIND, int BITS, int GROUP, typename S, typename A, int M, int TEAMS, int ROWS, int BLOCK, int SPLIT>
MSL_FN void block_few(device const uint* codes, device const S* scales, device const S* biases, device const float* x,
                      constant MatFewArgs& p, uint row, uint count, uint sg, uint lane, threadgroup float* part) {
  typedef Few<BITS, M, TEAMS, ROWS, BLOCK> F;
  const uint last = row + count - 1u;
  const uint team = lane / uint(F::lanes);
  const uint place = lane % uint(F::lanes);
  const uint first = sg % uint(SPLIT) * uint(F::columns);
  for (uint base = first; base < p.cols; base += uint(F::columns * SPLIT)) {
    const uint k = base + place * 16u;
    const bool on = k < p.cols;
    uint w[F::words];
    S s[ROWS];
    S b[ROWS];
    load_few<KIND, BITS, GROUP, S, ROWS>(codes, scales, biases, p.cols, row, last, k, on, w, s, b);
    float xv[16 * M];
    MSL_UNROLL
    for (int m = 0; m < M; m++) {
      const uint t = team * uint(M) + uint(m);
      load_lane<FORMAT_F32, 32, A, 16>(x + ulong(t) * p.ldx + k, on && t < p.tokens, xv + 16 * m);
    }
    for (uint r = 0; r < count; r += uint(ROWS)) {
      uint w2[F::words];
      S s2[ROWS];
      S b2[ROWS];
      load_few<KIND, BITS, GROUP, S, ROWS>(codes, scales, biases, p.cols, row + r + uint(ROWS), last, k, on && r + uint(ROWS) < count, w2,
                                           s2, b2);
      float d[F::sums];
      dot_few<KIND, BITS, S, A, M, ROWS>(w, s, b, xv, exponent_of(p.cols), d);
      const float v = reduce<F::sums, F::lanes>(d, lane);
      if (place < uint(F::sums)) { // other lanes hold the same once more
        threadgroup float* to = part + r * uint(M * TEAMS) + team * uint(F::sums) + place;
        *to = base == first ? v : *to + v;
      }
      MSL_UNROLL
      for (int i = 0; i < F::words; i++) w[i] = w2[i];
      MSL_UNROLL
      for (int i = 0; i < ROWS; i++) {
        s[i] = s2[i];
        b[i] = b2[i];
      }
    }
  }
}

template <int KIND, int BITS, int GROUP, typename S, typename A, int M, int TEAMS, int ROWS, int BLOCK, int SPLIT, int NSG>
KERNEL_MAX(32 * NSG) void matfew(
    device const uint* codes [[buffer(0)]],
    device const S* scales [[buffer(1)]],
    device const S* biases [[buffer(2)]],
    device const float* x [[buffer(3)]],
    device float* y [[buffer(4)]],
    constant MatFewArgs& p [[buffer(5)]],
    uint3 tg [[threadgroup_position_in_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint sg [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  typedef Few<BITS, M, TEAMS, ROWS, BLOCK> F;
  TG_ARRAY(float, part, NSG * F::part);
  const uint row = (tg.x * uint(NSG / SPLIT) + sg / uint(SPLIT)) * uint(BLOCK);
  const ulong group = ulong(tg.z) * p.rows;
  if (row < p.rows) {
    block_few<KIND, BITS, GROUP, S, A, M, TEAMS, ROWS, BLOCK, SPLIT>(
        codes + group * row_words<BITS>(p.cols), scales + group * row_groups<GROUP>(p.cols), biases + group * row_groups<GROUP>(p.cols),
        x + ulong(tg.z) * p.cols, p, row, min(uint(BLOCK), p.rows - row), sg, lane, part + sg * uint(F::part));
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint rows = uint(NSG / SPLIT * BLOCK);
  for (uint i = tid; i < rows * p.tokens; i += 32u * NSG) {
    const uint r = i % rows;
    const uint t = i / rows;
    const uint at = tg.x * rows + r;
    if (at < p.rows) {
      const uint b = r % uint(BLOCK);
      threadgroup const float* from = part + r / uint(BLOCK) * uint(SPLIT * F::part) + b / uint(ROWS) * uint(F::sums * TEAMS) +
                                      t / uint(M) * uint(F::sums) + b % uint(ROWS) * uint(M) + t % uint(M);
      float v = from[0];
      MSL_UNROLL
      for (int j = 1; j < SPLIT; j++) {
        if (uint(j * F::columns) < p.cols) v += from[j * F::part]; // else that simdgroup has left nothing
      }
      y[ulong(t) * p.ldy + group + at] = v;
    }
  }
}
