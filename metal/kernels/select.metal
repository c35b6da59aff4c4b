// select: which pooled blocks each token attends to.
//
//   q' = round(rotate(q)), score_b = sum_h (w_h*scale)*max(0, q'_h.k_b) over the
//   blocks b < (position+1)/ratio, which the token sees; picks = the topk blocks of
//   highest score, ties to the lower block, in ascending order, then -1
//
//   q f32 [tokens, H, D] as the projection leaves it   w f32 [tokens, H]
//   entries A [capacity, D]   scores f32 [tokens, stride]   picks int32 [tokens, topk]
//
// round is the Hadamard transform and FP4 with SIM. A token that sees no more than
// topk blocks takes all, unscored. A NaN score ranks as +infinity. Host checks:
// D % 16 == 0, D <= 128, H <= 8*NSG, with SIM D a power of two from 32 on, scale = 1/sqrt(H*D).
// Twins: engine/cpu/compress.go, Select and topBlocks, IndexScores in plain.go.

struct ScoreArgs {
  uint heads;
  uint half_rope;
  uint first;  // position of the first token
  uint ratio;
  uint topk;
  uint stride;  // of scores
  float scale;
  float hadamard;  // D^-1/2
};

// One simdgroup turns and rounds a head of q and leaves it in out; a head that is
// not there becomes zeros.
template <int D, int SIM>
MSL_FN void index_row(device const float* q, bool there, device const float* cosines, device const float* sines, uint half_rope,
                      float factor, threadgroup float* out, uint lane) {
  enum { VL = D < 32 ? 1 : D / 32 };
  for (uint c = 4u * lane; c < D; c += 128u) {
    float4 v = float4(0.0f);
    if (there) v = turn_four<D>(four(q + c), c, cosines, sines, half_rope, 1.0f);
    *reinterpret_cast<threadgroup float4*>(out + c) = v;
  }
  simdgroup_barrier(mem_flags::mem_threadgroup);
  if (SIM != 0) {
    float v[VL];
    MSL_UNROLL
    for (int i = 0; i < VL; i++) v[i] = out[lane * VL + uint(i)];
    hadamard<VL>(v, lane, factor);
    round_fp4<VL>(v);
    MSL_UNROLL
    for (int i = 0; i < VL; i++) out[lane * VL + uint(i)] = v[i];
    simdgroup_barrier(mem_flags::mem_threadgroup);
  }
}

// One simdgroup's eight heads against eight blocks of a tile: of each block, in the
// lane of its number, the sum over the heads of weight*max(0, product). A lane
// weighs two heads. dots has 64 floats, the simdgroup's own.
template <int D>
MSL_FN float score_eight(thread simdgroup_matrix<float, 8, 8>* qs, threadgroup const float* tile, threadgroup float* dots,
                         thread const float* weights, uint lane) {
  simdgroup_matrix<float, 8, 8> dot = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  MSL_UNROLL
  for (int f = 0; f < D / 8; f++) {
    simdgroup_matrix<float, 8, 8> b;
    simdgroup_load(b, tile + 8u * uint(f), D + 4, ulong2(0), true);
    simdgroup_multiply_accumulate(dot, qs[f], b, dot);
  }
  simdgroup_store(dot, dots, 8);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  float s = 0.0f;
  MSL_UNROLL
  for (int i = 0; i < 2; i++) {
    const float d = dots[(2u * (lane / 8u) + uint(i)) * 8u + lane % 8u];
    s += weights[i] * (d <= 0.0f ? 0.0f : d);  // a NaN stays one
  }
  simdgroup_barrier(mem_flags::mem_threadgroup);
  s += simd_shuffle_xor(s, ushort(8));
  return s + simd_shuffle_xor(s, ushort(16));
}

