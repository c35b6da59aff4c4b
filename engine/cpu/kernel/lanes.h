// What products ask of an instruction set: the few steps that compilers do not
// find by themselves.
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define NATIVE INLINE TARGET

#define LANE(type, ...) ((type){__VA_ARGS__})
#if LANES == 16
#define LANE_NUMBERS LANE(vti, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
#elif LANES == 8
#define LANE_NUMBERS LANE(vti, 0, 1, 2, 3, 4, 5, 6, 7)
#else
#define LANE_NUMBERS LANE(vti, 0, 1, 2, 3)
#endif

// KEEP wants a vector in a register where there are enough of them: compilers
// would rather read it again for each use, and reads are what runs out first.
#if LANES == 16
#define KEEP(v) __asm__("" : "+v"(v))
#elif defined(__aarch64__)
#define KEEP(v) __asm__("" : "+w"(v))
#else
#define KEEP(v)
#endif

// read_block reads n bytes, a multiple of 4 up to 4·LANES, and no byte from end
// on; what is beyond n is zero or other bytes of the array.
NATIVE void read_block(const uint8_t *p, long n, const uint8_t *end, vtu *out) {
#if LANES == 16
  *out = n < 64 ? (vtu)_mm512_maskz_loadu_epi32(0xffffu >> (16 - n / 4), p) : LOAD(vtu, p);
#else
  vtu v = {};
  if (end - p >= (long)sizeof v) v = LOAD(vtu, p);
  else memcpy(&v, p, n);
  *out = v;
#endif
}

// spread moves the bytes of a block so that each lane begins with its own codes
// of 3, 5 or 6 bits, three bytes; the fourth is zero.
NATIVE void spread(int bits, vtu *v) {
  if (bits != 3 && bits != 5 && bits != 6) return;
#if LANES == 16
#define AT(i) i * 5 / 2, i * 5 / 2 + 1, i * 5 / 2 + 2, 0
#define BY(i) 3 * i, 3 * i + 1, 3 * i + 2, 0
#define ALL(f) {f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15)}
  static const uint8_t five[64] = ALL(AT), three[64] = ALL(BY);
  *v = (vtu)_mm512_maskz_permutexvar_epi8(0x7777777777777777, LOAD(__m512i, bits == 5 ? five : three), (__m512i)*v);
#elif LANES == 8
  // The upper half's bytes begin in double word 3, or in the middle of 2.
  const __m256i words = bits == 5 ? _mm256_setr_epi32(0, 1, 2, 0, 2, 3, 4, 0) : _mm256_setr_epi32(0, 1, 2, 0, 3, 4, 5, 0);
  const __m256i five = _mm256_setr_epi8(0, 1, 2, -1, 2, 3, 4, -1, 5, 6, 7, -1, 7, 8, 9, -1, //
                                        2, 3, 4, -1, 4, 5, 6, -1, 7, 8, 9, -1, 9, 10, 11, -1);
  const __m256i three = _mm256_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1, //
                                         0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
  *v = (vtu)_mm256_shuffle_epi8(_mm256_permutevar8x32_epi32((__m256i)*v, words), bits == 5 ? five : three);
#else
  vb b = (vb)*v, z = {};
  *v = (vtu)(bits == 5 ? SHUF2(b, z, 0, 1, 2, 16, 2, 3, 4, 16, 5, 6, 7, 16, 7, 8, 9, 16)
                       : SHUF2(b, z, 0, 1, 2, 16, 3, 4, 5, 16, 6, 7, 8, 16, 9, 10, 11, 16));
#endif
  if (bits == 5) *v = *v >> (vtu)((LANE_NUMBERS & 1) * 4); // an odd lane begins in the middle of a byte
}

