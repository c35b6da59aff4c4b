package inspect

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"assay/engine/tensor"
)

// The report counts what shapes say and holds it against config.json.
func TestReport(t *testing.T) {
	f := healthy(t, grid)
	f.quantization(t, func(q map[string]any) {
		delete(q, experts) // the globals are right for it
		q[qb].(map[string]any)["bits"] = 4
	})
	opened, err := Open(f.fs())
	if err != nil {
		t.Fatal(err)
	}
	r := opened.Report(dsv4Params, Sample{Bytes: 1 << 20, Seed: 1})
	if r.Kind != "MLX affine" || r.Names != "mlx-lm, experts stacked" || r.Globals != "affine 4-bit g32" || !r.Tokenizer || r.Template {
		t.Errorf("report %+v", r)
	}
	want := []FormatUse{
		{Format: "affine 4-bit g32", Modules: 21, Weights: 21 * 8 * 128 * 256, Bytes: 21 * 8 * 128 * 256 * 5 / 8, Override: 20, Globals: 1},
		{Format: "affine 8-bit g32", Modules: 74, Override: 73, Wrong: 1},
	}
	for i, u := range r.Formats[:2] {
		if i == 1 {
			want[i].Weights, want[i].Bytes = u.Weights, u.Weights*9/8 // 8 bits and 32/32 for scale and bias
		}
		if u != want[i] {
			t.Errorf("format %+v, want %+v", u, want[i])
		}
	}
	var bytes int64
	for _, c := range r.Classes {
		bytes += c.Bytes
		if c.Class == tensor.RoutedExpert && c.BitsPerWeight != 5 {
			t.Errorf("experts have %v bits a weight, want 5", c.BitsPerWeight)
		}
	}
	if bytes != r.Bytes || r.Findings != 1 {
		t.Errorf("classes have %d bytes of %d, %d findings", bytes, r.Bytes, r.Findings)
	}
	for _, h := range r.Scales {
		sum := h.Zero
		for _, n := range h.Counts {
			sum += n
		}
		if sum != h.Scales || h.Negative == 0 || h.Negative == h.Scales {
			t.Errorf("histogram %+v", h)
		}
	}
	again := opened.Report(dsv4Params, Sample{Bytes: 1 << 20, Seed: 1})
	if !reflect.DeepEqual(again, r) {
		t.Error("the same seed gives another report")
	}
	small := opened.Report(dsv4Params, Sample{Bytes: 20000, Seed: 1}).Sampled
	if small.Bytes > 20000 || small.Rows == 0 {
		t.Errorf("a budget of 20000 bytes reads %+v", small)
	}
}

// Folders that hold no safetensors are refused with what they hold instead.
func TestOtherFolders(t *testing.T) {
	for name, want := range map[string]string{
		"model-Q4_K.GGUF": "a folder of GGUF files: GGUF is llama.cpp's format", "pytorch_model.bin": "PyTorch files",
		"weights.npz": ".npz files", "config.json": "a config without weights", "README.md": "no safetensors file",
	} {
		_, err := Open(fstest.MapFS{name: {}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
		if errors.Is(err, ErrNoWeights) == strings.HasSuffix(name, "GGUF") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Scales of nvfp4 are E4M3, not exponents: 0x38 is 1, 0x40 is 2.
func TestScalesOfNVFP4(t *testing.T) {
	for code, power := range map[byte]int{0x38: 0, 0x40: 1} {
		f := healthy(t, native)
		nvfp4(code)(t, f)
		opened, err := Open(f.fs())
		if err != nil {
			t.Fatal(err)
		}
		r := opened.Report(dsv4Params, Sample{Bytes: 1 << 20, Seed: 1})
		i := slices.IndexFunc(r.Scales, func(h ScaleHistogram) bool { return h.Format == "nvfp4" })
		if i < 0 || r.Scales[i].Scales == 0 || r.Scales[i].Counts[power] != r.Scales[i].Scales {
			t.Errorf("scales of %#x are %+v", code, r.Scales)
		}
	}
}
