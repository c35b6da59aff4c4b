package reference

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"
	"unsafe"

	"assay/engine/cpu/kernel"
	"assay/engine/tensor"
)

// blocked is an FP8 or FP4 matrix [rows, cols] as stored, or some of its rows.
type blocked struct {
	native        tensor.Native
	first         int // row of the whole matrix that row 0 is
	rows, cols    int
	weight, scale tensor.Tensor
}

// The values of every code under every scale, as the bits of a float32:
//
//	fp8: E4M3[code]·2^(scale−127)    fp4: E2M1[code]·2^(scale−127)
//
// Bit 0 (refused) is set where the value is not finite or not a BF16 value. It
// is free for that: the lower 16 bits of a BF16 value are 0. The products are
// made in float32, where one that is finite is exact, since the finest has
// the unit 2^(−9−127).
type (
	fp8Table [256][256]uint32
	fp4Table [256][16]uint32
)

const refused = 1

var fp8Values = sync.OnceValue(func() *fp8Table {
	var t fp8Table
	for scale := range t {
		for code := range t[scale] {
			t[scale][code] = valueBits(tensor.E4M3ToFloat32(byte(code)), byte(scale))
		}
	}
	return &t
})

var fp4Values = sync.OnceValue(func() *fp4Table {
	var t fp4Table
	for scale := range t {
		for code := range t[scale] {
			t[scale][code] = valueBits(tensor.E2M1ToFloat32(byte(code)), byte(scale))
		}
	}
	return &t
})

func valueBits(code float32, scale byte) uint32 {
	v := code * tensor.E8M0ToFloat32(scale)
	u := math.Float32bits(v)
	if v-v != 0 || u&0xffff != 0 {
		return u | refused
	}
	return u
}

// word is what a value becomes: the upper half of its float32 bits, which is
// BF16, or all of them.
type word interface{ uint16 | uint32 }

// asBits views f as the bits of its elements.
func asBits(f []float32) []uint32 {
	return unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(f))), len(f))
}

// decode writes all values of b to out, [rows·cols].
func decode[T word](b blocked, out []T) error {
	for r := range b.rows {
		if decodeRow(b, r, out[r*b.cols:(r+1)*b.cols])&refused != 0 {
			return b.refusal(r)
		}
	}
	return nil
}

// Scale bytes under which every finite code is a BF16 value. FP4: 6·2^(252−127)
// < 2^128, and under 0 all are multiples of 2^-128, which BF16 has down to 2^-133.
// FP8: 448·2^(246−127) < 2^128, and the unit is 2^(−9+3−127) = 2^-133.
const (
	plainFP4             = 252
	plainFP8Lo, plainFP8 = 3, 246
)

// plain says, quickly, that b needs no refusal; false may be said of one that
// needs none either.
func (b blocked) plain() bool {
	scales := b.scale.Data
	switch {
	case len(scales) == 0:
		return false
	case b.native == tensor.FP4:
		return slices.Max(scales) <= plainFP4
	case slices.Max(scales) > plainFP8 || slices.Min(scales) < plainFP8Lo:
		return false
	}
	return !hasNaN(b.weight.Data)
}

// hasNaN says whether a code of E4M3 is 0x7F or 0xFF: seven bits that carry into
// the eighth when 1 is added.
func hasNaN(codes []byte) bool {
	const low, one = 0x7f7f7f7f_7f7f7f7f, 0x01010101_01010101
	carry := uint64(0)
	for ; len(codes) >= 8; codes = codes[8:] {
		carry |= binary.LittleEndian.Uint64(codes)&low + one
	}
	for _, c := range codes {
		carry |= uint64(c&0x7f + 1)
	}
	return carry&^low != 0
}

// decodeVectors is decode by a vector kernel, for FP4 that needs no refusal.
func (b blocked) decodeVectors(out []float32) bool {
	set := kernel.Best()
	if set == nil || b.native != tensor.FP4 || !b.plain() {
		return false
	}
	m := &kernel.Matrix{Kind: kernel.MXFP4, Rows: b.rows, Cols: b.cols, Codes: b.weight.Data, Scales: b.scale.Data}
	set.Decode(m, 0, b.rows, out)
	return true
}

