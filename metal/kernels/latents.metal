// latents: the two latents of attention, in place.
//
//   qr = norm(qr)*q_weight                      f32 [tokens, rank]
//   kv = round(rotate(norm(kv)*kv_weight))      f32 [tokens, dim]
//
// rotate turns the last 2*half channels to the token's position, pair by pair;
// with SIM the channels before them go through FP8 in blocks of 64. cosines and
// sines are [positions, half]. Host checks: rank, dim and 2*half are even, and with
// SIM (dim - 2*half) % 64 == 0. Twins: Norm in engine/cpu/plain.go, key in attend.go.

struct LatentsArgs {
  uint rank;
  uint dim;
  uint half_rope;
  uint first;  // position of the first token
  float norm_eps;
  uint pad;
};

// A row's squares over 256 threads, two channels at a time.
MSL_FN float row_squares(device const float* row, uint n, uint tid) {
  float s = 0.0f;
  for (uint c = 2u * tid; c < n; c += 512u) s = fma(row[c], row[c], fma(row[c + 1u], row[c + 1u], s));
  return s;
}

// grid: (tokens, 2) of 256 threads: qr, then kv.
template <int SIM>
KERNEL_MAX(256) void latents(
    device float* qr [[buffer(0)]],
    device const float* q_weight [[buffer(1)]],
    device float* kv [[buffer(2)]],
    device const float* kv_weight [[buffer(3)]],
    device const float* cosines [[buffer(4)]],
    device const float* sines [[buffer(5)]],
    constant LatentsArgs& p [[buffer(6)]],
    uint3 tgid [[threadgroup_position_in_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint sg [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  TG_ARRAY(float, sums, 8);
  const bool key = tgid.y == 1u;
  const uint n = key ? p.dim : p.rank;
  device float* row = (key ? kv : qr) + ulong(tgid.x) * n;
  device const float* weight = key ? kv_weight : q_weight;
  const float r = inverse_norm(group_sum<8>(row_squares(row, n, tid), sums, sg, lane), n, p.norm_eps);
  const uint plain = key ? n - 2u * p.half_rope : n;
  const ulong angle = ulong(p.first + tgid.x) * p.half_rope;
  // A simdgroup's lanes hold 64 channels in a row: a block of FP8.
  for (uint block = 64u * sg; block < n; block += 512u) {
    const uint c = block + 2u * lane;
    float2 v = float2(0.0f);
    if (c < n) {
      v = float2(row[c] * r * weight[c], row[c + 1u] * r * weight[c + 1u]);
      if (c >= plain) v = turn(v, cosines[angle + (c - plain) / 2u], sines[angle + (c - plain) / 2u]);
    }
    if (SIM != 0 && key && block < plain) v = round_fp8(v);
    if (c < n) {
      row[c] = v.x;
      row[c + 1u] = v.y;
    }
  }
}
