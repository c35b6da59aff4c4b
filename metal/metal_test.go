package metal

import (
	"strings"
	"testing"

	"assay/engine/dsv4"
	"assay/engine/dsv4/dsv4test"
)

func TestLimits(t *testing.T) {
	for _, gb := range MacGB {
		all := int64(gb) << 30
		if d, r := DefaultLimit(gb), RaisedLimit(gb); d*4 != all*3 || r != all-8<<30 || d > r {
			t.Errorf("%d GB: default %d, raised %d", gb, d, r)
		}
	}
}

// TestShapes wants sizes that no kernel takes to be refused by name.
func TestShapes(t *testing.T) {
	good := dsv4test.GoldenConfig()
	if err := checkShapes(good); err != nil {
		t.Error(err)
	}
	for name, set := range map[string]func(*dsv4.Config){
		"hidden_size": func(c *dsv4.Config) { c.HiddenSize = 34 }, "hc_mult": func(c *dsv4.Config) { c.HCMult = 9 },
		"head_dim": func(c *dsv4.Config) { c.HeadDim = 528 }, "n_routed_experts": func(c *dsv4.Config) { c.NRoutedExperts = 1025 },
		"index_head_dim": func(c *dsv4.Config) { c.IndexHeadDim = 40 }, "index_n_heads": func(c *dsv4.Config) { c.IndexNHeads = 257 },
	} {
		c := *good
		set(&c)
		if err := checkShapes(&c); err == nil || !strings.Contains(err.Error(), " "+name+" is ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
