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
	Engine      string // "cpu"
	Name        string // for people, such as "CPU engine, AMD EPYC 9354"
	Kernels     string // which kernels were chosen, such as "avx512"
	Activations string // type of the inputs of matrix products: "f32"
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
	// Pass scores many windows at once, loading one layer at a time.
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

// Pass takes windows through the model layer by layer, each window a sequence
// of its own from position 0. Its figures do not depend on which windows share
// it. It serves one goroutine.
type Pass interface {
	// Layers returns how many times Layer must be called.
	Layers() int
	// Layer runs the next layer on all windows.
	Layer(ctx context.Context) error
	// Hidden returns the final hidden states of all windows' tokens, normed,
	// as Head takes them: [tokens, hidden], after the last Layer.
	Hidden(ctx context.Context) ([]float32, error)
	Close() error
}

// Head turns final hidden states into distributions.
type Head interface {
	Vocab() int
	Hidden() int
	// LogProbs fills dst [n, vocab] from hidden [n, hidden].
	LogProbs(ctx context.Context, hidden, dst []float32) error
	Close() error
}
