package metal

import (
	"fmt"
	"slices"

	"assay/engine/dsv4"
	"assay/metal/kernels"
)

// checkShapes errs on a model of sizes that the kernels do not take.
func checkShapes(c *dsv4.Config) error {
	type size struct {
		name               string
		v, multiple, limit int
	}
	sizes := []size{
		{"hidden_size", c.HiddenSize, 4, 0}, {"hc_mult", c.HCMult, 1, kernels.MaxStreams},
		{"head_dim", c.HeadDim, 16, kernels.MaxHeadDim}, {"n_routed_experts", c.NRoutedExperts, 1, kernels.MaxExperts},
	}
	if slices.Contains(c.CompressRatios, dsv4.OverlapRatio) {
		sizes = append(sizes, size{"index_head_dim", c.IndexHeadDim, 16, kernels.MaxIndexDim}, size{"index_n_heads", c.IndexNHeads, 1, kernels.MaxIndexHeads})
	}
	for _, s := range sizes {
		if s.v%s.multiple != 0 || s.limit > 0 && s.v > s.limit {
			most := ""
			if s.limit > 0 {
				most = fmt.Sprintf(" and at most %d", s.limit)
			}
			return fmt.Errorf("metal: config.json: %s is %d, the kernels want a multiple of %d%s", s.name, s.v, s.multiple, most)
		}
	}
	return nil
}
