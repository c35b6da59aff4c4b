package kernels

import "fmt"

// MaxStreams is the most mHC streams that kernels keep in registers.
const MaxStreams = 8

// HyperSumsArgs is hyper_sums' argument struct.
type HyperSumsArgs struct{ Width, Rows, Tokens, Slices uint32 }

// HyperInArgs is hyper_in's and hyper_head's.
type HyperInArgs struct {
	Width, Slices, Iterations uint32
	Eps, NormEps              float32
	Pad                       uint32
}

// HyperOutArgs is hyper_out's.
type HyperOutArgs struct{ Width, Pad uint32 }

// HyperSums is how hyper_sums runs: tokens of a threadgroup, and columns of a
// slice.
type HyperSums struct{ Tokens, Columns int }

// HyperSumsFor picks by the tokens of a batch: one decoded token wants many
// threadgroups, many tokens want each row of fn read for several of them.
func HyperSumsFor(decode bool) HyperSums {
	if decode {
		return HyperSums{1, 128}
	}
	return HyperSums{8, 512}
}

// Instance is the kernel for a matrix of rows.
func (h HyperSums) Instance(rows int) Instance {
	return Instance{"hyper_sums", []string{fmt.Sprint((rows + 7) / 8), fmt.Sprint(h.Tokens), fmt.Sprint(h.Columns / 128)}}
}

// hyperSimdgroups is the simdgroups that make one token's row: all that there may
// be where it is the only one.
func hyperSimdgroups(decode bool) int {
	if decode {
		return 32
	}
	return 8
}

// HyperIn returns the kernel that makes a sublayer's input of n streams, and its
// threads.
func HyperIn(n int, decode bool) (Instance, int) {
	s := hyperSimdgroups(decode)
	return Instance{"hyper_in", []string{fmt.Sprint(n), fmt.Sprint(s)}}, 32 * s
}

// HyperHead is HyperIn for the streams' last merge.
func HyperHead(n int, decode bool) (Instance, int) {
	s := hyperSimdgroups(decode)
	return Instance{"hyper_head", []string{fmt.Sprint(n), fmt.Sprint(s)}}, 32 * s
}

// HyperSumsThreads is the threads of hyper_sums.
const HyperSumsThreads = 256

// HyperOutThreads is the threads of hyper_out, which take four channels each.
const HyperOutThreads = 64

// HyperOut returns the kernel that mixes a sublayer's output into n streams.
func HyperOut(n int) Instance { return Instance{"hyper_out", []string{fmt.Sprint(n)}} }
