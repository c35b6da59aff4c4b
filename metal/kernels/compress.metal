// compress: a compressor's rows are pooled into one entry a block, and the last of
// them are kept for blocks that close later.
//
//   pool    e[c] = sum_i w_i*value_i[c], w = softmax over the block's rows of
//           (gate_i + bias)[c]; then norm*weight, rotated to the block's first
//           position, rounded as kv_sim says, stored as A
//   store   ring slot (position mod slots) = value and gate + bias of a token
//
// values and gates f32 [tokens, channels]; the rings f32 [slots, channels] hold
// gates with their bias; bias f32 [ratio, channels]; entries A [capacity, D].
// channels is D, or 2*D where blocks overlap: such a block reads the block before
// it through the first half of the channels and its own rows through the second.
// A row before the batch comes from the ring, so store runs after pool.
// Twins: engine/cpu/compress.go, Pool in plain.go, and kvsim.go.

struct PoolArgs {
  uint ratio;
  uint overlap;  // 0 or 1
  uint slots;
  uint first;      // position of the batch's first token
  uint first_block;
  uint half_rope;
  float norm_eps;
  float hadamard;  // D^-1/2
};

// The rows of a block, by index: where they are, and in which half of the channels.
struct PoolRows {
  uint channels;
  uint slots;
  uint count;
  uint other;       // how many come first that are the block before's
  uint half_width;  // where the own rows' channels begin
  uint from;        // position of the first
  uint slot;        // and where the ring has it
  uint first;       // position of the batch's first token
};

// Where row i begins, and whether it is the ring's.
MSL_FN ulong pool_row(thread const PoolRows& r, uint i, uint c, thread bool& old) {
  const uint position = r.from + i;
  old = position < r.first;
  uint slot = r.slot + i;
  if (slot >= r.slots) slot -= r.slots;
  return ulong(old ? slot : position - r.first) * r.channels + c + (i >= r.other ? r.half_width : 0u);
}

// Eight rows from i on, or as many as there are; the others are the last again.
MSL_FN void pool_values(thread const PoolRows& r, device const float* values, device const float* ring, uint i, uint c, thread float* out) {
  MSL_UNROLL
  for (int k = 0; k < 8; k++) {
    bool old = false;
    const ulong at = pool_row(r, min(i + uint(k), r.count - 1u), c, old);
    out[k] = (old ? ring : values)[at];
  }
}

// The same of gates, with their bias, which the ring's have.
MSL_FN void pool_gates(thread const PoolRows& r, device const float* gates, device const float* ring, device const float* bias, uint i,
                       uint c, thread float* out) {
  float add[8];
  MSL_UNROLL
  for (int k = 0; k < 8; k++) {
    const uint row = min(i + uint(k), r.count - 1u);
    bool old = false;
    const ulong at = pool_row(r, row, c, old);
    out[k] = (old ? ring : gates)[at];
    const uint slot = row >= r.other ? row - r.other : row;
    const float b = bias[ulong(slot) * r.channels + c + (row >= r.other ? r.half_width : 0u)];
    add[k] = old ? 0.0f : b;
  }
  MSL_UNROLL
  for (int k = 0; k < 8; k++) out[k] += add[k];
}

// The softmax of a channel's gates, applied to its values.
MSL_FN float pool_channel(thread const PoolRows& rows, device const float* values, device const float* gates, device const float* ring_values,
                          device const float* ring_gates, device const float* bias, uint c) {
  float g[8];
  float v[8];
  float top = -3.0e38f;
  for (uint i = 0; i < rows.count; i += 8u) {
    pool_gates(rows, gates, ring_gates, bias, i, c, g);
    MSL_UNROLL
    for (int k = 0; k < 8; k++) top = max(top, g[k]);
  }
  float sum = 0.0f;
  float acc = 0.0f;
  for (uint i = 0; i < rows.count; i += 8u) {
    pool_gates(rows, gates, ring_gates, bias, i, c, g);
    pool_values(rows, values, ring_values, i, c, v);
    MSL_UNROLL
    for (int k = 0; k < 8; k++) {
      const float e = i + uint(k) < rows.count ? precise::exp(g[k] - top) : 0.0f;
      sum += e;
      acc = fma(e, v[k], acc);
    }
  }
  return acc / sum;
}

