package inspect

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"assay/engine/affine"
	"assay/engine/checkpoint/checkpointtest"
	"assay/engine/tensor"
)

// wanted is a finding as a test looks at it.
type wanted struct {
	id       string
	severity Severity
	where    string // one of the places begins so
	found    string // part of what was found
}

// broken is a folder with one thing wrong.
type broken struct {
	name   string
	from   kind
	loader string
	source bool
	spoil  func(t *testing.T, f folder)
	want   []wanted
}

var (
	grid   = kind{recipe: "g32-n8-e4", runtime: "mlx-lm"}
	wide   = kind{recipe: "g64-n8-e4", runtime: "mlx-lm"}
	native = kind{recipe: "native", runtime: "mlx-lm"}
	apart  = kind{recipe: "g32-n8-e4", runtime: "vmlx", apart: true}
)

// Names of the grid bundle that tests spoil.
const (
	qb      = "model.layers.1.attn.wq_b"
	experts = "model.layers.2.ffn.switch_mlp.down_proj"
)

func editing(change func(all map[string]*tensor.Tensor)) func(*testing.T, folder) {
	return func(t *testing.T, f folder) { f.edit(t, change) }
}

func config(change func(q map[string]any)) func(*testing.T, folder) {
	return func(t *testing.T, f folder) { f.quantization(t, change) }
}

func one(id string, s Severity, where, found string) []wanted { return []wanted{{id, s, where, found}} }

var brokenFolders = slices.Concat(brokenFiles, brokenShapes, brokenConfigs, brokenWeights, brokenAssets)

// options are what verify is asked with.
func (b broken) options(t *testing.T, src *Source) (o Options) {
	t.Helper()
	if b.source {
		o.Source = src
	}
	if b.loader != "" {
		l, err := LoaderOf(b.loader)
		if err != nil {
			t.Fatal(err)
		}
		o.Loader = &l
	}
	return o
}

func TestBrokenFoldersAreCaught(t *testing.T) {
	src := sourceOf(t)
	ids := map[string]bool{"S16": true, "X09": true, "X10": true} // have tests of their own
	for _, b := range brokenFolders {
		for _, w := range b.want {
			ids[w.id] = true
		}
		t.Run(b.name, func(t *testing.T) {
			f := healthy(t, b.from)
			b.spoil(t, f)
			checkFindings(t, verify(t, f, b.options(t, src)), b.want)
		})
	}
	for _, c := range Checks {
		if !ids[c.ID] {
			t.Errorf("no broken folder is caught by %s: %s", c.ID, c.Title)
		}
	}
	if len(brokenFolders) < 20 {
		t.Errorf("%d broken folders, want 20 and more", len(brokenFolders))
	}
}

// checkFindings wants exactly these findings, each with a consequence and a fix.
func checkFindings(t *testing.T, r Result, want []wanted) {
	t.Helper()
	left := slices.Clone(want)
	for _, x := range r.Findings {
		if x.ID == "X09" && x.Severity == Note {
			continue // the source has no chat template either
		}
		i := slices.IndexFunc(left, func(w wanted) bool {
			return w.id == x.ID && w.severity == x.Severity && strings.Contains(x.Found, w.found) &&
				slices.ContainsFunc(x.Where, func(s string) bool { return strings.HasPrefix(s, w.where) })
		})
		if i < 0 {
			t.Errorf("unwanted: %s %s %s: found %s, want %s", x.Severity, x.ID, x.Subject(), x.Found, x.Wanted)
			continue
		}
		left = slices.Delete(left, i, i+1)
		if x.Wanted == "" || x.Consequence == "" || x.Fix == "" || x.Count < len(x.Where) {
			t.Errorf("%s says too little: %+v", x.ID, x)
		}
	}
	for _, w := range left {
		t.Errorf("not found: %s %s %s %s", w.severity, w.id, w.where, w.found)
	}
}

// shards returns the names of the shards.
func (f folder) shards() []string {
	return slices.DeleteFunc(sortedKeys(f), func(n string) bool { return !strings.HasSuffix(n, ".safetensors") })
}

