// matfew: y[t,r] = Σ_c W[r,c]·x[t,c] for up to M rows of x, each weight read and
// decoded once: w and x rounded to A, sums in floats.
//
//   x float [tokens, ldx]    y float [tokens, ldy]    W of one format, see common.metal
//
// A simdgroup takes ROWS rows of W, a lane every 32nd piece of 16 columns. With
// groups, group g of x times rows g·rows.. of W makes group g of y.
// Grid: (⌈rows / (ROWS·NSG)⌉, 1, groups) of 32·NSG threads. Host checks: 1 ≤
// tokens ≤ M. Twin: engine/cpu/plain.go, MatMul.

struct MatFewArgs {
  uint tokens;
  uint rows;  // of a group
  uint cols;
  uint ldx;
  uint ldy;
  uint pad;
};

template <int KIND, int BITS, int GROUP, typename S, typename A, int M, int ROWS, int NSG>
KERNEL_MAX(32 * NSG) void matfew(
    device const uint* codes [[buffer(0)]],
    device const S* scales [[buffer(1)]],
    device const S* biases [[buffer(2)]],
    device const float* x [[buffer(3)]],
    device float* y [[buffer(4)]],
    constant MatFewArgs& p [[buffer(5)]],
    uint3 tg [[threadgroup_position_in_grid]],
    uint sg [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  const uint row = (tg.x * NSG + sg) * ROWS;
  if (row >= p.rows) return;  // the whole simdgroup, and no barrier follows
  float acc[ROWS * M];
  MSL_UNROLL
  for (int i = 0; i < ROWS * M; i++) acc[i] = 0.0f;
  for (uint k = lane * 16u; k < p.cols; k += 512u) {
    float w[ROWS * 16];
    MSL_UNROLL
    for (int r = 0; r < ROWS; r++) {
      const ulong at = ulong(tg.z) * p.rows + min(row + uint(r), p.rows - 1u);
      uint c[(16 * BITS + 31) / 32];
      load16<BITS>(codes + at * row_words<BITS>(p.cols), k, c);
      S s = S(0);
      S b = S(0);
      if constexpr (GROUP > 0) s = scales[at * row_groups<GROUP>(p.cols) + k / uint(GROUP)];
      if constexpr (KIND == FORMAT_AFFINE) b = biases[at * row_groups<GROUP>(p.cols) + k / uint(GROUP)];
      decode16<KIND, BITS, S>(c, s, b, w + r * 16);
      MSL_UNROLL
      for (int i = 0; i < 16; i++) w[r * 16 + i] = float(A(w[r * 16 + i]));
    }
    MSL_UNROLL
    for (int m = 0; m < M; m++) {
      float xv[16];
      load_x<FORMAT_F32, 32, A, 16>(x + ulong(min(uint(m), p.tokens - 1u)) * p.ldx + ulong(tg.z) * p.cols + k, xv);
      MSL_UNROLL
      for (int r = 0; r < ROWS; r++) {
        MSL_UNROLL
        for (int i = 0; i < 16; i++) acc[r * M + m] = fma(w[r * 16 + i], xv[i], acc[r * M + m]);
      }
    }
  }
  simd_sums<ROWS * M>(acc);
  MSL_UNROLL
  for (int r = 0; r < ROWS; r++) {
    MSL_UNROLL
    for (int m = 0; m < M; m++) {
      if (lane == 0 && uint(m) < p.tokens && row + uint(r) < p.rows) {
        y[ulong(m) * p.ldy + ulong(tg.z) * p.rows + row + uint(r)] = acc[r * M + m];
      }
    }
  }
}
