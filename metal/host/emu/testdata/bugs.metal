// Planted bugs, one a kernel, that the checked build must find, and clean twins
// (ok_…) that it must let pass. 64 threads, in[64], out[64].

kernel void ok_reverse(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                       uint tid [[thread_index_in_threadgroup]]) {
  TG_ARRAY(float, t, 64);
  t[tid] = in[tid];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  out[tid] = t[63 - tid];
}
kernel void bug_missing_barrier(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                                uint tid [[thread_index_in_threadgroup]]) {
  TG_ARRAY(float, t, 64);
  t[63 - tid] = 0.0f;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  t[tid] = in[tid];
  out[tid] = t[63 - tid];  // FOUND race in threadgroup memory
}
kernel void bug_wrong_flags(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                            uint tid [[thread_index_in_threadgroup]]) {
  TG_ARRAY(float, t, 64);
  t[tid] = in[tid];
  threadgroup_barrier(mem_flags::mem_device);  // orders device memory only
  out[tid] = t[63 - tid];  // FOUND race in threadgroup memory
}
kernel void bug_barrier_in_branch(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                                  uint tid [[thread_index_in_threadgroup]]) {
  TG_ARRAY(float, t, 64);
  t[tid] = in[tid];
  if (tid < 32) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    out[tid] = t[63 - tid];
  } else {
    threadgroup_barrier(mem_flags::mem_threadgroup);  // FOUND different barriers
    out[tid] = 0.0f;
  }
}
kernel void bug_early_return(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                             uint tid [[thread_index_in_threadgroup]]) {
  TG_ARRAY(float, t, 64);
  if (tid >= 60) return;
  t[tid] = in[tid];
  threadgroup_barrier(mem_flags::mem_threadgroup);  // FOUND not every thread reaches
  out[tid] = t[59 - tid];
}
kernel void bug_write_undeclared(device float* in [[buffer(0)]], device float* out [[buffer(1)]],
                                 uint tid [[thread_index_in_threadgroup]]) {
  out[tid] = in[tid];
  in[tid] = 1.0f;  // FOUND declares to write nothing
}
kernel void bug_uninitialised(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                              uint tid [[thread_index_in_threadgroup]]) {
  TG_ARRAY(float, t, 128);
  t[tid] = in[tid];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  out[tid] = t[tid + 1];  // FOUND no thread has written
}
kernel void bug_group_race(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                           uint tid [[thread_index_in_threadgroup]]) {
  out[tid] += in[tid];  // FOUND race in device memory
}
kernel void bug_divergent_simd(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                               uint tid [[thread_index_in_threadgroup]]) {
  float v = in[tid];
  if (tid % 2 == 0) v = simd_sum(v);  // FOUND after some lanes returned
  out[tid] = v;
}
kernel void bug_too_much_memory(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                                uint tid [[thread_index_in_threadgroup]]) {
  TG_ARRAY(float, a, 4096);
  TG_ARRAY(float, b, 4097);  // FOUND over Metal's 32768
  a[tid] = in[tid];
  b[tid] = in[tid];
  out[tid] = a[tid] + b[tid];
}
kernel void bug_array_overrun(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                              uint tid [[thread_index_in_threadgroup]]) {
  TG_ARRAY(float, a, 64);
  a[tid + 1] = in[tid];  // FOUND past the end of a threadgroup array
  threadgroup_barrier(mem_flags::mem_threadgroup);
  out[tid] = tid > 0 ? a[tid] : 0.0f;
}
kernel void bug_misaligned(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                           uint tid [[thread_index_in_threadgroup]]) {
  const uint4 v = *reinterpret_cast<device const uint4*>(in + 1 + tid % 4);  // FOUND misaligned
  out[tid] = float(v.x + v.y + v.z + v.w);
}
kernel void bug_reuse_no_barrier(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                                 uint tid [[thread_index_in_threadgroup]],
                                 uint sg [[simdgroup_index_in_threadgroup]],
                                 uint lane [[thread_index_in_simdgroup]]) {
  TG_ARRAY(float, part, 2);
  const float a = simd_sum(in[tid]);
  if (lane == 0) part[sg] = a;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const float s = part[0] + part[1];
  const float b = simd_sum(in[tid] * in[tid]);
  if (lane == 0) part[sg] = b;  // FOUND race in threadgroup memory
  threadgroup_barrier(mem_flags::mem_threadgroup);
  out[tid] = s + part[0] + part[1];
}
kernel void ok_simd_scope(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                          uint tid [[thread_index_in_threadgroup]]) {
  TG_ARRAY(float, t, 64);
  t[tid] = in[tid];
  simdgroup_barrier(mem_flags::mem_threadgroup);
  out[tid] = t[tid ^ 1];
}
kernel void bug_simd_scope(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                           uint tid [[thread_index_in_threadgroup]]) {
  TG_ARRAY(float, t, 64);
  t[tid] = in[tid];
  simdgroup_barrier(mem_flags::mem_threadgroup);
  out[tid] = t[tid ^ 32];  // FOUND that no thread has written
}
kernel void ok_atomic(device const float* in [[buffer(0)]], device atomic_uint* out [[buffer(1)]],
                      uint tid [[thread_index_in_threadgroup]]) {
  atomic_fetch_add_explicit(&out[tid % 4], uint(in[tid]), memory_order_relaxed);
}
kernel void bug_mixed_atomic(device const float* in [[buffer(0)]], device uint* out [[buffer(1)]],
                             uint tid [[thread_index_in_threadgroup]]) {
  device atomic_uint* a = reinterpret_cast<device atomic_uint*>(out);
  atomic_fetch_add_explicit(&a[0], uint(in[tid]), memory_order_relaxed);
  if (tid == 0) out[0] = 0;  // FOUND race in device memory
}
kernel void bug_read_undeclared(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                                uint tid [[thread_index_in_threadgroup]]) {
  out[tid] = in[tid + 1];  // FOUND whose byte 256 that is; the dispatch declares to read [0, 256)
}
kernel void bug_past_end(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                         uint tid [[thread_index_in_threadgroup]]) {
  out[tid] = in[tid + 2048];  // FOUND past the end of the buffer
}
kernel void bug_before(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                       uint tid [[thread_index_in_threadgroup]]) {
  out[tid] = in[int(tid) - 64];  // FOUND before the buffer at in
}
kernel void bug_shift(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                      uint tid [[thread_index_in_threadgroup]]) {
  out[tid] = in[tid] + float(1u << tid);  // FOUND shift count
}
kernel void bug_float_cast(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                           uint tid [[thread_index_in_threadgroup]]) {
  out[tid] = float(int(in[tid] * 3e20f));  // FOUND float out of the integer's range
}
kernel void bug_lane_map(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                         uint tid [[thread_index_in_threadgroup]]) {
  TG_ARRAY(float, t, 64);
  t[tid] = in[tid];
  simdgroup_barrier(mem_flags::mem_threadgroup);
  simdgroup_matrix<float, 8, 8> m;
  simdgroup_load(m, t, 8);  // FOUND
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (tid < 32) simdgroup_store(m, out, 8);
}
kernel void ok_matrix(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                      uint tid [[thread_index_in_threadgroup]]) {
  TG_ARRAY(float, t, 64);
  t[tid] = in[tid];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  simdgroup_matrix<float, 8, 8> m;
  simdgroup_load(m, t, 8);
  if (tid < 32) simdgroup_store(m, out, 8);
}
kernel void bug_broadcast(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                          uint tid [[thread_index_in_threadgroup]]) {
  out[tid] = simd_broadcast(in[tid], ushort(tid % 2));  // FOUND the same in all lanes
}
kernel void bug_shuffle(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                        uint tid [[thread_index_in_threadgroup]]) {
  out[tid] = simd_shuffle(in[tid], ushort(tid % 32 + 1));  // FOUND lane 32
}
MSL_FN float nth(thread const float* v, uint i) { return v[i]; }
kernel void bug_thread_array(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                             uint tid [[thread_index_in_threadgroup]]) {
  float v[4];
  for (uint i = 0; i < 4; i++) v[i] = in[tid];
  thread const float* p = v;
  out[tid] = p[3u + uint(in[0])];  // FOUND past the end of a thread's array
}
kernel void ok_thread_array(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                            uint tid [[thread_index_in_threadgroup]]) {
  float v[4];
  for (uint i = 0; i < 4; i++) v[i] = in[tid];
  out[tid] = nth(v, 2u + uint(in[0]));
}
kernel void bug_vector_undeclared(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
                                  uint tid [[thread_index_in_threadgroup]]) {
  const float4 v = *reinterpret_cast<device const float4*>(in + 4u * tid);  // FOUND whose byte 256 that is
  out[tid] = v.x + v.w;
}