var brokenFiles = []broken{
	{name: "a shard cut short", from: grid, spoil: func(t *testing.T, f folder) {
		n := f.shards()[0]
		f[n] = f[n][:len(f[n])-1]
	}, want: one("S01", Error, "model-", "end after byte")},
	{name: "a header of noise", from: grid, spoil: func(t *testing.T, f folder) {
		copy(f[f.shards()[0]][8:], "{\"a\":[[[[")
	}, want: one("S01", Error, "model-00001", "header")},
	{name: "metadata with a number", from: grid, spoil: func(t *testing.T, f folder) {
		n := f.shards()[0]
		f[n] = bytes.Replace(f[n], []byte(`"format":"mlx"`), []byte(`"format":12345`), 1)
	}, want: []wanted{{"S01", Error, "__metadata__", "want a string"}, {"S01", Note, "model-00001", "format"}}},
	{name: "a stale shard", from: grid, spoil: func(t *testing.T, f folder) {
		f["model-old.safetensors"] = file([]tensor.Tensor{{Info: tensor.Info{Name: "model.norm.weight", DType: tensor.BF16, Shape: []int{256}}, Data: bf16(256, 1)}}, map[string]string{"format": "mlx"})
	}, want: []wanted{{"S02", Error, "model-old", "does not name"}, {"S02", Error, "model.norm.weight", "in model-0"}}},
	{name: "a shard that is missing", from: grid, spoil: func(t *testing.T, f folder) { delete(f, f.shards()[1]) },
		want: one("S02", Error, "model-00002", "not there")},
	{name: "total_size of another build", from: grid, spoil: func(t *testing.T, f folder) {
		f.editJSON(t, indexName, func(all map[string]any) { all["metadata"].(map[string]any)["total_size"] = 1 })
	}, want: one("S03", Warning, indexName, "total_size 1")},
	{name: "biases that the index leaves out", from: grid, spoil: func(t *testing.T, f folder) {
		f.editJSON(t, indexName, func(all map[string]any) {
			w := all["weight_map"].(map[string]any)
			for n := range w {
				if strings.HasSuffix(n, biasesSuffix) {
					delete(w, n)
				}
			}
		})
	}, want: one("X01", Warning, "lm_head.biases", "leaves out")},
}

// bf16 returns n times v.
func bf16(n int, v float32) []byte {
	var out []byte
	for range n {
		out = binary.LittleEndian.AppendUint16(out, tensor.BF16FromFloat32(v))
	}
	return out
}

