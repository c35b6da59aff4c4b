// Kernels that use what the shim has, so that a GPU can show whether it means
// the same there. Everything is written to an array of floats or of words.

struct ProbeArgs {
  uint n;
  int sign;
  float scale;
  uint pad;
  ulong far;
};

PROGRAM_TABLE(float, kHalves, 4) = {0.0f, 0.5f, 1.0f, 1.5f};

MSL_FN float twice(float v) { return v + v; }

// fields: y holds the argument struct, field by field.
kernel void fields(device uint* y [[buffer(0)]], constant ProbeArgs& p [[buffer(1)]],
                   uint3 at [[thread_position_in_grid]]) {
  if (at.x > 0) return;
  y[0] = p.n;
  y[1] = uint(p.sign);
  y[2] = as_type<uint>(p.scale);
  y[3] = uint(p.far);
  y[4] = uint(p.far >> 32);
}

// chain: a number that depends on the order of the dispatches that made it.
kernel void chain(device uint* y [[buffer(0)]], constant ProbeArgs& p [[buffer(1)]],
                  uint3 at [[thread_position_in_grid]]) {
  if (at.x == 0) y[0] = y[0] * 3u + p.n;
}

// places: y[thread] names the thread's place in the grid.
KERNEL_MAX(64) void places(device uint* y [[buffer(0)]], uint3 at [[thread_position_in_grid]],
                           uint3 in [[thread_position_in_threadgroup]], uint3 group [[threadgroup_position_in_grid]],
                           uint3 grid [[threadgroups_per_grid]], uint3 threads [[threads_per_threadgroup]],
                           uint lane [[thread_index_in_simdgroup]], uint sg [[simdgroup_index_in_threadgroup]],
                           uint nsg [[simdgroups_per_threadgroup]]) {
  const uint i = ((group.z * grid.y + group.y) * grid.x + group.x) * threads.x + in.x;
  y[i] = at.x | (group.y << 8) | (group.z << 12) | (lane << 16) | (sg << 24) | (nsg << 28);
}

// lanes: rows of 32 results over the lanes of one simdgroup.
KERNEL_MAX(32) void lanes(device const float* x [[buffer(0)]], device float* y [[buffer(1)]],
                          uint lane [[thread_index_in_simdgroup]]) {
  const float v = x[lane];
  const uint u = as_type<uint>(v) >> 12;
  y[lane] = simd_sum(v);
  y[32 + lane] = simd_max(v);
  y[64 + lane] = simd_min(v);
  y[96 + lane] = simd_prefix_inclusive_sum(v);
  y[128 + lane] = simd_prefix_exclusive_sum(v);
  y[160 + lane] = simd_shuffle(v, ushort((lane * 7u) & 31u));
  y[192 + lane] = simd_shuffle_xor(v, 5);
  y[224 + lane] = lane + 3 < 32 ? simd_shuffle_down(v, 3) : simd_shuffle_down(v, 3) * 0.0f;
  y[256 + lane] = lane >= 3 ? simd_shuffle_up(v, 3) : simd_shuffle_up(v, 3) * 0.0f;
  y[288 + lane] = simd_broadcast(v, 9) + simd_broadcast_first(v);
  y[320 + lane] = float(simd_or(u) & 0xffu) + (simd_any(lane == 4u) ? 256.0f : 0.0f) + (simd_all(lane < 32u) ? 512.0f : 0.0f);
  y[352 + lane] = float(simd_sum(lane));
}

// turn: a threadgroup's values in reverse, and how many are above a half.
KERNEL_MAX(128) void turn(device const float* x [[buffer(0)]], device float* y [[buffer(1)]], device atomic_uint* count [[buffer(2)]],
                          uint tid [[thread_index_in_threadgroup]], uint3 group [[threadgroup_position_in_grid]]) {
  TG_ARRAY(float, s, 128);
  TG_ARRAY(atomic_uint, above, 1);
  if (tid == 0) atomic_store_explicit(&above[0], 0u, memory_order_relaxed);
  s[tid] = x[group.x * 128 + tid];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (s[tid] > 0.5f) atomic_fetch_add_explicit(&above[0], 1u, memory_order_relaxed);
  y[group.x * 128 + tid] = s[127 - tid];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (tid == 0) atomic_fetch_add_explicit(count, atomic_load_explicit(&above[0], memory_order_relaxed), memory_order_relaxed);
}

// product: D = A·B + C of 8x8 by way of each load and store: from device and
// from threadgroup memory, in rows and transposed, twice with one B.
template <typename T>
KERNEL_MAX(32) void product(device const T* a [[buffer(0)]], device const T* b [[buffer(1)]], device const float* c [[buffer(2)]],
                            device float* y [[buffer(3)]], uint lane [[thread_index_in_simdgroup]]) {
  TG_ARRAY(T, s, 8 * 9);
  for (uint i = lane; i < 64; i += 32) s[i / 8 * 9 + i % 8] = b[i];
  simdgroup_barrier(mem_flags::mem_threadgroup);
  simdgroup_matrix<T, 8, 8> ma, mt, mb, ms;
  simdgroup_float8x8 mc, d, e;
  simdgroup_load(ma, a);
  simdgroup_load(mt, a, 8, ulong2(0, 0), true);
  simdgroup_load(mb, b, 8);
  simdgroup_load(ms, s, 9);
  simdgroup_load(mc, c);
  simdgroup_multiply_accumulate(d, ma, mb, mc);
  simdgroup_store(d, y, 8);
  simdgroup_multiply_accumulate(e, mt, mb, mc);
  simdgroup_store(e, y + 64, 8, ulong2(0, 0), true);
  simdgroup_multiply(d, ma, ms);
  simdgroup_store(d, y + 128, 8);
  d = make_filled_simdgroup_matrix<float, 8, 8>(2.0f);
  simdgroup_multiply_accumulate(d, ma, mb, d);
  simdgroup_store(d, y + 192, 8);
  simdgroup_load(mb, a, 8);  // B anew: its transpose is not the last one's
  simdgroup_multiply(d, ma, mb);
  simdgroup_store(d, y + 256, 8);
  const simdgroup_matrix<T, 8, 8> diagonal(T(3.0f));
  mt = diagonal;
  simdgroup_multiply(d, ma, mt);
  simdgroup_store(d, y + 320, 8);
}

// functions: rows of n results of x.
kernel void functions(device const float* x [[buffer(0)]], device float* y [[buffer(1)]], constant ProbeArgs& p [[buffer(2)]],
                      uint3 at [[thread_position_in_grid]]) {
  const uint i = at.x;
  if (i >= p.n) return;
  const float v = x[i];
  y[i] = precise::exp(v);
  y[p.n + i] = precise::log(fabs(v));
  y[2 * p.n + i] = precise::sqrt(fabs(v));
  y[3 * p.n + i] = precise::rsqrt(fabs(v));
  y[4 * p.n + i] = precise::sin(v);
  y[5 * p.n + i] = precise::cos(v);
  y[6 * p.n + i] = precise::tanh(v);
  y[7 * p.n + i] = rint(v);
  y[8 * p.n + i] = float(half(v));
  y[9 * p.n + i] = float(bfloat(v));
  y[10 * p.n + i] = fma(v, v, -1.0f);
  y[11 * p.n + i] = twice(kHalves[i % 4]);
  y[12 * p.n + i] = v * p.scale;  // subnormal for a small scale: flushed
}

INSTANTIATE_KERNEL("product_f32", product, float)
INSTANTIATE_KERNEL("product_f16", product, half)
INSTANTIATE_KERNEL("product_bf16", product, bfloat)
