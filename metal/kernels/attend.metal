// attend: each head's attention over the window and the pooled entries.
//
//   q' = rotate(norm(q)), s_i = scale*q'.k_i, M the greatest of s and the sink,
//   o = rotate back(sum_i e^(s_i-M)*k_i / (sum_i e^(s_i-M) + e^(sink-M)))
//
//   q f32 [tokens, H, D] as the projection leaves it     o f32 [tokens, H, D]
//   kv f32 [tokens, D], the batch's own keys             sinks f32 [H]
//   ring A [window, D], keys before the batch: slot is position mod window
//   entries A [capacity, D], block e visible from position (e+1)*ratio-1 on
//   picks int32 [tokens, topk], ascending, then -1; topk 0: all visible blocks
//
// A query's keys are a list: window rows by position, then entries. The batch's
// rows are rounded to A as the ring's were. Scores, sums and probabilities are
// f32. A query's arithmetic does not know of other queries: attend_rows gives each
// its own threadgroup. Where a reference below is not M itself it is within 20 of
// it, which no float32 sum minds.
// Host checks: D % 16 == 0, D <= 512, 2*half_rope <= D.
// Twins: engine/cpu/attend.go, Attend in plain.go.

struct AttendArgs {
  uint heads;
  uint window;
  uint half_rope;
  uint first;  // position of the first query
  uint ratio;  // 0 without entries
  uint topk;   // of picks, 0 where every visible entry is seen
  uint per;    // keys of a chunk, a multiple of 32
  uint chunks;
  float scale;
  float norm_eps;
};

// The keys of one query, by index.
template <typename A>
struct Keys {
  device const float* rows;  // of the batch
  device const A* ring;
  device const A* entries;
  device const int* picks;  // of the query
  uint first;               // position of rows[0]
  uint window;
  uint near_first;  // position of key 0
  uint near;        // keys of the window
  uint count;       // all keys
  bool picked;
};

// A key's place: 1 << 30 marks the batch's rows, 2 << 30 entries.
template <typename A>
MSL_FN uint key_place(thread const Keys<A>& k, uint i) {
  if (i >= k.near) {
    const uint e = i - k.near;
    return 0x80000000u | (k.picked ? uint(k.picks[e]) : e);
  }
  const uint position = k.near_first + i;
  return position < k.first ? position % k.window : 0x40000000u | (position - k.first);
}

template <typename A, int D>
MSL_FN float4 key_four(thread const Keys<A>& k, uint place, uint c) {
  const ulong at = ulong(place & 0x3fffffffu) * D + c;
  if ((place & 0x40000000u) != 0u) return round_four<A>(four(k.rows + at));
  return (place & 0x80000000u) != 0u ? four(k.entries + at) : four(k.ring + at);
}

template <typename A>
MSL_FN Keys<A> keys_of(constant AttendArgs& p, uint t, device const float* rows, device const A* ring,
                       device const A* entries, device const int* picks) {
  Keys<A> k;
  const uint position = p.first + t;
  k.rows = rows;
  k.ring = ring;
  k.entries = entries;
  k.picks = picks + ulong(t) * p.topk;
  k.first = p.first;
  k.window = p.window;
  k.near = min(position + 1u, p.window);
  k.near_first = position + 1u - k.near;
  k.picked = p.topk != 0u;
  uint far = p.ratio != 0u ? (position + 1u) / p.ratio : 0u;
  if (k.picked) far = min(far, p.topk);
  k.count = k.near + far;
  return k;
}

// One simdgroup norms a head of q without weight, turns it and leaves it in out;
// a head that is not there becomes zeros.
template <int D>
MSL_FN void query_row(device const float* q, bool there, device const float* cosines, device const float* sines, uint half_rope,
                      float norm_eps, threadgroup float* out, uint lane) {
  enum { V4 = (D + 127) / 128 };
  const uint plain = D - 2u * half_rope;
  float4 v[V4];
  float4 angles[V4];  // cosine and sine of two pairs: loads on the way with q's
  float squares = 0.0f;
  MSL_UNROLL
  for (int i = 0; i < V4; i++) {
    const uint c = 128u * uint(i) + 4u * lane;
    v[i] = float4(0.0f);
    angles[i] = float4(1.0f, 0.0f, 1.0f, 0.0f);
    if (there && c < D) v[i] = four(q + c);
    if (c < D && c >= plain) angles[i] = float4(cosines[(c - plain) / 2u], sines[(c - plain) / 2u], 1.0f, 0.0f);
    if (c < D && c + 2u >= plain) {
      angles[i].z = cosines[(c + 2u - plain) / 2u];
      angles[i].w = sines[(c + 2u - plain) / 2u];
    }
  }
  MSL_UNROLL
  for (int i = 0; i < V4; i++) squares = add_products(v[i], v[i], squares);
  const float r = inverse_norm(simd_sum(squares), D, norm_eps);
  MSL_UNROLL
  for (int i = 0; i < V4; i++) {
    const uint c = 128u * uint(i) + 4u * lane;
    const float2 a = turn(float2(v[i].x * r, v[i].y * r), angles[i].x, angles[i].y);
    const float2 b = turn(float2(v[i].z * r, v[i].w * r), angles[i].z, angles[i].w);
    if (c < D) *reinterpret_cast<threadgroup float4*>(out + c) = float4(a.x, a.y, b.x, b.y);
  }
}

