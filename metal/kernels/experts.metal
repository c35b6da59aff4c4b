// The feed-forward part of one token, or of few: each picked expert's rows are
// read where they lie, and the shared expert's beside them.
//
//   up:   a[t,k] = silu(min(g, limit))·clamp(u, ±limit)·weights[t,k],
//         g = W1[e]·x[t], u = W3[e]·x[t], e = picks[t,k]; the same with weight 1
//         for the shared expert
//   down: y[t] = Σ_k W2[e]·a[t,k] + W2shared·a[t,shared], k ascending
//
//   x float [tokens, cols]    picks int [tokens, K]    weights float [tokens, K]
//   a float [tokens·K + tokens, lda]: row t·K + k of pick k, row tokens·K + t of
//   the shared expert    y float [tokens, rows]
//
// Routed matrices are stacked, expert after expert, in one format; the shared
// ones have another (second set of template arguments). Rounding and sums are
// those of matvec. A pick that is no expert reads nothing and yields NaN.
// Twin: engine/cpu/plain.go, MatVec and SwiGLU; engine/cpu/experts.go, token.

// swiglu is silu(min(g, limit))·clamp(u, ±limit). Comparisons, not min and max:
// those would lose a NaN.
MSL_FN float swiglu(float g, float u, float limit) {
  const float x = g > limit ? limit : g;
  const float y = u > limit ? limit : u < -limit ? -limit : u;
  return x * (1.0f / (1.0f + precise::exp(-x))) * y;
}

struct ExpertsArgs {
  uint experts;
  uint picks;   // of a token, K
  uint cols;    // of W1 and W3 in up, of W2 in down
  uint shared;  // the shared expert's rows of W1 and W3 in up, its columns of W2 in down
  uint rows;    // of W1 and W3 in up, of W2 in down
  uint lda;     // a multiple of 4
  float limit;  // up only
  uint pad;
};

// experts_up. Grid: (⌈the greater of rows and shared / (ROWS·NSG)⌉, K + 1, tokens)
// of 32·NSG threads; K in y is the shared expert.
template <int KIND, int BITS, int GROUP, typename S, typename A, int VALS, int KIND2, int BITS2, int GROUP2, typename S2, typename A2,
          int VALS2, int ROWS, int NSG>
