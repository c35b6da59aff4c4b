package affine

import (
	"fmt"
	"math"
)

// QuantizeGroup quantizes one group x with codes of the given bits as enc does: it
// sets codes, which is as long as x, and returns the scale and the bias. The group
// may have any length from 1.
//
// Under Recode, Search and Lattice these are BF16 values, and the codes are chosen
// for them; how, is said there. Under GPU and CPU they are float32, with which the
// codes were chosen. MLX then rounds both to the weights' type and stores that, so
// its codes are not always the nearest for the stored scale:
// |ŵ − x| ≤ (1 + n·2^-9)·|s|, s rounded to BF16. The bias is a weight of the group,
// or 0. With n = 2^bits − 1, all in float32, every division correctly rounded:
//
//	lo = min x      hi = max x, GPU: max(0, max x)
//	s  = max((hi − lo)/n, 1e-7)
//	s, edge = s, lo if |lo| > |hi|, else −s, hi
//	q0 = rnd(edge/s)
//	s, z = edge/q0, edge if q0 ≠ 0, else s, 0
//	q[i] = clamp(rnd((x[i] − z)/s), 0, n)
//
// rnd is to nearest; GPU: half away from zero, CPU: half to even.
//
// It errs on a weight that is not finite, on weights so large (beyond 1e31) that
// no finite scale other than 0 comes out, and, under Lattice, on weights that lie
// on none. It panics if bits is no width of the format, enc is no encoder, or codes
// is not as long as x.
//
// Source: ml-explore/mlx mlx/backend/metal/kernels/quantized.h, affine_quantize
// (GPU); mlx/backend/cpu/quantized.cpp, quantize (CPU).
func QuantizeGroup(codes []uint8, bits int, enc Encoder, x []float32) (scale, bias float32, err error) {
	mustBeWidth(bits)
	if enc.Validate() != nil || len(codes) != len(x) || len(x) == 0 {
		panic(fmt.Sprintf("affine: %d codes for %d weights by encoder %d", len(codes), len(x), int(enc)))
	}
	scale, bias, ok := quantizeGroup(codes, bits, enc, x)
	if !ok {
		if i := nonFinite(x); i >= 0 {
			return 0, 0, fmt.Errorf("affine: weight %d is %v", i, x[i])
		}
		i, why := refusal(bits, enc, x)
		if i >= 0 {
			return 0, 0, fmt.Errorf("affine: weight %d: %s", i, why)
		}
		return 0, 0, fmt.Errorf("affine: %s", why)
	}
	return scale, bias, nil
}

// quantizeGroup is QuantizeGroup; ok is false where that errs.
func quantizeGroup(codes []uint8, bits int, enc Encoder, x []float32) (scale, bias float32, ok bool) {
	lo, hi := extremes(x)
	if !(hi-lo < float32(math.Inf(1))) {
		return 0, 0, false
	}
	n := int32(1)<<bits - 1
	switch enc {
	case Recode:
		return recode(codes, n, x, lo, hi)
	case Search:
		return search(codes, n, x, lo, hi)
	case Lattice:
		return lattice(codes, n, x, lo, hi)
	}
	scale, bias = scaleAndBias(enc, float32(n), lo, hi)
	if scale == 0 {
		return 0, 0, false
	}
	assignCodes(codes, enc, n, x, scale, bias)
	return scale, bias, true
}

// nonFinite returns the index of the first weight that is not finite, or −1.
func nonFinite(x []float32) int {
	for i, v := range x {
		if v-v != 0 {
			return i
		}
	}
	return -1
}

// refusal says why x, which is finite, cannot be quantized, and which weight is at
// fault, or −1 where that is none alone.
func refusal(bits int, enc Encoder, x []float32) (at int, why string) {
	lo, hi := extremes(x)
	if enc == Lattice && hi-lo < float32(math.Inf(1)) {
		return offLattice(int32(1)<<bits-1, x)
	}
	return -1, fmt.Sprintf("weights from %g to %g have no finite scale", lo, hi)
}

