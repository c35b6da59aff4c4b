// attend_chunks: attend for one query, a decoded token: its keys in chunks that fill
// the device, and the chunks put together. Keys, contract and twins are attend's.

// One half of a sum that lanes share out: a lane whose bit M is set goes on with
// the upper M of 2*M values, the other with the lower.
template <int M>
MSL_FN void share(thread float* v, uint lane) {
  const bool upper = (lane & uint(M)) != 0u;
  MSL_UNROLL
  for (int i = 0; i < M; i++) {
    const float keep = upper ? v[i + M] : v[i];
    const float give = upper ? v[i] : v[i + M];
    v[i] = keep + simd_shuffle_xor(give, ushort(M));
  }
}

// The sum over the lanes of v[lane]; v is used up.
MSL_FN float shared_sum(thread float* v, uint lane) {
  share<16>(v, lane);
  share<8>(v, lane);
  share<4>(v, lane);
  share<2>(v, lane);
  share<1>(v, lane);
  return v[0];
}

// The place of the one key that is not cached yet: row 0 of the batch.
enum { FRESH = 0x40000000 };

// Where a cached key begins; for the fresh one, some key.
template <typename A, int D>
MSL_FN device const A* cached_key(thread const Keys<A>& k, uint place) {
  return ((place & 0x80000000u) != 0u ? k.entries : k.ring) + ulong(place & 0x3fffffffu) * D;
}

// A lane's channels 128*i + 4*lane .. of four keys, for i and the next.
template <typename A, int D>
MSL_FN void fetch_keys(thread const Keys<A>& keys, thread const uint* place, uint i, uint lane, thread float4* ks) {
  MSL_UNROLL
  for (int j = 0; j < 2; j++) {
    const uint d = 128u * (i + uint(j)) + 4u * lane;
    MSL_UNROLL
    for (int k = 0; k < 4; k++) {
      ks[4 * j + k] = float4(0.0f);
      if (d < D) ks[4 * j + k] = four(cached_key<A, D>(keys, place[k]) + d);
    }
    MSL_UNROLL
    for (int k = 0; k < 4; k++) {
      if (place[k] == FRESH && d < D) ks[4 * j + k] = round_four<A>(four(keys.rows + d));
    }
  }
}

// Adds the products of those channels with eight heads' to products[4*head + key].
template <int D>
MSL_FN void multiply_keys(threadgroup const float* query, uint i, uint lane, thread float4* ks, thread float* products) {
  MSL_UNROLL
  for (int j = 0; j < 2; j++) {
    const uint d = 128u * (i + uint(j)) + 4u * lane;
    if (d < D) {
      MSL_UNROLL
      for (int h = 0; h < 8; h++) {
        const float4 v = *reinterpret_cast<threadgroup const float4*>(query + uint(h) * D + d);
        MSL_UNROLL
        for (int k = 0; k < 4; k++) products[4 * h + k] = add_products(v, ks[4 * j + k], products[4 * h + k]);
      }
    }
  }
}

// Adds a tile's keys, each times its probability of eight heads, to two channels of
// the heads' sums. Eight keys are on their way at a time; those behind the last of n
// are it again, with a probability of 0.
template <typename A, int D>
MSL_FN void add_keys(thread const Keys<A>& keys, threadgroup const uint* places, threadgroup const float* probs, uint n, uint c,
                     thread float2* acc) {
  for (uint k = 0; k < n; k += 8u) {
    float2 v[8];
    MSL_UNROLL
    for (int i = 0; i < 8; i++) v[i] = two(cached_key<A, D>(keys, places[k + uint(i)]) + c);
    MSL_UNROLL
    for (int i = 0; i < 8; i++) {
      if (places[k + uint(i)] == FRESH) v[i] = float2(float(A(keys.rows[c])), float(A(keys.rows[c + 1u])));
    }
    MSL_UNROLL
    for (int i = 0; i < 8; i++) {
      const float4 e0 = *reinterpret_cast<threadgroup const float4*>(probs + 8u * (k + uint(i)));
      const float4 e1 = *reinterpret_cast<threadgroup const float4*>(probs + 8u * (k + uint(i)) + 4u);
      acc[0] += v[i] * e0.x;
      acc[1] += v[i] * e0.y;
      acc[2] += v[i] * e0.z;
      acc[3] += v[i] * e0.w;
      acc[4] += v[i] * e1.x;
      acc[5] += v[i] * e1.y;
      acc[6] += v[i] * e1.z;
      acc[7] += v[i] * e1.w;
    }
  }
}

