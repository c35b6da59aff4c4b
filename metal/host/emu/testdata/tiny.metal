// Small kernels that the driver's tests run. None is of use to a model.

struct ScaleArgs {
  uint n;       // elements
  float by;
  ulong from;   // of the first
};

// scale: y[i] = x[from+i]·by, rounded to T
//   x float, y T [n]; one thread an element
template <typename T, int THREADS>
KERNEL_MAX(THREADS) void scale(
    device const float* x [[buffer(0)]],
    device T* y [[buffer(1)]],
    constant ScaleArgs& p [[buffer(2)]],
    uint3 at [[thread_position_in_grid]]) {
  if (at.x < p.n) y[at.x] = T(x[p.from + at.x] * p.by);
}

struct RowArgs {
  uint rows;
  uint cols;
};

// row_sums: y[r] = Σ x[r, c], one threadgroup a row
kernel void row_sums(
    device const float* x [[buffer(0)]],
    device float* y [[buffer(1)]],
    constant RowArgs& p [[buffer(2)]],
    uint3 group [[threadgroup_position_in_grid]],
    uint tid [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint sg [[simdgroup_index_in_threadgroup]],
    uint nsg [[simdgroups_per_threadgroup]],
    uint3 size [[threads_per_threadgroup]]) {
  TG_ARRAY(float, part, 32);
  float s = 0.0f;
  for (uint c = tid; c < p.cols; c += size.x) s += x[ulong(group.x) * p.cols + c];
  s = simd_sum(s);
  if (lane == 0) part[sg] = s;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (sg > 0) return;
  float total = 0.0f;
  if (lane < nsg) total = part[lane];
  total = simd_sum(total);
  if (lane == 0) y[group.x] = total;
}

// product: c = a·b of 8x8 matrices of T, in float; b is stored transposed
template <typename T>
KERNEL_MAX(32) void product(
    device const T* a [[buffer(0)]],
    device const T* b [[buffer(1)]],
    device float* c [[buffer(2)]],
    uint tid [[thread_index_in_threadgroup]]) {
  TG_ARRAY(T, ta, 64);
  TG_ARRAY(T, tb, 64);
  TG_ARRAY(float, tc, 64);
  for (uint i = tid; i < 64; i += 32) {
    ta[i] = a[i];
    tb[i] = b[i];
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  simdgroup_matrix<T, 8, 8> ma;
  simdgroup_matrix<T, 8, 8> mb;
  simdgroup_matrix<float, 8, 8> mc = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  simdgroup_load(ma, ta, 8);
  simdgroup_load(mb, tb, 8, ulong2(0), true);
  simdgroup_multiply_accumulate(mc, ma, mb, mc);
  simdgroup_store(mc, tc, 8);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint i = tid; i < 64; i += 32) c[i] = tc[i];
}

// library: out[40·lane + i] is a function of the library, by its definition below
PROGRAM_TABLE(float, kTable, 4) = {1.5f, -2.0f, 0.25f, 8.0f};

kernel void library(
    device float* out [[buffer(0)]],
    device atomic_uint* counter [[buffer(1)]],
    uint3 gid [[thread_position_in_grid]],
    uint lane [[thread_index_in_simdgroup]]) {
  TG_ARRAY(atomic_uint, count, 1);
  if (lane == 0) atomic_store_explicit(&count[0], 0u, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  atomic_fetch_add_explicit(&count[0], lane, memory_order_relaxed);
  const uint before = atomic_fetch_add_explicit(counter, 1u, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  device float* o = out + lane * 40u;
  const float v = float(lane) - 7.5f;
  const float4 f = float4(v, 1.0f, 2.0f, 3.0f) * 2.0f + float4(0.5f);
  o[0] = simd_sum(v);
  o[1] = simd_max(v);
  o[2] = simd_min(v);
  o[3] = simd_shuffle(v, ushort((lane + 5u) % 32u));
  o[4] = simd_shuffle_xor(v, ushort(9));
  o[5] = simd_shuffle_down(v, ushort(3));
  o[6] = simd_shuffle_up(v, ushort(2));
  o[7] = simd_broadcast(v, ushort(11));
  o[8] = simd_prefix_exclusive_sum(v);
  o[9] = simd_prefix_inclusive_sum(v);
  o[10] = float(simd_sum(int(lane) - 3));
  o[11] = simd_any(lane == 31u) ? 1.0f : 0.0f;
  o[12] = simd_all(lane < 31u) ? 1.0f : 0.0f;
  o[13] = float(atomic_load_explicit(&count[0], memory_order_relaxed));
  o[14] = float(before);
  o[15] = dot(f, float4(1.0f, 10.0f, 100.0f, 1000.0f));
  o[16] = float(half(v * 0.1f));
  o[17] = float(bfloat(v * 0.1f));
  o[18] = float(popcount(gid.x * 7u));
  o[19] = kTable[lane % 4u];
  o[20] = clamp(v, -2.0f, 3.0f);
  o[21] = float(max(int(lane), 4));
  o[22] = select(0.0f, 100.0f, lane > 3u);
  o[23] = float(as_type<uint>(v) >> 24);
  o[24] = simd_shuffle(float2(v, v + 1.0f), ushort(31u - lane)).y;
  o[25] = float(simd_or(1u << (lane % 8u)));
  o[26] = float(simd_and(lane | 3u));
  o[27] = float(simd_xor(lane));
  o[28] = simd_broadcast_first(v);
  o[29] = float(clz(lane)) + 100.0f * float(ctz(lane));
  o[30] = rint(v) + 100.0f * floor(v) + 10000.0f * ceil(v);
  o[31] = round(v) + 100.0f * trunc(v) + 10000.0f * fabs(v);
  o[32] = precise::exp(v * 0.5f);
  o[33] = precise::log(v + 8.0f);
  o[34] = precise::sqrt(v + 8.0f) + precise::rsqrt(v + 8.0f);
  o[35] = precise::sin(v) + precise::cos(v);
  o[36] = max(min(as_type<float>(0x7fc00000u), v), -3.0f);
  o[37] = fma(v, v, 1.0f);
  o[38] = float(simd_product(lane == 0u ? 3.0f : 1.0f));
  o[39] = precise::exp2(v) + precise::log2(v + 8.0f) + precise::tanh(v) + precise::pow(v + 8.0f, 1.5f);
}