var brokenShapes = []broken{
	{name: "biases of another shape", from: grid, spoil: editing(func(all map[string]*tensor.Tensor) {
		b := all[qb+biasesSuffix]
		b.Shape = []int{b.Shape[0] / 2, b.Shape[1] * 2}
	}), want: one("S04", Error, qb, "biases")},
	{name: "groups of 16", from: grid, spoil: editing(func(all map[string]*tensor.Tensor) {
		for _, suffix := range []string{scalesSuffix, biasesSuffix} {
			b := all[qb+suffix]
			b.Shape[1] *= 2
			b.Data = append(b.Data, b.Data...)
		}
	}), want: one("S05", Error, qb, "8 bits, group size 16")},
	{name: "no biases", from: grid, spoil: editing(func(all map[string]*tensor.Tensor) { delete(all, qb+biasesSuffix) }),
		want: one("S07", Error, qb, "without biases")},
	{name: "F16 scales", from: grid, spoil: editing(func(all map[string]*tensor.Tensor) {
		for _, suffix := range []string{scalesSuffix, biasesSuffix} {
			b := all[qb+suffix]
			b.DType = tensor.F16
			words(b.Data, func(_ int, v uint16) uint16 { return tensor.F16FromFloat32(tensor.BF16ToFloat32(v)) })
		}
	}), source: true, want: one("S11", Warning, qb, "scales F16")},
	{name: "F32 scales", from: grid, spoil: editing(func(all map[string]*tensor.Tensor) {
		for _, suffix := range []string{scalesSuffix, biasesSuffix} {
			b := all[qb+suffix]
			v, _ := b.Float32s() // of BF16: no error
			b.DType, b.Data = tensor.F32, nil
			for _, x := range v {
				b.Data = binary.LittleEndian.AppendUint32(b.Data, math.Float32bits(x))
			}
		}
	}), source: true, want: one("S11", Warning, qb, "scales F32")},
	{name: "experts flattened", from: grid, spoil: editing(func(all map[string]*tensor.Tensor) {
		for _, suffix := range []string{weightSuffix, scalesSuffix, biasesSuffix} {
			b := all[experts+suffix]
			b.Shape = []int{b.Shape[0] * b.Shape[1], b.Shape[2]}
		}
	}), want: one("S12", Error, experts, "one after another")},
	{name: "an expert too few", from: grid, spoil: editing(func(all map[string]*tensor.Tensor) {
		for _, suffix := range []string{weightSuffix, scalesSuffix, biasesSuffix} {
			b := all[experts+suffix]
			b.Data = b.Data[:len(b.Data)/8*7]
			b.Shape[0] = 7
		}
	}), want: one("S12", Error, experts, "7 experts")},
	{name: "experts apart, one missing", from: apart, spoil: editing(func(all map[string]*tensor.Tensor) {
		for _, suffix := range []string{weightSuffix, scalesSuffix, biasesSuffix} {
			delete(all, "layers.3.ffn.experts.5.w2"+suffix)
		}
	}), want: one("X06", Error, "layers.3.ffn.experts.5.w2", "no tensor")},
	{name: "a norm missing", from: grid, spoil: editing(func(all map[string]*tensor.Tensor) { delete(all, "model.norm.weight") }),
		want: one("S13", Error, "model.norm", "no tensor")},
	{name: "a tensor too many", from: grid, spoil: editing(func(all map[string]*tensor.Tensor) {
		all["rotary.inv_freq"] = &tensor.Tensor{Info: tensor.Info{Name: "rotary.inv_freq", DType: tensor.BF16, Shape: []int{4}}, Data: bf16(4, 1)}
	}), want: one("S13", Error, "rotary.inv_freq", "of no parameter")},
	{name: "one name in another spelling", from: grid, spoil: editing(func(all map[string]*tensor.Tensor) {
		norm := *all["model.norm.weight"]
		norm.Name = "norm.weight"
		all["norm.weight"] = &norm
		delete(all, "model.norm.weight")
	}), want: []wanted{{"S13", Error, "model.norm", "no tensor"}, {"S13", Error, "norm.weight", "a name of upstream"}}},
	{name: "control tensors in BF16", from: grid, spoil: editing(bf16Control("model.layers.0.attn_hc.fn")),
		want: one("S14", Warning, "model.layers.0.attn_hc.fn", "BF16")},
	{name: "control tensors in BF16, for vMLX", from: kind{recipe: "g32-n8-e4", runtime: "vmlx"}, spoil: editing(bf16Control("model.layers.0.hc_attn_fn")),
		want: one("S14", Error, "model.layers.0.hc_attn_fn", "BF16")},
	{name: "three bits, floor(32/3) codes a word", from: kind{recipe: "g64-n6-e3", runtime: "mlx-lm"}, spoil: editing(func(all map[string]*tensor.Tensor) {
		w := all[experts+weightSuffix]
		cols := w.Shape[2] * 32 / 3
		w.Shape[2] = (cols + 9) / 10
		w.Data = make([]byte, w.Bytes())
	}), want: one("X02", Error, experts, "floor(32/3)")},
}

func bf16Control(name string) func(all map[string]*tensor.Tensor) {
	return func(all map[string]*tensor.Tensor) {
		c := all[name]
		v, _ := c.Float32s() // of F32: no error
		c.DType, c.Data = tensor.BF16, nil
		for _, x := range v {
			c.Data = binary.LittleEndian.AppendUint16(c.Data, tensor.BF16FromFloat32(x))
		}
	}
}

// entryOf changes one override.
func entryOf(name string, change func(e map[string]any)) func(*testing.T, folder) {
	return config(func(q map[string]any) { change(q[name].(map[string]any)) })
}