// grid: (ceil(blocks/64), tokens) of 32*NSG threads. A simdgroup takes eight heads,
// the M of 8x8 matrices, against tiles of 32 blocks.
template <typename A, int D, int NSG, int SIM>
KERNEL_MAX(32 * NSG) void select_scores(
    device const float* q [[buffer(0)]],
    device const float* w [[buffer(1)]],
    device const A* entries [[buffer(2)]],
    device const float* cosines [[buffer(3)]],
    device const float* sines [[buffer(4)]],
    device float* scores [[buffer(5)]],
    constant ScoreArgs& p [[buffer(6)]],
    uint3 tgid [[threadgroup_position_in_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint sg [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  enum { KEYS = 32, LD = D + 4, FOURS = D / 4 };
  TG_ARRAY(float, tile, KEYS * LD);
  TG_ARRAY(float, dots, NSG * 64);
  TG_ARRAY(float, parts, NSG * KEYS);
  const ulong t = tgid.y;
  const uint visible = (p.first + tgid.y + 1u) / p.ratio;
  const uint from = tgid.x * 64u;
  if (visible <= p.topk || from >= visible) return;  // the whole threadgroup
  const uint to = min(from + 64u, visible);
  const ulong angle = (p.first + t) * p.half_rope;

  // Heads go through the tile, four simdgroups' at a time.
  simdgroup_matrix<float, 8, 8> qs[D / 8];
  for (uint g = 0; g < NSG; g += 4u) {
    if (sg / 4u == g / 4u) {
      threadgroup float* rows = tile + sg % 4u * (8u * LD);
      for (uint r = 0; r < 8u; r++) {
        const uint head = 8u * sg + r;
        index_row<D, SIM>(q + (t * p.heads + head) * D, head < p.heads, cosines + angle, sines + angle, p.half_rope,
                          p.hadamard, rows + r * LD, lane);
      }
      MSL_UNROLL
      for (int f = 0; f < D / 8; f++) simdgroup_load(qs[f], rows + 8u * uint(f), LD);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  float weights[2];
  MSL_UNROLL
  for (int i = 0; i < 2; i++) {
    const uint head = 8u * sg + 2u * (lane / 8u) + uint(i);
    weights[i] = head < p.heads ? w[t * p.heads + head] * p.scale : 0.0f;
  }

  for (uint b0 = from; b0 < to; b0 += KEYS) {
    for (uint at = tid; at < KEYS * FOURS; at += 32u * NSG) {
      float4 v = float4(0.0f);
      if (b0 + at / FOURS < to) v = four(entries + ulong(b0 + at / FOURS) * D + 4u * (at % FOURS));
      *reinterpret_cast<threadgroup float4*>(tile + at / FOURS * LD + 4u * (at % FOURS)) = v;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint k = 0; k < KEYS; k += 8u) {
      const float s = score_eight<D>(qs, tile + k * LD, dots + 64u * sg, weights, lane);
      if (lane < 8u) parts[KEYS * sg + k + lane] = s;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (tid < KEYS && b0 + tid < to) {
      float s = parts[tid];
      for (int i = 1; i < NSG; i++) s += parts[KEYS * uint(i) + tid];
      scores[t * p.stride + b0 + tid] = s;
    }
  }
}

struct TopArgs {
  uint first;  // position of the first token
  uint ratio;
  uint topk;
  uint stride;  // of scores
};

// A score as an integer of the same order; both zeros alike, a NaN as +infinity.
MSL_FN uint score_order(float v) { return min(ordered(v), 0xff800000u); }

// The order of the score that is the take-th greatest of n, one byte after the other
// from the top, each by a histogram of the scores that share the bytes before. take
// becomes how many of those that are equal to it are among the take greatest. All
// threads call it; found has two words.
template <int NSG>
MSL_FN uint find_order(device const float* row, uint n, thread uint& take, threadgroup atomic_uint* bins, threadgroup uint* found, uint tid,
                       uint sg, uint lane) {
  uint prefix = 0u;
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (uint i = tid; i < 256u; i += 32u * NSG) atomic_store_explicit(&bins[i], 0u, memory_order_relaxed);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = tid; i < n; i += 32u * NSG) {
      const uint v = score_order(row[i]);
      if (shift == 24 || v >> (uint(shift) + 8u) == prefix >> (uint(shift) + 8u)) {
        atomic_fetch_add_explicit(&bins[(v >> uint(shift)) & 255u], 1u, memory_order_relaxed);
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (sg == 0u) {
      uint own = 0u;  // of eight bins, from 255 - 8*lane down
      for (uint i = 0; i < 8u; i++) own += atomic_load_explicit(&bins[255u - 8u * lane - i], memory_order_relaxed);
      uint above = simd_prefix_exclusive_sum(own);
      if (above < take && above + own >= take) {
        uint bin = 255u - 8u * lane;
        uint count = atomic_load_explicit(&bins[bin], memory_order_relaxed);
        while (above + count < take) {
          above += count;
          bin--;
          count = atomic_load_explicit(&bins[bin], memory_order_relaxed);
        }
        found[0] = prefix | bin << uint(shift);
        found[1] = take - above;
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    prefix = found[0];
    take = found[1];
  }
  return prefix;
}

// grid: (tokens) of 32*NSG threads. Once the order of the last pick is known, each
// simdgroup counts, then writes, its own stretch of blocks.
template <int NSG>
KERNEL_MAX(32 * NSG) void select_top(
    device const float* scores [[buffer(0)]],
    device int* picks [[buffer(1)]],
    constant TopArgs& p [[buffer(2)]],
    uint3 tgid [[threadgroup_position_in_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint sg [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  TG_ARRAY(atomic_uint, bins, 256);
  TG_ARRAY(uint, found, 2);
  TG_ARRAY(uint, counts, 2 * NSG);
  const ulong t = tgid.x;
  const uint visible = (p.first + tgid.x + 1u) / p.ratio;
  device int* out = picks + t * p.topk;
  if (visible <= p.topk) {  // the whole threadgroup
    for (uint i = tid; i < p.topk; i += 32u * NSG) out[i] = i < visible ? int(i) : -1;
    return;
  }
  device const float* row = scores + t * p.stride;
  uint take = p.topk;  // then how many of those that equal the last
  const uint last = find_order<NSG>(row, visible, take, bins, found, tid, sg, lane);
  const uint each = (visible + NSG - 1) / NSG;
  const uint from = sg * each;
  const uint to = min(from + each, visible);
  uint above = 0u;
  uint equal = 0u;
  for (uint i = from + lane; i < to; i += 32u) {
    const uint v = score_order(row[i]);
    above += v > last ? 1u : 0u;
    equal += v == last ? 1u : 0u;
  }
  above = simd_sum(above);
  equal = simd_sum(equal);
  if (lane == 0) {
    counts[2u * sg] = above;
    counts[2u * sg + 1u] = equal;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  above = 0u;
  equal = 0u;
  for (uint i = 0; i < sg; i++) {
    above += counts[2u * i];
    equal += counts[2u * i + 1u];
  }
  for (uint i0 = from; i0 < to; i0 += 32u) {
    const uint i = i0 + lane;
    const uint v = i < to ? score_order(row[i]) : 0u;
    const uint one = v > last ? 1u : v == last ? 0x10000u : 0u;  // equals in the upper half
    const uint before = simd_prefix_exclusive_sum(one);
    const uint ahead = equal + (before >> 16);
    if (v > last || (v == last && ahead < take)) out[above + (before & 0xffffu) + min(ahead, take)] = int(i);
    const uint all = simd_sum(one);
    above += all & 0xffffu;
    equal += all >> 16;
  }
}
