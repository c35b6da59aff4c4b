package dsv4

import (
	"assay/engine/tensor"
	"assay/engine/token"
)

// Array is a backend's own array of activations, float32 or int32 as it was
// made. Only the backend that made it can look inside.
type Array interface{ Len() int }

// Weight is something that a backend has loaded: a matrix in its stored
// format, a vector, a table or a layer's experts.
type Weight interface{ Bytes() int64 }

// Memory is how the model puts things where a backend can reach them.
type Memory interface {
	// Load takes a matrix in its stored format and keeps no expanded copy.
	Load(m *tensor.Matrix) (Weight, error)
	LoadVector(name string, v []float32) (Weight, error)
	LoadTable(name string, v []int32) (Weight, error)
	// LoadExperts takes one layer's routed experts, in order.
	LoadExperts(e []ExpertMatrices) (Weight, error)
	// LoadRope makes the cosines and sines of positions 0..n-1 from the
	// frequencies f: angle = float32(p)·f_i, rounded to float32.
	LoadRope(f []float32, n int) (Weight, error)
	// Unload gives back the memory of what was loaded. Operations that were
	// asked for before may still use it.
	Unload(w Weight)

	NewArray(n int) (Array, error) // n float32, zero
	NewInts(n int) (Array, error)  // n int32, zero
	// Slice views n elements of a from an offset on; it is freed with a.
	Slice(a Array, from, n int) Array
	Free(a Array)
	// Wrap makes an array of float32 that the caller owns. Operations may work
	// on a copy of it: host holds what they left once the array is freed.
	Wrap(host []float32) (Array, error)
	// Read copies len(dst) float32 of a from an offset on. It waits for all
	// operations before it and returns the first error of any of them.
	Read(dst []float32, a Array, from int) error
	// ReadInts is Read for an array of int32.
	ReadInts(dst []int32, a Array, from int) error
}

// Ops is what the forward pass asks of a backend: whole operations of the
// model's own size, so that a backend may fuse inside them. An operation may
// return before it is done; its error, if any, comes out of the next Read.
//
// T is len(b.Tokens), D hidden_size, N hc_mult, H heads, d head_dim; arrays are
// row-major float32 unless the comment says int32. Sections are those of the
// model's specification as the release's inference/model.py defines it.
type Ops interface {
	Memory

	// Embed sets each of the N streams of x [T, N, D] to the token's row of w.
	Embed(b *Batch, w Weight, x Array)
	// HyperIn makes a sublayer's input from the streams: u [T, D] = norm(Σ_j
	// pre_j·x_j), and keeps post and comb in mix [T, N + N·N] for HyperOut.
	HyperIn(b *Batch, h *Hyper, x, u, mix Array)
	// HyperOut replaces the streams: x'_k = post_k·y + Σ_j comb_jk·x_j.
	HyperOut(b *Batch, mix, y, x Array)

	// Linear is y [T, out] = x [T, in]·wᵀ for each of products, all of one x.
	Linear(b *Batch, x Array, products ...Product)
	// GroupLinear splits x [T, G·in] and the rows of w [G·out, in] into G
	// groups: y [T, G·out], group g of y = group g of x · (group g of w)ᵀ.
	GroupLinear(b *Batch, w Weight, groups int, x, y Array)

	// Latents is the RMS norm of each row of qr [T, q_lora_rank] with weight
	// qNorm, and of kv [T, d] with kvNorm, whose rows it also rotates to the
	// token's position and, where the options say so, takes through the FP8
	// cache; in place.
	Latents(b *Batch, qNorm Weight, qr Array, kvNorm, rope Weight, kv Array)
	// Compress takes the values and gates [T, channels] of a compressor and
	// appends the entry of every block that closes within the batch to the
	// pool that pool picks from each sequence's state.
	Compress(b *Batch, c *Compressor, pool func(*LayerState) *Pool, values, gates Array)
	// Select writes to picks, int32 [T, index_topk], the pooled blocks that
	// each token attends to: the visible ones of highest score, ties to the
	// lower block, in ascending order, then −1. score = Σ_h w_h·max(0, q_h·κ).
	// It rotates the indexer's heads q [T, HI, dI] first, and simulates their
	// FP4 rounding where the options say so; q is of no more use.
	Select(b *Batch, rope Weight, q, w, picks Array)
	// Attend writes to o [T, H, d] each head's attention over the window and,
	// where a has a compressor, over the pooled entries: those in picks, or all
	// visible ones where picks is nil. Before, it norms each head of q [T, H, d]
	// without a weight and rotates it, q is of no more use; after, it rotates o
	// back and moves the batch's keys into the window state.
	Attend(b *Batch, a *Attention, q, kv, picks, o Array)

	// Route writes each token's experts to picks, int32 [T, K], in the
	// router's order, and their weights to weights [T, K].
	Route(b *Batch, r *Router, u, picks, weights Array)
	// Experts is y [T, D] = Σ weight·expert(u) + shared(u).
	Experts(b *Batch, e *Experts, u, picks, weights, y Array)

	// HeadIn merges the streams into the normed final hidden state v [T, D].
	HeadIn(b *Batch, h *HyperHead, norm Weight, x, v Array)
	// LogProbs computes log p over the vocabulary, dst [n, vocab], of n final
	// hidden states [n, D] in host memory, n = len(dst)/vocab. decode says that
	// n is 1 and time matters more than the order of the sums.
	LogProbs(head Weight, hidden, dst []float32, decode bool) error
}

// Product is one product of Linear.
type Product struct {
	W Weight
	Y Array
}

// Batch is the tokens of one call: pieces of one or more sequences.
type Batch struct {
	Tokens []token.ID
	Spans  []Span
	Decode bool // one token of one sequence, through the matrix-vector kernels
}

// Span is the part of a batch that belongs to one sequence.
type Span struct {
	From, Len int // tokens From .. From+Len-1 of the batch
	Pos       int // position of the first of them in its sequence
	State     *LayerState
}

// LayerState is what one layer remembers of one sequence.
type LayerState struct {
	Window Array // ring of the last sliding_window keys, [W, d]; slot is position mod W
	Main   *Pool // nil in a layer without compressor
	Index  *Pool // nil in a layer without indexer
}

// Pool is what one compressor remembers of one sequence.
type Pool struct {
	// Ring of the last Slots rows of values and of gates with their position
	// bias, [Slots, channels]; slot is position mod Slots. Overlapping blocks
	// need two blocks' rows, others one.
	Values, Gates Array
	Slots         int
	Entries       Array // pooled, normed and rotated, [capacity, width]; (t+1)/ratio are in use
}

// Options change the model's arithmetic.
type Options struct {
	// KVSim rounds cached keys to FP8 and the indexer's queries and keys to
	// FP4, as the release does in its own kernels.
	KVSim bool
}
