// Package engine is the seams between what runs a model and what asks about
// it: Backend, Model, Session, Pass and Head. It knows no model and no device.
package engine

import (
	"context"

	"assay/engine/token"
	"assay/engine/variant"
)

// LogProbs is one position's distribution over the next token: natural
// logarithms, len = vocab. It is valid until the next call on what made it.
type LogProbs []float32

// Device is what a backend runs on, as records name it.
type Device struct {
	Engine      string // "cpu", "metal", "emu", "cuda"
	Name        string // for people, such as "CPU engine, AMD EPYC 9354"
	Kernels     string // which kernels were chosen, such as "avx512", or "msl"
	Activations string // type of the inputs of matrix products: "f32", "f16", "bf16"
	System      string // what compiled and ran the kernels, where that is not the program itself
	Source      string // digest of the kernels' source, likewise
	Threads     int
	Memory      int64 // bytes free for weights, states and scratch, when asked
}

// Backend loads variants. It serves many goroutines, but one Session or Pass
// at a time makes good use of it.
type Backend interface {
	Device() Device
	// Load makes all weights of v resident, for sessions of up to tokens
	// tokens. It refuses what does not fit the device's memory, with the sums.
	Load(ctx context.Context, v *variant.Variant, tokens int) (Model, error)
	// Layout says how windows of those lengths would go through v's model.
	Layout(v *variant.Variant, lengths []int) (Layout, error)
	// Pass prepares to take windows through variants of v's model. It refuses
	// what does not fit the device's memory, with the sums.
	Pass(ctx context.Context, v *variant.Variant, windows [][]token.ID) (Pass, error)
	// Head loads only v's output projection.
	Head(ctx context.Context, v *variant.Variant) (Head, error)
}

// Model is a variant whose weights are resident. Its sessions share scratch:
// one goroutine at a time uses them.
type Model interface {
	// NewSession starts an empty sequence.
	NewSession() (Session, error)
	// Bytes returns the bytes that the weights take where they are resident.
	Bytes() int64
	Close() error
}

// Session is one sequence and its KV cache. It serves one goroutine.
type Session interface {
	// Prefill appends toks. It calls yield with the distribution after each
	// of them, in order; nil yield computes the last one's only and drops it.
	// An error from yield ends it.
	Prefill(ctx context.Context, toks []token.ID, yield func(LogProbs) error) error
	// Decode appends one token and returns the distribution after it.
	Decode(ctx context.Context, tok token.ID) (LogProbs, error)
	// Len returns the tokens so far.
	Len() int
	Close() error
}

// Pass takes windows through the model part by part, each window a sequence of
// its own from position 0: part 0 makes the streams, each other part replaces
// them. Between two parts a window is its streams and nothing else, so that
// variants can take turns. Its figures do not depend on which windows share it.
// It serves one goroutine.
type Pass interface {
	Layout() Layout
	// Load makes the weights of one part resident.
	Load(ctx context.Context, w variant.Weights, part int) (Part, error)
	Close() error
}

// Part is the weights of one part of a pass.
type Part interface {
	// Run takes a group's streams x [tokens, Layout.Width] through the part, in
	// place. The last part leaves the final hidden states, normed, as Head takes
	// them, in the first [tokens, Layout.Hidden] of x.
	Run(ctx context.Context, group int, x []float32) error
	Close() error
}

// Layout is how windows go through a model: data, for plans.
type Layout struct {
	Parts         []PartInfo
	Groups        []Group  // what runs together, in the windows' order
	Head          PartInfo // the output projection; FLOPs has one entry, of one position
	Width, Hidden int      // float32 of a token's streams, and of its final hidden state
	Vocab         int      //
	Scratch       int64    // bytes that the pass holds beside weights and streams
}

// PartInfo describes one part.
type PartInfo struct {
	Name   string   // such as "layer 3 attention"
	Params []string // names of its weights
	FLOPs  []int64  // useful floating-point operations, by group
}

// Group is the windows [From, To) of a pass.
type Group struct{ From, To, Tokens int }

// Head turns final hidden states into distributions.
type Head interface {
	Vocab() int
	Hidden() int
	// LogProbs fills dst [n, vocab] from hidden [n, hidden].
	LogProbs(ctx context.Context, hidden, dst []float32) error
	Close() error
}
