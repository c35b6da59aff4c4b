// Products of many rows by 8x8 simdgroup matrices: what matmul.metal and
// experts_tiles.metal share.
//
// A threadgroup of four simdgroups makes BM rows of X times 64 rows of W, 32
// columns at a time: x rounded to A and w = s·q + b rounded to A stand in
// threadgroup memory, the sums in the simdgroups' registers, in floats. While one
// piece is multiplied the next is under way. What row t of Y becomes depends
// neither on other rows nor on BM: a row's sums run over the columns in order.
// Twin: engine/cpu/plain.go, MatMul.

// Tile: the sizes of a threadgroup's work.
template <typename A, int BM>
struct Tile {
  enum {
    threads = 128,
    depth = 32,                                // columns at a time
    width = 64,                                // rows of W
    down = BM >= 32 ? 2 : 1,                   // simdgroups over BM, the others over width
    mi = BM / down / 8,                        // fragments of a simdgroup
    ni = width * down / 4 / 8,
    vx = BM * depth / threads,                 // floats of x that a thread brings
    ld = depth + (sizeof(A) == 4 ? 4 : 8),     // padded against bank conflicts
    stage = BM < 32 ? BM : 32,                 // rows that leave at once
    lds = width + 4,
    tiles = (BM + width) * ld * int(sizeof(A)) / 4,
    memory = tiles > stage * lds ? tiles : stage * lds,  // floats
  };
};

// fetch_x brings N floats of a row of x, zeros from cols on.
template <int N>
MSL_FN void fetch_x(device const float* row, uint k, uint cols, thread float* out) {
  MSL_UNROLL
  for (int i = 0; i < N; i += 4) {
    float4 v = float4(0.0f);
    if (k + uint(i) < cols) v = *reinterpret_cast<device const float4*>(row + k + i);
    out[i] = v.x;
    out[i + 1] = v.y;
    out[i + 2] = v.z;
    out[i + 3] = v.w;
  }
}

// fetch_w brings 16 codes of a row of W with their scale, nothing from end on.
template <int KIND, int BITS, int GROUP, typename S>
MSL_FN void fetch_w(device const uint* codes, device const S* scales, device const S* biases, ulong row, uint k, uint cols,
                    uint end, thread uint* w, thread S& s, thread S& b) {
  if (k >= end) return;
  load16<BITS>(codes + row * row_words<BITS>(cols), k, w);
  if constexpr (GROUP > 0) s = scales[row * row_groups<GROUP>(cols) + k / uint(GROUP)];
  if constexpr (KIND == FORMAT_AFFINE) b = biases[row * row_groups<GROUP>(cols) + k / uint(GROUP)];
}

// put rounds N floats to a tile.
template <typename A, int N>
MSL_FN void put(thread const float* v, threadgroup A* to) {
  MSL_UNROLL
  for (int i = 0; i < N; i += 4) {
    vec<A, 4> t;
    t.x = A(v[i]);
    t.y = A(v[i + 1]);
    t.z = A(v[i + 2]);
    t.w = A(v[i + 3]);
    *reinterpret_cast<threadgroup vec<A, 4>*>(to + i) = t;
  }
}

// put_w decodes 16 codes to a tile, zeros from cols on.
template <int KIND, int BITS, typename S, typename A>
MSL_FN void put_w(thread const uint* w, S s, S b, bool inside, uint e, threadgroup A* to) {
  float v[16];
  if (inside) {
    decode16<KIND, BITS, S>(w, s, b, e, v);
  } else {
    MSL_UNROLL
    for (int i = 0; i < 16; i++) v[i] = 0.0f;
  }
  put<A, 16>(v, to);
}

// tile_m and tile_n are where a simdgroup's part of the tile begins.
template <typename A, int BM>
MSL_FN uint tile_m(uint sg) {
  return sg % uint(Tile<A, BM>::down) * uint(BM / Tile<A, BM>::down);
}
template <typename A, int BM>
MSL_FN uint tile_n(uint sg) {
  return sg / uint(Tile<A, BM>::down) * uint(8 * Tile<A, BM>::ni);
}

