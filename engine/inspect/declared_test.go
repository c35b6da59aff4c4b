package inspect

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"assay/engine/bundle"
)

// An entry takes its mode's defaults for what it leaves out, never the globals,
// and every departure from whole numbers and a mode is told.
// Source: ml-explore/mlx python/mlx/nn/layers/quantized.py, QuantizedLinear.
func TestEntriesAreReadAsMLXReadsThem(t *testing.T) {
	for text, want := range map[string]struct {
		kind   settingKind
		quant  bundle.Quant
		faults string
		fatal  bool
	}{
		`{"group_size":32,"bits":8,"mode":"affine"}`:            {object, bundle.Quant{GroupSize: 32, Bits: 8, Mode: "affine"}, "", false},
		`{"group_size":32,"bits":4}`:                            {object, bundle.Quant{GroupSize: 32, Bits: 4, Mode: "affine"}, "no mode", false},
		`{"bits":8,"mode":"affine"}`:                            {object, bundle.Quant{GroupSize: 64, Bits: 8, Mode: "affine"}, "no group_size, which is then 64", false},
		`{"mode":"mxfp8"}`:                                      {object, bundle.Quant{GroupSize: 32, Bits: 8, Mode: "mxfp8"}, "no group_size, which is then 32; no bits, which is then 8", false},
		`{"group_size":null,"bits":4,"mode":"affine"}`:          {object, bundle.Quant{GroupSize: 64, Bits: 4, Mode: "affine"}, "group_size is null", false},
		`{"group_size":"32","bits":4,"mode":"affine"}`:          {object, bundle.Quant{GroupSize: 64, Bits: 4, Mode: "affine"}, `group_size is "32"`, true},
		`{"group_size":32.5,"bits":4,"mode":"affine"}`:          {object, bundle.Quant{GroupSize: 64, Bits: 4, Mode: "affine"}, "group_size is 32.5", true},
		`{"group_size":32,"bits":4,"mode":"q4_0"}`:              {object, bundle.Quant{GroupSize: 32, Bits: 4, Mode: "q4_0"}, `mode "q4_0"`, true},
		`{"group_size":32,"bits":4,"mode":1}`:                   {object, bundle.Quant{GroupSize: 32, Bits: 4, Mode: "affine"}, "mode is 1", true},
		`{"group_size":32,"bits":4,"mode":"affine","sym":true}`: {object, bundle.Quant{GroupSize: 32, Bits: 4, Mode: "affine"}, `the key "sym"`, true},
		`{"group_size":16,"bits":4,"mode":"nvfp4","quantize_input":true,"global_scale":null}`: {object,
			bundle.Quant{GroupSize: 16, Bits: 4, Mode: "nvfp4"}, "", false},
		`false`:  {kind: off},
		` null `: {kind: off},
		`true`:   {kind: on},
		`{}`:     {kind: off}, // Python takes it for false, as the following
		`[]`:     {kind: off},
		`""`:     {kind: off},
		`0.0`:    {kind: off},
		`4`:      {kind: malformed, faults: "the value 4", fatal: true},
		`[1]`:    {kind: malformed, faults: "the value [1]", fatal: true},
	} {
		s := readSetting(json.RawMessage(text), false)
		got := strings.Join(s.faults, "; ")
		if s.kind != want.kind || s.quant != want.quant || s.fatal != want.fatal || !strings.HasPrefix(got, want.faults) || want.faults == "" && got != "" {
			t.Errorf("%s is %+v, want %+v", text, s, want)
		}
	}
	// Among the globals group_size and bits must be there.
	for text, absent := range map[string]bool{`{"group_size":32,"bits":4}`: false, `{"group_size":32}`: true, `{}`: true, `{"group_size":32,"bits":null}`: false} {
		if s := readSetting(json.RawMessage(text), true); s.absent != absent || s.kind != object {
			t.Errorf("globals %s: %+v", text, s)
		}
	}
}

// readFiles reads from memory as a folder does.
func readFiles(files map[string]string) func(string) ([]byte, error) {
	return folderOf(files).readPresent
}

func folderOf(files map[string]string) *Folder {
	f := folder{}
	for name, text := range files {
		f[name] = []byte(text)
	}
	return &Folder{fsys: f.fs(), files: sortedKeys(f)}
}

