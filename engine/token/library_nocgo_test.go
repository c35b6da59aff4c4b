//go:build !cgo

package token

import (
	"strings"
	"testing"
)

// A program built without cgo says how to build one that has a tokenizer.
func TestNewWithoutCgo(t *testing.T) {
	_, err := New([]byte(`{"model":{"vocab":{"a":0}}}`))
	if err == nil || !strings.Contains(err.Error(), "make build") {
		t.Fatalf("New: %v, want an error that names make build", err)
	}
}