// check errs where decode would.
func (b blocked) check() error {
	if b.plain() {
		return nil
	}
	row := make([]uint16, b.cols)
	for r := range b.rows {
		if decodeRow(b, r, row)&refused != 0 {
			return b.refusal(r)
		}
	}
	return nil
}

// decodeRow writes the values of row r to out, [cols], and returns the union of
// their bits.
func decodeRow[T word](b blocked, r int, out []T) uint32 {
	seen := uint32(0)
	if b.native == tensor.FP4 {
		src := b.weight.Data[r*b.cols/2 : (r+1)*b.cols/2]
		scales := b.scale.Data[r*b.cols/fp4Group : (r+1)*b.cols/fp4Group]
		values := fp4Values()
		for g, s := range scales {
			seen |= fp4Decode(out[g*fp4Group:(g+1)*fp4Group], src[g*fp4Group/2:(g+1)*fp4Group/2], &values[s])
		}
		return seen
	}
	src := b.weight.Data[r*b.cols : (r+1)*b.cols]
	wide := blocks(b.cols, fp8Block)
	scales := b.scale.Data[r/fp8Block*wide : (r/fp8Block+1)*wide]
	values := fp8Values()
	for g, s := range scales {
		end := min((g+1)*fp8Block, b.cols)
		seen |= fp8Decode(out[g*fp8Block:end], src[g*fp8Block:end], &values[s])
	}
	return seen
}

// fp8Decode writes the value of each code.
func fp8Decode[T word](out []T, codes []byte, values *[256]uint32) uint32 {
	seen, shift := uint32(0), 32-8*unsafe.Sizeof(T(0))
	out = out[:len(codes)]
	for i, c := range codes {
		v := values[c]
		seen |= v
		out[i] = T(v >> shift)
	}
	return seen
}

// fp4Decode writes two values a byte: element 2j is the low half of byte j,
// element 2j+1 the high half.
func fp4Decode[T word](out []T, pairs []byte, values *[16]uint32) uint32 {
	seen, shift := uint32(0), 32-8*unsafe.Sizeof(T(0))
	for j, pair := range pairs {
		lo, hi := values[pair&15], values[pair>>4]
		seen |= lo | hi
		two := out[2*j : 2*j+2 : 2*j+2]
		two[0], two[1] = T(lo>>shift), T(hi>>shift)
	}
	return seen
}

// refusal says what is wrong with row r.
func (b blocked) refusal(r int) error {
	for c := range b.cols {
		code, scale, value := b.at(r, c)
		if valueBits(value, scale)&refused == 0 {
			continue
		}
		where := fmt.Sprintf("reference: tensor %q: row %d, column %d", b.weight.Name, b.first+r, c)
		switch {
		case scale == 255:
			return fmt.Errorf("%s: scale %q is not a number (code 255)", where, b.scale.Name)
		case value != value:
			return fmt.Errorf("%s: not a number (code %#02x)", where, code)
		}
		return fmt.Errorf("%s: %v·2^%d is not a BF16 value", where, value, int(scale)-127)
	}
	panic("reference: a refused row without a refused value")
}

// at returns the code, scale and unscaled value of one weight.
func (b blocked) at(r, c int) (code, scale byte, value float32) {
	if b.native == tensor.FP4 {
		i := r*b.cols + c
		code = b.weight.Data[i/2] >> (4 * (i & 1)) & 15
		return code, b.scale.Data[i/fp4Group], tensor.E2M1ToFloat32(code)
	}
	code = b.weight.Data[r*b.cols+c]
	scale = b.scale.Data[r/fp8Block*blocks(b.cols, fp8Block)+c/fp8Block]
	return code, scale, tensor.E4M3ToFloat32(code)
}
