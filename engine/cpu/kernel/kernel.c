#include "kernel.h"
#include <string.h>

extern const struct kernels kernels_base;
#if defined(__x86_64__)
extern const struct kernels kernels_avx512, kernels_avx2;

static int runs(const struct kernels *k) {
  __builtin_cpu_init();
  if (k == &kernels_avx512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vbmi") &&
           __builtin_cpu_supports("fma");
  return k != &kernels_avx2 || (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
}
static const struct kernels *const sets[] = {&kernels_avx512, &kernels_avx2, &kernels_base};
#else
static int runs(const struct kernels *k) { return 1; }
static const struct kernels *const sets[] = {&kernels_base};
#endif

const struct kernels *kernels_for(const char *name) {
  for (unsigned i = 0; i < sizeof sets / sizeof *sets; i++)
    if ((!name || !strcmp(name, sets[i]->name)) && runs(sets[i])) return sets[i];
  return 0;
}
