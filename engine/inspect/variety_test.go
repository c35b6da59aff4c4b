package inspect

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"assay/engine/tensor"
)

// rename gives every tensor another name.
func rename(to func(name string) string) func(*testing.T, folder) {
	return editing(func(all map[string]*tensor.Tensor) {
		for _, name := range sortedKeys(all) {
			t := all[name]
			delete(all, name)
			t.Name = to(name)
			all[t.Name] = t
		}
	})
}

// renameShards moves files, and the index with them.
func renameShards(t *testing.T, f folder, to func(i int, name string) string) {
	for i, name := range f.shards() {
		data := f[name]
		delete(f, name)
		f[to(i, name)] = data
	}
	f.reindex(t)
}

// variety is what published folders look like, beyond the twenty kinds of
// damage: each is told for what it is.
var variety = []broken{
	{name: "upstream's names under model.", from: apart, spoil: rename(func(n string) string { return "model." + n }),
		want: one("S13", Error, "all tensors", "names of upstream under model.")},
	{name: "mlx-lm's names under language_model. are mlx-vlm's", from: kind{recipe: "g32-n8-e4", runtime: "mlx-vlm"}, loader: "mlx-vlm",
		spoil: func(*testing.T, folder) {}},
	{name: "a runtime's names without model.", from: grid, spoil: rename(func(n string) string { return strings.TrimPrefix(n, "model.") }),
		want: one("S13", Error, "all tensors", "mlx-lm without model.")},
	{name: "wo_a as MultiLinear", from: grid, source: true, spoil: editing(func(all map[string]*tensor.Tensor) {
		for _, suffix := range []string{weightSuffix, scalesSuffix, biasesSuffix} {
			b := all["model.layers.0.attn.wo_a"+suffix]
			b.Shape = []int{2, b.Shape[0] / 2, b.Shape[1]}
		}
	}), want: one("S13", Warning, "model.layers.0.attn.wo_a", "rows in 2 parts")},
	{name: "wo_a in parts by number", from: grid, spoil: editing(func(all map[string]*tensor.Tensor) {
		for _, suffix := range []string{weightSuffix, scalesSuffix, biasesSuffix} {
			whole := all["model.layers.0.attn.wo_a"+suffix]
			delete(all, whole.Name)
			for i := range 2 {
				part := tensor.Tensor{Info: whole.Info, Data: whole.Data[i*len(whole.Data)/2 : (i+1)*len(whole.Data)/2]}
				part.Name = fmt.Sprintf("model.layers.0.attn.wo_a.%d%s", i, suffix)
				part.Shape = []int{whole.Shape[0] / 2, whole.Shape[1]}
				all[part.Name] = &part
			}
		}
	}), want: []wanted{{"S13", Error, "model.layers.0.attn.wo_a", "no tensor"}, {"S13", Error, "model.layers.0.attn.wo_a.0", "a part of a matrix"}}},
	{name: "a JANGTQ codebook", from: grid, spoil: editing(func(all map[string]*tensor.Tensor) {
		all["lm_head.tq_packed"] = &tensor.Tensor{Info: tensor.Info{Name: "lm_head.tq_packed", DType: tensor.U8, Shape: []int{4}}, Data: make([]byte, 4)}
	}), want: one("S13", Error, "lm_head.tq_packed", "JANGTQ")},
	{name: "a drafter under mtp. is dropped", from: grid, spoil: editing(func(all map[string]*tensor.Tensor) {
		all["mtp.2.markov_head.weight"] = &tensor.Tensor{Info: tensor.Info{Name: "mtp.2.markov_head.weight", DType: tensor.BF16, Shape: []int{4}}, Data: bf16(4, 1)}
	})},
	{name: "part of an MTP block", from: kind{recipe: "g64-n8-e4", runtime: "mlx-lm", mtp: true}, spoil: editing(func(all map[string]*tensor.Tensor) { delete(all, "mtp.0.enorm.weight") }),
		want: one("S13", Warning, "mtp.0.enorm", "no tensor")},
	{name: "norms in F16", from: grid, source: true, spoil: editing(func(all map[string]*tensor.Tensor) {
		n := all["model.norm.weight"]
		n.DType = tensor.F16
		words(n.Data, func(_ int, v uint16) uint16 { return tensor.F16FromFloat32(tensor.BF16ToFloat32(v)) })
	}), want: one("S11", Warning, "model.norm", "weights F16")},
	{name: "scales and biases of two types", from: grid, source: true, spoil: editing(func(all map[string]*tensor.Tensor) {
		b := all[qb+biasesSuffix]
		b.DType = tensor.F16
		words(b.Data, func(_ int, v uint16) uint16 { return tensor.F16FromFloat32(tensor.BF16ToFloat32(v)) })
	}), want: one("S11", Warning, qb, "scales BF16, biases F16")},
	{name: "MX scales with biases", from: native, spoil: editing(func(all map[string]*tensor.Tensor) {
		b := *all[experts+scalesSuffix]
		b.Name = experts + biasesSuffix
		all[b.Name] = &b
	}), want: one("S07", Error, experts, "U8 scales and biases")},
	{name: "nvfp4 is a mode of MLX", from: native, loader: "mlx-lm", source: true, spoil: func(t *testing.T, f folder) {
		f.edit(t, func(all map[string]*tensor.Tensor) {
			s := all[experts+scalesSuffix]
			s.Shape[2] *= 2
			s.Data = append(s.Data, s.Data...)
		})
		f.quantization(t, func(q map[string]any) {
			q[experts] = map[string]any{"group_size": 16, "bits": 4, "mode": "nvfp4"}
		})
	}, want: one("S17", Note, experts, "does not decode")},
	{name: "signed scales", from: grid, spoil: editing(func(all map[string]*tensor.Tensor) { all[qb+scalesSuffix].DType = tensor.I16 }),
		want: one("S07", Error, qb, "scales I16")},
	{name: "a packed weight of another type", from: grid, spoil: editing(func(all map[string]*tensor.Tensor) { all[qb+weightSuffix].DType = tensor.I32 }),
		want: one("S04", Error, qb, "weight I32")},
	{name: "scales without their weight", from: grid, spoil: editing(func(all map[string]*tensor.Tensor) { delete(all, qb+weightSuffix) }),
		want: one("S04", Error, qb, "no .weight beside")},
	{name: "a table of floats", from: grid, spoil: editing(func(all map[string]*tensor.Tensor) {
		b := all["model.layers.0.ffn.gate.tid2eid"]
		b.DType, b.Data = tensor.F32, make([]byte, len(b.Data)/2)
	}), want: one("S13", Error, "model.layers.0.ffn.gate.tid2eid", "F32")},
	{name: "a table in I32 is one too", from: grid, spoil: editing(func(all map[string]*tensor.Tensor) {
		b := all["model.layers.0.ffn.gate.tid2eid"]
		b.DType, b.Data = tensor.I32, make([]byte, len(b.Data)/2)
	})},
	{name: "experts of a layer in two formats", from: apart, spoil: func(t *testing.T, f folder) {
		other := healthy(t, kind{recipe: "g64-n8-e4", runtime: "vmlx", apart: true})
		from := map[string]tensor.Tensor{}
		other.edit(t, func(all map[string]*tensor.Tensor) {
			for name, b := range all {
				from[name] = *b
			}
		})
		f.edit(t, func(all map[string]*tensor.Tensor) {
			for _, suffix := range []string{weightSuffix, scalesSuffix, biasesSuffix} {
				*all["layers.4.ffn.experts.3.w1"+suffix] = from["layers.4.ffn.experts.3.w1"+suffix]
			}
		})
	}, want: one("S12", Error, "layers.4.ffn.experts.3.w1", "affine 4-bit g64, but layers.4.ffn.experts.0.w1 is affine 4-bit g32")},
	{name: "files that mlx-lm does not see", from: grid, spoil: func(t *testing.T, f folder) {
		renameShards(t, f, func(i int, _ string) string { return fmt.Sprintf("weights-%d.safetensors", i) })
	}, want: one("S02", Error, "weights-0.safetensors", "does not match")},
	{name: "a file that JANG does not see", from: kind{recipe: "g32-n8-e4", runtime: "vmlx"}, spoil: func(t *testing.T, f folder) {
		f["jang_config.json"] = []byte(`{"weight_format":"mxtq"}`)
		renameShards(t, f, func(i int, name string) string { return strings.Replace(name, "model-", "model", 1) })
	}, want: one("S02", Error, "model00001", "without a hyphen")},
	{name: "jang_config.json of another format changes nothing", from: kind{recipe: "g64-n8-e4", runtime: "vmlx"},
		spoil: func(_ *testing.T, f folder) { f["jang_config.json"] = []byte(`{"weight_format":"mlx"}`) }},
	{name: "a tensor in another file than the index says", from: grid, spoil: func(t *testing.T, f folder) {
		f.editJSON(t, indexName, func(all map[string]any) {
			all["weight_map"].(map[string]any)["model.norm.weight"] = f.shards()[1]
		})
	}, want: one("S03", Warning, "model.norm.weight", "another file")},
	{name: "a name that only the index has", from: grid, spoil: func(t *testing.T, f folder) {
		f.editJSON(t, indexName, func(all map[string]any) { all["weight_map"].(map[string]any)["x"] = f.shards()[0] })
	}, want: one("S03", Warning, "x", "in no file")},
	{name: "a twin of another build", from: grid, spoil: func(t *testing.T, f folder) {
		f.editJSON(t, configName, func(all map[string]any) { all[twinKey] = map[string]any{"bits": 8} })
	}, want: one("S15", Warning, configName, "differs from")},
	{name: "upstream's block over bf16", from: kind{recipe: "bf16", runtime: "mlx-lm"}, spoil: func(t *testing.T, f folder) {
		f.editJSON(t, configName, func(all map[string]any) { all[twinKey] = map[string]any{"quant_method": "fp8"} })
	}, want: one("S15", Warning, configName, "not so stored")},
	{name: "no config", from: grid, spoil: func(_ *testing.T, f folder) { delete(f, configName) }, want: one("S15", Error, configName, "missing")},
	{name: "an override of true", from: grid, spoil: config(func(q map[string]any) { q[qb] = true }),
		want: one("S06", Error, qb, "true, which means the globals")},
	{name: "an override of true that is right", from: grid, spoil: config(func(q map[string]any) { q[experts] = true })},
	{name: "an override without its mode", from: grid, spoil: entryOf(qb, func(e map[string]any) { delete(e, "mode") }),
		want: one("S09", Note, qb, "no mode")},
	{name: "an override of text", from: grid, spoil: config(func(q map[string]any) { q[qb] = "8bit" }),
		want: one("S09", Error, qb, `the value "8bit"`)},
	{name: "numbers that JANG adds to the globals", from: grid, spoil: config(func(q map[string]any) { q["routed_expert_bits"] = 4 })},
	{name: "a list for quantization", from: grid, spoil: func(t *testing.T, f folder) {
		f.editJSON(t, configName, func(all map[string]any) { all[quantizationKey], all[twinKey] = []int{4}, []int{4} })
	}, want: one("S09", Error, quantizationKey, "no object")},
}

