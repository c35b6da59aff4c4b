// Which tokens go to which expert, for many tokens: lists in order of expert,
// then token, and the tiles that products take of them. All of it stays on the
// device; grids are upper bounds. Nothing here depends on the order of threads.
//
//   picks int [entries], entry t·K + k    counts uint [experts]
//   lists uint [entries]: entries, expert by expert
//   tiles uint [1 + 3·n]: how many there are, then of each: expert, where its
//   entries begin in lists, how many they are (at most BM)
//
// A pick that is no expert is in no list: experts_sum makes its token NaN.
// Twin: engine/cpu/experts.go, sort.

struct ExpertsMapArgs {
  uint entries;
  uint experts;
};

// map_count: counts[e]. Grid: (experts, 1, 1) of 32·NSG threads.
template <int NSG>
KERNEL_MAX(32 * NSG) void map_count(
    device const int* picks [[buffer(0)]],
    device uint* counts [[buffer(1)]],
    constant ExpertsMapArgs& p [[buffer(2)]],
    uint3 tg [[threadgroup_position_in_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint sg [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  TG_ARRAY(uint, part, NSG);
  uint n = 0;
  for (uint i = tid; i < p.entries; i += 32u * NSG) n += picks[i] == int(tg.x) ? 1u : 0u;
  n = simd_sum(n);
  if (lane == 0) part[sg] = n;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (tid == 0) {
    for (int i = 1; i < NSG; i++) n += part[i];
    counts[tg.x] = n;
  }
}

// map_lists: lists and tiles of expert tg.x. Grid: (experts, 1, 1) of 32·NSG threads.
template <int BM, int NSG>
KERNEL_MAX(32 * NSG) void map_lists(
    device const int* picks [[buffer(0)]],
    device const uint* counts [[buffer(1)]],
    device uint* lists [[buffer(2)]],
    device uint* tiles [[buffer(3)]],
    constant ExpertsMapArgs& p [[buffer(4)]],
    uint3 tg [[threadgroup_position_in_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint sg [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  TG_ARRAY(uint, part, NSG);
  // Where this expert's entries and tiles begin; every simdgroup adds up alone.
  uint first = 0;
  uint tile = 0;
  for (uint e = lane; e < tg.x; e += 32u) {
    first += counts[e];
    tile += (counts[e] + uint(BM) - 1u) / uint(BM);
  }
  first = simd_sum(first);
  tile = simd_sum(tile);
  const uint count = counts[tg.x];
  const uint own = (count + uint(BM) - 1u) / uint(BM);
  for (uint i = tid; i < own; i += 32u * NSG) {
    device uint* to = tiles + 1u + 3u * (tile + i);
    to[0] = tg.x;
    to[1] = first + i * uint(BM);
    to[2] = min(uint(BM), count - i * uint(BM));
  }
  if (tid == 0 && tg.x + 1u == p.experts) tiles[0] = tile + own;

  for (uint from = 0; from < p.entries; from += 32u * NSG) {
    const uint i = from + tid;
    const uint mine = i < p.entries && picks[i] == int(tg.x) ? 1u : 0u;
    const uint before = simd_prefix_exclusive_sum(mine);
    const uint all = simd_sum(mine);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (lane == 0) part[sg] = all;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    uint at = first + before;
    uint sum = 0;
    for (uint j = 0; j < uint(NSG); j++) {
      if (j < sg) at += part[j];
      sum += part[j];
    }
    if (mine != 0u) lists[at] = i;
    first += sum;
  }
}

struct ExpertsSumArgs {
  uint picks;  // of a token, K
  uint experts;
  uint cols;
  uint pad;
};

// experts_sum: y[t] += Σ_k parts[t·K + k], k ascending; y holds the shared
// expert's part. A token with a pick that is no expert becomes NaN.
//   parts float [tokens·K, cols]    y float [tokens, cols]
// Grid: (⌈cols / threads⌉, tokens, 1). Twin: engine/cpu/experts.go, Experts.
template <int NSG>
KERNEL_MAX(32 * NSG) void experts_sum(
    device const float* parts [[buffer(0)]],
    device const int* picks [[buffer(1)]],
    device float* y [[buffer(2)]],
    constant ExpertsSumArgs& p [[buffer(3)]],
    uint3 at [[thread_position_in_grid]]) {
  if (at.x >= p.cols) return;
  float sum = 0.0f;
  for (uint k = 0; k < p.picks; k++) {
    const ulong from = ulong(at.y) * p.picks + k;
    const int e = picks[from];
    sum += uint(e) < p.experts ? parts[from * p.cols + at.x] : nowhere();
  }
  y[ulong(at.y) * p.cols + at.x] += sum;
}