// One query, its keys in chunks. grid: (chunks, ceil(heads/8)) of 256 threads.
//   part f32 [chunks, H, D]: sum e^(s-m)*k of the chunk; stats [chunks, H, 2]: m, sum e^(s-m)
template <typename A, int D>
KERNEL_MAX(256) void attend_chunks(
    device const float* q [[buffer(0)]],
    device const float* kv [[buffer(1)]],
    device const A* ring [[buffer(2)]],
    device const A* entries [[buffer(3)]],
    device const int* picks [[buffer(4)]],
    device const float* cosines [[buffer(5)]],
    device const float* sines [[buffer(6)]],
    device float* part [[buffer(7)]],
    device float* stats [[buffer(8)]],
    constant AttendArgs& p [[buffer(9)]],
    uint3 tgid [[threadgroup_position_in_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint sg [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  TG_ARRAY(float, query, 8 * D);
  TG_ARRAY(float, scores, 8 * 32);  // [head, key]
  TG_ARRAY(float, probs, 32 * 8);   // [key, head]
  TG_ARRAY(float, shrink, 8);
  TG_ARRAY(uint, places, 32);
  const uint head = tgid.y * 8u + sg;  // the simdgroup's, where it has one
  const Keys<A> keys = keys_of<A>(p, 0u, kv, ring, entries, picks);
  const uint from = tgid.x * p.per;
  const uint to = min(keys.count, from + p.per);
  // A simdgroup has four keys of a tile of 32. Their first channels are on the way
  // while queries are made, and while the tile before is worked on.
  uint place[4];
  float4 ahead[8];
  MSL_UNROLL
  for (int k = 0; k < 4; k++) place[k] = key_place(keys, min(from + 4u * sg + uint(k), to - 1u));
  fetch_keys<A, D>(keys, place, 0u, lane, ahead);
  query_row<D>(q + ulong(head) * D, head < p.heads, cosines + ulong(p.first) * p.half_rope,
               sines + ulong(p.first) * p.half_rope, p.half_rope, p.norm_eps, query + sg * D, lane);
  threadgroup_barrier(mem_flags::mem_threadgroup);

  float top = -3.0e38f;
  float sum = 0.0f;
  float2 acc[8];  // of two channels, by head
  MSL_UNROLL
  for (int h = 0; h < 8; h++) acc[h] = float2(0.0f);
  const uint c = 2u * tid;
  for (uint k0 = from; k0 < to; k0 += 32u) {
    float products[32];
    MSL_UNROLL
    for (int i = 0; i < 32; i++) products[i] = 0.0f;
    float4 rest[8];
    fetch_keys<A, D>(keys, place, 2u, lane, rest);
    multiply_keys<D>(query, 0u, lane, ahead, products);
    multiply_keys<D>(query, 2u, lane, rest, products);
    scores[lane / 4u * 32u + 4u * sg + lane % 4u] = shared_sum(products, lane);  // of head lane/4, key lane%4
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (lane == 0) {
      MSL_UNROLL
      for (int k = 0; k < 4; k++) places[4u * sg + uint(k)] = place[k];
    }
    if (k0 + 32u < to) {
      MSL_UNROLL
      for (int k = 0; k < 4; k++) place[k] = key_place(keys, min(k0 + 32u + 4u * sg + uint(k), to - 1u));
      fetch_keys<A, D>(keys, place, 0u, lane, ahead);
    }
    const bool seen = k0 + lane < to;
    const float s = seen ? scores[32u * sg + lane] * p.scale : -3.0e38f;
    const float higher = max(top, simd_max(s));
    const float factor = precise::exp(top - higher);
    top = higher;
    const float e = seen ? precise::exp(s - top) : 0.0f;
    sum = sum * factor + simd_sum(e);
    probs[8u * lane + sg] = e;
    if (lane == 0) shrink[sg] = factor;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (c < D) {
      MSL_UNROLL
      for (int h = 0; h < 8; h++) acc[h] = acc[h] * shrink[h];
      add_keys<A, D>(keys, places, probs, min(32u, to - k0), c, acc);
    }
  }
  if (lane == 0 && head < p.heads) {
    device float* out = stats + (ulong(tgid.x) * p.heads + head) * 2u;
    out[0] = top;
    out[1] = sum;
  }
  if (c >= D) return;
  MSL_UNROLL
  for (int h = 0; h < 8; h++) {
    const uint row = tgid.y * 8u + uint(h);
    if (row < p.heads) *reinterpret_cast<device float2*>(part + (ulong(tgid.x) * p.heads + row) * D + c) = acc[h];
  }
}

// Four channels of a head from each of 16 chunks.
template <int D>
MSL_FN void chunk_parts(device const float* part, constant AttendArgs& p, uint head, uint from, uint c, thread float4* out) {
  MSL_UNROLL
  for (int j = 0; j < 16; j++) {
    out[j] = float4(0.0f);
    if (c < D) out[j] = four(part + (ulong(min(from + uint(j), p.chunks - 1u)) * p.heads + head) * D + c);
  }
}

// grid: (heads) of 128 threads: the chunks of a head and its sink together, turned
// back; the first also stores the new key. chunks is at most 32.
template <typename A, int D>
KERNEL_MAX(128) void attend_combine(
    device const float* part [[buffer(0)]],
    device const float* stats [[buffer(1)]],
    device const float* sinks [[buffer(2)]],
    device const float* kv [[buffer(3)]],
    device const float* cosines [[buffer(4)]],
    device const float* sines [[buffer(5)]],
    device float* o [[buffer(6)]],
    device A* slot [[buffer(7)]],
    constant AttendArgs& p [[buffer(8)]],
    uint3 tgid [[threadgroup_position_in_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  const uint head = tgid.x;
  const uint c = 4u * tid;
  // Sixteen chunks on their way at a time; those behind the last are it again, with
  // a factor of 0.
  float4 parts[16];
  chunk_parts<D>(part, p, head, 0u, c, parts);
  device const float* stat = stats + (ulong(min(lane, p.chunks - 1u)) * p.heads + head) * 2u;
  const float sink = sinks[head];
  const float top = max(simd_max(stat[0]), sink);
  const float factor = lane < p.chunks ? precise::exp(stat[0] - top) : 0.0f;
  const float total = simd_sum(factor * stat[1]) + precise::exp(sink - top);
  const float scale = 1.0f / total;
  float4 v = float4(0.0f);
  MSL_UNROLL
  for (int j = 0; j < 16; j++) v += parts[j] * simd_shuffle(factor, ushort(j));
  if (p.chunks > 16u) {
    chunk_parts<D>(part, p, head, 16u, c, parts);
    MSL_UNROLL
    for (int j = 0; j < 16; j++) v += parts[j] * simd_shuffle(factor, ushort(16 + j));
  }
  if (c >= D) return;
  const ulong angle = ulong(p.first) * p.half_rope;
  *reinterpret_cast<device float4*>(o + ulong(head) * D + c) =
      turn_four<D>(v * scale, c, cosines + angle, sines + angle, p.half_rope, -1.0f);
  if (head != 0u) return;
  for (uint i = c; i < c + 4u; i++) slot[i] = A(kv[i]);
}
