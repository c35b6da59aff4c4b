// copy_words: y = x, n vectors of 16 bytes; what a device's bandwidth is measured
// with.
struct CopyArgs {
  ulong n;
};

kernel void copy_words(
    device const uint4* x [[buffer(0)]],
    device uint4* y [[buffer(1)]],
    constant CopyArgs& p [[buffer(2)]],
    uint3 at [[thread_position_in_grid]],
    uint3 groups [[threadgroups_per_grid]],
    uint3 threads [[threads_per_threadgroup]]) {
  for (ulong i = at.x; i < p.n; i += ulong(groups.x) * threads.x) y[i] = x[i];
}
