package kernels

import "fmt"

// AttendArgs is the argument struct of attention's kernels.
type AttendArgs struct {
	Heads, Window, HalfRope, First uint32
	Ratio, Topk, Per, Chunks       uint32
	Scale, NormEps                 float32
}

// KeepArgs is attend_keep's.
type KeepArgs struct{ Dim, Window, First, From uint32 }

// MaxHeadDim is the widest head that attention's kernels take.
const MaxHeadDim = 512

// AttendRows is how attend_rows runs: simdgroups that share eight heads, and
// blocks of eight heads of a threadgroup.
type AttendRows struct{ Parts, Blocks int }

// AttendRowsFor picks for a head count and size: no part holds more than 128
// channels in registers, and up to four blocks share a tile of keys.
func AttendRowsFor(heads, dim int) AttendRows {
	r := AttendRows{2, min((heads+7)/8, 4)}
	if dim > 256 && dim%32 == 0 {
		r.Parts = 4
	}
	if r.Blocks == 3 {
		r.Blocks = 4
	}
	return r
}

// Threads is the threads of a threadgroup.
func (r AttendRows) Threads() int { return 32 * r.Parts * r.Blocks }

// Groups is the threadgroups that all heads take.
func (r AttendRows) Groups(heads int) int { return (heads + 8*r.Blocks - 1) / (8 * r.Blocks) }

// Instance is the kernel for cached elements of type a and heads of dim.
func (r AttendRows) Instance(a string, dim int) Instance {
	return Instance{"attend_rows", []string{a, fmt.Sprint(dim), fmt.Sprint(r.Parts), fmt.Sprint(r.Blocks)}}
}

// MaxChunks is the most chunks that attend_combine puts together.
const MaxChunks = 32

// Chunks cuts n keys into chunks of per keys, a multiple of 32.
func Chunks(n int) (per, chunks int) {
	const tile = 32
	tiles := (n + tile - 1) / tile
	per = (tiles + MaxChunks - 1) / MaxChunks * tile
	return per, (n + per - 1) / per
}

// The threads of the kernels for one query.
const (
	ChunkThreads   = 256
	CombineThreads = 128
	KeepThreads    = 128
)

// AttendChunks returns the kernel for the chunks of one query.
func AttendChunks(a string, dim int) Instance {
	return Instance{"attend_chunks", []string{a, fmt.Sprint(dim)}}
}

// AttendCombine returns the kernel that puts them together.
func AttendCombine(a string, dim int) Instance {
	return Instance{"attend_combine", []string{a, fmt.Sprint(dim)}}
}

// AttendKeep returns the kernel that keeps a batch's last keys.
func AttendKeep(a string) Instance {
	return Instance{"attend_keep", []string{a, fmt.Sprint(KeepThreads)}}
}
