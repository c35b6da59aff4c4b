package affine

import (
	"fmt"
	"math"
	"math/bits"
)

// lattice is quantizeGroup for Lattice. The weights of x go from lo to hi. It
// decodes every weight again, so ok is a proof.
func lattice(codes []uint8, n int32, x []float32, lo, hi float32) (scale, bias float32, ok bool) {
	step := float64(constantScale) // any is exact
	if lo < hi {
		var off int
		if step, off = latticeStep(n, x, lo, hi); off >= 0 {
			return 0, 0, false
		}
	}
	scale, bias = roundBF16(float32(step)), roundBF16(lo+0) // −0 + 0 is 0
	codes = codes[:len(x)]
	base, perStep := float64(lo), 1/step
	for i, v := range x {
		codes[i] = uint8(int32((float64(v) - base) * perStep))
		if float32(scale*float32(codes[i]))+bias != v {
			return 0, 0, false
		}
	}
	return scale, bias, true
}

// latticeStep returns the largest power of two of which all x[i] − lo are
// multiples, where lo < hi. off is the first weight that is off every lattice of n
// steps, or −1. The differences are those of float64, which are exact unless they
// take more than 53 bits; of such a group only decoding it tells.
func latticeStep(n int32, x []float32, lo, hi float32) (step float64, off int) {
	step = leastStep(n, lo, hi)
	base, perStep, all := float64(lo), 1/step, uint8(0)
	for i, v := range x {
		r := (float64(v) - base) * perStep // at most n
		q := uint8(int32(r))
		if float64(q) != r {
			return 0, i
		}
		all |= q
	}
	return math.Ldexp(step, bits.TrailingZeros8(all)), -1
}

// leastStep returns the least power of two of which n reach from lo to hi.
func leastStep(n int32, lo, hi float32) float64 {
	const fraction = 1<<52 - 1
	u := math.Float64bits((float64(hi) - float64(lo)) / float64(n))
	return math.Float64frombits((u + fraction) &^ fraction)
}

// offLattice says why lattice refuses x, whose weights are finite, and which
// weight is at fault, or −1 where that is none alone.
func offLattice(n int32, x []float32) (at int, why string) {
	lo, hi := extremes(x)
	step := float64(constantScale)
	if lo < hi {
		var off int
		if step, off = latticeStep(n, x, lo, hi); off >= 0 {
			least := leastStep(n, lo, hi)
			return off, fmt.Sprintf("not on a lattice of %d steps: from %g to %g a step is at least %g, and %g is %g steps from %g",
				n, lo, hi, least, x[off], (float64(x[off])-float64(lo))/least, lo)
		}
	}
	if roundBF16(lo) != lo {
		for i, v := range x {
			if v == lo {
				return i, fmt.Sprintf("not on a lattice of %d steps: the bias would be %g, which is no BF16 value", n, lo)
			}
		}
	}
	return -1, fmt.Sprintf("not on a lattice of %d steps: scale %g and bias %g do not decode to these weights", n, float32(step), lo)
}
