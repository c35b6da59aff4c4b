// Weight formats: how kernels unpack and decode what bundles store.
//
// A matrix [rows, cols] has a format, the template arguments KIND, BITS, GROUP
// and S:
//   F32, BF16       codes are the numbers; no scales (GROUP 0, S uchar)
//   AFFINE          w = s·q + b; s, b of type S, bfloat or half, [rows, cols/GROUP]
//   MXFP4, MXFP8    w = 2^(e−127)·v; e uchar, [rows, cols/32]; v E2M1 or E4M3
// Codes are BITS wide, a row a little-endian stream of them. cols is a multiple
// of 16, and of GROUP where there is one: rows are whole 32-bit words, and 16
// codes from a multiple of 16 on lie in one group. Arrays begin at multiples of
// 256 bytes. Twins: engine/affine, engine/mx (DecodeRow).

// WeightKind: the numbers are those of Go's kernels.Kind.
enum WeightKind { FORMAT_F32 = 0, FORMAT_BF16 = 1, FORMAT_AFFINE = 2, FORMAT_MXFP4 = 3, FORMAT_MXFP8 = 4 };

// Fraction: how many codes lie side by side in 23 bits, a float's fraction. With
// the exponent of 2^23 above them they are read as floats where they stand.
template <int BITS>
struct Fraction {
  enum { codes = BITS == 2 ? 8 : BITS == 3 ? 7 : BITS <= 5 ? 4 : BITS == 6 ? 3 : 2 };
};

// nowhere is what an index that points nowhere yields: NaN.
MSL_FN float nowhere() { return as_type<float>(0x7fc00000u); }

// scale_value is a scale or bias as a float. E8M0 code 0, 2^−127, is under
// Metal's smallest number and is 0; 255 is infinite, and loaders refuse it.
MSL_FN float scale_value(bfloat s) { return float(s); }
MSL_FN float scale_value(half s) { return float(s); }
MSL_FN float scale_value(uchar e) { return as_type<float>(uint(e) << 23); }

// load_words reads N words with the widest loads that N allows; p is aligned to
// them.
template <int N>
MSL_FN void load_words(device const uint* p, thread uint* out) {
  if constexpr (N % 4 == 0) {
    MSL_UNROLL
    for (int i = 0; i < N / 4; i++) {
      const uint4 v = reinterpret_cast<device const uint4*>(p)[i];
      out[4 * i] = v.x;
      out[4 * i + 1] = v.y;
      out[4 * i + 2] = v.z;
      out[4 * i + 3] = v.w;
    }
  } else if constexpr (N % 2 == 0) {
    MSL_UNROLL
    for (int i = 0; i < N / 2; i++) {
      const uint2 v = reinterpret_cast<device const uint2*>(p)[i];
      out[2 * i] = v.x;
      out[2 * i + 1] = v.y;
    }
  } else {
    MSL_UNROLL
    for (int i = 0; i < N; i++) out[i] = p[i];
  }
}

// load16 reads the 16 codes from column k of a row on, k a multiple of 16, to
// (16·BITS + 31)/32 words. Odd widths end in half a word.
template <int BITS>
MSL_FN void load16(device const uint* row, uint k, thread uint* out) {
  if constexpr (BITS % 2 == 0) {
    load_words<BITS / 2>(row + k / 16 * (BITS / 2), out);
  } else {
    device const ushort* p = reinterpret_cast<device const ushort*>(row) + k / 16 * BITS;
    MSL_UNROLL
    for (int i = 0; i < BITS / 2; i++) out[i] = uint(p[2 * i]) | (uint(p[2 * i + 1]) << 16);
    out[BITS / 2] = uint(p[BITS - 1]);
  }
}

// fraction is the n codes from code i on, in the low bits.
template <int BITS>
MSL_FN uint fraction(thread const uint* w, int i, int n) {
  const int bit = i * BITS;
  const int sh = bit % 32;
  uint v = w[bit / 32] >> sh;
  if (sh + n * BITS > 32) v |= w[bit / 32 + 1] << (32 - sh);
  return v;
}