// The ends of a sequence are read in every form in which files have them; sets
// of which one holds the other agree.
func TestEndsOfASequence(t *testing.T) {
	tokens := `{"added_tokens":[{"id":1,"content":"<eos>","special":true},{"id":9,"content":"<|eot|>","special":true},{"id":8,"content":"<|end_header|>","special":true}]}`
	for _, c := range []struct {
		name, config, generation, tokenizer, template string
		findings                                      int
	}{
		{"a number everywhere", `1`, `{"eos_token_id":1}`, `{"eos_token":"<eos>"}`, "", 0},
		{"a superset, as runtimes have it", `[1,128803,128804]`, `{"eos_token_id":1}`, `{"eos_token":{"content":"<eos>"}}`, "", 0},
		{"another number", `2`, `{"eos_token_id":1}`, `{}`, "", 1},
		{"sets that overlap only", `[1,2]`, `{"eos_token_id":[1,3]}`, `{}`, "", 1},
		{"the tokenizer's own", `2`, `{}`, `{"eos_token":"<eos>"}`, "", 1},
		{"a token that is none", `1`, `{}`, `{"eos_token":"<nothing>"}`, "", 0},
		{"no number at all", `null`, `{"eos_token_id":null}`, `[]`, "{{ x }}<|eot|>", 0},
		{"a template with the end", `1`, `{}`, `{}`, "{{ x }}<eos>", 0},
		{"a template with eos_token", `1`, `{}`, `{}`, "{{ x + eos_token }}<|eot|>", 0},
		{"a template with another end", `1`, `{}`, `{}`, "{{ x }}<|eot|>", 1},
		{"a template with that end among the ids", `[1,9]`, `{}`, `{}`, "{{ x }}<|eot|>", 0},
		{"the end of a header is none", `1`, `{}`, `{}`, "<|end_header|>{{ x }}", 0},
	} {
		files := map[string]string{tokenizerName: tokens, generationName: c.generation, tokenizerConfig: c.tokenizer}
		if c.template != "" {
			files[templateName] = c.template
		}
		check := &check{}
		check.checkEOS(readAssets(map[string]json.RawMessage{"eos_token_id": json.RawMessage(c.config)}, readFiles(files)))
		if len(check.list) != c.findings {
			t.Errorf("%s: %+v, want %d findings", c.name, check.sorted(), c.findings)
		}
	}
}

// A template may stand in tokenizer_config.json, as text or as a list of them.
func TestTemplates(t *testing.T) {
	for text, want := range map[string]string{
		`{"chat_template":"{{ x }}"}`: "{{ x }}", `{"chat_template":null}`: "", `{}`: "",
		`{"chat_template":[{"name":"default","template":"{{ x }}"}]}`: `[{"name":"default","template":"{{ x }}"}]`,
	} {
		if a := readAssets(nil, readFiles(map[string]string{tokenizerConfig: text})); a.template != want {
			t.Errorf("%s has the template %q, want %q", text, a.template, want)
		}
	}
	a := readAssets(nil, readFiles(map[string]string{templateName: "{{ y }}", tokenizerConfig: `{"chat_template":"{{ x }}"}`, "tokenizer.model": ""}))
	if a.template != "{{ y }}" || !a.tokenizer {
		t.Errorf("the file of its own comes first: %+v", a)
	}
}

// The patch leaves a config alone only if it has an entry for every triple, and
// each agrees with its guess; else entries are rebuilt by the name on disk.
func TestPatchRebuildsTheConfig(t *testing.T) {
	names := func(f folder) []string {
		opened, err := Open(f.fs())
		if err != nil {
			t.Fatal(err)
		}
		c := &check{f: opened, o: Options{Params: dsv4Params}}
		c.bindModel()
		c.declared, _ = readDeclared(opened.config)
		return sortedKeys(c.patched())
	}
	stacked := names(healthy(t, kind{recipe: "g32-n8-e4", runtime: "vmlx"}))
	if !slices.Contains(stacked, "model.layers.0.mlp.switch_mlp.gate_proj") || slices.ContainsFunc(stacked, func(n string) bool { return strings.HasPrefix(n, "layers.") }) {
		t.Errorf("a config that agrees is rebuilt: %v", stacked[:3])
	}
	rebuilt := names(healthy(t, apart))
	if !slices.Contains(rebuilt, "layers.0.ffn.experts.0.w1") || slices.ContainsFunc(rebuilt, func(n string) bool { return strings.HasPrefix(n, "model.") }) {
		t.Errorf("a config for other names is left alone: %v", rebuilt[:3])
	}
}
