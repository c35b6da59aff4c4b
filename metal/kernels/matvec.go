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
	Rows  int // of a simdgroup
	Split int // simdgroups that share rows, each with its part of the columns
	Simds int // simdgroups of a threadgroup
}

// Threads is the threads of a threadgroup.
func (c Cut) Threads() int { return 32 * c.Simds }

// Block is the rows of a threadgroup.
func (c Cut) Block() int { return c.Rows * c.Simds / c.Split }

// Blocks is the threadgroups of a matrix.
func (c Cut) Blocks(rows int) int { return (rows + c.Block() - 1) / c.Block() }

// Lane is how many columns of a matrix with cols columns a lane takes at once:
// 16 bytes of codes where that is possible, within one group of weights, and a
// divisor of cols, which is also what aligns the loads.
func (f Format) Lane(cols int) int {
	best := 0
	for _, n := range []int{4, 8, 16, 32, 64, 128} {
		switch bytes := n * f.Bits / 8; {
		case f.Group > 0 && n > f.Group, cols%n != 0, n*f.Bits%32 != 0, best > 0 && bytes > laneBytes:
		default:
			best = n
		}
	}
	return best
}

// laneBytes is the most that a lane loads of a row at once.
const laneBytes = 16

func (c Cut) args() []string {
	return []string{fmt.Sprint(c.Vals), fmt.Sprint(c.Rows), fmt.Sprint(c.Split), fmt.Sprint(c.Simds)}
}

// MatVec is the product of one row with one matrix, x rounded to a: "float",
// "half" or "bfloat".
func MatVec(f Format, a string, c Cut) Instance {
	return Instance{"matvec", list(f.Args(), a, c.args())}
}

// MatVecs is the product of one row with up to seven matrices of a format.
func MatVecs(f Format, a string, c Cut) Instance {
	return Instance{"matvecs", list(f.Args(), a, c.args())}
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