// A thread's part of a tile of eight keys from key k0 on, four channels at a time,
// and perhaps of keys behind it; one that is not there is zeros.
template <typename A, int D, int THREADS, int PER>
MSL_FN void fetch_tile(thread const Keys<A>& keys, uint k0, uint tid, thread float4* out) {
  enum { FOURS = D / 4 };
  MSL_UNROLL
  for (int j = 0; j < PER; j++) {
    const uint at = tid + uint(j) * THREADS;
    const uint i = k0 + at / FOURS;
    out[j] = float4(0.0f);
    if (i < keys.count) out[j] = key_four<A, D>(keys, key_place(keys, i), 4u * (at % FOURS));
  }
}

template <int D, int THREADS, int PER>
MSL_FN void put_tile(thread const float4* in, uint tid, threadgroup float* tile) {
  enum { FOURS = D / 4, LD = D + 4 };
  MSL_UNROLL
  for (int j = 0; j < PER; j++) {
    const uint at = tid + uint(j) * THREADS;
    if (at < 8u * FOURS) *reinterpret_cast<threadgroup float4*>(tile + at / FOURS * LD + 4u * (at % FOURS)) = in[j];
  }
}

// A head's softmax as far as it has come, in the eight lanes that have its scores
// of a tile: what probabilities are relative to, and the sum of the lane's own.
struct Weigher {
  float reference;
  float sum;
};

// The probabilities of a tile: lanes in rows of eight, a row for each head. The
// reference moves when a score exceeds it by 20; shrink is then a diagonal of what
// the sums before are to be multiplied by. Returns whether any of the simdgroup's
// heads moved.
MSL_FN bool weigh(thread Weigher& w, float s, bool seen, uint tid, threadgroup float* probs, threadgroup float* shrink) {
  float top = seen ? s : -3.0e38f;
  MSL_UNROLL
  for (uint m = 1; m < 8u; m *= 2u) top = max(top, simd_shuffle_xor(top, ushort(m)));
  const bool moves = top > w.reference + 20.0f;
  const float factor = moves ? precise::exp(w.reference - top) : 1.0f;
  w.reference = moves ? top : w.reference;
  const float e = seen ? precise::exp(s - w.reference) : 0.0f;
  w.sum = w.sum * factor + e;
  probs[tid] = e;
  shrink[tid] = tid / 8u % 8u == tid % 8u ? factor : 0.0f;
  return simd_any(moves);
}

// Rows of a block of heads from the tile to o, each times its scale, turned back.
template <int D, int NSG>
MSL_FN void put_heads(threadgroup const float* tile, threadgroup const float* scales, device float* out, uint heads, device const float* cosines,
                      device const float* sines, uint half_rope, uint sg, uint lane) {
  enum { LD = D + 4 };
  for (uint r = sg; r < min(8u, heads); r += NSG) {
    for (uint c = 4u * lane; c < D; c += 128u) {
      const float4 v = *reinterpret_cast<threadgroup const float4*>(tile + r * LD + c) * scales[r];
      *reinterpret_cast<device float4*>(out + r * D + c) = turn_four<D>(v, c, cosines, sines, half_rope, -1.0f);
    }
  }
}

