// The dialect for Metal. The shims for CPU and CUDA bring their own macros.
#include <metal_stdlib>
#include <metal_simdgroup_matrix>
using namespace metal;

#ifdef __METAL_VERSION__
#define MSL_FN inline
#define TG_ARRAY(T, name, n) threadgroup T name[n]
#define PROGRAM_TABLE(T, name, n) constant T name[n]
#define MSL_UNROLL _Pragma("clang loop unroll(full)")
#define KERNEL_MAX(n) [[kernel, max_total_threads_per_threadgroup(n)]]
#define INSTANTIATE_KERNEL(host, fn, ...) \
  template [[host_name(host)]] [[kernel]] decltype(fn<__VA_ARGS__>) fn<__VA_ARGS__>;
#endif
