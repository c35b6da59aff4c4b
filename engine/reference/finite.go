package reference

import (
	"encoding/binary"
	"fmt"

	"assay/engine/tensor"
)

// exponents are the exponent bits of each floating-point dtype in every lane of
// a 64-bit word, and the lowest of them. An exponent of all ones is an infinity
// or a NaN; adding the lowest carries it, and no other, into the sign bit.
var exponents = map[tensor.DType]struct{ mask, lowest uint64 }{
	tensor.BF16: {0x7f80_7f80_7f80_7f80, 0x0080_0080_0080_0080},
	tensor.F16:  {0x7c00_7c00_7c00_7c00, 0x0400_0400_0400_0400},
	tensor.F32:  {0x7f800000_7f800000, 0x00800000_00800000},
	tensor.F64:  {0x7ff00000_00000000, 0x00100000_00000000},
}

// checkFinite errs on the first value of a floating-point tensor that is not
// finite. first is the number of the tensor's first element, for the error.
func checkFinite(t tensor.Tensor, first int) error {
	e, ok := exponents[t.DType]
	if !ok {
		return nil
	}
	signs := e.mask + e.lowest
	carry := uint64(0)
	data := t.Data
	for ; len(data) >= 8; data = data[8:] {
		carry |= binary.LittleEndian.Uint64(data)&e.mask + e.lowest
	}
	var rest [8]byte
	copy(rest[:], data)
	carry |= binary.LittleEndian.Uint64(rest[:])&e.mask + e.lowest
	if carry&signs == 0 {
		return nil
	}
	size := t.DType.Size()
	for i := 0; i*size < len(t.Data); i++ {
		var one [8]byte
		copy(one[:], t.Data[i*size:(i+1)*size])
		u := binary.LittleEndian.Uint64(one[:])
		if (u&e.mask+e.lowest)&signs != 0 {
			return fmt.Errorf("reference: tensor %q: %s: not finite (%s code %#x)", t.Name, place(t.Shape, first+i), t.DType, u)
		}
	}
	return nil
}

// place says where element i of a row-major array is.
func place(shape []int, i int) string {
	if len(shape) == 2 {
		return fmt.Sprintf("row %d, column %d", i/shape[1], i%shape[1])
	}
	at := make([]int, len(shape))
	for k := len(shape) - 1; k >= 0; k-- {
		at[k] = i % shape[k]
		i /= shape[k]
	}
	return fmt.Sprintf("element %v", at)
}
