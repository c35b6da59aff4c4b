#if defined(__x86_64__)
#define TARGET __attribute__((target("avx2,fma,f16c")))
#define NAME "avx2"
#define TABLE kernels_avx2
#define ROWS 6
#define WIDE 2
#define LANES 8
#include "impl.h"
#endif
