package synth

import (
	"math"
	"sort"
	"sync"

	"assay/engine/tensor"
)

// FP4 is drawn without computing a weight. A weight is size·z with z one of
// 2^15 quantiles of |z| and a sign. Within a group of 32 the size is the same,
// so the order of the quantiles' numbers is that of the weights: the largest
// number gives the group's scale, by the release's rule
//
//	scale = 2^⌈log2(max|w|/6)⌉
//
// and a table for this size and scale gives the code of each number (of its
// upper 12 bits). All that a size and a scale can differ by is the size's
// sixteenth of an octave and the octaves between them: 16·8 tables.
const (
	steps   = 8  // scales that a size may have: 2^(shift-6), shift from 0 to 7
	signs   = 1  // bits of the sign
	coarse  = 12 // bits of a quantile's number that choose a code
	fineOff = 15 - coarse
)

type fp4Lookup struct {
	// below[level][shift] is how many quantiles are at most 6·2^(shift-6), where
	// the size is 2^(level/16).
	below [grid][steps]uint16
	codes [grid][steps][1 << (signs + coarse)]byte
}

var fp4Tables = sync.OnceValue(func() *fp4Lookup {
	t, f := tables(), &fp4Lookup{}
	var z [1 << coarse]float32
	for i := range z {
		z[i] = float32(math.Round(4096*absNormal(float64(i), 1<<coarse)) / 4096)
	}
	for level := range grid {
		size := t.size[level]
		for shift := range steps {
			scale := float32(math.Ldexp(1, shift-6))
			f.below[level][shift] = uint16(sort.Search(quants, func(i int) bool { return t.normal[i]*size > 6*scale }))
			for i, z := range z {
				code := tensor.E2M1FromFloat32(z * size / scale)
				f.codes[level][shift][i] = code
				if code != 0 { // no −0, as in the reference model
					f.codes[level][shift][i|1<<coarse] = code | 8
				}
			}
		}
	}
	return f
})

// fp4 fills rows of FP4: codes [rows, cols/2], scales [rows, cols/32].
func (d *draw) fp4(codes, scales []byte, cols, base int, rows, blocks *spread) {
	f := fp4Tables()
	perRow := cols / tensor.FP4Group
	at := 0
	for g := range scales {
		if g%perRow == 0 {
			at = d.row(base, rows)
		}
		size := at + int(blocks[d.Uint64()>>56])
		var u [tensor.FP4Group / 4]uint64
		top := uint64(0)
		for k := range u {
			x := d.Uint64()
			u[k] = x
			top = max(top, x&0x7fff, x>>16&0x7fff, x>>32&0x7fff, x>>48&0x7fff)
		}
		below := &f.below[size&(grid-1)]
		shift := 0
		for shift < steps-1 && top >= uint64(below[shift]) {
			shift++
		}
		scales[g] = byte(127 + size>>4 + shift - 6)
		table := &f.codes[size&(grid-1)][shift]
		const mask = 1<<(signs+coarse) - 1
		out := codes[g*tensor.FP4Group/2:][:tensor.FP4Group/2]
		for k, x := range u {
			x >>= fineOff
			out[2*k] = table[x&mask] | table[x>>16&mask]<<4
			out[2*k+1] = table[x>>32&mask] | table[x>>48&mask]<<4
		}
	}
}

// fp8 fills rows of FP8, [rows, cols], and their scales, one for each block of
// 128 x 128, by the release's rule scale = 2^⌈log2(max|w|/448)⌉. band is
// scratch of 128 rows.
func (d *draw) fp8(codes, scales []byte, cols, base int, rows, blocks *spread, band []float32) {
	t := tables()
	const block = tensor.FP8Block
	for top := 0; top < len(codes)/cols; top += block {
		high := min(block, len(codes)/cols-top)
		var at [block]int
		for r := range high {
			at[r] = d.row(base, rows)
		}
		for left := 0; left < cols; left += block {
			wide := min(block, cols-left)
			octaves := int(blocks[d.Uint64()>>56])
			for r := range high {
				s := t.power(at[r] + octaves)
				bits := uint64(0)
				for c, row := 0, band[r*block:][:wide]; c < wide; c++ {
					if c%4 == 0 {
						bits = d.Uint64()
					}
					row[c] = t.z(uint16(bits)) * s
					bits >>= 16
				}
			}
			scales[0] = encodeBlock(codes[top*cols+left:], cols, band, high, wide)
			scales = scales[1:]
		}
	}
}

// encodeBlock writes high rows of wide codes, cols apart, and returns their
// scale.
func encodeBlock(codes []byte, cols int, band []float32, high, wide int) byte {
	const block = tensor.FP8Block
	top := float32(0)
	for r := range high {
		for _, v := range band[r*block:][:wide] {
			top = max(top, v, -v)
		}
	}
	fraction, e := math.Frexp(float64(top)) // 448 is 0.875·2^9
	if e -= 9; fraction > 0.875 {
		e++
	}
	inverse := float32(math.Ldexp(1, -e))
	for r := range high {
		row := codes[r*cols:][:wide]
		for c, v := range band[r*block:][:wide] {
			row[c] = tensor.E4M3FromFloat32(v * inverse)
		}
	}
	return byte(127 + e)
}
