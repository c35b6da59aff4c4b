package suite

import (
	"testing"

	"assay/engine/dsv4"
)

// layerDispatches are the most dispatches that a decoded token may take in a
// layer, by compression ratio, and how many more where a block closes.
var layerDispatches = map[int]int{0: 17, 4: 24, 128: 20}

const closingDispatches = 4

// TestDispatches counts the dispatches of decoded tokens in V4-Flash's layers.
func TestDispatches(t *testing.T) {
	count := func(layers []int, depth int) int {
		config, err := dsv4.Select(dsv4.FlashConfig(), layers)
		if err != nil {
			t.Fatal(err)
		}
		ds, _, err := Trace(config, "g32-n8-e4", "f32", false, []int{depth, 1})
		if err != nil {
			t.Fatal(err)
		}
		return len(ds)
	}
	for ratio, pair := range map[int][2][]int{0: {{0}, {0, 1}}, 4: {{0}, {0, 2}}, 128: {{0}, {0, 3}}} {
		for _, depth := range []int{2046, 2047} { // the second closes blocks of 4 and of 128
			n := count(pair[1], depth) - count(pair[0], depth)
			most := layerDispatches[ratio]
			if depth == 2047 && ratio != 0 {
				most += closingDispatches
			}
			t.Logf("ratio %d, depth %d: %d dispatches", ratio, depth, n)
			if n > most {
				t.Errorf("ratio %d, depth %d: %d dispatches, want at most %d", ratio, depth, n, most)
			}
		}
	}
}

// TestInstances: there is a kernel for all that V4-Flash asks for.
func TestInstances(t *testing.T) {
	all, err := Instances()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 100 {
		t.Errorf("%d kernels", len(all))
	}
	t.Logf("%d kernels", len(all))
}
