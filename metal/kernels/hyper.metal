// The mHC steps around a sublayer: streams x f32 [tokens, N, D] are mixed into
// its input, and its output is mixed back into the streams.
//
//   sums    part[t, r, s] = sum over the columns c of slice s of fn[r, c]*x[t, c],
//           and behind the R rows of fn the same of x[t, c]^2
//   in      rho = 1/sqrt(mean x^2 + norm_eps), m = (fn*x)*rho,
//           pre = logistic(m*scale0 + base) + eps, u = norm(sum_j pre_j*x_j)*weight,
//           post = 2*logistic(m*scale1 + base), comb = Sinkhorn of m*scale2 + base
//   head    pre alone, with one scale
//   out     x'_k = post_k*y + sum_j comb_jk*x_j
//
// All f32. fn [R, N*D], R = (2+N)*N, or N of the head. part [tokens, R+1, slices],
// mix [tokens, N + N*N], control [3 + R]: three scales, of which the head has one,
// and base. Host checks: D % 4 == 0, N <= 8.
// Twins: engine/cpu/hyper.go, and Sinkhorn, Mix, Norm and Remix of plain.go.

struct HyperSumsArgs {
  uint width;   // N*D
  uint rows;    // R
  uint tokens;
  uint slices;
};

// grid: (slices, ceil(tokens/TOK)) of 256 threads. A simdgroup takes every eighth
// row and holds TOK tokens against it; the first also squares. A slice is STEPS
// times 128 columns.
template <int PER, int TOK, int STEPS>
KERNEL_MAX(256) void hyper_sums(
    device const float* x [[buffer(0)]],
    device const float* fn [[buffer(1)]],
    device float* part [[buffer(2)]],
    constant HyperSumsArgs& p [[buffer(3)]],
    uint3 tgid [[threadgroup_position_in_grid]],
    uint sg [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  const uint t0 = tgid.y * TOK;
  float acc[PER][TOK];
  float squares[TOK];
  MSL_UNROLL
  for (int i = 0; i < TOK; i++) {
    squares[i] = 0.0f;
    MSL_UNROLL
    for (int r = 0; r < PER; r++) acc[r][i] = 0.0f;
  }
  for (int step = 0; step < STEPS; step++) {
    const uint c = (tgid.x * STEPS + uint(step)) * 128u + lane * 4u;
    if (c < p.width) {
      float4 xs[TOK];
      MSL_UNROLL
      for (int i = 0; i < TOK; i++) {
        xs[i] = four(x + ulong(min(t0 + uint(i), p.tokens - 1u)) * p.width + c);
        squares[i] = add_products(xs[i], xs[i], squares[i]);
      }
      MSL_UNROLL
      for (int r = 0; r < PER; r++) {
        const float4 f = four(fn + ulong(min(sg + 8u * uint(r), p.rows - 1u)) * p.width + c);
        MSL_UNROLL
        for (int i = 0; i < TOK; i++) acc[r][i] = add_products(f, xs[i], acc[r][i]);
      }
    }
  }
  MSL_UNROLL
  for (int i = 0; i < TOK; i++) {
    const uint t = t0 + uint(i);
    device float* out = part + (ulong(t) * (p.rows + 1u)) * p.slices + tgid.x;
    MSL_UNROLL
    for (int r = 0; r < PER; r++) {
      const uint row = sg + 8u * uint(r);
      const float v = simd_sum(acc[r][i]);
      if (lane == 0 && t < p.tokens && row < p.rows) out[row * p.slices] = v;
    }
    const float v = simd_sum(squares[i]);
    if (lane == 0 && sg == 0 && t < p.tokens) out[p.rows * p.slices] = v;
  }
}

struct HyperInArgs {
  uint width;  // D
  uint slices;
  uint iterations;  // of Sinkhorn
  float eps;        // of the mixes
  float norm_eps;
  uint pad;
};

// The sums of a token's slices: RAW mixes, then the squares.
template <int NSG>
MSL_FN void hyper_mixes(device const float* part, uint raw, uint slices, threadgroup float* mixes, uint sg, uint lane) {
  for (uint r = sg; r <= raw; r += NSG) {
    float v = 0.0f;
    for (uint s = lane; s < slices; s += 32u) v += part[r * slices + s];
    v = simd_sum(v);
    if (lane == 0) mixes[r] = v;
  }
}

// A thread's first four channels of each stream of a token.
template <int N>
MSL_FN void hyper_fetch(device const float* x, uint width, uint tid, thread float4* streams) {
  MSL_UNROLL
  for (int j = 0; j < N; j++) {
    streams[j] = float4(0.0f);
    if (4u * tid < width) streams[j] = four(x + ulong(j) * width + 4u * tid);
  }
}

// u = norm(sum_j pre_j*x_j)*weight of one token, by all threads of a threadgroup;
// streams is what hyper_fetch left.
template <int N, int NSG>
MSL_FN void hyper_mix(thread const float* pre, thread float4* streams, device const float* x, device const float* weight,
                      device float* u, uint width, float norm_eps, threadgroup float* part, uint tid, uint sg, uint lane) {
  float squares = 0.0f;
  float4 first = float4(0.0f);
  for (uint c = 4u * tid; c < width; c += 128u * NSG) {
    if (c != 4u * tid) {
      MSL_UNROLL
      for (int j = 0; j < N; j++) streams[j] = four(x + ulong(j) * width + c);
    }
    float4 v = streams[0] * pre[0];
    MSL_UNROLL
    for (int j = 1; j < N; j++) v += streams[j] * pre[j];
    squares = add_products(v, v, squares);
    if (c == 4u * tid) {
      first = v;
    } else {
      *reinterpret_cast<device float4*>(u + c) = v;
    }
  }
  const float r = inverse_norm(group_sum<NSG>(squares, part, sg, lane), width, norm_eps);
  for (uint c = 4u * tid; c < width; c += 128u * NSG) {
    const float4 v = c == 4u * tid ? first : four(u + c);  // what this thread wrote
    *reinterpret_cast<device float4*>(u + c) = v * r * four(weight + c);
  }
}

// comb [N, N] of mixes, by one simdgroup: a softmax of each row + eps; then columns
// are divided by their sum + eps, and rows and columns in turn until columns were
// divided `iterations` times. The entries stay as they are: lane i < N keeps row i
// and column i of them, and of each what it is to be divided by, whose next value
// is sum_k c_ik/column_k + eps*row_i. entries has N*N floats.
template <int N>
MSL_FN void sinkhorn(threadgroup float* entries, device float* out, uint iterations, float eps, uint lane) {
  const uint own = min(lane, uint(N) - 1u);
  float by_row[N];
  float by_column[N];
  float top = entries[own * N];
  MSL_UNROLL
  for (int k = 0; k < N; k++) {
    by_row[k] = entries[own * N + uint(k)];
    top = max(top, by_row[k]);
  }
  float sum = 0.0f;
  MSL_UNROLL
  for (int k = 0; k < N; k++) {
    by_row[k] = precise::exp(by_row[k] - top);
    sum += by_row[k];
  }
  simdgroup_barrier(mem_flags::mem_threadgroup);
  MSL_UNROLL
  for (int k = 0; k < N; k++) {
    by_row[k] = by_row[k] / sum + eps;
    if (lane < N) entries[own * N + uint(k)] = by_row[k];
  }
  simdgroup_barrier(mem_flags::mem_threadgroup);
  MSL_UNROLL
  for (int j = 0; j < N; j++) by_column[j] = entries[uint(j) * N + own];

  float row = 1.0f;
  float column = 1.0f;
  float row_factor = 1.0f;     // 1/row
  float column_factor = 1.0f;  // 1/column
  for (uint i = 0; i < iterations; i++) {
    if (i > 0u) {
      float s = 0.0f;
      MSL_UNROLL
      for (int k = 0; k < N; k++) s = fma(by_row[k], simd_shuffle(column_factor, ushort(k)), s);
      row = fma(eps, row, s);
      row_factor = 1.0f / row;
    }
    float s = 0.0f;
    MSL_UNROLL
    for (int j = 0; j < N; j++) s = fma(by_column[j], simd_shuffle(row_factor, ushort(j)), s);
    column = fma(eps, column, s);
    column_factor = 1.0f / column;
  }
  MSL_UNROLL
  for (int k = 0; k < N; k++) {
    const float v = by_row[k] * row_factor * simd_shuffle(column_factor, ushort(k));
    if (lane < N) out[own * N + uint(k)] = v;
  }
}

// grid: (tokens, 2) of 32*NSG threads: the first of two threadgroups makes u, the
// other post and comb.
template <int N, int NSG>
KERNEL_MAX(32 * NSG) void hyper_in(
    device const float* part [[buffer(0)]],
    device const float* x [[buffer(1)]],
    device const float* weight [[buffer(2)]],
    device const float* control [[buffer(3)]],
    device float* u [[buffer(4)]],
    device float* mix [[buffer(5)]],
    constant HyperInArgs& p [[buffer(6)]],
    uint3 tgid [[threadgroup_position_in_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint sg [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  enum { RAW = (2 + N) * N };
  TG_ARRAY(float, mixes, RAW + 1);
  TG_ARRAY(float, sums, NSG);
  const ulong t = tgid.x;
  float4 streams[N];
  if (tgid.y == 0u) hyper_fetch<N>(x + t * N * p.width, p.width, tid, streams);
  hyper_mixes<NSG>(part + t * (RAW + 1) * p.slices, RAW, p.slices, mixes, sg, lane);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const float rho = inverse_norm(mixes[RAW], N * p.width, p.norm_eps);
  if (tgid.y == 0u) {
    float pre[N];
    MSL_UNROLL
    for (int j = 0; j < N; j++) pre[j] = logistic(mixes[j] * rho * control[0] + control[3 + j]) + p.eps;
    hyper_mix<N, NSG>(pre, streams, x + t * N * p.width, weight, u + t * p.width, p.width, p.norm_eps, sums, tid, sg, lane);
    return;
  }
  if (sg != 0u) return;
  device float* out = mix + t * (N + N * N);
  if (lane < N) out[lane] = 2.0f * logistic(mixes[N + lane] * rho * control[1] + control[3u + N + lane]);
  for (uint i = 2 * N + lane; i < RAW; i += 32u) mixes[i] = mixes[i] * rho * control[2] + control[3u + i];
  simdgroup_barrier(mem_flags::mem_threadgroup);
  sinkhorn<N>(mixes + 2 * N, out + N, p.iterations, p.eps, lane);
}

// grid: (tokens) of 32*NSG threads. v = u of the head's mixes.
template <int N, int NSG>
KERNEL_MAX(32 * NSG) void hyper_head(
    device const float* part [[buffer(0)]],
    device const float* x [[buffer(1)]],
    device const float* weight [[buffer(2)]],
    device const float* control [[buffer(3)]],
    device float* v [[buffer(4)]],
    constant HyperInArgs& p [[buffer(5)]],
    uint3 tgid [[threadgroup_position_in_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint sg [[simdgroup_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]]) {
  TG_ARRAY(float, mixes, N + 1);
  TG_ARRAY(float, sums, NSG);
  const ulong t = tgid.x;
  float4 streams[N];
  hyper_fetch<N>(x + t * N * p.width, p.width, tid, streams);
  hyper_mixes<NSG>(part + t * (N + 1) * p.slices, N, p.slices, mixes, sg, lane);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const float rho = inverse_norm(mixes[N], N * p.width, p.norm_eps);
  float pre[N];
  MSL_UNROLL
  for (int j = 0; j < N; j++) pre[j] = logistic(mixes[j] * rho * control[0] + control[3 + j]) + p.eps;
  hyper_mix<N, NSG>(pre, streams, x + t * N * p.width, weight, v + t * p.width, p.width, p.norm_eps, sums, tid, sg, lane);
}

struct HyperOutArgs {
  uint width;  // D
  uint pad;
};

// grid: (ceil(D/(4*64)), tokens) of 64 threads, four channels each.
template <int N>
KERNEL_MAX(64) void hyper_out(
    device const float* mix [[buffer(0)]],
    device const float* y [[buffer(1)]],
    device float* x [[buffer(2)]],
    constant HyperOutArgs& p [[buffer(3)]],
    uint3 tgid [[threadgroup_position_in_grid]],
    uint tid [[thread_index_in_threadgroup]]) {
  const uint c = (tgid.x * 64u + tid) * 4u;
  if (c >= p.width) return;
  const ulong t = tgid.y;
  device const float* m = mix + t * (N + N * N);
  device float* streams = x + t * N * p.width + c;
  const float4 add = four(y + t * p.width + c);
  float4 old[N];
  MSL_UNROLL
  for (int j = 0; j < N; j++) old[j] = four(streams + ulong(j) * p.width);
  MSL_UNROLL
  for (int k = 0; k < N; k++) {
    float4 v = add * m[k];
    MSL_UNROLL
    for (int j = 0; j < N; j++) v += old[j] * m[N + j * N + k];
    *reinterpret_cast<device float4*>(streams + ulong(k) * p.width) = v;
  }
}
