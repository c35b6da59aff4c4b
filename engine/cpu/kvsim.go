package cpu

import (
	"math"

	"assay/engine/tensor"
)

// roundFP8 takes v through FP8 E4M3 in blocks of 64 with a power-of-two scale:
// s = 2^⌈log2(max(max|v|, 1e-4)/448)⌉, v ← s·E4M3(clamp(v/s, ±448)).
// Source: the release's inference/kernel.py, act_quant.
func roundFP8(v []float32) {
	for ; len(v) > 0; v = v[64:] {
		block := v[:64]
		s := powerScale(max(maxAbs(block), 1e-4), 448)
		for i, x := range block {
			block[i] = s * tensor.E4M3ToFloat32(tensor.E4M3FromFloat32(min(max(x/s, -448), 448)))
		}
	}
}

// roundFP4 takes v through FP4 E2M1 in blocks of 32 with a power-of-two scale.
// Source: the release's inference/kernel.py, fp4_act_quant.
func roundFP4(v []float32) {
	for ; len(v) > 0; v = v[32:] {
		block := v[:32]
		s := powerScale(max(maxAbs(block), 6*0x1p-126), 6)
		for i, x := range block {
			block[i] = s * tensor.E2M1ToFloat32(tensor.E2M1FromFloat32(min(max(x/s, -6), 6)))
		}
	}
}

// powerScale is 2^⌈log2(a·(1/most))⌉, taken from the bits of the float32.
func powerScale(a, most float32) float32 {
	bits := math.Float32bits(a * (1 / most))
	e := int(bits>>23&255) - 127
	if bits&(1<<23-1) != 0 {
		e++
	}
	return float32(math.Ldexp(1, e))
}

func maxAbs(v []float32) float32 {
	var m float32
	for _, x := range v {
		m = max(m, float32(math.Abs(float64(x))))
	}
	return m
}

// hadamard transforms v, of a power-of-two length, in Sylvester's order and
// multiplies it by len(v)^−½.
func hadamard(v []float32) {
	for stride := 1; stride < len(v); stride *= 2 {
		for i := 0; i < len(v); i += 2 * stride {
			for j := i; j < i+stride; j++ {
				v[j], v[j+stride] = v[j]+v[j+stride], v[j]-v[j+stride]
			}
		}
	}
	f := float32(1 / math.Sqrt(float64(len(v))))
	for i := range v {
		v[i] *= f
	}
}
