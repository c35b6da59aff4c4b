#if defined(__x86_64__)
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx2,fma,f16c")))
#define NAME "avx512"
#define TABLE kernels_avx512
#define ROWS 8
#define WIDE 2
#define LANES 16
#include "impl.h"
#endif
