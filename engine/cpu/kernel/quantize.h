// MLX's affine quantizer; the rule stands in engine/affine/quantize.go, whose
// code is the twin, bit for bit. A strip of groups is turned, so that each lane
// quantizes and packs a group of its own.

// round_t is to whole numbers: half to even, or half away from zero.
INLINE void round_t(int even, vt *x) {
  vtu sign = (vtu)*x & 0x80000000u;
  vt a = (vt)((vtu)*x & 0x7fffffffu), r;
  if (even) r = (a + 0x1p23f) - 0x1p23f;
  else r = __builtin_convertvector(__builtin_convertvector(a + 0x1.fffffep-2f, vti), vt);
  r = SELECT_T(a < 0x1p23f, r, a); // from 2^23 on all are whole
  *x = (vt)((vtu)r | sign);
}

// upper rounds to BF16, as the upper half of each lane's bits moved down.
INLINE void upper(const vt *x, vtu *out) {
  vtu u = (vtu)*x;
  *out = (u + 0x7fff + (u >> 16 & 1)) >> 16;
}

// scales chooses scale and bias of groups whose weights go from lo to hi, and
// gives them in BF16 too. Lanes of ok are −1 where all are finite and not 0.
NATIVE void scales(int even, float n, vt lo, vt hi, vt *s, vt *z, vtu *us, vtu *uz, vti *ok) {
  const vt zero = SPLAT_T(0.0f), least = SPLAT_T(1e-7f);
  if (!even) greater(&hi, &zero, &hi);
  vt step = (hi - lo) / n;
  greater(&step, &least, &step);
  vt abs_lo = (vt)((vtu)lo & 0x7fffffffu), abs_hi = (vt)((vtu)hi & 0x7fffffffu);
  vti neg = abs_lo > abs_hi;
  vt edge = SELECT_T(neg, lo, hi);
  step = SELECT_T(neg, step, -step);
  vt q0 = edge / step;
  round_t(even, &q0);
  vti whole = q0 != 0.0f;
  *s = SELECT_T(whole, edge / q0, step), *z = SELECT_T(whole, edge, zero);
  upper(s, us);
  upper(z, uz);
  *ok = (hi - lo < INFINITY) & (*s != 0.0f) & (vti)((*us & 0x7fff) < 0x7f80) & (vti)((*uz & 0x7fff) < 0x7f80);
}

// pack_part packs the codes of 32 columns of a strip as words, one a lane.
NATIVE void pack_part(const vt *x, int bits, int even, vt s, vt z, vtu *words) {
  const int most = (1 << bits) - 1;
#pragma GCC unroll 8
  for (int k = 0; k < bits; k++) words[k] = (vtu){};
#pragma GCC unroll 32
  for (int i = 0; i < 32; i++) {
    const int k = i * bits / 32, low = i * bits % 32;
    vt r = (x[i] - z) / s;
    vti c;
    if (even) c = (vti)(r + 12582912.0f) - 0x4b400000; // 1.5·2^23
    else c = __builtin_convertvector(r + 0x1.fffffep-2f, vti);
    at_most(most, &c);
    words[k] |= (vtu)c << low;
    if (low + bits > 32) words[k + 1] |= (vtu)c >> (32 - low);
  }
}

// quantize_strip quantizes n groups of size weights, at most LANES. It returns 0
// unless all is finite.
NATIVE int quantize_strip(const float *x, long n, int size, int bits, int even, uint8_t *codes, uint16_t *s, uint16_t *z) {
  const int bytes = size / 8 * bits;
  const uint8_t *row[LANES];
  vt w[128], lo = SPLAT_T(INFINITY), hi = -lo, bad = SPLAT_T(0.0f), scale, bias;
  vtu words[32 + 3] = {}, us, uz;
  for (int l = 0; l < LANES; l++) row[l] = (const uint8_t *)(x + (l < n ? l : n - 1) * size);
  for (int c = 0; c < size; c += 4) {
    vtu d[4];
    turn_in(row, 4 * c, d);
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
      vt v = w[c + k] = (vt)d[k];
      lesser(&lo, &v, &lo);
      greater(&hi, &v, &hi);
      bad += v * 0.0f; // NaN where a weight is not finite
    }
  }
  vti ok;
  scales(even, (1 << bits) - 1, lo, hi, &scale, &bias, &us, &uz, &ok);
  ok &= bad == 0.0f;
  int good = 1;
  for (int l = 0; l < n; l++) good &= ok[l], s[l] = us[l], z[l] = uz[l];
  if (!good) return 0;
  for (int c = 0; c < size; c += 32) pack_part(w + c, bits, even, scale, bias, words + c / 32 * bits);
  for (int k = 0; k < bytes; k += 16) {
    uint8_t back[LANES][16];
    float *to[LANES];
    int whole = bytes - k >= 16;
    for (int l = 0; l < LANES; l++) to[l] = (float *)(whole && l < n ? codes + l * bytes + k : back[l]);
    turn_out(to, words + k / 4);
    for (int l = 0; l < n && !whole; l++) memcpy(codes + l * bytes + k, back[l], bytes - k);
  }
  return 1;
}

NATIVE int quantize_groups(const float *x, long groups, int size, int bits, int even, uint8_t *codes, uint16_t *s, uint16_t *z) {
  for (long g = 0; g < groups; g += LANES)
    if (!quantize_strip(x + g * size, groups - g < LANES ? groups - g : LANES, size, bits, even,
                        codes + g * (size / 8 * bits), s + g, z + g))
      return 0;
  return 1;
}

STATIC int quantize(const float *x, long groups, int size, int bits, int even, uint8_t *codes, uint16_t *s, uint16_t *z) {
#define CASE(b) \
  case b: return even ? quantize_groups(x, groups, size, b, 1, codes, s, z) : quantize_groups(x, groups, size, b, 0, codes, s, z)
  switch (bits) {
    CASE(2);
    CASE(3);
    CASE(4);
    CASE(5);
    CASE(6);
    CASE(8);
  }
#undef CASE
  return 0;
}
