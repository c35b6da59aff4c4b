package kernels

import "fmt"

// PoolArgs is compress_pool's argument struct.
type PoolArgs struct {
	Ratio, Overlap, Slots, First uint32
	FirstBlock, HalfRope         uint32
	NormEps, Hadamard            float32
}

// StoreArgs is compress_store's.
type StoreArgs struct{ Channels, Ratio, Slots, First, From, Pad uint32 }

// Rounding is what kv_sim does to a pooled entry.
type Rounding int

// The roundings, by the numbers that kernels know them by.
const (
	NoRounding Rounding = iota
	RoundFP8
	RoundFP4
)

// Pool returns the kernel that makes entries of type a and width, and its threads:
// one a channel, up to 16 simdgroups.
func Pool(a string, width int, r Rounding) (Instance, int) {
	groups := min((width+31)/32, 16)
	return Instance{"compress_pool", []string{a, fmt.Sprint(width), fmt.Sprint(groups), fmt.Sprint(int(r))}}, 32 * groups
}

// StoreThreads is the threads of compress_store.
const StoreThreads = 128

// Store returns the kernel that keeps a compressor's rows.
func Store() Instance { return Instance{"compress_store", []string{fmt.Sprint(StoreThreads)}} }
