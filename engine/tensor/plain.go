package tensor

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"unsafe"
)

// PlainFormat stores every weight by itself, in its own dtype: BF16 or F32.
type PlainFormat DType

func (f PlainFormat) String() string {
	if DType(f) == F32 {
		return "f32"
	}
	return "bf16"
}

// Check errs unless the dtype is BF16 or F32.
func (f PlainFormat) Check(rows, cols int) error {
	if d := DType(f); d != BF16 && d != F32 {
		return fmt.Errorf("no plain matrices of %s", d)
	}
	return nil
}

// Sizes returns rows x cols x the element's size, and no scales or biases.
func (f PlainFormat) Sizes(rows, cols int) (codes, scales, biases int64) {
	return int64(rows) * int64(cols) * int64(DType(f).Size()), 0, 0
}

// DecodeRow widens one row exactly.
func (f PlainFormat) DecodeRow(dst []float32, m *Matrix, row int) {
	size := DType(f).Size()
	src := m.Codes[row*m.Cols*size : (row+1)*m.Cols*size]
	if DType(f) == F32 {
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
		return
	}
	for i := range dst {
		dst[i] = BF16ToFloat32(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

// Float32s returns the elements of a BF16, F16 or F32 tensor as float32, newly
// allocated. It errs on any other dtype.
func (t Tensor) Float32s() ([]float32, error) { return t.AppendFloat32s(nil) }

// AppendFloat32s appends what Float32s returns to dst.
func (t Tensor) AppendFloat32s(dst []float32) ([]float32, error) {
	n := int(t.Elements())
	dst = slices.Grow(dst, n)
	out := dst[len(dst) : len(dst)+n]
	switch t.DType {
	case F32:
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*i:]))
		}
	case BF16:
		for i := range out {
			out[i] = BF16ToFloat32(binary.LittleEndian.Uint16(t.Data[2*i:]))
		}
	case F16:
		for i := range out {
			out[i] = F16ToFloat32(binary.LittleEndian.Uint16(t.Data[2*i:]))
		}
	default:
		return nil, fmt.Errorf("tensor: %s: want BF16, F16 or F32", t.Info)
	}
	return dst[:len(dst)+n], nil
}

// F16ToF32Bytes widens F16 elements to float32, each exactly, newly allocated.
func F16ToF32Bytes(half []byte) []byte {
	out := make([]byte, 0, 2*len(half))
	for ; len(half) >= 2; half = half[2:] {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(F16ToFloat32(binary.LittleEndian.Uint16(half))))
	}
	return out
}

// Int64s returns the elements of an I64 or I32 tensor, newly allocated.
func (t Tensor) Int64s() ([]int64, error) {
	out := make([]int64, t.Elements())
	switch t.DType {
	case I64:
		for i := range out {
			out[i] = int64(binary.LittleEndian.Uint64(t.Data[8*i:]))
		}
	case I32:
		for i := range out {
			out[i] = int64(int32(binary.LittleEndian.Uint32(t.Data[4*i:])))
		}
	default:
		return nil, fmt.Errorf("tensor: %s: want I64 or I32", t.Info)
	}
	return out, nil
}

// Uint16s views b as little-endian 16-bit words: without a copy where the
// machine allows it, which is everywhere that b is aligned.
func Uint16s(b []byte) []uint16 {
	if len(b) == 0 {
		return nil
	}
	if littleEndian && uintptr(unsafe.Pointer(&b[0]))%2 == 0 {
		return unsafe.Slice((*uint16)(unsafe.Pointer(&b[0])), len(b)/2)
	}
	out := make([]uint16, len(b)/2)
	for i := range out {
		out[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return out
}

// Bytes16 is the inverse of Uint16s.
func Bytes16(u []uint16) []byte {
	if len(u) == 0 {
		return nil
	}
	if littleEndian {
		return unsafe.Slice((*byte)(unsafe.Pointer(&u[0])), 2*len(u))
	}
	out := make([]byte, 2*len(u))
	for i, v := range u {
		binary.LittleEndian.PutUint16(out[2*i:], v)
	}
	return out
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1
