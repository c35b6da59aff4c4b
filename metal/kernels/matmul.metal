// matmul: y[t,r] = Σ_c W[r,c]·x[t,c] for many rows of x, by the tiles of
// tile.metal. With groups, group g of x times rows g·rows.. of W makes group g of y.
//
//   x float [tokens, ldx]    y float [tokens, ldy]    W of one format, see common.metal
//
// Grid: (⌈rows/64⌉, ⌈tokens/BM⌉, groups) of 128 threads. Twin:
// engine/cpu/plain.go, MatMul.

struct MatMulArgs {
  uint tokens;
  uint rows;  // of a group
  uint cols;
  uint ldx;  // a multiple of 4
  uint ldy;
  uint pad;
};

template <int KIND, int BITS, int GROUP, typename S, typename A, int BM>
KERNEL_MAX(128) void matmul(
    device const uint* codes [[buffer(0)]],
    device const S* scales [[buffer(1)]],
    device const S* biases [[buffer(2)]],
    device const float* x [[buffer(3)]],
    device float* y [[buffer(4)]],
    constant MatMulArgs& p [[buffer(5)]],
    uint3 tg [[threadgroup_position_in_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint sg [[simdgroup_index_in_threadgroup]]) {
  typedef Tile<A, BM> T;
  TG_ARRAY(float, memory, T::memory);
  const uint m0 = tg.y * uint(BM);
  const uint n0 = tg.x * uint(T::width);
  const uint wrow = n0 + tile_w(tid);
  simdgroup_matrix<float, 8, 8> acc[T::mi * T::ni];
  multiply_rows<KIND, BITS, GROUP, S, A, BM>(
      x + ulong(min(m0 + tile_x<A, BM>(tid), p.tokens - 1u)) * p.ldx + ulong(tg.z) * p.cols, codes, scales, biases,
      ulong(tg.z) * p.rows + wrow, wrow < p.rows, p.cols, tid, sg, memory, acc);
  MSL_UNROLL
  for (uint from = 0; from < uint(BM); from += uint(T::stage)) {
    stage_rows<A, BM>(acc, from, sg, memory);
    MSL_UNROLL
    for (uint i = 0; i < uint(T::stage) / 2u; i++) {
      const uint r = 2u * i + tid / 64u;
      const uint c = tid % 64u;
      if (m0 + from + r < p.tokens && n0 + c < p.rows) {
        y[ulong(m0 + from + r) * p.ldy + ulong(tg.z) * p.rows + n0 + c] = memory[r * uint(T::lds) + c];
      }
    }
  }
}