// Many queries. grid: (ceil(heads/(8*HB)), tokens) of 32*QS*HB threads. A
// threadgroup takes one query and HB blocks of eight heads, whose rows are the M of
// 8x8 matrices; QS simdgroups share a block, each with a part of the channels. Keys
// come in tiles of eight, the next on its way while one is worked on.
template <typename A, int D, int QS, int HB>
KERNEL_MAX(32 * QS * HB) void attend_rows(
    device const float* q [[buffer(0)]],
    device const float* kv [[buffer(1)]],
    device const A* ring [[buffer(2)]],
    device const A* entries [[buffer(3)]],
    device const int* picks [[buffer(4)]],
    device const float* sinks [[buffer(5)]],
    device const float* cosines [[buffer(6)]],
    device const float* sines [[buffer(7)]],
    device float* o [[buffer(8)]],
    constant AttendArgs& p [[buffer(9)]],
    uint3 tgid [[threadgroup_position_in_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint sg [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  enum { LD = D + 4, FR = D / 8 / QS, NSG = QS * HB, THREADS = 32 * NSG, PER = (2 * D + THREADS - 1) / THREADS };
  TG_ARRAY(float, tile, 8 * LD);
  TG_ARRAY(float, dots, NSG * 64);
  TG_ARRAY(float, probs, HB * 64);
  TG_ARRAY(float, shrink, HB * 64);
  TG_ARRAY(uint, moved, HB * 2);
  TG_ARRAY(float, scales, HB * 8);
  const ulong t = tgid.y;
  const uint head0 = tgid.x * 8u * HB;
  const Keys<A> keys = keys_of<A>(p, tgid.y, kv, ring, entries, picks);
  device const float* turn_cos = cosines + (p.first + t) * p.half_rope;
  device const float* turn_sin = sines + (p.first + t) * p.half_rope;
  const uint block = sg / QS;           // of heads
  const uint d0 = sg % QS * (FR * 8u);  // the simdgroup's channels

  simdgroup_matrix<float, 8, 8> qs[FR];
  simdgroup_matrix<float, 8, 8> os[FR];
  float4 next[PER];
  fetch_tile<A, D, THREADS, PER>(keys, 0u, tid, next);
  for (uint b = 0; b < HB; b++) {
    for (uint r = sg; r < 8u; r += NSG) {
      const uint head = head0 + 8u * b + r;
      query_row<D>(q + (t * p.heads + head) * D, head < p.heads, turn_cos, turn_sin, p.half_rope, p.norm_eps,
                   tile + r * LD, lane);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (block == b) {
      MSL_UNROLL
      for (int f = 0; f < FR; f++) {
        simdgroup_load(qs[f], tile + d0 + 8u * uint(f), LD);
        os[f] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
      }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }

  const bool scorer = tid < 64u * HB;
  const float sink = sinks[min(head0 + tid / 8u, p.heads - 1u)];
  Weigher weigher;
  weigher.reference = sink;
  weigher.sum = 0.0f;
  for (uint k0 = 0; k0 < keys.count; k0 += 8u) {
    put_tile<D, THREADS, PER>(next, tid, tile);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    fetch_tile<A, D, THREADS, PER>(keys, k0 + 8u, tid, next);
    simdgroup_matrix<float, 8, 8> dot = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
    simdgroup_matrix<float, 8, 8> k;
    MSL_UNROLL
    for (int f = 0; f < FR; f++) {
      simdgroup_load(k, tile + d0 + 8u * uint(f), LD, ulong2(0), true);
      simdgroup_multiply_accumulate(dot, qs[f], k, dot);
    }
    simdgroup_store(dot, dots + 64u * sg, 8);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (scorer) {
      float s = 0.0f;
      MSL_UNROLL
      for (int i = 0; i < QS; i++) s += dots[(tid / 64u * QS + uint(i)) * 64u + tid % 64u];
      const bool any = weigh(weigher, s * p.scale, k0 + tid % 8u < keys.count, tid, probs, shrink);
      if (lane == 0) moved[sg] = any ? 1u : 0u;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if ((moved[2u * block] | moved[2u * block + 1u]) != 0u) {
      simdgroup_load(k, shrink + 64u * block, 8);
      MSL_UNROLL
      for (int f = 0; f < FR; f++) {
        simdgroup_multiply(dot, k, os[f]);
        os[f] = dot;
      }
    }
    simdgroup_load(dot, probs + 64u * block, 8);
    MSL_UNROLL
    for (int f = 0; f < FR; f++) {
      simdgroup_load(k, tile + d0 + 8u * uint(f), LD);
      simdgroup_multiply_accumulate(os[f], dot, k, os[f]);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }

  if (scorer) {
    float sum = weigher.sum;
    MSL_UNROLL
    for (uint m = 1; m < 8u; m *= 2u) sum += simd_shuffle_xor(sum, ushort(m));
    if (tid % 8u == 0u) scales[tid / 8u] = 1.0f / (sum + precise::exp(sink - weigher.reference));
  }
  for (uint b = 0; b < HB && head0 + 8u * b < p.heads; b++) {
    if (block == b) {
      MSL_UNROLL
      for (int f = 0; f < FR; f++) simdgroup_store(os[f], tile + d0 + 8u * uint(f), LD);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const uint head = head0 + 8u * b;
    put_heads<D, NSG>(tile, scales + 8u * b, o + (t * p.heads + head) * D, p.heads - head, turn_cos, turn_sin, p.half_rope, sg, lane);
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
}

struct KeepArgs {
  uint dim;
  uint window;
  uint first;  // position of the batch's first token
  uint from;   // the first token to keep
};

// grid: (ceil(dim/THREADS), tokens to keep) of THREADS threads: keys of a batch to
// the ring. After attend_rows, which reads it.
template <typename A, int THREADS>
KERNEL_MAX(THREADS) void attend_keep(
    device const float* kv [[buffer(0)]],
    device A* ring [[buffer(1)]],
    constant KeepArgs& p [[buffer(2)]],
    uint3 tgid [[threadgroup_position_in_grid]],
    uint tid [[thread_index_in_threadgroup]]) {
  const uint c = tgid.x * THREADS + tid;
  if (c >= p.dim) return;
  const uint t = p.from + tgid.y;
  ring[ulong((p.first + t) % p.window) * p.dim + c] = A(kv[ulong(t) * p.dim + c]);
}