// pick gives lane l the lane i[l] of v.
NATIVE void pick(const vt *v, const vti *i, vt *out) {
#if LANES == 16
  *out = (vt)_mm512_permutexvar_ps((__m512i)*i, (__m512)*v);
#elif LANES == 8
  *out = (vt)_mm256_permutevar8x32_ps((__m256)*v, (__m256i)*i);
#elif defined(__aarch64__)
  *out = (vt)vqtbl1q_u8((uint8x16_t)*v, (uint8x16_t)(*i * 0x04040404 + 0x03020100));
#else
  *out = (vt){(*v)[(*i)[0]], (*v)[(*i)[1]], (*v)[(*i)[2]], (*v)[(*i)[3]]};
#endif
}

// lesser and greater of each two lanes; at_most bounds whole numbers from above.
#if LANES == 16
#define LESSER(a, b) _mm512_min_ps((__m512)(a), (__m512)(b))
#define GREATER(a, b) _mm512_max_ps((__m512)(a), (__m512)(b))
#define AT_MOST(a, n) _mm512_min_epi32((__m512i)(a), _mm512_set1_epi32(n))
#elif LANES == 8
#define LESSER(a, b) _mm256_min_ps((__m256)(a), (__m256)(b))
#define GREATER(a, b) _mm256_max_ps((__m256)(a), (__m256)(b))
#define AT_MOST(a, n) _mm256_min_epi32((__m256i)(a), _mm256_set1_epi32(n))
#elif defined(__aarch64__)
#define LESSER(a, b) vminq_f32((float32x4_t)(a), (float32x4_t)(b))
#define GREATER(a, b) vmaxq_f32((float32x4_t)(a), (float32x4_t)(b))
#define AT_MOST(a, n) vminq_s32((int32x4_t)(a), vdupq_n_s32(n))
#else
#define LESSER(a, b) SELECT_T((a) < (b), a, b)
#define GREATER(a, b) SELECT_T((a) > (b), a, b)
#define AT_MOST(a, n) SELECT_T((a) < (n), a, (vti){} + (n))
#endif
NATIVE void lesser(const vt *a, const vt *b, vt *out) { *out = (vt)LESSER(*a, *b); }
NATIVE void greater(const vt *a, const vt *b, vt *out) { *out = (vt)GREATER(*a, *b); }
NATIVE void at_most(int n, vti *a) { *a = (vti)AT_MOST(*a, n); }

// widen_halves turns LANES IEEE halves into floats, exactly.
NATIVE void widen_halves(const uint16_t *h, vt *out) {
#if LANES == 16
  *out = (vt)_mm512_cvtph_ps(LOAD(__m256i, h));
#elif LANES == 8
  *out = (vt)_mm256_cvtph_ps(LOAD(__m128i, h));
#elif defined(__aarch64__)
  *out = (vt)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(h)));
#else
  for (int i = 0; i < LANES; i++) (*out)[i] = f16(h[i]);
#endif
}

// lowest turns the lowest code of each lane, of 3 or 4 bits, into a float.
NATIVE void lowest(int bits, const vtu *v, vt *out) {
#if LANES == 16 // a permutation looks at the low four bits, whatever is above
  const __m512 sixteen = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512 eight = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7);
  *out = (vt)_mm512_permutexvar_ps((__m512i)*v, bits == 4 ? sixteen : eight);
#else
  *out = __builtin_convertvector((vti)(*v & ((1u << bits) - 1)), vt);
#endif
}

// e2m1 turns the k-th of each lane's eight E2M1 codes into its value times
// E2M1_UNIT. v is the block, or what e2m1_bytes has made of it: twice the values
// of all codes as signed bytes, of even k and of odd k.
#if LANES == 16
#define E2M1_UNIT 1
NATIVE void e2m1_bytes(const vtu *v, vtu *out) {}
NATIVE void e2m1(const vtu *v, int k, vt *out) {
  const __m512 table = _mm512_setr_ps(0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0f, -0.5, -1, -1.5, -2, -3, -4, -6);
  *out = (vt)_mm512_permutexvar_ps((__m512i)(*v >> 4 * k), table);
}
#elif LANES == 8 || defined(__aarch64__)
#define E2M1_UNIT 2
NATIVE void e2m1_bytes(const vtu *v, vtu *out) {
  vtu low = *v & 0x0f0f0f0f, high = *v >> 4 & 0x0f0f0f0f;
#if LANES == 8
  const __m256i table = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12));
  out[0] = (vtu)_mm256_shuffle_epi8(table, (__m256i)low);
  out[1] = (vtu)_mm256_shuffle_epi8(table, (__m256i)high);