var brokenConfigs = []broken{
	{name: "a wrong override", from: grid, spoil: entryOf(qb, func(e map[string]any) { e["bits"] = 4 }),
		want: one("S06", Error, qb, "override affine 4-bit g32")},
	{name: "an override of false", from: grid, spoil: config(func(q map[string]any) { q[qb] = false }),
		want: one("S06", Error, qb, "says not quantized")},
	{name: "overrides by the name on disk", from: apart, spoil: config(func(q map[string]any) {
		delete(q, "model.embed")
		q["embed"] = map[string]any{"group_size": 32, "bits": 8, "mode": "affine"}
	}), want: one("S06", Error, "model.embed", "one for the name on disk")},
	{name: "no override, for all of mlx-lm", from: grid, spoil: config(func(q map[string]any) { delete(q, qb) }),
		want: one("S06", Warning, qb, "no override")},
	{name: "no override, for 0.31.3", from: grid, loader: "mlx-lm-0.31.3", spoil: config(func(q map[string]any) { delete(q, qb) }),
		want: one("S06", Error, qb, "no override")},
	{name: "no override, for 0.32.0 and later", from: grid, loader: "mlx-lm", spoil: config(func(q map[string]any) { delete(q, qb) }),
		want: one("S06", Warning, qb, "no override")},
	{name: "affine entries for mxfp4", from: native, spoil: entryOf(experts, func(e map[string]any) { e["mode"] = "affine" }),
		want: one("S07", Error, experts, "override affine 4-bit g32")},
	{name: "mxfp4 with groups of 64", from: native, spoil: entryOf(experts, func(e map[string]any) { e["group_size"] = 64 }),
		want: one("S08", Error, experts, "mxfp4 4-bit g64")},
	{name: "a group size of null", from: wide, spoil: entryOf(qb, func(e map[string]any) { e["group_size"] = nil }),
		want: one("S09", Warning, qb, "group_size is null")},
	{name: "an unknown key in an override", from: grid, spoil: entryOf(qb, func(e map[string]any) { e["desc_act"] = true }),
		want: one("S09", Error, qb, "desc_act")},
	{name: "a dead override", from: grid, spoil: config(func(q map[string]any) {
		q["model.layers.1.self_attn.q_proj"] = map[string]any{"group_size": 32, "bits": 8, "mode": "affine"}
	}), want: one("S09", Warning, "model.layers.1.self_attn.q_proj", "there is not")},
	{name: "globals left out", from: grid, spoil: config(func(q map[string]any) { delete(q, "bits") }),
		want: one("S09", Error, quantizationKey, "no bits")},
	{name: "groups of 64 for JANG", from: kind{recipe: "g64-n8-e4", runtime: "vmlx"}, spoil: func(_ *testing.T, f folder) { f["jang_config.json"] = []byte(`{"format":"JANG"}`) },
		want: []wanted{{"S10", Error, "model.layers.0.mlp.switch_mlp.gate_proj", "takes it for affine 8-bit g32"}}},
	{name: "mxfp4 for JANG", from: kind{recipe: "native", runtime: "vmlx"}, spoil: func(_ *testing.T, f folder) { f["jang_config.json"] = []byte(`{}`) },
		want: one("S10", Error, "model.layers.0.self_attn.wq_a", "takes it for mxfp4 8-bit g32")},
	{name: "mxfp8 beside affine for JANG", from: kind{recipe: "native", runtime: "vmlx"}, spoil: func(t *testing.T, f folder) {
		f["jang_config.json"] = []byte(`{}`)
		f.quantization(t, func(q map[string]any) { q["mode"] = "affine" })
	}, want: []wanted{{"S10", Error, "model.layers.0.mlp.switch_mlp.gate_proj", "takes it for affine 4-bit g32"}, {"S10", Error, "model.layers.0.self_attn.wq_a", "takes it for affine 8-bit g32"}}},
	{name: "a JANG bundle as published: F16 scales, overrides by the name on disk", from: apart, spoil: jang,
		want: []wanted{{"S06", Warning, "model.embed_tokens", "one for the name on disk"}, {"S06", Warning, "language_model.model.embed_tokens", "one for the name on disk"},
			{"S11", Warning, "embed", "scales F16"}}},
	{name: "upstream's quantization_config alone", from: grid, spoil: func(t *testing.T, f folder) {
		f.editJSON(t, configName, func(all map[string]any) {
			delete(all, quantizationKey)
			all[twinKey] = map[string]any{"quant_method": "fp8"}
		})
	}, want: one("S15", Error, configName, `"fp8"`)},
	{name: "upstream's quantization_config left over", from: grid, spoil: func(t *testing.T, f folder) {
		f.editJSON(t, configName, func(all map[string]any) { all[twinKey] = map[string]any{"quant_method": "fp8"} })
	}, want: one("S15", Warning, configName, `"fp8" beside`)},
	{name: "another model", from: grid, spoil: func(t *testing.T, f folder) {
		f.editJSON(t, configName, func(all map[string]any) { all["model_type"] = "llama" })
	}, want: one("S15", Error, configName, `model_type "llama"`)},
	{name: "names of another runtime", from: grid, loader: "vmlx", spoil: func(*testing.T, folder) {},
		want: one("S13", Error, "all tensors", "names of mlx-lm")},
}

