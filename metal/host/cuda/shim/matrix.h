// MSL on CUDA, third part: 8x8 matrices held by a warp.
//
// A lane holds row lane/4, columns 2*(lane%4) and the next: what mma.m16n8k8
// wants of the rows that it has of A and of C. Its other eight rows stay zero,
// since a multiplication names one matrix of each. It wants the transpose of
// that for B, which movmatrix gives; a B that several multiplications share is
// transposed once. Products of floats are in full precision, by shuffles.

namespace metal {

namespace msl_detail {
__device__ inline uint row() { return lane() / 4u; }
__device__ inline uint column() { return 2u * (lane() % 4u); }
template <class T> __device__ inline uint packed(vec<T, 2> v) { return uint(v.x.bits) | uint(v.y.bits) << 16; }
__device__ inline uint transposed(uint v) {
  uint r;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(r) : "r"(v));
  return r;
}
#define MSL_MMA(T, type)                                                                                                \
  __device__ inline vec<float, 2> mma(uint a, uint b, vec<float, 2> c, T) {                                             \
    float x, y, below, after;                                                                                           \
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32." type "." type ".f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%8,%9,%9};" \
                 : "=f"(x), "=f"(y), "=f"(below), "=f"(after)                                                           \
                 : "r"(a), "r"(0u), "r"(b), "f"(c.x), "f"(c.y), "f"(0.0f));                                              \
    return vec<float, 2>(x, y);                                                                                         \
  }
MSL_MMA(half, "f16")
MSL_MMA(bfloat, "bf16")
#undef MSL_MMA

// What a matrix keeps for use as B.
template <class T> struct Transpose { uint bits; bool known; };
template <> struct Transpose<float> { bool known; };
}  // namespace msl_detail

template <class T, int C, int R>
struct simdgroup_matrix;
template <class T>
struct simdgroup_matrix<T, 8, 8> {
  vec<T, 2> e;
  msl_detail::Transpose<T> t;
  __device__ simdgroup_matrix() { t.known = false; }
  __device__ explicit simdgroup_matrix(T d) {  // d on the diagonal
    const uint r = msl_detail::row(), c = msl_detail::column();
    e = vec<T, 2>(r == c ? d : T(0.0f), r == c + 1 ? d : T(0.0f));
    t.known = false;
  }
  __device__ vec<T, 2>& thread_elements() {
    t.known = false;
    return e;
  }
};
typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;

template <class T, int C, int R = C>
__device__ inline simdgroup_matrix<T, C, R> make_filled_simdgroup_matrix(T v) {
  simdgroup_matrix<T, C, R> m;
  m.e = vec<T, 2>(v, v);
  return m;
}

// Two elements in a row travel as one where they are aligned for it: a test that
// the compiler mostly answers itself, and else the same for the whole warp.
template <class T>
__device__ inline bool msl_in_pairs(const T* p, ulong ld) {
  return ((ulong(p) | ld * sizeof(T)) & (2 * sizeof(T) - 1)) == 0;
}
template <class T>
__device__ inline void simdgroup_load(simdgroup_matrix<T, 8, 8>& m, const T* p, ulong ld = 8, vec<ulong, 2> o = vec<ulong, 2>(0), bool tr = false) {
  const uint r = msl_detail::row(), c = msl_detail::column();
  p += o.y * ld + o.x;
  m.t.known = false;
  if (tr) {
    m.e = vec<T, 2>(p[c * ld + r], p[(c + 1) * ld + r]);
  } else if (msl_in_pairs(p, ld)) {
    m.e = *reinterpret_cast<const vec<T, 2>*>(p + r * ld + c);
  } else {
    m.e = vec<T, 2>(p[r * ld + c], p[r * ld + c + 1]);
  }
}
template <class T>
__device__ inline void simdgroup_store(const simdgroup_matrix<T, 8, 8>& m, T* p, ulong ld = 8, vec<ulong, 2> o = vec<ulong, 2>(0), bool tr = false) {
  const uint r = msl_detail::row(), c = msl_detail::column();
  p += o.y * ld + o.x;
  if (tr) {
    p[c * ld + r] = m.e.x;
    p[(c + 1) * ld + r] = m.e.y;
  } else if (msl_in_pairs(p, ld)) {
    *reinterpret_cast<vec<T, 2>*>(p + r * ld + c) = m.e;
  } else {
    p[r * ld + c] = m.e.x;
    p[r * ld + c + 1] = m.e.y;
  }
}

