// As much of CUDA as clang needs to make PTX of the shim where there is no CUDA
// toolkit. It has CUDA's own global names too, so that a clash would show.
#pragma once
#define __device__ __attribute__((device))
#define __host__ __attribute__((host))
#define __global__ __attribute__((global))
#define __shared__ __attribute__((shared))
#define __constant__ __attribute__((constant))
#define __forceinline__ __inline__ __attribute__((always_inline))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))
#define __align__(n) __attribute__((aligned(n)))
struct uint2 { unsigned x, y; };
struct uint3 { unsigned x, y, z; };
struct float4 { float x, y, z, w; };
struct half { unsigned short x; };
struct Place { unsigned x, y, z; };
extern const __device__ Place threadIdx, blockIdx, blockDim, gridDim;
extern "C" {
__device__ void* memcpy(void*, const void*, __SIZE_TYPE__);
__device__ float expf(float); __device__ float exp2f(float); __device__ float logf(float); __device__ float log2f(float);
__device__ float sinf(float); __device__ float cosf(float); __device__ float tanhf(float); __device__ float powf(float, float);
__device__ float sqrtf(float); __device__ float __frsqrt_rn(float); __device__ float fabsf(float); __device__ float floorf(float); __device__ float ceilf(float);
__device__ float rintf(float); __device__ float roundf(float); __device__ float truncf(float); __device__ float fmaf(float, float, float);
__device__ int __popc(unsigned); __device__ int __clz(int); __device__ int __ffs(int);
__device__ void __syncthreads();
}
__device__ void __syncwarp(unsigned = 0xffffffffu);
#define MOVE(name, T) __device__ unsigned name(unsigned, unsigned, T, int); __device__ float name(unsigned, float, T, int);
MOVE(__shfl_sync, int) MOVE(__shfl_xor_sync, int) MOVE(__shfl_up_sync, unsigned) MOVE(__shfl_down_sync, unsigned)
#undef MOVE
__device__ int __any_sync(unsigned, int); __device__ int __all_sync(unsigned, int);
__device__ float max(float, float); __device__ unsigned max(unsigned, unsigned); __device__ int max(int, int);
__device__ float min(float, float); __device__ unsigned min(unsigned, unsigned); __device__ int min(int, int);
__device__ float exp(float); __device__ float log(float); __device__ float fma(float, float, float); __device__ float rsqrt(float);
__device__ float abs(float); __device__ float sin(float); __device__ float cos(float);
#define ATOMIC(f) __device__ unsigned f(unsigned*, unsigned); __device__ int f(int*, int);
ATOMIC(atomicAdd) ATOMIC(atomicSub) ATOMIC(atomicExch) ATOMIC(atomicOr) ATOMIC(atomicAnd) ATOMIC(atomicXor) ATOMIC(atomicMax) ATOMIC(atomicMin)
#undef ATOMIC
typedef struct CUstream_st* cudaStream_t;
struct dim3 { unsigned x, y, z; };
extern "C" unsigned __cudaPushCallConfiguration(dim3, dim3, __SIZE_TYPE__, void*);
