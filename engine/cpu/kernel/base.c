// What every machine of the architecture runs: NEON on arm64, SSE2 on amd64.
#define TARGET
#define TABLE kernels_base
#define LANES 4
#if defined(__aarch64__)
#define NAME "neon"
#define ROWS 6
#define WIDE 4
#else
#define NAME "base"
#define ROWS 5
#define WIDE 2
#endif
#include "impl.h"