namespace msl_detail {
template <class T>
__device__ inline vec<float, 2> multiply(simdgroup_matrix<T, 8, 8>& a, simdgroup_matrix<T, 8, 8>& b, vec<float, 2> c) {
  if (!b.t.known) {
    b.t.bits = transposed(packed(b.e));
    b.t.known = true;
  }
  return mma(packed(a.e), b.t.bits, c, T());
}
// A[row][k] is in lane 4*row + k/2, B[k][column] in lane 4*k + column/2. What
// comes of A is of the lane's own four, of B of its own column of lanes.
__device__ inline vec<float, 2> multiply(simdgroup_matrix<float, 8, 8>& a, simdgroup_matrix<float, 8, 8>& b, vec<float, 2> c) {
  const uint l = lane();
#pragma unroll
  for (uint k = 0; k < 8; k++) {
    const float x = __shfl_sync(kAll, k % 2 ? a.e.y : a.e.x, int((l & ~3u) + k / 2), 32);
    c.x = fmaf(x, __shfl_sync(kAll, b.e.x, int(4 * k + (l & 3u)), 32), c.x);
    c.y = fmaf(x, __shfl_sync(kAll, b.e.y, int(4 * k + (l & 3u)), 32), c.y);
  }
  return c;
}
// Operands of two types meet as floats.
template <class A, class B>
__device__ inline vec<float, 2> multiply(simdgroup_matrix<A, 8, 8>& a, simdgroup_matrix<B, 8, 8>& b, vec<float, 2> c) {
  simdgroup_matrix<float, 8, 8> x, y;
  x.e = vec<float, 2>(a.e);
  y.e = vec<float, 2>(b.e);
  return multiply(x, y, c);
}
}  // namespace msl_detail

template <class D, class A, class B, class E>
__device__ inline void simdgroup_multiply_accumulate(simdgroup_matrix<D, 8, 8>& d, simdgroup_matrix<A, 8, 8>& a, simdgroup_matrix<B, 8, 8>& b, simdgroup_matrix<E, 8, 8>& c) {
  d.e = vec<D, 2>(msl_detail::multiply(a, b, vec<float, 2>(c.e)));
  d.t.known = false;
}
template <class D, class A, class B>
__device__ inline void simdgroup_multiply(simdgroup_matrix<D, 8, 8>& d, simdgroup_matrix<A, 8, 8>& a, simdgroup_matrix<B, 8, 8>& b) {
  d.e = vec<D, 2>(msl_detail::multiply(a, b, vec<float, 2>(0.0f)));
  d.t.known = false;
}

namespace msl_detail {
struct U3 {
  unsigned x, y, z;
  __device__ operator vec<uint, 3>() const { return vec<uint, 3>(x, y, z); }
};
}  // namespace msl_detail
}  // namespace metal

__device__ inline metal::msl_detail::U3 msl_u3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
__device__ inline unsigned msl_tid() { return metal::msl_detail::tid(); }

#define MSL_device
#define MSL_constant const
#define MSL_thread
#define MSL_threadgroup
#define MSL_kernel static __device__ __forceinline__
#define KERNEL_MAX(n) static __device__ __forceinline__
#define MSL_FN static __device__ __forceinline__
#define TG_ARRAY(T, name, n) __shared__ __align__(16) T name[n]
// In global memory, not in __constant__: lanes that ask for different elements
// of a table get them at once.
#define PROGRAM_TABLE(T, name, n) static __device__ const T name[n]
#define MSL_UNROLL _Pragma("unroll")
#define INSTANTIATE_KERNEL(host, fn, ...)
