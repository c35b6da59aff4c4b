package kernels

import "fmt"

// MatVecArgs is the argument struct of matvec.
type MatVecArgs struct {
	Rows uint32 // of a group
	Cols uint32
}

// MatVecsArgs is the argument struct of matvecs.
type MatVecsArgs struct {
	Cols  uint32
	Rows0 uint32
	Rows1 uint32
	Rows2 uint32
	Rows3 uint32
	Rows4 uint32
	Rows5 uint32
	Rows6 uint32
	From1 uint32 // the first block of matrix 1; 2^32 − 1 where there is none
	From2 uint32
	From3 uint32
	From4 uint32
	From5 uint32
	From6 uint32
}

// MatVecsMax is how many matrices matvecs takes.
const MatVecsMax = 7

// Cut is how a matrix-vector product is cut into work.
type Cut struct {
	Vals  int // columns that a lane takes at once
	Rows  int // that a simdgroup multiplies at once
	Block int // rows of a simdgroup, at most 32, a multiple of Rows
	Split int // simdgroups that share rows, each with its part of the columns
	Simds int // simdgroups of a threadgroup, a multiple of Split
}

// Threads is the threads of a threadgroup.
func (c Cut) Threads() int { return 32 * c.Simds }

// Blocks is the threadgroups that so many rows take.
func (c Cut) Blocks(rows int) int {
	each := c.Block * c.Simds / c.Split
	return (rows + each - 1) / each
}

// Lane is how many columns of a matrix with cols columns a lane takes at once:
// as many as there are without leaving lanes idle, up to laneBytes of codes.
func (f Format) Lane(cols int) int {
	best := 0
	for n := 4; n <= 128; n *= 2 {
		if f.fits(n, cols) && (best == 0 || n*f.Bits <= 8*laneBytes && 32*n <= cols) {
			best = n
		}
	}
	return best
}

// laneBytes is the most that a lane loads of a row at once, with the widest loads
// that its address allows.
const laneBytes = 24

// fits says whether n columns lie in one group, are whole words, and divide cols,
// which is also what aligns the loads.
func (f Format) fits(n, cols int) bool {
	return (f.Group == 0 || n <= f.Group) && n*f.Bits%32 == 0 && cols%n == 0
}

// args are the template arguments after Vals.
func (c Cut) args() []string { return list(c.Rows, c.Block, c.Split, c.Simds) }

// MatVec is the product of one row with one matrix, x rounded to a: "float",
// "half" or "bfloat".
func MatVec(f Format, a string, c Cut) Instance {
	return Instance{"matvec", list(f.Args(), a, c.Vals, c.args())}
}

// MatVecs is the product of one row with up to seven matrices of a format.
func MatVecs(f Format, a string, c Cut) Instance {
	return Instance{"matvecs", list(f.Args(), a, c.Vals, c.args())}
}

// list joins template arguments: strings, lists of them, and numbers.
func list(parts ...any) []string {
	var all []string
	for _, p := range parts {
		switch p := p.(type) {
		case []string:
			all = append(all, p...)
		default:
			all = append(all, fmt.Sprint(p))
		}
	}
	return all
}