#else
  const int8x16_t table = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  out[0] = (vtu)vqtbl1q_s8(table, (uint8x16_t)low);
  out[1] = (vtu)vqtbl1q_s8(table, (uint8x16_t)high);
#endif
}
NATIVE void e2m1(const vtu *v, int k, vt *out) {
  *out = __builtin_convertvector((vti)(v[k & 1] << (24 - 8 * (k / 2))) >> 24, vt);
}
#else
#define E2M1_UNIT 2
NATIVE void e2m1_bytes(const vtu *v, vtu *out) {}
NATIVE void e2m1(const vtu *v, int k, vt *out) {
  vti c = (vti)(*v >> 4 * k & 15), mag = c & 7, e = mag >> 1, normal = (e != 0) & 1;
  *out = __builtin_convertvector((((mag & 1) + 2 * normal) << (e - normal)) * (1 - (c >> 3) * 2), vt);
}
#endif

// small_e4m3 turns a block of E4M3 codes into 2^-8 times their values: vector k
// holds codes 2i + k/2 of the block's half k%2, which is how they widen. As the
// bits of an IEEE half, whose exponent is one bit longer, a code is s0eeeemmm0000000.
NATIVE void small_e4m3(const vtu *v, vt *out) {
#if LANES == 16
  const __m512i some = _mm512_set1_epi16((short)0xbf80);
  __m512i even = _mm512_and_si512(_mm512_srai_epi16(_mm512_slli_epi16((__m512i)*v, 8), 1), some);
  __m512i odd = _mm512_and_si512(_mm512_srai_epi16((__m512i)*v, 1), some);
  out[0] = (vt)_mm512_cvtph_ps(_mm512_castsi512_si256(even));
  out[1] = (vt)_mm512_cvtph_ps(_mm512_extracti64x4_epi64(even, 1));
  out[2] = (vt)_mm512_cvtph_ps(_mm512_castsi512_si256(odd));
  out[3] = (vt)_mm512_cvtph_ps(_mm512_extracti64x4_epi64(odd, 1));
#elif LANES == 8
  const __m256i some = _mm256_set1_epi16((short)0xbf80);
  __m256i even = _mm256_and_si256(_mm256_srai_epi16(_mm256_slli_epi16((__m256i)*v, 8), 1), some);
  __m256i odd = _mm256_and_si256(_mm256_srai_epi16((__m256i)*v, 1), some);
  out[0] = (vt)_mm256_cvtph_ps(_mm256_castsi256_si128(even));
  out[1] = (vt)_mm256_cvtph_ps(_mm256_extracti128_si256(even, 1));
  out[2] = (vt)_mm256_cvtph_ps(_mm256_castsi256_si128(odd));
  out[3] = (vt)_mm256_cvtph_ps(_mm256_extracti128_si256(odd, 1));
#elif defined(__aarch64__)
  const int16x8_t some = vdupq_n_s16((short)0xbf80);
  float16x8_t even = (float16x8_t)vandq_s16(vshrq_n_s16(vshlq_n_s16((int16x8_t)*v, 8), 1), some);
  float16x8_t odd = (float16x8_t)vandq_s16(vshrq_n_s16((int16x8_t)*v, 1), some);
  out[0] = (vt)vcvt_f32_f16(vget_low_f16(even));
  out[1] = (vt)vcvt_high_f32_f16(even);
  out[2] = (vt)vcvt_f32_f16(vget_low_f16(odd));
  out[3] = (vt)vcvt_high_f32_f16(odd);
#else
  uint8_t c[4 * LANES];
  STORE(c, *v);
  for (int k = 0; k < 4; k++)
    for (int i = 0; i < LANES; i++) {
      int b = c[k % 2 * 2 * LANES + 2 * i + k / 2];
      out[k][i] = f16((b & 128) << 8 | (b & 127) << 7);
    }
#endif
}