// multiply adds a piece's products to a simdgroup's fragments; xs and ws point
// at its rows of the tiles.
template <typename A, int BM>
MSL_FN void multiply(threadgroup const A* xs, threadgroup const A* ws, thread simdgroup_matrix<float, 8, 8>* acc) {
  typedef Tile<A, BM> T;
  MSL_UNROLL
  for (int k = 0; k < T::depth; k += 8) {
    simdgroup_matrix<A, 8, 8> a[T::mi];
    simdgroup_matrix<A, 8, 8> b[T::ni];
    MSL_UNROLL
    for (int i = 0; i < T::mi; i++) simdgroup_load(a[i], xs + 8 * i * T::ld + k, ulong(T::ld));
    MSL_UNROLL
    for (int j = 0; j < T::ni; j++) simdgroup_load(b[j], ws + 8 * j * T::ld + k, ulong(T::ld), ulong2(0), true);
    MSL_UNROLL
    for (int i = 0; i < T::mi; i++) {
      MSL_UNROLL
      for (int j = 0; j < T::ni; j++) simdgroup_multiply_accumulate(acc[i * T::ni + j], a[i], b[j], acc[i * T::ni + j]);
    }
  }
}

// stage_rows leaves rows from..from+stage−1 of the product in threadgroup memory,
// [stage, lds], for all threads to read. It begins and ends with a barrier.
template <typename A, int BM>
MSL_FN void stage_rows(thread simdgroup_matrix<float, 8, 8>* acc, uint from, uint sg, threadgroup float* stage) {
  typedef Tile<A, BM> T;
  const uint sm = tile_m<A, BM>(sg);
  const uint sn = tile_n<A, BM>(sg);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (sm >= from && sm < from + uint(T::stage)) {
    MSL_UNROLL
    for (int i = 0; i < T::mi; i++) {
      MSL_UNROLL
      for (int j = 0; j < T::ni; j++) {
        simdgroup_store(acc[i * T::ni + j], stage + (sm - from + 8u * uint(i)) * uint(T::lds) + sn + 8u * uint(j), ulong(T::lds));
      }
    }
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

// tile_x is the row of x that a thread brings, within BM.
template <typename A, int BM>
MSL_FN uint tile_x(uint tid) {
  return tid * uint(BM) / uint(Tile<A, BM>::threads);
}

// tile_w is the row of W that a thread brings, within 64.
MSL_FN uint tile_w(uint tid) { return tid / 2u; }

// multiply_rows is a threadgroup's product: BM rows of x times 64 of W. xrow is
// row tile_x(tid) of x, wrow the row of W to bring as row tile_w(tid); with inside
// false that row is zero and nothing is read. memory has Tile::memory floats.
template <int KIND, int BITS, int GROUP, typename S, typename A, int BM>
MSL_FN void multiply_rows(device const float* xrow, device const uint* codes, device const S* scales, device const S* biases,
                          ulong wrow, bool inside, uint cols, uint tid, uint sg, threadgroup float* memory,
                          thread simdgroup_matrix<float, 8, 8>* acc) {
  typedef Tile<A, BM> T;
  threadgroup A* xs = reinterpret_cast<threadgroup A*>(memory);
  threadgroup A* ws = xs + BM * T::ld;
  const uint xc = tid % uint(T::threads / BM) * uint(T::vx);
  const uint wc = tid % 2u * 16u;
  threadgroup A* xto = xs + tile_x<A, BM>(tid) * uint(T::ld) + xc;
  threadgroup A* wto = ws + tile_w(tid) * uint(T::ld) + wc;
  threadgroup const A* xfrom = xs + tile_m<A, BM>(sg) * uint(T::ld);
  threadgroup const A* wfrom = ws + tile_n<A, BM>(sg) * uint(T::ld);
  const uint wcols = inside ? cols : 0u;
  const uint e = exponent_of(cols);
  MSL_UNROLL
  for (int i = 0; i < T::mi * T::ni; i++) acc[i] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  float xv[T::vx];
  uint w[(16 * BITS + 31) / 32];
  S s = S(0);
  S b = S(0);
  fetch_x<T::vx>(xrow, xc, cols, xv);
  fetch_w<KIND, BITS, GROUP, S>(codes, scales, biases, wrow, wc, cols, wcols, w, s, b);
  for (uint k = 0; k < cols; k += uint(T::depth)) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    put<A, T::vx>(xv, xto);
    put_w<KIND, BITS, S, A>(w, s, b, k + wc < wcols, e, wto);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    fetch_x<T::vx>(xrow, k + uint(T::depth) + xc, cols, xv);
    fetch_w<KIND, BITS, GROUP, S>(codes, scales, biases, wrow, k + uint(T::depth) + wc, cols, wcols, w, s, b);
    multiply<A, BM>(xfrom, wfrom, acc);
  }
}
