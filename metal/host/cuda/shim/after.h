// MSL on CUDA, second part: a simdgroup is a warp, a threadgroup a block. Every
// lane of a warp takes part in what is declared for a simdgroup.

namespace metal {

namespace msl_detail {
constexpr unsigned kAll = 0xffffffffu;
template <int BYTES> struct Words { unsigned w[(BYTES + 3) / 4]; };
// Any type of up to a few words, moved word by word.
#define MSL_MOVE(name, how)                                                      \
  template <class T>                                                             \
  __device__ inline T name(T v, unsigned k) {                                    \
    Words<int(sizeof(T))> a;                                                     \
    a.w[sizeof(a.w) / 4 - 1] = 0;                                                \
    memcpy(&a, &v, sizeof(T));                                                   \
    for (unsigned i = 0; i < sizeof(a.w) / 4; i++) a.w[i] = how(kAll, a.w[i], k, 32); \
    memcpy(&v, &a, sizeof(T));                                                   \
    return v;                                                                    \
  }
MSL_MOVE(shfl, __shfl_sync)
MSL_MOVE(shfl_xor, __shfl_xor_sync)
MSL_MOVE(shfl_down, __shfl_down_sync)
MSL_MOVE(shfl_up, __shfl_up_sync)
#undef MSL_MOVE
__device__ inline unsigned tid() { return threadIdx.x; }  // threadgroups are 1-D
__device__ inline unsigned lane() { return threadIdx.x & 31u; }
}  // namespace msl_detail

// Reductions halve the distance from 16 on: the order of the CPU shim.
#define MSL_REDUCE(name, expr)                \
  template <class T>                          \
  __device__ inline T name(T a) {             \
    for (unsigned d = 16; d > 0; d /= 2) {    \
      const T b = msl_detail::shfl_xor(a, d); \
      a = (expr);                             \
    }                                         \
    return a;                                 \
  }
MSL_REDUCE(simd_sum, a + b)
MSL_REDUCE(simd_product, a * b)
MSL_REDUCE(simd_max, a < b ? b : a)
MSL_REDUCE(simd_min, b < a ? b : a)
MSL_REDUCE(simd_and, a & b)
MSL_REDUCE(simd_or, a | b)
MSL_REDUCE(simd_xor, a ^ b)
#undef MSL_REDUCE
__device__ inline bool simd_any(bool b) { return __any_sync(msl_detail::kAll, b) != 0; }
__device__ inline bool simd_all(bool b) { return __all_sync(msl_detail::kAll, b) != 0; }
template <class T> __device__ inline T simd_shuffle(T v, ushort l) { return msl_detail::shfl(v, l); }
template <class T> __device__ inline T simd_broadcast(T v, ushort l) { return msl_detail::shfl(v, l); }
template <class T> __device__ inline T simd_broadcast_first(T v) { return msl_detail::shfl(v, 0u); }
template <class T> __device__ inline T simd_shuffle_xor(T v, ushort m) { return msl_detail::shfl_xor(v, m); }
template <class T> __device__ inline T simd_shuffle_down(T v, ushort d) { return msl_detail::shfl_down(v, d); }
template <class T> __device__ inline T simd_shuffle_up(T v, ushort d) { return msl_detail::shfl_up(v, d); }
template <class T>
__device__ inline T simd_prefix_inclusive_sum(T v) {
  for (unsigned d = 1; d < 32; d *= 2) {
    const T o = msl_detail::shfl_up(v, d);
    if (msl_detail::lane() >= d) v = v + o;
  }
  return v;
}
template <class T>
__device__ inline T simd_prefix_exclusive_sum(T v) {
  const T i = msl_detail::shfl_up(simd_prefix_inclusive_sum(v), 1u);
  return msl_detail::lane() == 0 ? T(0) : i;
}

__device__ inline void threadgroup_barrier(mem_flags) { __syncthreads(); }
__device__ inline void simdgroup_barrier(mem_flags) { __syncwarp(); }

struct atomic_uint { uint v; };
struct atomic_int { int v; };
#define MSL_ATOMIC(A, T)                                                                                    \
  __device__ inline T atomic_load_explicit(const A* p, memory_order) { return *(const volatile T*)&p->v; }    \
  __device__ inline void atomic_store_explicit(A* p, T v, memory_order) { *(volatile T*)&p->v = v; }          \
  __device__ inline T atomic_fetch_add_explicit(A* p, T v, memory_order) { return atomicAdd(&p->v, v); }      \
  __device__ inline T atomic_fetch_sub_explicit(A* p, T v, memory_order) { return atomicSub(&p->v, v); }      \
  __device__ inline T atomic_fetch_or_explicit(A* p, T v, memory_order) { return atomicOr(&p->v, v); }        \
  __device__ inline T atomic_fetch_and_explicit(A* p, T v, memory_order) { return atomicAnd(&p->v, v); }      \
  __device__ inline T atomic_fetch_xor_explicit(A* p, T v, memory_order) { return atomicXor(&p->v, v); }      \
  __device__ inline T atomic_fetch_max_explicit(A* p, T v, memory_order) { return atomicMax(&p->v, v); }      \
  __device__ inline T atomic_fetch_min_explicit(A* p, T v, memory_order) { return atomicMin(&p->v, v); }      \
  __device__ inline T atomic_exchange_explicit(A* p, T v, memory_order) { return atomicExch(&p->v, v); }
MSL_ATOMIC(atomic_uint, uint)
MSL_ATOMIC(atomic_int, int)
#undef MSL_ATOMIC

}  // namespace metal