// exponent_of is the bits of 2^23, whatever n is: some number that the compiler
// does not know. Known, they would be a constant beside the mask of code_value, and
// GPUs whose instructions take one constant would need two for the mask and this.
MSL_FN uint exponent_of(uint n) { return 0x4b000000u | (n >> 31); }

// code_value is 2^(j·BITS) times code j of a fraction, exactly. e is exponent_of
// something below 2^31.
template <int BITS>
MSL_FN float code_value(uint v, int j, uint e) {
  const uint mask = ((1u << BITS) - 1u) << (j * BITS);
  return as_type<float>((v & mask) | e) - 8388608.0f;
}

// shrink is 2^(−j·BITS), which undoes what code_value leaves in.
template <int BITS>
MSL_FN float shrink(int j) {
  return 1.0f / float(1u << (j * BITS));
}

// MX codes as pairs of halves: sign, exponent and fraction moved to a half's
// places are the value times 2^−14 (E2M1) or 2^−8 (E4M3), subnormals included.
template <int KIND>
struct Pairs {
  enum { in_word = KIND == FORMAT_MXFP4 ? 4 : 2 };
};

// pair is codes j and j + in_word of a word.
template <int KIND>
MSL_FN half2 pair(uint w, int j) {
  if constexpr (KIND == FORMAT_MXFP4) {
    const int left = 9 - 4 * j;
    const uint low = left >= 0 ? w << (left & 31) : w >> ((-left) & 31);
    return as_type<half2>(((w << (12 - 4 * j)) & 0x80008000u) | (low & 0x0e000e00u));
  } else {
    if (j == 0) return as_type<half2>(((w << 8) & 0x80008000u) | ((w << 7) & 0x3f803f80u));
    return as_type<half2>((w & 0x80008000u) | ((w >> 1) & 0x3f803f80u));
  }
}

// pair_unit is what the halves of a pair lack.
template <int KIND>
MSL_FN float pair_unit() {
  return KIND == FORMAT_MXFP4 ? 16384.0f : 256.0f;
}

// decode16 is the 16 weights of load16. Affine: fma(s, q, b). e is as for
// code_value.
template <int KIND, int BITS, typename S>
MSL_FN void decode16(thread const uint* w, S scale, S bias, uint e, thread float* out) {
  if constexpr (KIND == FORMAT_F32) {
    MSL_UNROLL
    for (int i = 0; i < 16; i++) out[i] = as_type<float>(w[i]);
  } else if constexpr (KIND == FORMAT_BF16) {
    MSL_UNROLL
    for (int i = 0; i < 8; i++) {
      out[2 * i] = as_type<float>(w[i] << 16);
      out[2 * i + 1] = as_type<float>(w[i] & 0xffff0000u);
    }
  } else if constexpr (KIND == FORMAT_AFFINE) {
    const float s = scale_value(scale);
    const float b = scale_value(bias);
    const int n = Fraction<BITS>::codes;
    MSL_UNROLL
    for (int i = 0; i < 16; i += n) {
      const uint v = fraction<BITS>(w, i, min(n, 16 - i));
      MSL_UNROLL
      for (int j = 0; j < n; j++) {
        if (i + j < 16) out[i + j] = fma(s * shrink<BITS>(j), code_value<BITS>(v, j, e), b);
      }
    }
  } else {
    const float s = scale_value(scale);
    const int n = Pairs<KIND>::in_word;
    MSL_UNROLL
    for (int i = 0; i < 8 / n; i++) {
      MSL_UNROLL
      for (int j = 0; j < n; j++) {
        const half2 v = pair<KIND>(w[i], j);
        out[2 * n * i + j] = float(v.x) * pair_unit<KIND>() * s;
        out[2 * n * i + j + n] = float(v.y) * pair_unit<KIND>() * s;
      }
    }
  }
}

