package kernels

import "unsafe"

// Bytes is the memory of an argument struct, as kernels read it.
func Bytes[T any](p *T) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p)) }

// SliceBytes is the memory of plain numbers.
func SliceBytes[T int32 | uint32 | float32 | uint16](v []T) []byte {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), len(v)*int(unsafe.Sizeof(v[0])))
}
