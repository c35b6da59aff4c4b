package kernels

// MatFewArgs is the argument struct of matfew.
type MatFewArgs struct {
	Tokens uint32
	Rows   uint32 // of a group
	Cols   uint32
	LdX    uint32
	LdY    uint32
	Pad    uint32
}

// The simdgroups of matfew's threadgroups, and their rows.
const (
	MatFewRows  = 2
	MatFewSimds = 4
)

// MatFew is the product of up to tokens rows, 2, 4 or 8, with a matrix.
func MatFew(f Format, a string, tokens int) Instance {
	return Instance{"matfew", list(f.Args(), a, tokens, MatFewRows, MatFewSimds)}
}

// FewTokens is how many tokens the kernel for n takes.
func FewTokens(n int) int {
	for m := 2; ; m *= 2 {
		if n <= m {
			return m
		}
	}
}
