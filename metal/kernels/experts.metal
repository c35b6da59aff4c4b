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

// experts_up. Grid: (⌈the greater of rows and shared / (BLOCK·NSG/SPLIT)⌉, K + 1,
// tokens) of 32·NSG threads; K in y is the shared expert. Rows and columns are cut
// as by matvec.
template <int KIND, int BITS, int GROUP, typename S, typename A, int VALS, int KIND2, int BITS2, int GROUP2, typename S2, typename A2,
          int VALS2, int ROWS, int BLOCK, int SPLIT, int NSG>
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
  TG_ARRAY(float, gates, NSG * BLOCK);
  TG_ARRAY(float, ups, NSG * BLOCK);
  const bool routed = tg.y < p.picks;
  const uint rows = routed ? p.rows : p.shared;
  const uint row = (tg.x * (NSG / SPLIT) + sg / SPLIT) * BLOCK;
  const uint count = row < rows ? min(uint(BLOCK), rows - row) : 0u;
  device const float* xt = x + ulong(tg.z) * p.cols;
  float g = 0.0f;
  float u = 0.0f;
  float weight = 1.0f;
  ulong to = ulong(grid.z) * p.picks + tg.z;
  if (routed) {
    to = ulong(tg.z) * p.picks + tg.y;
    const int e = picks[to];
    weight = weights[to];
    if (uint(e) >= p.experts) {  // a negative one too
      weight = nowhere();
    } else if (count > 0u) {
      const ulong c = (ulong(e) * rows + row) * row_words<BITS>(p.cols);
      const ulong s = (ulong(e) * rows + row) * row_groups<GROUP>(p.cols);
      dot_pairs<KIND, BITS, GROUP, S, A, VALS, ROWS>(codes1 + c, scales1 + s, biases1 + s, codes3 + c, scales3 + s, biases3 + s, xt,
                                                     p.cols, count, sg % SPLIT * (32u * VALS), 32u * VALS * SPLIT, lane, g, u);
    }
  } else if (count > 0u) {
    const ulong c = row * row_words<BITS2>(p.cols);
    const ulong s = row * row_groups<GROUP2>(p.cols);
    dot_pairs<KIND2, BITS2, GROUP2, S2, A2, VALS2, ROWS>(shared_codes1 + c, shared_scales1 + s, shared_biases1 + s, shared_codes3 + c,
                                                         shared_scales3 + s, shared_biases3 + s, xt, p.cols, count,
                                                         sg % SPLIT * (32u * VALS2), 32u * VALS2 * SPLIT, lane, g, u);
  }
  if (lane < BLOCK) {
    gates[sg * BLOCK + lane] = g;
    ups[sg * BLOCK + lane] = u;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint i = sg * 32u + lane; i < (NSG / SPLIT) * BLOCK; i += 32u * NSG) {
    const uint at = tg.x * (NSG / SPLIT) * BLOCK + i;
    if (at < rows) a[to * p.lda + at] = swiglu(joined<BLOCK, SPLIT>(gates, i), joined<BLOCK, SPLIT>(ups, i), p.limit) * weight;
  }
}

// experts_down. A threadgroup makes BLOCK rows of y; its simdgroups take the K + 1
// experts in turn, every SPLIT-th piece of columns, and their parts meet in
// threadgroup memory. Grid: (⌈rows/BLOCK⌉, tokens, 1) of 32·NSG threads. Host
// checks: K < 32.
template <int KIND, int BITS, int GROUP, typename S, typename A, int VALS, int KIND2, int BITS2, int GROUP2, typename S2, typename A2,
          int VALS2, int ROWS, int BLOCK, int SPLIT, int NSG>
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
  TG_ARRAY(float, part, 32 * SPLIT * BLOCK);
  const uint row = tg.x * BLOCK;
  const uint count = min(uint(BLOCK), p.rows - row);
  for (uint i = sg; i < (p.picks + 1u) * SPLIT; i += uint(NSG)) {
    const uint k = i / SPLIT;
    float v = 0.0f;
    if (k < p.picks) {
      const ulong from = ulong(tg.y) * p.picks + k;
      const int e = picks[from];
      if (uint(e) < p.experts) {
        const ulong first = ulong(e) * p.rows + row;
        v = dot_block<KIND, BITS, GROUP, S, A, VALS, ROWS>(
            codes + first * row_words<BITS>(p.cols), scales + first * row_groups<GROUP>(p.cols),
            biases + first * row_groups<GROUP>(p.cols), a + from * p.lda, p.cols, count, i % SPLIT * (32u * VALS),
            32u * VALS * SPLIT, lane);
      } else {
        v = nowhere();
      }
    } else {
      v = dot_block<KIND2, BITS2, GROUP2, S2, A2, VALS2, ROWS>(
          shared_codes + row * row_words<BITS2>(p.shared), shared_scales + row * row_groups<GROUP2>(p.shared),
          shared_biases + row * row_groups<GROUP2>(p.shared), a + (ulong(grid.y) * p.picks + tg.y) * p.lda, p.shared, count,
          i % SPLIT * (32u * VALS2), 32u * VALS2 * SPLIT, lane);
    }
    if (lane < BLOCK) part[i * BLOCK + lane] = v;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (tid < count) {
    float sum = 0.0f;
    for (uint k = 0; k <= p.picks; k++) {
      float v = part[k * SPLIT * BLOCK + tid];
      MSL_UNROLL
      for (int j = 1; j < SPLIT; j++) v += part[(k * SPLIT + uint(j)) * BLOCK + tid];
      sum = k == 0u ? v : sum + v;
    }
    y[ulong(tg.y) * p.rows + row + tid] = sum;
  }
}