// jang makes of a bundle what JANG's tools publish.
func jang(t *testing.T, f folder) {
	f["jang_config.json"] = []byte(`{"format":"jang","quantization":{"block_size":32}}`)
	f.quantization(t, func(q map[string]any) {
		names := map[string]string{"model.embed": "embed", "lm_head": "head"}
		for name := range q {
			if rest, ok := strings.CutPrefix(name, "model.layers."); ok && !strings.Contains(name, "switch_mlp") {
				rest = strings.NewReplacer("self_attn", "attn", "mlp.shared_experts.gate_proj", "ffn.shared_experts.w1",
					"mlp.shared_experts.down_proj", "ffn.shared_experts.w2", "mlp.shared_experts.up_proj", "ffn.shared_experts.w3").Replace(rest)
				names[name] = "layers." + rest
			}
		}
		for name, disk := range names {
			q[disk] = q[name]
		}
		for name := range q {
			if strings.HasPrefix(name, "model.") || name == "lm_head" {
				delete(q, name)
			}
		}
	})
	f.edit(t, func(all map[string]*tensor.Tensor) {
		for name, b := range all {
			if strings.HasSuffix(name, scalesSuffix) || strings.HasSuffix(name, biasesSuffix) {
				b.DType = tensor.F16
				words(b.Data, func(_ int, v uint16) uint16 { return tensor.F16FromFloat32(tensor.BF16ToFloat32(v)) })
			}
		}
	})
}

var brokenAssets = []broken{
	{name: "no tokenizer", from: grid, spoil: func(_ *testing.T, f folder) { delete(f, tokenizerName) }, want: one("X07", Error, tokenizerName, "missing")},
	{name: "other ends in generation_config", from: grid, spoil: func(_ *testing.T, f folder) { f[generationName] = []byte(`{"eos_token_id":7}`) },
		want: []wanted{{"X08", Warning, generationName, "config.json says [1], generation_config.json says [7]"}, {"X08", Warning, tokenizerConfig, "generation_config.json says [7], tokenizer_config.json says [1]"}}},
	{name: "a template that ends turns otherwise", from: grid, spoil: func(_ *testing.T, f folder) {
		f[templateName] = []byte("{{ m.content }}<|im_end|>")
	}, want: one("X08", Warning, templateName, `"<|im_end|>", id 7`)},
}

// A chat template is asked for only where the source has one.
func TestChatTemplate(t *testing.T) {
	src := sourceOf(t)
	checkFindings(t, verify(t, healthy(t, grid), Options{Source: src}), nil)
	src.assets.template = "{{ m }}"
	checkFindings(t, verify(t, healthy(t, grid), Options{Source: src}), one("X09", Warning, templateName, "none"))
	src.assets.tokenizer = false
	f := healthy(t, grid)
	delete(f, tokenizerName)
	f[templateName] = []byte("{{ m }}")
	checkFindings(t, verify(t, f, Options{Source: src}), one("X07", Note, tokenizerName, "missing"))
}

// A matrix of 1280 columns at 4 bits misses the fast kernel; at 8 bits it has it.
func TestSlowShapes(t *testing.T) {
	config := bytes.Replace(checkpointtest.TinyConfig(), []byte(`"hidden_size": 256`), []byte(`"hidden_size": 1280`), 1)
	params, err := dsv4Params(config)
	if err != nil {
		t.Fatal(err)
	}
	p := affine.Params{Bits: 4, GroupSize: 32}
	var list []tensor.Info
	for _, q := range params {
		info := q.Info
		if q.Class == tensor.Head {
			info.DType, info.Shape = tensor.U32, []int{512, p.WordsPerRow(1280)}
			for _, suffix := range []string{scalesSuffix, biasesSuffix} {
				list = append(list, tensor.Info{Name: "head" + suffix, DType: tensor.BF16, Shape: []int{512, 40}})
			}
		}
		list = append(list, info)
	}
	config = bytes.Replace(config, []byte(`"quantization_config"`), []byte(`"quantization": {"group_size": 32, "bits": 4, "mode": "affine"}, "was"`), 1)
	dir := t.TempDir()
	if err := checkpointtest.WriteSparse(dir, config, list, 2); err != nil {
		t.Fatal(err)
	}
	f, err := Open(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	r := Verify(f, Options{Params: dsv4Params})
	checkFindings(t, r, []wanted{{"S16", Warning, "head", "[512, 1280] at 4 bits"}, {"S15", Note, configName, ""}, {"S01", Note, "model-", "pt"}, {"X07", Error, tokenizerName, ""}})
}
