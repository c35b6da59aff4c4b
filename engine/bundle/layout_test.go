package bundle

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"assay/engine/affine"
	"assay/engine/checkpoint/checkpointtest"
	"assay/engine/dsv4"
	"assay/engine/mx"
	"assay/engine/tensor"
	"assay/engine/variant"
)

func layout(t *testing.T, params []tensor.Param, name string, o Options) *Layout {
	t.Helper()
	steps, err := recipe(t, name).Plan(params)
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLayout(steps, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func flashParams(t *testing.T) []tensor.Param {
	t.Helper()
	c, err := dsv4.ParseConfig(dsv4.FlashConfig())
	if err != nil {
		t.Fatal(err)
	}
	return dsv4.Params(c)
}

// Of V4-Flash: the sizes of the specification's table 2.5, with and without the
// MTP block, whatever the layout; 99,072 expert entries where they are apart.
func TestFlashLayout(t *testing.T) {
	params := flashParams(t)
	for _, c := range []struct {
		name    string
		options Options
		bytes   int64
	}{
		{"g32-n8-e4", Options{}, 181_521_067_100},
		{"g32-n8-e4", Options{MTP: true}, 185_739_533_896},
		{"g64-n6-e3", Options{PerExpert: true}, 127_320_681_564},
		{"g128-n4-e3", Options{PerExpert: true, MTP: true}, 119_342_136_904},
	} {
		for _, r := range Runtimes() {
			c.options.Runtime = r
			l := layout(t, params, c.name, c.options)
			if l.Bytes() != c.bytes {
				t.Errorf("%s, %s: %d bytes, want %d", c.name, r.Name, l.Bytes(), c.bytes)
			}
			var planned int64
			names := map[string]bool{}
			experts := 0
			for _, f := range l.Files(0) {
				planned += f.Bytes()
				for _, info := range f.Tensors {
					names[info.Name] = true
					if strings.Contains(info.Name, ".experts.") && strings.HasPrefix(info.Name, "layers.") {
						experts++
					}
				}
				if f.Bytes() > ShardBytes {
					t.Errorf("%s has %d bytes", f.Name, f.Bytes())
				}
			}
			if planned != c.bytes {
				t.Errorf("%s: the shards have %d bytes", c.name, planned)
			}
			if want := map[bool]int{true: 99_072}[c.options.PerExpert]; experts != want {
				t.Errorf("%s: %d tensors of single experts, want %d", c.name, experts, want)
			}
		}
	}
}

// The formats as the specification's table 3.7 and section 2.1 store them.
func TestTensors(t *testing.T) {
	step := func(name string, f tensor.Format, shape ...int) variant.Step {
		return variant.Step{Param: tensor.Param{Info: tensor.Info{Name: name, DType: tensor.BF16, Shape: shape}}, Format: f}
	}
	four := affine.Format{Params: affine.Params{Bits: 3, GroupSize: 64}}
	for _, c := range []struct {
		m    Module
		want []string
	}{
		{Module{Stored: "a.wkv", Steps: []variant.Step{step("x.weight", four, 512, 4096)}},
			[]string{"a.wkv.weight U32[512,384]", "a.wkv.scales BF16[512,64]", "a.wkv.biases BF16[512,64]"}},
		{Module{Stored: "a.up_proj", Stacked: true, Steps: []variant.Step{step("x", mx.FP4, 2048, 4096), step("y", mx.FP4, 2048, 4096)}},
			[]string{"a.up_proj.weight U32[2,2048,512]", "a.up_proj.scales U8[2,2048,128]"}},
		{Module{Stored: "a.wq", Steps: []variant.Step{step("x.weight", mx.FP8, 1024, 4096)}},
			[]string{"a.wq.weight U32[1024,1024]", "a.wq.scales U8[1024,128]"}},
		{Module{Stored: "a", Stacked: true, Steps: []variant.Step{step("x.weight", tensor.PlainFormat(tensor.BF16), 8, 16)}}, []string{"a.weight BF16[1,8,16]"}},
		{Module{Stored: "model.norm", Steps: []variant.Step{step("norm.weight", nil, 16)}}, []string{"model.norm.weight BF16[16]"}},
		{Module{Stored: "model.attn_hc.fn", Steps: []variant.Step{step("hc_attn_fn", nil, 24, 16)}}, []string{"model.attn_hc.fn BF16[24,16]"}},
	} {
		var got []string
		for _, info := range c.m.Tensors() {
			got = append(got, info.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("stored as %v, want %v", got, c.want)
		}
	}
}

// Every quantized module has its own entry with all three fields, no other has
// one, and the globals are what most weights have.
func TestConfig(t *testing.T) {
	params := tinyParams(t)
	for _, perExpert := range []bool{false, true} {
		l := layout(t, params, "g32-n8-e4", Options{Runtime: runtimeNamed(t, "mlx-lm"), PerExpert: perExpert, MTP: true})
		data, err := l.Config(checkpointtest.TinyConfig())
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Vocab int                        `json:"vocab_size"`
			Quant map[string]json.RawMessage `json:"quantization"`
			Twin  map[string]json.RawMessage `json:"quantization_config"`
		}
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got.Quant) != fmt.Sprint(got.Twin) || got.Vocab != 512 {
			t.Errorf("the twin differs, or vocab_size is %d", got.Vocab)
		}
		if string(got.Quant["group_size"]) != "32" || string(got.Quant["bits"]) != "4" || string(got.Quant["mode"]) != `"affine"` {
			t.Errorf("globals are %s, %s, %s", got.Quant["group_size"], got.Quant["bits"], got.Quant["mode"])
		}
		want := 0
		seen := map[string]bool{}
		for _, m := range l.Modules {
			q, ok := QuantOf(m.Steps[0].Format)
			if !ok || seen[m.Path] || m.Steps[0].MTP {
				continue
			}
			want++
			seen[m.Path] = true
			var found Quant
			if err := json.Unmarshal(got.Quant[m.Path], &found); err != nil || found != q {
				t.Errorf("%s is %s, want %+v", m.Path, got.Quant[m.Path], q)
			}
		}
		if n := len(got.Quant) - 3; n != want || want < 50 {
			t.Errorf("%d modules are named, %d quantized", n, want)
		}
		if got.Quant["model.layers.0.ffn.switch_mlp.gate_proj"] == nil || got.Quant["model.layers.0.ffn.gate"] != nil {
			t.Error("the experts are not named as the runtime names them, or the router is named")
		}
		if _, err := dsv4.ParseConfig(data); err != nil {
			t.Errorf("the bundle's config does not parse: %v", err)
		}
	}
	l := layout(t, params, "bf16", Options{Runtime: runtimeNamed(t, "mlx-lm")})
	data, err := l.Config(checkpointtest.TinyConfig())
	if err != nil || strings.Contains(string(data), "quantization") {
		t.Errorf("a bf16 bundle is called quantized: %v", err)
	}
	if _, err := l.Config([]byte("[]")); err == nil {
		t.Error("an array passes for a config")
	}
}

// Experts that lack a number or differ cannot be stacked.
func TestRefusedStacks(t *testing.T) {
	steps, err := recipe(t, "g32-n8-e4").Plan(tinyParams(t))
	if err != nil {
		t.Fatal(err)
	}
	find := func(name string) int {
		return slices.IndexFunc(steps, func(s variant.Step) bool { return s.Name == name })
	}
	lm := runtimeNamed(t, "mlx-lm")
	i := find("layers.3.ffn.experts.2.w1.weight")
	if _, err := NewLayout(slices.Delete(slices.Clone(steps), i, i+1), Options{Runtime: lm}); err == nil || !strings.Contains(err.Error(), "has expert 3 where expert 2 belongs") {
		t.Errorf("a missing expert: %v", err)
	}
	i = find("layers.3.ffn.experts.0.w1.weight")
	if _, err := NewLayout(slices.Delete(slices.Clone(steps), i, i+1), Options{Runtime: lm}); err == nil || !strings.Contains(err.Error(), "begins with expert 1") {
		t.Errorf("a missing first expert: %v", err)
	}
	other := slices.Clone(steps)
	other[find("layers.3.ffn.experts.5.w2.weight")].Format = mx.FP4
	for _, perExpert := range []bool{false, true} {
		if _, err := NewLayout(other, Options{Runtime: lm, PerExpert: perExpert}); err == nil || !strings.Contains(err.Error(), "the experts of a layer have one format") {
			t.Errorf("experts of two formats: %v", err)
		}
	}
}

// mlx-lm's count of the reference model's parameters, as it was seen to print
// it, leaves sinks and position biases out.
func TestTotalParameters(t *testing.T) {
	params := tinyParams(t)
	var all, held int64
	for _, p := range params {
		if p.MTP {
			continue
		}
		all += p.Elements()
		if strings.HasSuffix(p.Name, "attn_sink") || strings.HasSuffix(p.Name, ".ape") {
			held += p.Elements()
		}
	}
	if got := layout(t, params, "g32-n8-e4", Options{Runtime: runtimeNamed(t, "mlx-lm")}).TotalParameters(); got != all-held || held == 0 {
		t.Errorf("%d parameters, want %d", got, all-held)
	}
}
