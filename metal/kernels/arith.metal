// What the model's kernels share: sums, rotation, and the rounding of kv_sim. It
// stands before them, by name. Twins: engine/cpu/plain.go and kvsim.go.

// The sum of four products, added to s one by one.
MSL_FN float add_products(float4 a, float4 b, float s) {
  return fma(a.x, b.x, fma(a.y, b.y, fma(a.z, b.z, fma(a.w, b.w, s))));
}

// Four elements from p on, as float; p is aligned to four elements.
template <typename T>
MSL_FN float4 four(device const T* p) {
  const vec<T, 4> v = *reinterpret_cast<device const vec<T, 4>*>(p);
  return float4(float(v.x), float(v.y), float(v.z), float(v.w));
}

// Two elements from p on, as float; p is aligned to two elements.
template <typename T>
MSL_FN float2 two(device const T* p) {
  const vec<T, 2> v = *reinterpret_cast<device const vec<T, 2>*>(p);
  return float2(float(v.x), float(v.y));
}

// Four floats rounded to A, as float.
template <typename A>
MSL_FN float4 round_four(float4 v) {
  return float4(float(A(v.x)), float(A(v.y)), float(A(v.z)), float(A(v.w)));
}

// The sum of v over a threadgroup of NSG simdgroups. All threads call it; part has
// NSG floats that nobody has used since the last barrier.
template <int NSG>
MSL_FN float group_sum(float v, threadgroup float* part, uint sg, uint lane) {
  const float s = simd_sum(v);
  if (lane == 0) part[sg] = s;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return simd_sum(lane < NSG ? part[lane] : 0.0f);
}

// 1 / sqrt(squares/n + eps).
MSL_FN float inverse_norm(float squares, uint n, float eps) { return precise::rsqrt(squares / float(n) + eps); }

// The logistic function; 0 where e^-x overflows.
MSL_FN float logistic(float x) { return 1.0f / (1.0f + precise::exp(-x)); }

// A pair of channels turned by an angle.
MSL_FN float2 turn(float2 v, float cosine, float sine) {
  return float2(v.x * cosine - v.y * sine, v.x * sine + v.y * cosine);
}

// Four channels of a row of D from c on, turned where c is not before the 2*half_rope
// rotary channels; sign -1 turns back.
template <int D>
MSL_FN float4 turn_four(float4 v, uint c, device const float* cosines, device const float* sines, uint half_rope, float sign) {
  const uint plain = D - 2u * half_rope;
  float2 a = float2(v.x, v.y);
  float2 b = float2(v.z, v.w);
  if (c >= plain) {
    const uint i = (c - plain) / 2u;
    a = turn(a, cosines[i], sign * sines[i]);
  }
  if (c + 2u >= plain) {
    const uint i = (c + 2u - plain) / 2u;
    b = turn(b, cosines[i], sign * sines[i]);
  }
  return float4(a.x, a.y, b.x, b.y);
}

// A float as an integer of the same order, from 1 on: both zeros alike, a NaN above all.
MSL_FN uint ordered(float v) {
  const uint bits = as_type<uint>(v == 0.0f ? 0.0f : v);
  const uint up = (bits & 0x80000000u) != 0u ? ~bits : bits | 0x80000000u;
  return v == v ? up : 0xffffffffu;
}

// The exponent field of 2^ceil(log2(a*inverse)), taken from the bits of the
// product, which is positive and normal.
MSL_FN uint scale_exponent(float a, float inverse) {
  const uint bits = as_type<uint>(a * inverse);
  return (bits >> 23) + ((bits & 0x7fffffu) != 0u ? 1u : 0u);
}

// The power of two of an exponent field of 1 to 253, and its inverse.
MSL_FN float power(uint exponent) { return as_type<float>(exponent << 23); }
MSL_FN float inverse_power(uint exponent) { return as_type<float>((254u - exponent) << 23); }

