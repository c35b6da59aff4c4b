// The feed-forward part of many tokens: products over tiles of the lists that
// experts_map makes. Tile, rounding and sums are those of matmul.metal; the
// arrays are those of experts.metal. Twin: engine/cpu/experts.go, expert.

struct TilesArgs {
  uint tokens;  // with LISTED 0
  uint picks;   // of a token, K
  uint rows;    // of W1, W3 or W2
  uint cols;
  uint lda;     // a multiple of 4
  float limit;  // up only
};

// tiles_up: row e of a for each entry e of a tile: gate and up projection side by
// side in one tile of 64, 32 rows of each. With LISTED 0 the expert is the shared
// one: row t of a for each of tokens, without lists and weights.
// Grid: (⌈rows/32⌉, most tiles there can be, 1) of 128 threads.
template <int KIND, int BITS, int GROUP, typename S, typename A, int BM, int LISTED>
KERNEL_MAX(128) void tiles_up(
    device const uint* codes1 [[buffer(0)]],
    device const S* scales1 [[buffer(1)]],
    device const S* biases1 [[buffer(2)]],
    device const uint* codes3 [[buffer(3)]],
    device const S* scales3 [[buffer(4)]],
    device const S* biases3 [[buffer(5)]],
    device const float* x [[buffer(6)]],
    device const float* weights [[buffer(7)]],
    device const uint* lists [[buffer(8)]],
    device const uint* tiles [[buffer(9)]],
    device float* a [[buffer(10)]],
    constant TilesArgs& p [[buffer(11)]],
    uint3 tg [[threadgroup_position_in_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint sg [[simdgroup_index_in_threadgroup]]) {
  typedef Tile<A, BM> T;
  TG_ARRAY(float, memory, T::memory);
  uint expert = 0;
  uint first = tg.y * uint(BM);
  uint count = 0;
  if constexpr (LISTED != 0) {
    if (tg.y >= tiles[0]) return;  // the whole threadgroup
    expert = tiles[1u + 3u * tg.y];
    first = tiles[2u + 3u * tg.y];
    count = tiles[3u + 3u * tg.y];
  } else {
    count = min(uint(BM), p.tokens - first);
  }
  const uint n0 = tg.x * 32u;
  uint token = first + min(tile_x<A, BM>(tid), count - 1u);
  if constexpr (LISTED != 0) token = lists[token] / p.picks;
  const bool gate = tile_w(tid) < 32u;
  const uint wrow = n0 + tile_w(tid) % 32u;
  simdgroup_matrix<float, 8, 8> acc[T::mi * T::ni];
  multiply_rows<KIND, BITS, GROUP, S, A, BM>(x + ulong(token) * p.cols, gate ? codes1 : codes3, gate ? scales1 : scales3,
                                             gate ? biases1 : biases3, ulong(expert) * p.rows + wrow, wrow < p.rows, p.cols, tid,
                                             sg, memory, acc);
  MSL_UNROLL
  for (uint from = 0; from < uint(BM); from += uint(T::stage)) {
    stage_rows<A, BM>(acc, from, sg, memory);
    MSL_UNROLL
    for (uint i = 0; i < uint(T::stage) / 4u; i++) {
      const uint r = 4u * i + tid / 32u;
      const uint c = tid % 32u;
      if (from + r < count && n0 + c < p.rows) {
        ulong to = first + from + r;
        float weight = 1.0f;
        if constexpr (LISTED != 0) {
          to = lists[first + from + r];
          weight = weights[to];
        }
        a[to * p.lda + n0 + c] = swiglu(memory[r * uint(T::lds) + c], memory[r * uint(T::lds) + 32u + c], p.limit) * weight;
      }
    }
  }
}

// tiles_down: row e of parts = W2·(row e of a), for each entry e of a tile.
//   parts float [entries, rows]
// Grid: (⌈rows/64⌉, most tiles there can be, 1) of 128 threads. The shared expert
// goes through matmul.
template <int KIND, int BITS, int GROUP, typename S, typename A, int BM>
KERNEL_MAX(128) void tiles_down(
    device const uint* codes [[buffer(0)]],
    device const S* scales [[buffer(1)]],
    device const S* biases [[buffer(2)]],
    device const float* a [[buffer(3)]],
    device const uint* lists [[buffer(4)]],
    device const uint* tiles [[buffer(5)]],
    device float* parts [[buffer(6)]],
    constant TilesArgs& p [[buffer(7)]],
    uint3 tg [[threadgroup_position_in_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint sg [[simdgroup_index_in_threadgroup]]) {
  typedef Tile<A, BM> T;
  TG_ARRAY(float, memory, T::memory);
  if (tg.y >= tiles[0]) return;  // the whole threadgroup
  const uint expert = tiles[1u + 3u * tg.y];
  const uint first = tiles[2u + 3u * tg.y];
  const uint count = tiles[3u + 3u * tg.y];
  const uint n0 = tg.x * uint(T::width);
  const uint wrow = n0 + tile_w(tid);
  simdgroup_matrix<float, 8, 8> acc[T::mi * T::ni];
  multiply_rows<KIND, BITS, GROUP, S, A, BM>(a + ulong(lists[first + min(tile_x<A, BM>(tid), count - 1u)]) * p.lda, codes, scales,
                                             biases, ulong(expert) * p.rows + wrow, wrow < p.rows, p.cols, tid, sg, memory, acc);
  MSL_UNROLL
  for (uint from = 0; from < uint(BM); from += uint(T::stage)) {
    stage_rows<A, BM>(acc, from, sg, memory);
    MSL_UNROLL
    for (uint i = 0; i < uint(T::stage) / 2u; i++) {
      const uint r = 2u * i + tid / 64u;
      const uint c = tid % 64u;
      if (from + r < count && n0 + c < p.rows) {
        parts[ulong(lists[first + from + r]) * p.rows + n0 + c] = memory[r * uint(T::lds) + c];
      }
    }
  }
}
