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

// fewRows is how many rows of x a lane of matfew takes: the most that its
// registers hold. More are for more teams.
const fewRows = 4

// teams is how many teams of a simdgroup share tokens.
func teams(tokens int) int { return (tokens + fewRows - 1) / fewRows }

// MatFew is the product of up to tokens rows, 2, 4 or 8, with a matrix.
func MatFew(f Format, a string, tokens int, c Cut) Instance {
	return Instance{"matfew", list(f.Args(), a, min(tokens, fewRows), teams(tokens), c.args())}
}

// FewTokens is how many tokens the kernel for n takes.
func FewTokens(n int) int {
	for m := 2; ; m *= 2 {
		if n <= m {
			return m
		}
	}
}