MSL_FN PoolRows pool_rows(constant PoolArgs& p, uint block, uint width) {
  PoolRows rows;
  rows.channels = width * (1u + p.overlap);
  rows.slots = p.slots;
  rows.other = p.overlap != 0u && block > 0u ? p.ratio : 0u;
  rows.count = rows.other + p.ratio;
  rows.half_width = p.overlap * width;
  rows.from = block * p.ratio - rows.other;
  rows.slot = rows.from % p.slots;
  rows.first = p.first;
  return rows;
}

// grid: (blocks that close) of 32*NSG threads. ROUND: 0 nothing, 1 FP8 of the
// channels that are not rotated, 2 Hadamard and FP4.
template <typename A, int D, int NSG, int ROUND>
KERNEL_MAX(32 * NSG) void compress_pool(
    device const float* values [[buffer(0)]],
    device const float* gates [[buffer(1)]],
    device const float* ring_values [[buffer(2)]],
    device const float* ring_gates [[buffer(3)]],
    device const float* bias [[buffer(4)]],
    device const float* weight [[buffer(5)]],
    device const float* cosines [[buffer(6)]],
    device const float* sines [[buffer(7)]],
    device A* entries [[buffer(8)]],
    constant PoolArgs& p [[buffer(9)]],
    uint3 tgid [[threadgroup_position_in_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint sg [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  enum { VL = D < 32 ? 1 : D / 32 };
  TG_ARRAY(float, row, D);
  TG_ARRAY(float, sums, NSG);
  const uint block = p.first_block + tgid.x;
  const PoolRows rows = pool_rows(p, block, D);
  float squares = 0.0f;
  for (uint c = tid; c < D; c += 32u * NSG) {
    row[c] = pool_channel(rows, values, gates, ring_values, ring_gates, bias, c);
    squares = fma(row[c], row[c], squares);
  }
  const float r = inverse_norm(group_sum<NSG>(squares, sums, sg, lane), D, p.norm_eps);

  const uint plain = D - 2u * p.half_rope;
  const ulong angle = ulong(block) * p.ratio * p.half_rope;
  device A* out = entries + ulong(block) * D;
  for (uint at = 64u * sg; at < D; at += 64u * NSG) {  // a simdgroup's lanes hold a block of FP8
    const uint c = at + 2u * lane;
    float2 v = float2(0.0f);
    if (c < D) {
      v = float2(row[c] * r * weight[c], row[c + 1u] * r * weight[c + 1u]);
      if (c >= plain) v = turn(v, cosines[angle + (c - plain) / 2u], sines[angle + (c - plain) / 2u]);
    }
    if (ROUND == 1 && at < plain) v = round_fp8(v);
    if (c < D && ROUND == 2) {
      row[c] = v.x;
      row[c + 1u] = v.y;
    } else if (c < D) {
      out[c] = A(v.x);
      out[c + 1u] = A(v.y);
    }
  }
  if (ROUND != 2) return;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (sg != 0u) return;
  float v[VL];
  MSL_UNROLL
  for (int i = 0; i < VL; i++) v[i] = row[lane * VL + uint(i)];
  hadamard<VL>(v, lane, p.hadamard);
  round_fp4<VL>(v);
  MSL_UNROLL
  for (int i = 0; i < VL; i++) out[lane * VL + uint(i)] = A(v[i]);
}

struct StoreArgs {
  uint channels;
  uint ratio;
  uint slots;
  uint first;  // position of the batch's first token
  uint from;   // the first token to store
  uint pad;
};

// grid: (ceil(channels/THREADS), tokens to store) of THREADS threads.
template <int THREADS>
KERNEL_MAX(THREADS) void compress_store(
    device const float* values [[buffer(0)]],
    device const float* gates [[buffer(1)]],
    device const float* bias [[buffer(2)]],
    device float* ring_values [[buffer(3)]],
    device float* ring_gates [[buffer(4)]],
    constant StoreArgs& p [[buffer(5)]],
    uint3 tgid [[threadgroup_position_in_grid]],
    uint tid [[thread_index_in_threadgroup]]) {
  const uint c = tgid.x * THREADS + tid;
  if (c >= p.channels) return;
  const uint t = p.from + tgid.y;
  const uint position = p.first + t;
  const ulong from = ulong(t) * p.channels + c;
  const ulong to = ulong(position % p.slots) * p.channels + c;
  ring_values[to] = values[from];
  ring_gates[to] = gates[from] + bias[ulong(position % p.ratio) * p.channels + c];
}
