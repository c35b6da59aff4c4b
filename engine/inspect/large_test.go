package inspect

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"assay/engine/affine"
	"assay/engine/bundle"
	"assay/engine/checkpoint/checkpointtest"
	"assay/engine/dsv4"
	"assay/engine/tensor"
	"assay/engine/variant"
)

// Headers of full size are checked in seconds, and no weight is read: the files
// are sparse and larger than any disk that tests run on.
func TestFullSizeHeadersInTime(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 45 MB of headers")
	}
	params, err := dsv4Params(dsv4.FlashConfig())
	if err != nil {
		t.Fatal(err)
	}
	upstream := checkpointtest.Stored(params)
	layout, config := flashLayout(t, params)
	var stored []tensor.Info
	for _, m := range layout.Modules {
		stored = append(stored, m.Tensors()...)
	}
	var unknown []tensor.Info
	for i := range 300 {
		unknown = append(unknown, tensor.Info{Name: fmt.Sprintf("layers.%d.mlp.junk.weight", i), DType: tensor.U8, Shape: []int{4}})
	}
	for _, c := range []struct {
		name    string
		config  []byte
		list    []tensor.Info
		tensors int
		ids     []string
	}{
		{"upstream", dsv4.FlashConfig(), upstream, 69187, []string{"X07"}},
		{"each expert apart", config, stored, 99072, []string{"X07", "S01"}},
		{"and 300 names that nobody knows", config, append(slices.Clone(stored), unknown...), 99372, []string{"X07", "S01", "S13"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if len(c.list) < c.tensors {
				t.Fatalf("%d tensors, want %d at least", len(c.list), c.tensors)
			}
			dir := t.TempDir()
			if err := checkpointtest.WriteSparse(dir, c.config, c.list, 46); err != nil {
				t.Skip(err) // no sparse files here
			}
			var r Result
			took := time.Hour
			for try := 0; try < 3 && took > timeLimit; try++ { // others use this machine too
				start := time.Now()
				f, err := Open(os.DirFS(dir))
				if err != nil {
					t.Fatal(err)
				}
				r = Verify(f, Options{Params: dsv4Params})
				took = time.Since(start)
			}
			t.Logf("%d tensors in %v", len(c.list), took.Round(time.Millisecond))
			if took > timeLimit {
				t.Errorf("took %v, want %v at most", took, timeLimit)
			}
			var ids []string
			for _, x := range r.Findings {
				ids = append(ids, x.ID)
			}
			if len(ids) != len(c.ids) {
				t.Errorf("findings %+v, want %v", r.Findings, c.ids)
			}
		})
	}
}

// flashLayout is a bundle of the whole model, each expert apart.
func flashLayout(t *testing.T, params []tensor.Param) (*bundle.Layout, []byte) {
	t.Helper()
	recipe := variant.Recipe{Name: "test", Rules: []variant.Rule{
		{Choice: variant.Choice{Affine: affine.Params{Bits: 8, GroupSize: 32}}},
		{Class: tensor.RoutedExpert, Choice: variant.Choice{Affine: affine.Params{Bits: 4, GroupSize: 32}}}}}
	steps, err := recipe.Plan(params)
	if err != nil {
		t.Fatal(err)
	}
	names, err := bundle.RuntimeOf("vmlx")
	if err != nil {
		t.Fatal(err)
	}
	layout, err := bundle.NewLayout(steps, bundle.Options{Runtime: names, PerExpert: true})
	if err != nil {
		t.Fatal(err)
	}
	config, err := layout.Config(dsv4.FlashConfig())
	if err != nil || !json.Valid(config) {
		t.Fatal(err)
	}
	return layout, config
}
