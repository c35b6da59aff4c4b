// embed: each of the streams of x[t] is row ids[t] of W.
//
//   ids int [tokens]    x float [tokens, streams, cols]    W of one format, see common.metal
//
// A thread decodes 16 weights. Grid: (⌈cols / 16 / threads⌉, tokens, 1). W may be
// the rows first .. first+rows-1 of a table of vocab rows: other tokens are left to
// the other parts. An id that is no row of the table yields NaN, from the first
// part. Twin: engine/cpu/linear.go, Embed.

struct EmbedArgs {
  uint rows;
  uint cols;
  uint streams;
  uint first;
  uint vocab;
  uint pad;
};

template <int KIND, int BITS, int GROUP, typename S>
kernel void embed(
    device const uint* codes [[buffer(0)]],
    device const S* scales [[buffer(1)]],
    device const S* biases [[buffer(2)]],
    device const int* ids [[buffer(3)]],
    device float* x [[buffer(4)]],
    constant EmbedArgs& p [[buffer(5)]],
    uint3 at [[thread_position_in_grid]]) {
  const uint k = at.x * 16u;
  if (k >= p.cols) return;
  const int id = ids[at.y];
  const bool known = uint(id) < p.vocab;  // a negative one is not
  const uint row = uint(id) - p.first; // wraps where it lies before
  if (known ? row >= p.rows : p.first > 0u) return;
  float v[16];
  if (known) {
    uint w[(16 * BITS + 31) / 32];
    load16<BITS>(codes + ulong(row) * row_words<BITS>(p.cols), k, w);
    S s = S(0);
    S b = S(0);
    if constexpr (GROUP > 0) s = scales[ulong(row) * row_groups<GROUP>(p.cols) + k / uint(GROUP)];
    if constexpr (KIND == FORMAT_AFFINE) b = biases[ulong(row) * row_groups<GROUP>(p.cols) + k / uint(GROUP)];
    decode16<KIND, BITS, S>(w, s, b, exponent_of(p.cols), v);
  } else {
    MSL_UNROLL
    for (int i = 0; i < 16; i++) v[i] = nowhere();
  }
  for (uint n = 0; n < p.streams; n++) {
    device float4* to = reinterpret_cast<device float4*>(x + (ulong(at.y) * p.streams + n) * p.cols + k);
    MSL_UNROLL
    for (int i = 0; i < 4; i++) to[i] = float4(v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]);
  }
}
