package metal

import "testing"

func TestLimits(t *testing.T) {
	for _, gb := range MacGB {
		all := int64(gb) << 30
		if d, r := DefaultLimit(gb), RaisedLimit(gb); d*4 != all*3 || r != all-8<<30 || d > r {
			t.Errorf("%d GB: default %d, raised %d", gb, d, r)
		}
	}
}
