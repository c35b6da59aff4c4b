package kernels

import "fmt"

// ScoreArgs is select_scores' argument struct.
type ScoreArgs struct {
	Heads, HalfRope, First, Ratio, Topk, Stride uint32
	Scale, Hadamard                             float32
}

// TopArgs is select_top's.
type TopArgs struct{ First, Ratio, Topk, Stride uint32 }

// What select's kernels take at most, and the blocks of a threadgroup.
const (
	MaxIndexDim   = 128
	MaxIndexHeads = 256
	ScoreBlocks   = 64
)

// SelectScores returns the kernel that scores blocks with heads of dim, and its
// threads.
func SelectScores(a string, heads, dim int, sim bool) (Instance, int) {
	groups := (heads + 7) / 8
	return Instance{"select_scores", []string{a, fmt.Sprint(dim), fmt.Sprint(groups), flag(sim)}}, 32 * groups
}

// SelectTop returns the kernel that picks, and its threads: all that there may be
// where there is one token.
func SelectTop(decode bool) (Instance, int) {
	groups := 8
	if decode {
		groups = 32
	}
	return Instance{"select_top", []string{fmt.Sprint(groups)}}, 32 * groups
}