// extremes returns the least and the largest of x. A NaN in x makes one of them
// NaN.
//
// It compares integers, which go in the order of the numbers once the bits under
// the sign of the negative ones are turned over. −NaN comes first and +NaN last,
// so neither can hide; −0 comes before +0, which no encoder tells apart.
func extremes(x []float32) (lo, hi float32) {
	least, most := int32(math.MaxInt32), int32(math.MinInt32)
	for _, v := range x {
		k := orderKey(int32(math.Float32bits(v)))
		least, most = min(least, k), max(most, k)
	}
	return math.Float32frombits(uint32(orderKey(least))), math.Float32frombits(uint32(orderKey(most)))
}

// orderKey is its own inverse.
func orderKey(bits int32) int32 { return bits ^ bits>>31&math.MaxInt32 }

// leastScale is the least magnitude of MLX's scales before they are adjusted to
// the bias.
const leastScale = 1e-7

// scaleAndBias returns the scale and the bias that GPU or CPU gives a group whose
// weights go from lo to hi, for codes 0 to n.
func scaleAndBias(enc Encoder, n, lo, hi float32) (scale, bias float32) {
	if enc == GPU {
		hi = max(hi, 0)
	}
	s, edge := max((hi-lo)/n, leastScale), lo
	if !(abs(lo) > abs(hi)) {
		s, edge = -s, hi
	}
	if q0 := round(enc, edge/s); q0 != 0 {
		return edge / q0, edge
	}
	return s, 0
}

// belowHalf is the largest float32 under 1/2: 0.5 − 2^-25.
const belowHalf = 0.5 - 0x1p-25

// evenMagic is 1.5·2^23: a float32 near it is a whole number.
const evenMagic = 0x1.8p23

// assignCodes sets codes to the codes 0 to n of x for a scale and a bias, as GPU
// or CPU rounds.
//
// For any scale and bias that scaleAndBias returns, r = (x[i] − bias)/scale lies
// in [0, 512), or within 1/2 of 0 (GPU: strictly) where bias is 0 because q0 was:
// |scale| ≥ (hi−lo)/n · q/(q+1/2) with q = |edge/s| ≥ 1/2, up to float32 rounding,
// so r is at most about 2n. There both roundings take one addition:
//
// Half away from zero is the whole part of r + belowHalf. With r = k + 1/2, k
// whole, the exact sum is 2^-25 under k+1, at most half the spacing of float32
// there (2^-24 under 1, which is the tie for k = 0, and ties go to the even 1;
// more above), so it becomes k+1. With r the float32 before k + 1/2, at a distance
// d, the exact sum is d + 2^-25 under k+1. For k ≥ 1, d ≥ 2^-23 is the spacing and
// the sum becomes k+1−d; for k = 0, d = 2^-25 and the sum is the float32 1 − 2^-24.
// Adding 1/2 itself would fail there. The rest follows since addition is monotone.
//
// Half to even is what the addition of evenMagic does: float32 has a spacing of 1
// there and rounds to even, and evenMagic is even.
//
// The division is a division: r·(1/scale) is not correctly rounded.
func assignCodes(codes []uint8, enc Encoder, n int32, x []float32, scale, bias float32) {
	codes = codes[:len(x)]
	if enc == CPU {
		magic := int32(math.Float32bits(evenMagic))
		for i, v := range x {
			r := (v - bias) / scale
			codes[i] = uint8(min(int32(math.Float32bits(r+evenMagic))-magic, n))
		}
		return
	}
	for i, v := range x {
		r := (v - bias) / scale
		codes[i] = uint8(min(int32(r+belowHalf), n))
	}
}

// round is the literal rounding of GPU or CPU. A float64 holds a float32 and its
// nearest whole number exactly.
func round(enc Encoder, v float32) float32 {
	if enc == CPU {
		return float32(math.RoundToEven(float64(v)))
	}
	return float32(math.Round(float64(v)))
}

func abs(v float32) float32 { return math.Float32frombits(math.Float32bits(v) &^ (1 << 31)) }
