// Package kernel is the CPU engine's vector kernels: C for AVX-512, AVX2, NEON
// and plain machines from one source, chosen at run time. It knows no model.
// Without cgo it has no kernels, and For says so.
//
// Arrays are row-major float32. The contract of every kernel stands in
// kernel.h; its plain twin is engine/cpu's.
package kernel

import "sync"

// Kind is how a matrix stores its weights.
type Kind int

// The kinds that the kernels read, as kernel.h numbers them.
const (
	F32 Kind = iota
	BF16
	Affine
	MXFP4
	MXFP8
)

// Names lists all kernel sets, the best first. A machine runs some of them.
var Names = []string{"avx512", "avx2", "neon", "base"}

// Best returns the best set that this machine runs, or nil in a program without
// kernels.
var Best = sync.OnceValue(func() *Set {
	set, err := For("")
	if err != nil {
		return nil
	}
	return set
})

// Lanes is what the columns of a matrix and the channels of a head must be a
// multiple of.
const Lanes = 16

// Panel is how many output rows, or attention lanes, the kernels work on at
// once.
const Panel = 32

// Matrix is W [Rows, Cols] as stored. Cols is a multiple of 16, and of the
// group size. Bits, Group and F16 (scales and biases are F16, not BF16) mean
// something to Affine only.
type Matrix struct {
	Kind                  Kind
	Bits, Group           int
	F16                   bool
	Rows, Cols            int
	Codes, Scales, Biases []byte
}

// MatMul is the operands of y[YIdx[t]·LdY + r] = Σ_c W[r,c]·x[XIdx[t]·LdX + c]
// for From <= r < To and t < N. A nil index is the identity.
type MatMul struct {
	W        *Matrix
	From, To int
	X        []float32
	LdX      int
	XIdx     []int32
	Y        []float32
	LdY      int
	YIdx     []int32
	N        int
	Panel    []float32 // room of Cols·Panel
}

// Prepared returns the float32 that Prepare needs for x of so many columns: x to
// whole blocks, its group sums, and what aligns them.
func Prepared(cols int) int { return (cols+255)&^255 + (cols/32+15)&^15 + 16 }

// Attend is the operands of one attention panel: up to Panel lanes, each a
// pair of query and head.
type Attend struct {
	Q, O  []float32    // lane l is Q[Lane[l] : Lane[l]+D], and O likewise
	Lane  []int64      //
	D     int          // channels, a multiple of 16
	Base  [3][]float32 // where key rows lie; key i is row ID[i]&RowMask of Base[ID[i]>>RowBits]
	ID    []uint32
	See   []uint32  // bit l is set where lane l sees key i
	Sinks []float32 // one a lane, added to the denominator as e^sink
	Scale float32
	Room  []float32 // at least AttendRoom(D, len(ID))
}

// RowBits is where a key's ID holds the number of its base.
const RowBits = 30

// RowMask takes the row from a key's ID.
const RowMask = 1<<RowBits - 1

// AttendRoom returns the float32 that Attend needs for n keys of d channels.
func AttendRoom(d, n int) int { return 2*d*Panel + n*Panel + 2*n + 16 }

// IndexRoom returns the float32 that IndexScores needs for heads of d channels.
func IndexRoom(d int) int { return d*Panel + 16*Panel }
