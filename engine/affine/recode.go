package affine

import (
	"math"

	"assay/engine/tensor"
)

// recode is quantizeGroup for Recode. The weights of x go from lo to hi.
func recode(codes []uint8, n int32, x []float32, lo, hi float32) (scale, bias float32, ok bool) {
	scale, bias, ok = recodePair(n, lo, hi)
	if ok {
		nearestCodes(codes, n, x, scale, bias)
	}
	return scale, bias, ok
}

// constantScale is the scale of a group that takes none: that which GPU gives
// zeros. It is not 0, for which checks of bundles look.
const constantScale = -leastScale

// recodePair returns the scale and the bias of Recode: GPU's, as stored. A
// constant group takes its constant as the bias even where GPU, whose least scale
// is 1e-7, makes it 0 or finds no scale.
func recodePair(n int32, lo, hi float32) (scale, bias float32, ok bool) {
	if lo == hi {
		return stored(n, constantScale, lo+0) // −0 + 0 is 0
	}
	s, z := scaleAndBias(GPU, float32(n), lo, hi)
	return stored(n, s, z)
}

// stored rounds a scale and a bias to BF16. ok is false where the format cannot
// hold them or the decoder would overflow: the scale is 0 or not finite, n times
// the scale is not, or the bias is not.
func stored(n int32, s, z float32) (scale, bias float32, ok bool) {
	scale, bias = roundBF16(s), roundBF16(z)
	inf := float32(math.Inf(1))
	return scale, bias, scale != 0 && float32(n)*abs(scale) < inf && abs(bias) < inf
}

func roundBF16(v float32) float32 { return tensor.BF16ToFloat32(tensor.BF16FromFloat32(v)) }

// nearestCodes sets codes to the nearest codes 0 to n of x for a scale and a bias.
func nearestCodes(codes []uint8, n int32, x []float32, scale, bias float32) {
	codes = codes[:len(x)]
	s, z, top := float64(scale), float64(bias), float64(n)
	for i, v := range x {
		codes[i] = uint8(nearest((float64(v)-z)/s, top))
	}
}

// nearest returns the whole number from 0 to top nearest to r, half away from
// zero: the whole part of r + (1/2 − 2^-54), by the reasoning of assignCodes with
// the spacings of float64. r may be so large that no int holds it.
func nearest(r, top float64) int {
	if r >= top {
		return int(top)
	}
	return max(int(r+(0.5-0x1p-54)), 0)
}
