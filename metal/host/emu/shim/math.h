// The float functions that the CPU shim gives to types.h. A perturbed build moves
// each result of a function that Metal does not round correctly, by the arguments'
// bits and a seed, as far as table 8.1 of the Metal Shading Language Specification
// lets it be off: 4 units in the last place, 5 for tanh, 16 for pow.
#pragma once

#if defined(__clang__) && __clang_major__ < 15
typedef __fp16 msl_f16;
#else
typedef _Float16 msl_f16;
#endif
static inline unsigned short msl_f32_to_f16(float f) {
  const msl_f16 h = (msl_f16)f;
  unsigned short u;
  __builtin_memcpy(&u, &h, 2);
  return u;
}
static inline float msl_f16_to_f32(unsigned short u) {
  msl_f16 h;
  __builtin_memcpy(&h, &u, 2);
  return (float)h;
}

#if defined(MSL_PERTURB)
namespace msl_rt {
// Moves y = f(a, b) by -ulp to +ulp units. 0, infinity and NaN stay, and so does
// what would leave the normal numbers.
inline float moved(float y, float a, float b, unsigned f, int ulp) {
  unsigned u, v, w;
  __builtin_memcpy(&u, &y, 4);
  __builtin_memcpy(&v, &a, 4);
  __builtin_memcpy(&w, &b, 4);
  const unsigned magnitude = u & 0x7fffffffu;
  if (magnitude < 0x00800020u || magnitude > 0x7f7fffe0u || cur->seed == 0) return y;
  unsigned h = (v * 2654435761u) ^ (w * 2246822519u) ^ (f * 3266489917u) ^ cur->seed;
  h ^= h >> 15;
  h *= 2246822519u;
  h ^= h >> 13;
  u += unsigned(int(h % unsigned(2 * ulp + 1)) - ulp);
  __builtin_memcpy(&y, &u, 4);
  return y;
}
}  // namespace msl_rt
#define MSL_MOVED(f, id, ulp, a) msl_rt::moved(f(a), a, 0.0f, id, ulp)
#else
#define MSL_MOVED(f, id, ulp, a) f(a)
#endif

#define MSL_HD
#define MSL_MEMCPY __builtin_memcpy
#define MSL_POPC __builtin_popcount
#define MSL_CLZ __builtin_clz
#define MSL_CTZ __builtin_ctz
#define MSL_EXPF(a) MSL_MOVED(__builtin_expf, 1, 4, a)
#define MSL_EXP2F(a) MSL_MOVED(__builtin_exp2f, 2, 4, a)
#define MSL_LOGF(a) MSL_MOVED(__builtin_logf, 3, 4, a)
#define MSL_LOG2F(a) MSL_MOVED(__builtin_log2f, 4, 4, a)
#define MSL_SINF(a) MSL_MOVED(__builtin_sinf, 5, 4, a)
#define MSL_COSF(a) MSL_MOVED(__builtin_cosf, 6, 4, a)
#define MSL_TANHF(a) MSL_MOVED(__builtin_tanhf, 7, 5, a)
#if defined(MSL_PERTURB)
#define MSL_POWF(a, b) msl_rt::moved(__builtin_powf(a, b), a, b, 8, 16)
#else
#define MSL_POWF(a, b) __builtin_powf(a, b)
#endif
// Rounded correctly: 1/sqrt in double, rounded to float, is off by no more than
// a hair of half a unit.
#define MSL_RSQRTF(a) float(1.0 / __builtin_sqrt(double(a)))
#define MSL_SQRTF __builtin_sqrtf
#define MSL_FABSF __builtin_fabsf
#define MSL_FLOORF __builtin_floorf
#define MSL_CEILF __builtin_ceilf
#define MSL_RINTF __builtin_rintf
#define MSL_ROUNDF __builtin_roundf
#define MSL_TRUNCF __builtin_truncf
#define MSL_FMAF __builtin_fmaf
