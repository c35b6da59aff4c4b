// What the machine itself can do: the limits that kernels are measured by.

// read_all adds up n floats, a multiple of 16·LANES, as four streams; what it
// returns is of no use but to have read them.
STATIC float read_all(const float *x, long n) {
  vt sum[4] = {};
  long part = n / 4;
  for (long i = 0; i < part; i += LANES * 4)
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
#pragma GCC unroll 4
      for (int k = 0; k < 4; k++) sum[k] += LOAD(vt, x + k * part + i + j * LANES);
  sum[0] += sum[1] + (sum[2] + sum[3]);
  return sum[0][0] + sum[0][LANES - 1];
}

// multiply runs n times PEAK_CHAINS chains of fused multiply-adds in registers.
#define PEAK_CHAINS 12
STATIC float multiply(long n, float a, float b) {
  vt acc[PEAK_CHAINS], x = SPLAT_T(a), y = SPLAT_T(b);
#pragma GCC unroll 12
  for (int j = 0; j < PEAK_CHAINS; j++) acc[j] = SPLAT_T(a + j);
  for (long i = 0; i < n; i++)
#pragma GCC unroll 12
    for (int j = 0; j < PEAK_CHAINS; j++) acc[j] = acc[j] * x + y;
  float s = 0;
#pragma GCC unroll 12
  for (int j = 0; j < PEAK_CHAINS; j++) s += acc[j][0] + acc[j][LANES - 1];
  return s;
}