// read_scales reads n ≤ LANES scales or biases, from the i-th on; lanes beyond n
// are zero, or of mxfp4 and mxfp8 something finite.
#if LANES == 16
NATIVE void read_scales(const struct matrix *w, int kind, const uint8_t *from, long i, long n, vt *out) {
  __mmask16 some = 0xffffu >> (16 - n);
  if (kind == K_AFFINE) {
    __m256i h = _mm256_maskz_loadu_epi16(some, from + 2 * i);
    *out = w->f16 ? (vt)_mm512_cvtph_ps(h) : (vt)_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16);
    return;
  }
  __m512i e = _mm512_slli_epi32(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(some, from + i)), 23);
  *out = (vt)_mm512_max_epu32(e, _mm512_set1_epi32(0x400000)); // e8m0
}
#else
NATIVE void read_scales(const struct matrix *w, int kind, const uint8_t *from, long i, long n, vt *out) {
  typedef uint16_t vth __attribute__((vector_size(2 * LANES)));
  typedef uint8_t vtb __attribute__((vector_size(LANES)));
  if (kind == K_AFFINE) {
    uint16_t h[LANES] = {};
    if (n == LANES) memcpy(h, from + 2 * i, sizeof h);
    else memcpy(h, from + 2 * i, 2 * n);
    if (w->f16) widen_halves(h, out);
    else *out = (vt)(__builtin_convertvector(LOAD(vth, h), vtu) << 16);
    return;
  }
  uint8_t b[LANES] = {};
  if (n == LANES) memcpy(b, from + i, sizeof b);
  else memcpy(b, from + i, n);
  vtu e = __builtin_convertvector(LOAD(vtb, b), vtu);
  *out = (vt)(e << 23 | ((vtu)(e == 0) & 0x400000)); // e8m0
  if (kind == K_MXFP4) *out *= 1.0f / E2M1_UNIT;
}
#endif

// sums adds up the lanes of LANES vectors: lane i of *out is the sum of v[i].
NATIVE void sums(vt *v, vt *out) {
#define FOLD(n, low, high) \
  for (int i = 0; i < n; i++) v[i] = SHUF2(v[2 * i], v[2 * i + 1], low) + SHUF2(v[2 * i], v[2 * i + 1], high)
#define LIST(...) __VA_ARGS__
#if LANES == 16
  FOLD(8, LIST(0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23), LIST(8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31));
  FOLD(4, LIST(0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27), LIST(4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31));
  FOLD(2, LIST(0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29), LIST(2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31));
  FOLD(1, LIST(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30), LIST(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31));
#elif LANES == 8
  FOLD(4, LIST(0, 1, 2, 3, 8, 9, 10, 11), LIST(4, 5, 6, 7, 12, 13, 14, 15));
  FOLD(2, LIST(0, 1, 4, 5, 8, 9, 12, 13), LIST(2, 3, 6, 7, 10, 11, 14, 15));
  FOLD(1, LIST(0, 2, 4, 6, 8, 10, 12, 14), LIST(1, 3, 5, 7, 9, 11, 13, 15));
#else
  FOLD(2, LIST(0, 1, 4, 5), LIST(2, 3, 6, 7));
  FOLD(1, LIST(0, 2, 4, 6), LIST(1, 3, 5, 7));
#endif
  *out = v[0];
}
