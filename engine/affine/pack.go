package affine

import (
	"encoding/binary"
	"fmt"
)

// Packed codes are one little-endian stream of bits: code i takes bits i·b to
// i·b+b−1, its lowest bit first, and bit t of the stream is bit t mod 8 of byte
// t div 8. Eight codes fill b bytes at every width, which is the unit here. A
// code may straddle two bytes, and two uint32 words.
// Source: ml-explore/mlx mlx/backend/cpu/quantized.cpp, quantize and extract_bits.

// Pack returns codes as a stream of the given width. It is len(codes)·bits/8
// bytes, rounded up; bits left over are 0. It panics if bits is no width of the
// format or a code is over 2^bits − 1.
func Pack(bits int, codes []uint8) []byte {
	mustBeWidth(bits)
	for i, c := range codes {
		if int(c)>>bits != 0 {
			panic(fmt.Sprintf("affine: code %d is %d, over %d bits", i, c, bits))
		}
	}
	packed := make([]byte, (len(codes)*bits+7)/8)
	pack(packed, bits, codes)
	return packed
}

// Unpack sets dst to the first len(dst) codes of a stream of the given width. It
// panics if bits is no width of the format or packed is too short.
func Unpack(dst []uint8, bits int, packed []byte) {
	mustBeWidth(bits)
	if need := (len(dst)*bits + 7) / 8; len(packed) < need {
		panic(fmt.Sprintf("affine: %d codes of %d bits in %d bytes, want %d", len(dst), bits, len(packed), need))
	}
	unpack(dst, bits, packed)
}

func mustBeWidth(bits int) {
	if !validBits(bits) {
		panic(fmt.Sprintf("affine: codes of %d bits, want 2, 3, 4, 5, 6 or 8", bits))
	}
}

// pack writes codes, each under 2^bits, to dst, which is just long enough.
func pack(dst []byte, bits int, codes []uint8) {
	for len(codes) >= 8 {
		unit := squeeze(binary.LittleEndian.Uint64(codes), uint(bits))
		if len(dst) >= 8 {
			// What this writes past its own bytes the next unit writes again.
			binary.LittleEndian.PutUint64(dst, unit)
		} else {
			putBytes(dst, unit)
		}
		dst, codes = dst[bits:], codes[8:]
	}
	if len(codes) > 0 {
		var last [8]uint8
		copy(last[:], codes)
		putBytes(dst, squeeze(binary.LittleEndian.Uint64(last[:]), uint(bits)))
	}
}

// putBytes writes the low bytes of unit to dst, as many as dst holds.
func putBytes(dst []byte, unit uint64) {
	for i := range dst {
		dst[i] = byte(unit)
		unit >>= 8
	}
}

// unpack is the inverse of pack.
func unpack(dst []uint8, bits int, packed []byte) {
	for len(dst) > 0 {
		var codes [8]uint8
		binary.LittleEndian.PutUint64(codes[:], spread(unitAt(packed), uint(bits)))
		n := copy(dst, codes[:])
		dst, packed = dst[n:], packed[min(bits, len(packed)):]
	}
}

// unitAt returns the first eight bytes of packed, or all there are.
func unitAt(packed []byte) (unit uint64) {
	if len(packed) >= 8 {
		return binary.LittleEndian.Uint64(packed)
	}
	for i, b := range packed {
		unit |= uint64(b) << (8 * i)
	}
	return unit
}

// Where the low half of each lane lies, for lanes of 16, 32 and 64 bits.
const (
	low16 = 0x00ff00ff00ff00ff
	low32 = 0x0000ffff0000ffff
	low64 = 0x00000000ffffffff
)

// squeeze turns eight codes, one a byte, into a unit of 8·b bits: it closes the
// gap inside each pair, then between pairs, then between halves.
func squeeze(x uint64, b uint) uint64 {
	x = x&low16 | x>>8&low16<<(b&15)
	x = x&low32 | x>>16&low32<<(2*b&31)
	return x&low64 | x>>32<<(4*b&63)
}

// spread is the inverse of squeeze. It takes no notice of bits over 8·b.
func spread(x uint64, b uint) uint64 {
	x = x&(1<<(4*b&63)-1) | x>>(4*b&63)&(1<<(4*b&63)-1)<<32
	pair := uint64(1)<<(2*b&31) - 1
	pair |= pair << 32
	x = x&pair | x>>(2*b&31)&pair<<16
	code := uint64(1)<<(b&15) - 1
	code |= code<<16 | code<<32 | code<<48
	return x&code | x>>(b&15)&code<<8
}
