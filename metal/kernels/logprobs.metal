// Log-probabilities over the vocabulary, in place: x[t,v] −= ln Σ_u e^x[t,u], in
// two stages, as one threadgroup a row would leave most of the GPU idle.
//
//   x float [tokens, vocab]    parts float [tokens, chunks, 2]: of each chunk of
//   256·NSG elements the greatest, M, and Σ e^(x−M)
//
// Grid of both: (chunks, tokens, 1) of 32·NSG threads, chunks = ⌈vocab / (256·NSG)⌉.
// NaN and +∞ make the whole row NaN. Twin: engine/cpu/plain.go, LogSoftmax, whose
// sum is a float64.

struct LogProbsArgs {
  uint vocab;
  uint chunks;
};

// greater is the greater of two, the first where the second is NaN.
MSL_FN float greater(float a, float b) { return b > a ? b : a; }

template <int NSG>
KERNEL_MAX(32 * NSG) void logsum(
    device const float* x [[buffer(0)]],
    device float* parts [[buffer(1)]],
    constant LogProbsArgs& p [[buffer(2)]],
    uint3 tg [[threadgroup_position_in_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint sg [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  TG_ARRAY(float, tops, NSG);
  TG_ARRAY(float, sums, NSG);
  device const float* row = x + ulong(tg.y) * p.vocab;
  float v[8];
  float top = -3.4e38f;
  MSL_UNROLL
  for (int i = 0; i < 8; i++) {
    const uint c = tg.x * (256u * NSG) + uint(i) * (32u * NSG) + tid;
    v[i] = c < p.vocab ? row[c] : as_type<float>(0xff800000u);  // −∞ adds nothing
    top = greater(top, v[i]);
  }
  top = simd_max(top);
  if (lane == 0) tops[sg] = top;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  top = simd_max(lane < NSG ? tops[lane] : -3.4e38f);
  float sum = 0.0f;
  MSL_UNROLL
  for (int i = 0; i < 8; i++) sum += precise::exp(v[i] - top);
  sum = simd_sum(sum);
  if (lane == 0) sums[sg] = sum;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  sum = simd_sum(lane < NSG ? sums[lane] : 0.0f);
  if (tid == 0) {
    device float* part = parts + 2u * (ulong(tg.y) * p.chunks + tg.x);
    part[0] = top;
    part[1] = sum;
  }
}

template <int NSG>
KERNEL_MAX(32 * NSG) void logprobs(
    device float* x [[buffer(0)]],
    device const float* parts [[buffer(1)]],
    constant LogProbsArgs& p [[buffer(2)]],
    uint3 tg [[threadgroup_position_in_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  device const float* part = parts + 2u * (ulong(tg.y) * p.chunks);
  float top = -3.4e38f;
  for (uint i = lane; i < p.chunks; i += 32u) top = greater(top, part[2u * i]);
  top = simd_max(top);
  float sum = 0.0f;
  for (uint i = lane; i < p.chunks; i += 32u) sum += part[2u * i + 1u] * precise::exp(part[2u * i] - top);
  const float lse = top + precise::log(simd_sum(sum));
  device float* row = x + ulong(tg.y) * p.vocab;
  MSL_UNROLL
  for (int i = 0; i < 8; i++) {
    const uint c = tg.x * (256u * NSG) + uint(i) * (32u * NSG) + tid;
    if (c < p.vocab) row[c] -= lse;
  }
}
