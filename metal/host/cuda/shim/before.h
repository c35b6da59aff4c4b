// MSL on CUDA, first part: what the shared types are built on. CUDA's compiler
// for run time (NVRTC) knows its functions without headers; nvcc gets them here.
#ifndef __CUDACC_RTC__
#include <cuda_runtime.h>
#endif

#define MSL_HD __device__
#define MSL_ON_CUDA 1

// Conversions round to nearest, ties to even.
__device__ inline unsigned short msl_f32_to_f16(float f) {
  unsigned short r;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(f));
  return r;
}
__device__ inline float msl_f16_to_f32(unsigned short u) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(u));
  return f;
}

#define MSL_MEMCPY memcpy
#define MSL_POPC __popc
#define MSL_CLZ __clz
#define MSL_CTZ(v) (__ffs(v) - 1)
#define MSL_EXPF expf
#define MSL_EXP2F exp2f
#define MSL_LOGF logf
#define MSL_LOG2F log2f
#define MSL_SINF sinf
#define MSL_COSF cosf
#define MSL_TANHF tanhf
#define MSL_POWF powf
#define MSL_SQRTF sqrtf
#define MSL_RSQRTF __frsqrt_rn
#define MSL_FABSF fabsf
#define MSL_FLOORF floorf
#define MSL_CEILF ceilf
#define MSL_RINTF rintf
#define MSL_ROUNDF roundf
#define MSL_TRUNCF truncf
#define MSL_FMAF fmaf
