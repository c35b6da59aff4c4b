//go:build !darwin || !arm64

package apple

import (
	"strings"
	"testing"
)

// TestOtherSystems wants a sentence for whoever asks for Metal elsewhere.
func TestOtherSystems(t *testing.T) {
	if _, err := Open(Options{}); err == nil || !strings.HasPrefix(err.Error(), "apple: Metal needs a Mac with Apple silicon") {
		t.Errorf("error %v", err)
	}
}
