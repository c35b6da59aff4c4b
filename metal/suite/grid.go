package suite

import (
	"fmt"
	"math"
)

// What kv_sim rounds is a power of two times a number of few bits. Being close to
// the twin's says little of that: these say that it is rounded, and by its own
// block's power of two.

// isE4M3 says whether v is a number of FP8 E4M3.
func isE4M3(v float64) bool {
	a := math.Abs(v)
	if a < 0x1p-6 {
		return a*512 == math.Floor(a*512)
	}
	f, _ := math.Frexp(a)
	return f*16 == math.Floor(f*16) && a <= 448
}

// isE2M1 says whether v is a number of FP4 E2M1.
func isE2M1(v float64) bool {
	switch math.Abs(v) {
	case 0, 0.5, 1, 1.5, 2, 3, 4, 6:
		return true
	}
	return false
}

// onGrid errs unless the blocks of got are numbers of a format, each block times
// 2^ceil(log2(top/most)), where top is the largest of the block's exact values and
// at least least. Where top is next to a power of two, both are right.
func onGrid(got []float32, exact []float64, block int, least, most float64, is func(float64) bool) error {
	for from := 0; from+block <= len(exact); from += block {
		top := least
		for _, v := range exact[from:][:block] {
			top = max(top, math.Abs(v))
		}
		var off int
		for _, near := range []float64{1 - 1e-5, 1 + 1e-5} {
			s := math.Exp2(math.Ceil(math.Log2(top * near / most)))
			off = -1
			for i, v := range got[from:][:block] {
				if !is(float64(v) / s) {
					off = from + i
				}
			}
			if off < 0 {
				break
			}
		}
		if off >= 0 {
			return fmt.Errorf("channel %d is %g, which is no rounded number of a block up to %g", off, got[off], top)
		}
	}
	return nil
}

// onFP8Grid is onGrid for blocks of 64 in FP8 E4M3.
func onFP8Grid(got []float32, exact []float64) error {
	return onGrid(got, exact, 64, 1e-4, 448, isE4M3)
}

// onFP4Grid is onGrid for blocks of 32 in FP4 E2M1.
func onFP4Grid(got []float32, exact []float64) error {
	return onGrid(got, exact, 32, 6*0x1p-126, 6, isE2M1)
}
