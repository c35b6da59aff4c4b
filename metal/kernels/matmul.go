package kernels

// MatMulArgs is the argument struct of matmul.
type MatMulArgs struct {
	Tokens uint32
	Rows   uint32 // of a group
	Cols   uint32
	LdX    uint32 // a multiple of 4
	LdY    uint32
	Pad    uint32
}

// The threads of a product by simdgroup matrices, and the rows of W that a
// threadgroup takes.
const (
	MatMulThreads = 128
	MatMulRows    = 64
)

// MatMul is the product of many rows with a matrix, 16, 32 or 64 of them in a
// threadgroup.
func MatMul(f Format, a string, down int) Instance {
	return Instance{"matmul", list(f.Args(), a, down)}
}