// The magnitude of x as bits: ordered like magnitudes, infinity and NaN on top.
MSL_FN uint magnitude(float x) { return as_type<uint>(x) & 0x7fffffffu; }

// What a block that holds an infinity or a NaN becomes.
MSL_FN float not_a_number() { return as_type<float>(0x7fc00000u); }

// x rounded to FP8 E4M3, nearest, ties to even; |x| is under 464, half a unit
// beyond the greatest. Under 2^-6 the unit is 2^-9, elsewhere the fourth bit of the
// significand.
MSL_FN float round_e4m3(float x) {
  const uint bits = as_type<uint>(x);
  const float coarse = as_type<float>((bits + 0x7ffffu + ((bits >> 20) & 1u)) & 0xfff00000u);
  return fabs(x) < 0.015625f ? rint(x * 512.0f) * 0.001953125f : coarse;
}

// x rounded to FP4 E2M1, nearest, ties to the even code; |x| is under 7.
MSL_FN float round_e2m1(float x) {
  const float a = fabs(x);
  const float unit = a < 2.0f ? 0.5f : a < 4.0f ? 1.0f : 2.0f;
  const float count = a < 2.0f ? 2.0f : a < 4.0f ? 1.0f : 0.5f;
  return rint(x * count) * unit;
}

// A block of 64 channels through FP8 E4M3 with a power-of-two scale, two of them
// in each lane: s = 2^ceil(log2(max(max|v|, 1e-4)/448)), v = s*E4M3(v/s). v/s can
// exceed 448 by the roundings of s alone, which is under half a unit.
MSL_FN float2 round_fp8(float2 v) {
  const uint top = simd_max(max(magnitude(v.x), magnitude(v.y)));
  if (top >= 0x7f800000u) return float2(not_a_number());
  const uint e = scale_exponent(max(as_type<float>(top), 1e-4f), 1.0f / 448.0f);
  const float s = power(e);
  const float r = inverse_power(e);
  return float2(s * round_e4m3(v.x * r), s * round_e4m3(v.y * r));
}

// The Hadamard transform of 32*VL values in Sylvester's order, times factor.
// Value i is v[i % VL] of lane i / VL.
template <int VL>
MSL_FN void hadamard(thread float* v, uint lane, float factor) {
  MSL_UNROLL
  for (int stride = 1; stride < VL; stride *= 2) {
    MSL_UNROLL
    for (int i = 0; i < VL; i++) {
      if ((i & stride) == 0) {
        const float a = v[i];
        const float b = v[i + stride];
        v[i] = a + b;
        v[i + stride] = a - b;
      }
    }
  }
  MSL_UNROLL
  for (uint m = 1; m < 32u; m *= 2u) {
    MSL_UNROLL
    for (int i = 0; i < VL; i++) {
      const float other = simd_shuffle_xor(v[i], ushort(m));
      v[i] = (lane & m) != 0u ? other - v[i] : v[i] + other;
    }
  }
  MSL_UNROLL
  for (int i = 0; i < VL; i++) v[i] *= factor;
}

// Values laid out as hadamard's through FP4 E2M1 in blocks of 32 with a
// power-of-two scale: s = 2^ceil(log2(max(max|v|, 6*2^-126)/6)), v = s*E2M1(v/s),
// which may exceed 6 as round_fp8's may 448.
template <int VL>
MSL_FN void round_fp4(thread float* v) {
  uint top = 0u;
  MSL_UNROLL
  for (int i = 0; i < VL; i++) top = max(top, magnitude(v[i]));
  MSL_UNROLL
  for (uint m = 1; m < 32u / uint(VL); m *= 2u) top = max(top, simd_shuffle_xor(top, ushort(m)));
  const uint e = scale_exponent(max(as_type<float>(top), 7.052966e-38f), 1.0f / 6.0f);
  const float s = power(e);
  const float r = inverse_power(e);
  MSL_UNROLL
  for (int i = 0; i < VL; i++) v[i] = top >= 0x7f800000u ? not_a_number() : s * round_e2m1(v[i] * r);
}