// load_x reads VALS of x from a 16-byte boundary on, rounded to A, and returns
// their sum. For affine weights each is shrunk as dot_codes wants it.
template <int KIND, int BITS, typename A, int VALS>
MSL_FN float load_x(device const float* x, thread float* out) {
  float sum = 0.0f;
  MSL_UNROLL
  for (int i = 0; i < VALS / 4; i++) {
    const float4 v = reinterpret_cast<device const float4*>(x)[i];
    out[4 * i] = float(A(v.x));
    out[4 * i + 1] = float(A(v.y));
    out[4 * i + 2] = float(A(v.z));
    out[4 * i + 3] = float(A(v.w));
    sum += (out[4 * i] + out[4 * i + 1]) + (out[4 * i + 2] + out[4 * i + 3]);
  }
  if constexpr (KIND == FORMAT_AFFINE) {
    MSL_UNROLL
    for (int i = 0; i < VALS; i++) out[i] *= shrink<BITS>(i % Fraction<BITS>::codes);
  }
  return sum;
}

// dot_codes is Σ q·x over VALS codes, x as load_x left it: for MX formats still
// short of pair_unit, for all but plain numbers still without the scale. e is as
// for code_value.
template <int KIND, int BITS, int VALS>
MSL_FN float dot_codes(thread const uint* w, thread const float* x, uint e) {
  float d = 0.0f;
  if constexpr (KIND == FORMAT_F32) {
    MSL_UNROLL
    for (int i = 0; i < VALS; i++) d = fma(as_type<float>(w[i]), x[i], d);
  } else if constexpr (KIND == FORMAT_BF16) {
    MSL_UNROLL
    for (int i = 0; i < VALS / 2; i++) {
      d = fma(as_type<float>(w[i] << 16), x[2 * i], d);
      d = fma(as_type<float>(w[i] & 0xffff0000u), x[2 * i + 1], d);
    }
  } else if constexpr (KIND == FORMAT_AFFINE) {
    const int n = Fraction<BITS>::codes;
    MSL_UNROLL
    for (int i = 0; i < VALS; i += n) {
      const uint v = fraction<BITS>(w, i, min(n, VALS - i));
      MSL_UNROLL
      for (int j = 0; j < n; j++) {
        if (i + j < VALS) d = fma(code_value<BITS>(v, j, e), x[i + j], d);
      }
    }
  } else {
    const int n = Pairs<KIND>::in_word;
    MSL_UNROLL
    for (int i = 0; i < VALS * BITS / 32; i++) {
      MSL_UNROLL
      for (int j = 0; j < n; j++) {
        const half2 v = pair<KIND>(w[i], j);
        d = fma(float(v.x), x[2 * n * i + j], d);
        d = fma(float(v.y), x[2 * n * i + j + n], d);
      }
    }
  }
  return d;
}

// add_dot is acc + s·d + b·sum for d of dot_codes and sum of load_x.
template <int KIND, typename S>
MSL_FN float add_dot(float acc, float d, float sum, S scale, S bias) {
  if constexpr (KIND == FORMAT_AFFINE) return fma(scale_value(scale), d, fma(scale_value(bias), sum, acc));
  if constexpr (KIND == FORMAT_MXFP4 || KIND == FORMAT_MXFP8) return fma(scale_value(scale), d * pair_unit<KIND>(), acc);
  return acc + d;
}

// row_words and row_groups are a row's words of codes, and its scales.
template <int BITS>
MSL_FN ulong row_words(uint cols) {
  return ulong(cols / 16 * BITS / 2);
}
template <int GROUP>
MSL_FN ulong row_groups(uint cols) {
  return GROUP == 0 ? 0 : ulong(cols / uint(GROUP == 0 ? 1 : GROUP));
}

// simd_sums replaces each of N by its sum over the simdgroup.
template <int N>
MSL_FN void simd_sums(thread float* v) {
  MSL_UNROLL
  for (int i = 0; i + 4 <= N; i += 4) {
    const float4 s = simd_sum(float4(v[i], v[i + 1], v[i + 2], v[i + 3]));
    v[i] = s.x;
    v[i + 1] = s.y;
    v[i + 2] = s.z;
    v[i + 3] = s.w;
  }
  MSL_UNROLL
  for (int i = N / 4 * 4; i < N; i++) v[i] = simd_sum(v[i]);
}
