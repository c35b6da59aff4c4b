package dsv4_test

import (
	"slices"
	"strings"
	"testing"

	"assay/engine/dsv4"
)

func TestSelect(t *testing.T) {
	flash := dsv4.FlashConfig()
	for _, c := range []struct {
		layers, ratios []int
		hashed         int
	}{
		{[]int{0, 2, 3, 42}, []int{0, 4, 128, 4}, 2},
		{[]int{2}, []int{4}, 1},
		{[]int{41, 42}, []int{128, 4}, 0},
		{[]int{0, 1, 2}, []int{0, 0, 4}, 3},
	} {
		text, err := dsv4.Select(flash, c.layers)
		if err != nil {
			t.Errorf("%v: %v", c.layers, err)
			continue
		}
		got, err := dsv4.ParseConfig(text)
		if err != nil {
			t.Fatal(err)
		}
		if got.NumHiddenLayers != len(c.layers) || got.NumHashLayers != c.hashed || got.NumNextNPredict != 0 || !slices.Equal(got.CompressRatios, c.ratios) {
			t.Errorf("%v: %d layers, %d hashed, %d MTP, ratios %v; want %d, %d, 0, %v", c.layers,
				got.NumHiddenLayers, got.NumHashLayers, got.NumNextNPredict, got.CompressRatios, len(c.layers), c.hashed, c.ratios)
		}
	}
}

// TestSelectBytes: a layer of the selection has the bytes of specification
// 2.1, whatever its new number.
func TestSelectBytes(t *testing.T) {
	text, err := dsv4.Select(dsv4.FlashConfig(), []int{0, 2, 3, 42})
	if err != nil {
		t.Fatal(err)
	}
	config, err := dsv4.ParseConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	layers := make([]int64, 4)
	for _, p := range dsv4.Params(config) {
		if p.Layer >= 0 {
			layers[p.Layer] += p.StoredBytes()
		}
	}
	if want := []int64{3566148952, 3596055640, 3568596312, 3589851224}; !slices.Equal(layers, want) {
		t.Errorf("the layers have %d bytes, want %d", layers, want)
	}
}

// TestSelectText: what isn't about layers stays as it is, in its order.
func TestSelectText(t *testing.T) {
	config := strings.Replace(string(dsv4.FlashConfig()), "{", "{\n  \"zeta\": {\"x\": [1e-06, \"<é\"]},", 1)
	text, err := dsv4.Select([]byte(config), []int{0, 3})
	if err != nil {
		t.Fatal(err)
	}
	// zeta comes out on lines of its own, and the ratios in two.
	before, after, ok := strings.Cut(config, "\"compress_ratios\": [")
	_, after, ok2 := strings.Cut(after, "]")
	if !ok || !ok2 {
		t.Fatal("no ratios in the config")
	}
	want := before + "\"compress_ratios\": [\n    0,\n    128\n  ]" + after
	want = strings.NewReplacer("{\"x\": [1e-06, \"<é\"]}", "{\n    \"x\": [\n      1e-06,\n      \"<é\"\n    ]\n  }",
		"\"num_hidden_layers\": 43", "\"num_hidden_layers\": 2", "\"num_hash_layers\": 3", "\"num_hash_layers\": 1",
		"\"num_nextn_predict_layers\": 1", "\"num_nextn_predict_layers\": 0").Replace(want)
	if string(text) != want {
		t.Errorf("config is\n%s, want\n%s", text, want)
	}
}

func TestSelectRefuses(t *testing.T) {
	flash := string(dsv4.FlashConfig())
	for _, c := range []struct {
		config string
		layers []int
		says   string
	}{
		{flash, nil, "no layers are selected"},
		{flash, []int{43}, "layer 43 is selected, want 0 to 42"},
		{flash, []int{-1}, "layer -1 is selected"},
		{flash, []int{4, 4}, "layer 4 is selected twice"},
		{flash, []int{3, 2}, "layer 3, which routes by score, is selected before layer 2"},
		{flash, []int{2, 0}, "layer 2 is selected before layer 0: the order must be the model's"},
		{flash, []int{9, 5}, "layer 9 is selected before layer 5"},
		{strings.Replace(flash, "{", `{"layer_types": ["sliding_attention"],`, 1), []int{0}, "layer_types names every layer"},
		{strings.Replace(flash, "{", `{"vocab_size": 3,`, 1), []int{0}, "vocab_size"},
		{"{}", []int{0}, "model_type"},
	} {
		if _, err := dsv4.Select([]byte(c.config), c.layers); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v, want %q", c.layers, err, c.says)
		}
	}
}
