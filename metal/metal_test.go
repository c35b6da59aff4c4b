package metal

import (
	"errors"
	"testing"
)

// TestNotYet wants one clear error from everything that would run.
func TestNotYet(t *testing.T) {
	var b Backend
	_, load := b.Load(t.Context(), nil, 1)
	_, pass := b.Pass(t.Context(), nil, nil)
	_, head := b.Head(t.Context(), nil)
	for _, err := range []error{load, pass, head} {
		if !errors.Is(err, ErrNotYet) {
			t.Errorf("error %v, want ErrNotYet", err)
		}
	}
	if d := b.Device(); d.Engine != "metal" {
		t.Errorf("the engine is named %q", d.Engine)
	}
}

func TestLimits(t *testing.T) {
	for _, gb := range MacGB {
		all := int64(gb) << 30
		if d, r := DefaultLimit(gb), RaisedLimit(gb); d*4 != all*3 || r != all-8<<30 || d > r {
			t.Errorf("%d GB: default %d, raised %d", gb, d, r)
		}
	}
}
