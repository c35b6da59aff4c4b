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

// PoolThreads and StoreThreads are the threads of a compressor's kernels.
const (
	PoolThreads  = 256
	StoreThreads = 128
)

// Pool returns the kernel that makes entries of type a and width.
func Pool(a string, width int, r Rounding) Instance {
	return Instance{"compress_pool", []string{a, fmt.Sprint(width), fmt.Sprint(int(r))}}
}

// Store returns the kernel that keeps a compressor's rows.
func Store() Instance { return Instance{"compress_store", []string{fmt.Sprint(StoreThreads)}} }
