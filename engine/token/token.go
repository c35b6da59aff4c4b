// Package token turns text into token ids and back. It knows nothing of what
// the ids mean to a model: which of them starts a window is its caller's.
package token

// ID is a token's index in the vocabulary.
type ID uint32