func TestVariety(t *testing.T) {
	src := sourceOf(t)
	for _, b := range slices.Concat(variety, odd, oddFiles, oddWeights) {
		t.Run(b.name, func(t *testing.T) {
			f := healthy(t, b.from)
			b.spoil(t, f)
			checkFindings(t, verify(t, f, b.options(t, src)), b.want)
		})
	}
}

// What one runtime reads otherwise than another is a warning that names the
// runtimes it breaks; a verdict stands for each.
func TestVerdictsDifferByVersion(t *testing.T) {
	f := healthy(t, grid)
	f.quantization(t, func(q map[string]any) { delete(q, qb) })
	r := verify(t, f, Options{})
	if len(r.Findings) != 1 || !slices.Equal(r.Findings[0].Runtimes, []string{"mlx-lm-0.31.3"}) || r.Worst() != Warning {
		t.Errorf("findings %+v", r.Findings)
	}
	want := map[string]bool{"mlx-lm-0.31.3": false, "mlx-lm": true, "mlx-vlm": false, "vmlx": false}
	for _, v := range r.Verdicts {
		if v.Loads != want[v.Runtime] || v.Text == "" {
			t.Errorf("%s: %v, %s", v.Runtime, v.Loads, v.Text)
		}
	}
	if len(r.Verdicts) != len(want) {
		t.Errorf("verdicts %v", r.Verdicts)
	}
}

// JANG's own loader would misread MLX's default of 4 bits and groups of 64;
// a folder that does not ask for it is told so in the verdict alone.
func TestVerdictTellsOfGuesses(t *testing.T) {
	r := verify(t, healthy(t, kind{recipe: "g64-n8-e4", runtime: "vmlx"}), Options{})
	last := r.Verdicts[len(r.Verdicts)-1]
	if len(r.Findings) != 0 || !last.Loads || !strings.Contains(last.Text, "would take 21 modules for others (4/64 as 8/32)") {
		t.Errorf("%+v, findings %v", last, r.Findings)
	}
}
