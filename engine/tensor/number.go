package tensor

import "math"

// The number formats that a checkpoint or a bundle stores. Each decoder is
// exact: every finite value of every format here is a float32. Each encoder
// rounds to nearest, ties to even, once.

// BF16FromFloat32 returns the bfloat16 nearest f, ties to even. A value that
// rounds past the largest finite bfloat16 becomes an infinity; a NaN stays a
// quiet NaN of the same sign.
func BF16FromFloat32(f float32) uint16 {
	u := math.Float32bits(f)
	if f != f {
		return uint16(u>>16) | 0x40
	}
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}

// BF16ToFloat32 returns the value of the bfloat16 u, which is the upper half of
// a float32.
func BF16ToFloat32(u uint16) float32 { return math.Float32frombits(uint32(u) << 16) }

// F16FromFloat32 returns the IEEE 754 binary16 nearest f, ties to even. A value
// of 65520 or more becomes an infinity; one under 2^-14 a subnormal or zero; a
// NaN stays a quiet NaN of the same sign.
func F16FromFloat32(f float32) uint16 {
	u := math.Float32bits(f)
	sign := uint16(u >> 16 & 0x8000)
	u &^= 1 << 31
	switch {
	case f != f:
		return sign | 0x7e00 | uint16(u>>13&0x1ff)
	case u >= 0x477ff000: // 65520, halfway from 65504 to 2^16
		return sign | 0x7c00
	case u < 113<<23: // under 2^-14: a multiple of 2^-24
		return sign | uint16(roundToGrid(u, 0.5))
	}
	u += 0xfff + u>>13&1
	return sign | uint16(u>>13-112<<10)
}

// F16ToFloat32 returns the value of the IEEE 754 binary16 u. Its infinities and
// NaNs stay such.
func F16ToFloat32(u uint16) float32 {
	sign := uint32(u&0x8000) << 16
	exponent, mantissa := uint32(u>>10&0x1f), uint32(u&0x3ff)
	switch exponent {
	case 0:
		subnormal := float32(mantissa) * 0x1p-24
		return math.Float32frombits(sign | math.Float32bits(subnormal))
	case 0x1f:
		return math.Float32frombits(sign | 0xff<<23 | mantissa<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | mantissa<<13)
}

// E4M3FromFloat32 returns the code of the FP8 E4M3 (FN) value nearest f, ties to
// even. It saturates: whatever is beyond ±448, infinities too, becomes ±448. A
// NaN becomes the NaN of the same sign (0x7F, 0xFF).
func E4M3FromFloat32(f float32) byte {
	u := math.Float32bits(f)
	sign := byte(u >> 24 & 0x80)
	u &^= 1 << 31
	switch {
	case f != f:
		return sign | 0x7f
	case u >= 0x43e00000: // 448
		return sign | 0x7e
	case u < 121<<23: // under 2^-6: a multiple of 2^-9
		return sign | byte(roundToGrid(u, 0x1p14))
	}
	u += 0x7ffff + u>>20&1
	return sign | byte(u>>20-120<<3)
}

// E4M3ToFloat32 returns the value of an FP8 E4M3 (FN) code: a sign, four bits of
// exponent with bias 7, three of mantissa, no infinities; 0x7F and 0xFF are NaN,
// the largest value is 448.
// Source: OCP 8-bit Floating Point Specification 1.0, table 1.
func E4M3ToFloat32(b byte) float32 { return e4m3[b] }

// E8M0ToFloat32 returns 2^(b−127), the value of an MX block scale. Code 0 is the
// float32 subnormal 2^-127; code 255 is NaN.
// Source: OCP Microscaling Formats Specification 1.0, section 5.4.1. (MLX
// decodes 255 to +Inf.)
func E8M0ToFloat32(b byte) float32 {
	switch b {
	case 0:
		return 0x1p-127
	case 255:
		return float32(math.NaN())
	}
	return math.Float32frombits(uint32(b) << 23)
}

// E2M1FromFloat32 returns the code, 0 to 15, of the FP4 E2M1 value nearest f,
// ties to the even code. It saturates at ±6, and keeps the sign of what rounds
// to zero (code 8 is −0). E2M1 has no NaN: one becomes 6 or −6, so a caller to
// whom it matters tests first.
func E2M1FromFloat32(f float32) byte {
	u := math.Float32bits(f)
	a := math.Float32frombits(u &^ (1 << 31))
	return byte(u>>28&8) | e2m1Magnitude(a)
}

// E2M1ToFloat32 returns the value of an FP4 E2M1 code: 0, 0.5, 1, 1.5, 2, 3, 4
// and 6 for codes 0 to 7, their negatives for 8 to 15. The upper four bits of
// code must be 0; another code panics.
// Source: OCP Microscaling Formats Specification 1.0, section 5.3.3.
func E2M1ToFloat32(code byte) float32 { return e2m1[code] }

// roundToGrid returns the float32 of bits u, which is positive, as a count of
// the units in the last place of base, nearest and ties to even. The sum must be
// under twice base, a power of two: there the floating-point addition itself
// rounds to that unit.
func roundToGrid(u uint32, base float32) uint32 {
	return math.Float32bits(math.Float32frombits(u)+base) - math.Float32bits(base)
}

// e2m1Magnitude returns the code 0 to 7 nearest a ≥ 0, or 7 for a NaN. The
// comparison at a halfway point sends it to its even neighbour.
func e2m1Magnitude(a float32) byte {
	switch {
	case a <= 0.25:
		return 0
	case a < 0.75:
		return 1
	case a <= 1.25:
		return 2
	case a < 1.75:
		return 3
	case a <= 2.5:
		return 4
	case a < 3.5:
		return 5
	case a <= 5:
		return 6
	}
	return 7
}

var negativeZero = math.Float32frombits(1 << 31)

var e2m1 = [16]float32{
	0, 0.5, 1, 1.5, 2, 3, 4, 6,
	negativeZero, -0.5, -1, -1.5, -2, -3, -4, -6,
}

var e4m3 = e4m3Values()

func e4m3Values() (t [256]float32) {
	for code := range 128 {
		exponent, mantissa := code>>3, float64(code&7)
		v := math.Ldexp(1+mantissa/8, exponent-7)
		switch {
		case code == 0x7f:
			v = math.NaN()
		case exponent == 0:
			v = math.Ldexp(mantissa, -9)
		}
		t[code], t[code|0x80] = float32(v), float32(-v)
	}
	t[0x80] = negativeZero
	return t
}
