package inspect

import (
	"io/fs"
	"testing"
	"testing/fstest"

	"assay/engine/checkpoint/checkpointtest"
	"assay/engine/tensor"
)

// one small model, for fuzzing: a matrix, a stack of experts and a control
// tensor.
func smallParams(config []byte) ([]tensor.Param, error) {
	p := func(name string, class tensor.Class, d tensor.DType, layer int, shape ...int) tensor.Param {
		return tensor.Param{Info: tensor.Info{Name: name, DType: d, Shape: shape}, Class: class, Layer: layer, Reads: [2]int64{1, 1}}
	}
	return []tensor.Param{
		p("head.weight", tensor.Head, tensor.BF16, -1, 8, 64), p("norm.weight", tensor.Norm, tensor.BF16, -1, 64),
		p("layers.0.ffn.experts.0.w1.weight", tensor.RoutedExpert, tensor.BF16, 0, 8, 64),
		p("layers.0.ffn.experts.1.w1.weight", tensor.RoutedExpert, tensor.BF16, 0, 8, 64),
		p("layers.0.attn.attn_sink", tensor.Control, tensor.F32, 0, 4),
	}, nil
}

// Nothing that stands in a folder makes Verify, Report or Fix panic, whatever
// they find; and what Fix writes has an index that Verify has no more to say of.
func FuzzFolder(f *testing.F) {
	head := `{"lm_head.weight":{"dtype":"U32","shape":[8,8],"data_offsets":[0,256]},` +
		`"lm_head.scales":{"dtype":"BF16","shape":[8,2],"data_offsets":[256,288]},"lm_head.biases":{"dtype":"BF16","shape":[8,2],"data_offsets":[288,320]},` +
		`"model.norm.weight":{"dtype":"BF16","shape":[64],"data_offsets":[320,448]}}`
	config := `{"quantization":{"group_size":32,"bits":4,"mode":"affine","lm_head":{"group_size":32,"bits":4,"mode":"affine"},"x.y":null},"eos_token_id":[1]}`
	index := `{"metadata":{"total_size":448},"weight_map":{"lm_head.weight":"model.safetensors","lm_head.scales":"model.safetensors"}}`
	f.Add(checkpointtest.Raw(head, make([]byte, 448)), config, index, `{"format":"jang"}`, `{"added_tokens":[{"id":1,"content":"e"}]}`)
	f.Add(checkpointtest.Raw(head, make([]byte, 100)), `{}`, `[]`, `{}`, `{"model":{}}`)
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 127}, `{"quantization":true}`, `{"weight_map":{"a":1}}`, ``, `[`)
	f.Add(checkpointtest.Raw(`{"a":{"dtype":[[[`, nil), `{"quantization":{"bits":"4","lm_head":{"bits":1e99}}}`, ``, `null`, ``)
	f.Add(checkpointtest.Raw(`{"__metadata__":7,"norm.weight":{"dtype":"F4","shape":[0,1099511627776],"data_offsets":[0,0]},"norm.weight":3}`, nil), `{"quantization":null}`, `{}`, ``, ``)
	f.Add(checkpointtest.Raw(`{"head.weight":{"dtype":"F8_E4M3","shape":[8,64],"data_offsets":[0,512]},"head.scale":{"dtype":"F8_E8M0","shape":[1,1],"data_offsets":[512,513]}}`, make([]byte, 513)),
		`{"quantization_config":{"quant_method":"fp8"}}`, ``, ``, ``)
	f.Fuzz(func(t *testing.T, shard []byte, config, index, jang, tokenizer string) {
		files := fstest.MapFS{"model.safetensors": {Data: shard}, "dir": {Mode: fs.ModeDir}}
		for name, text := range map[string]string{configName: config, indexName: index, "jang_config.json": jang, tokenizerName: tokenizer} {
			if text != "" {
				files[name] = &fstest.MapFile{Data: []byte(text)}
			}
		}
		folder, err := Open(files)
		if err != nil {
			t.Fatal(err)
		}
		o := Options{Params: smallParams, Sample: Sample{Bytes: 1 << 20, Seed: 1}}
		Verify(folder, o)
		folder.Report(smallParams, o.Sample)
		fixed, err := Fix(folder, o)
		if err != nil {
			return
		}
		again, err := Open(Overlay(files, fixed))
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range Verify(again, o).Findings {
			for _, y := range fixed {
				if y.Name == indexName && (x.ID == "S03" || x.ID == "X01") {
					t.Errorf("the index that was written: %+v", x)
				}
			}
		}
	})
}
