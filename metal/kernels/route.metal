// route: the experts of each token and their weights, from the router's logits.
//
//   s_e = sqrt(softplus(l_e)), picks = the K largest of s + bias, or the token's row
//   of the table; w_i = s_pick / (sum of the picks' s + 1e-20) * factor
//
//   logits f32 [tokens, E]   bias f32 [E]   table int32 [vocab, K]   ids int32 [tokens]
//   picks int32 [tokens, K]   weights f32 [tokens, K]
//
// Ties go to the lower index; a NaN is picked before any number, of several the
// last, so that the token's weights become NaN. Host checks: E <= 32*PER, K <= E.
// Twins: engine/cpu/experts.go, sqrtSoftplus, topExperts and routeWeights.

struct RouteArgs {
  uint tokens;
  uint experts;
  uint picks;
  float factor;
};

// sqrt(ln(1 + e^l)). With y = e^-|l| and z = y/(2+y), at most 1/3,
//
//   ln(1+y) = 2*(z + z^3/3 + z^5/5 + ...)
//
// Nine terms leave out z^18/19 < 2^-32 of the sum. Under -17, ln(1+y) = y*(1 - y/2 + ..)
// is y but for 2^-25 of itself, so its root is e^(l/2), which also has a value
// where y underflows. With exp off by E of itself, z is off by E + 2u (u = 2^-24),
// the terms after the first by a twelfth of theirs and their roundings, the sum by
// E + 4u, with max(l, 0) by E + 5u, and half of that and u remain of the root.
MSL_FN float sqrt_softplus(float l) {
  const float y = precise::exp(-fabs(l));
  const float z = y / (2.0f + y);
  const float s = z * z;
  float tail = 1.0f / 17.0f;
  tail = fma(tail, s, 1.0f / 15.0f);
  tail = fma(tail, s, 1.0f / 13.0f);
  tail = fma(tail, s, 1.0f / 11.0f);
  tail = fma(tail, s, 1.0f / 9.0f);
  tail = fma(tail, s, 1.0f / 7.0f);
  tail = fma(tail, s, 1.0f / 5.0f);
  tail = fma(tail, s, 1.0f / 3.0f);
  const float log1p_y = 2.0f * fma(z * s, tail, z);
  const float above = l > 0.0f ? l : 0.0f;
  return l < -17.0f ? precise::exp(0.5f * l) : precise::sqrt(above + log1p_y);
}

// grid: (ceil(tokens/4)) of 128 threads, a simdgroup a token. Lane i holds the
// scores of experts i, i+32, ... PER of them.
template <int PER, int TABLE>
KERNEL_MAX(128) void route(
    device const float* logits [[buffer(0)]],
    device const float* bias [[buffer(1)]],
    device const int* table [[buffer(2)]],
    device const int* ids [[buffer(3)]],
    device int* picks [[buffer(4)]],
    device float* weights [[buffer(5)]],
    constant RouteArgs& p [[buffer(6)]],
    uint3 tgid [[threadgroup_position_in_grid]],
    uint sg [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  const uint t = tgid.x * 4u + sg;
  if (t >= p.tokens) return;
  float scores[PER];
  uint order[PER];  // 0 where there is no expert, or none any more
  MSL_UNROLL
  for (int i = 0; i < PER; i++) {
    const uint e = 32u * uint(i) + lane;
    scores[i] = 0.0f;
    order[i] = 0u;
    if (e < p.experts) {
      scores[i] = sqrt_softplus(logits[ulong(t) * p.experts + e]);
      if (TABLE == 0) order[i] = ordered(scores[i] + bias[e]);
    }
  }
  float sum = 0.0f;
  for (uint k = 0; k < p.picks; k++) {
    uint pick = 0u;
    if (TABLE != 0) {
      pick = uint(table[ulong(ids[t]) * p.picks + k]);
    } else {
      uint top = 0u;
      MSL_UNROLL
      for (int i = 0; i < PER; i++) top = max(top, order[i]);
      top = simd_max(top);
      // Of equals the lowest expert, of NaNs the highest.
      const bool last = top == 0xffffffffu;
      uint at = last ? 0u : 0xffffffffu;
      MSL_UNROLL
      for (int i = 0; i < PER; i++) {
        const uint e = 32u * uint(i) + lane;
        if (order[i] == top) at = last ? max(at, e) : min(at, e);
      }
      const uint low = simd_min(at);
      const uint high = simd_max(at);
      pick = last ? high : low;
    }
    float s = 0.0f;
    MSL_UNROLL
    for (int i = 0; i < PER; i++) {
      if (32u * uint(i) + lane == pick) {
        s = scores[i];
        order[i] = 0u;
      }
    }
    s = simd_shuffle(s, ushort(pick % 32u));
    sum += s;
    if (lane == 0) {
      picks[ulong(t) * p.picks + k] = int(pick);
      weights[ulong(t) * p.picks + k] = s;
    }
  }
  if (lane != 0) return;
  for (uint k = 0; k < p.picks; k++) {
    device float* w = weights + ulong(t) * p.picks + k;
    *w = *w / (sum + 1e-20f) * p.factor;
  }
}