KERNEL_MAX(32 * NSG) void experts_up(
    device const uint* codes1 [[buffer(0)]],
    device const S* scales1 [[buffer(1)]],
    device const S* biases1 [[buffer(2)]],
    device const uint* codes3 [[buffer(3)]],
    device const S* scales3 [[buffer(4)]],
    device const S* biases3 [[buffer(5)]],
    device const uint* shared_codes1 [[buffer(6)]],
    device const S2* shared_scales1 [[buffer(7)]],
    device const S2* shared_biases1 [[buffer(8)]],
    device const uint* shared_codes3 [[buffer(9)]],
    device const S2* shared_scales3 [[buffer(10)]],
    device const S2* shared_biases3 [[buffer(11)]],
    device const float* x [[buffer(12)]],
    device const int* picks [[buffer(13)]],
    device const float* weights [[buffer(14)]],
    device float* a [[buffer(15)]],
    constant ExpertsArgs& p [[buffer(16)]],
    uint3 tg [[threadgroup_position_in_grid]],
    uint3 grid [[threadgroups_per_grid]],
    uint sg [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  const bool routed = tg.y < p.picks;
  const uint rows = routed ? p.rows : p.shared;
  const uint row = (tg.x * NSG + sg) * ROWS;
  if (row >= rows) return;  // the whole simdgroup, and no barrier follows
  device const float* xt = x + ulong(tg.z) * p.cols;
  float g[ROWS];
  float u[ROWS];
  MSL_UNROLL
  for (int r = 0; r < ROWS; r++) {
    g[r] = 0.0f;
    u[r] = 0.0f;
  }
  float weight = 1.0f;
  ulong to = ulong(grid.z) * p.picks + tg.z;
  if (routed) {
    to = ulong(tg.z) * p.picks + tg.y;
    const int e = picks[to];
    weight = weights[to];
    if (e >= 0 && uint(e) < p.experts) {
      const ulong c = ulong(e) * rows * row_words<BITS>(p.cols);
      const ulong s = ulong(e) * rows * row_groups<GROUP>(p.cols);
      dot_pairs<KIND, BITS, GROUP, S, A, VALS, ROWS>(codes1 + c, scales1 + s, biases1 + s, codes3 + c, scales3 + s, biases3 + s, xt,
                                                     p.cols, row, rows - 1u, lane, g, u);
    } else {
      weight = nowhere();
    }
  } else {
    dot_pairs<KIND2, BITS2, GROUP2, S2, A2, VALS2, ROWS>(shared_codes1, shared_scales1, shared_biases1, shared_codes3, shared_scales3,
                                                        shared_biases3, xt, p.cols, row, rows - 1u, lane, g, u);
  }
  simd_sums<ROWS>(g);
  simd_sums<ROWS>(u);
  MSL_UNROLL
  for (int r = 0; r < ROWS; r++) {
    if (lane == 0 && row + uint(r) < rows) a[to * p.lda + row + uint(r)] = swiglu(g[r], u[r], p.limit) * weight;
  }
}

// experts_down. A threadgroup makes ROWS rows of y; its simdgroups take the K + 1
// experts in turn, and their parts meet in threadgroup memory. Grid:
// (⌈rows/ROWS⌉, tokens, 1) of 32·NSG threads. Host checks: K < 32, ROWS ≤ 32.
template <int KIND, int BITS, int GROUP, typename S, typename A, int VALS, int KIND2, int BITS2, int GROUP2, typename S2, typename A2,
          int VALS2, int ROWS, int NSG>
KERNEL_MAX(32 * NSG) void experts_down(
    device const uint* codes [[buffer(0)]],
    device const S* scales [[buffer(1)]],
    device const S* biases [[buffer(2)]],
    device const uint* shared_codes [[buffer(3)]],
    device const S2* shared_scales [[buffer(4)]],
    device const S2* shared_biases [[buffer(5)]],
    device const int* picks [[buffer(6)]],
    device const float* a [[buffer(7)]],
    device float* y [[buffer(8)]],
    constant ExpertsArgs& p [[buffer(9)]],
    uint3 tg [[threadgroup_position_in_grid]],
    uint3 grid [[threadgroups_per_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint sg [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  TG_ARRAY(float, part, 32 * ROWS);
  const uint row = tg.x * ROWS;
  for (uint k = sg; k <= p.picks; k += uint(NSG)) {
    float acc[ROWS];
    MSL_UNROLL
    for (int r = 0; r < ROWS; r++) acc[r] = 0.0f;
    if (k < p.picks) {
      const ulong from = ulong(tg.y) * p.picks + k;
      const int e = picks[from];
      if (e >= 0 && uint(e) < p.experts) {
        const ulong first = ulong(e) * p.rows;
        dot_rows<KIND, BITS, GROUP, S, A, VALS, ROWS>(codes + first * row_words<BITS>(p.cols), scales + first * row_groups<GROUP>(p.cols),
                                                      biases + first * row_groups<GROUP>(p.cols), a + from * p.lda, p.cols, row,
                                                      p.rows - 1u, lane * VALS, 32u * VALS, acc);
      } else {
        MSL_UNROLL
        for (int r = 0; r < ROWS; r++) acc[r] = nowhere();
      }
    } else {
      dot_rows<KIND2, BITS2, GROUP2, S2, A2, VALS2, ROWS>(shared_codes, shared_scales, shared_biases,
                                                         a + (ulong(grid.y) * p.picks + tg.y) * p.lda, p.shared, row, p.rows - 1u,
                                                         lane * VALS2, 32u * VALS2, acc);
    }
    simd_sums<ROWS>(acc);
    MSL_UNROLL
    for (int r = 0; r < ROWS; r++) {
      if (lane == 0) part[k * ROWS + uint(r)] = acc[r];
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (tid < ROWS && row + tid < p.rows) {
    float v = part[tid];
    for (uint k = 1; k <= p.picks; k++) v += part[k * ROWS + tid];
    y[ulong(tg.y) * p.rows + row + tid] = v;
  }
}
