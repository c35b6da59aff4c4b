package inspect

import (
	"bytes"
	"strings"
	"testing"
)

const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n"

// consolidate writes all tensors into one file and leaves the index as it was.
func consolidate(t *testing.T, f folder) {
	var whole stored
	for _, n := range f.shards() {
		whole.tensors = append(whole.tensors, takeApart(t, f[n])...)
		delete(f, n)
	}
	f["model.safetensors"] = file(whole.tensors, map[string]string{"format": "mlx"})
}

// text replaces part of a file.
func text(name, old, new string) func(*testing.T, folder) {
	return func(t *testing.T, f folder) {
		if !bytes.Contains(f[name], []byte(old)) {
			t.Fatalf("%s has no %q", name, old)
		}
		f[name] = bytes.Replace(f[name], []byte(old), []byte(new), 1)
	}
}

// indexed changes the weight_map.
func indexed(tensor string, file any) func(*testing.T, folder) {
	return func(t *testing.T, f folder) {
		f.editJSON(t, indexName, func(all map[string]any) { all["weight_map"].(map[string]any)[tensor] = file })
	}
}

// instead puts other bytes for a file.
func instead(name, data string) func(*testing.T, folder) {
	return func(_ *testing.T, f folder) { f[name] = []byte(data) }
}

const eosID = `"eos_token_id": 1`

// oddFiles are files that are less, or less broken, than they seem.
var oddFiles = []broken{
	{name: "the index of other files", from: grid, spoil: consolidate, want: []wanted{
		{"S03", Warning, "model.safetensors", "does not name"}, {"S03", Warning, "model-00001", "names a file that is not there"}}},
	{name: "an index that points elsewhere", from: grid, spoil: indexed("model.norm.weight", "../x.safetensors"),
		want: one("S03", Warning, "../x.safetensors", "names a file that is not there")},
	{name: "an index of a file that is gone in part", from: grid, spoil: indexed("x", "x.safetensors"),
		want: one("S02", Error, "x.safetensors", "names a file that is not there")},
	{name: "a number in the index", from: grid, spoil: indexed("model.norm.weight", 5),
		want: one("S03", Warning, indexName, "number where an object of texts belongs")},
	{name: "a size of text", from: grid, spoil: func(t *testing.T, f folder) {
		f.editJSON(t, indexName, func(all map[string]any) { all["metadata"].(map[string]any)["total_size"] = "abc" })
	}, want: one("S03", Warning, indexName, `total_size "abc"`)},
	{name: "half a shard", from: apart, spoil: func(_ *testing.T, f folder) {
		n := f.shards()[0]
		f[n] = f[n][:len(f[n])/2]
	}, want: one("S01", Error, "model-00001", "tensors end after byte")},
	{name: "a pointer for a shard", from: grid, spoil: func(_ *testing.T, f folder) { f[f.shards()[0]] = []byte(pointer) },
		want: one("S01", Error, "model-00001", "a git-LFS pointer")},
	{name: "a pointer for the config", from: grid, spoil: instead(configName, pointer), want: one("S15", Error, configName, "a git-LFS pointer")},
	{name: "a pointer for the index", from: grid, spoil: instead(indexName, pointer), want: one("S03", Warning, indexName, "a git-LFS pointer")},
	{name: "a pointer for the tokenizer", from: grid, spoil: instead(tokenizerName, pointer), want: one("X07", Error, tokenizerName, "a git-LFS pointer")},
	{name: "an empty tokenizer", from: grid, spoil: instead(tokenizerName, ""), want: one("X07", Error, tokenizerName, "ends early")},
	{name: "half a tokenizer", from: grid, spoil: instead(tokenizerName, beside[tokenizerName][:100]), want: one("X07", Error, tokenizerName, "ends early")},
	{name: "a tokenizer without a model", from: grid, spoil: instead(tokenizerName, `{"version":"1.0"}`), want: one("X07", Error, tokenizerName, `no "model"`)},
	{name: "an end of text", from: grid, spoil: text(configName, eosID, `"eos_token_id": "1"`), want: one("X08", Warning, configName, `eos_token_id is "1"`)},
	{name: "NaN in the config", from: grid, spoil: text(configName, eosID, `"x": "NaN", "y": [NaN, -Infinity], `+eosID),
		want: one("S15", Warning, configName, "NaN or Infinity")},
	{name: "quantization twice", from: grid, spoil: text(configName, eosID, `"quantization": {"group_size": 64, "bits": 4}, `+eosID),
		want: one("S09", Warning, configName, `"quantization" is there twice`)},
}

// The index of other files is written anew, and nothing else.
func TestStaleIndexIsRepaired(t *testing.T) {
	f := healthy(t, grid)
	consolidate(t, f)
	opened, err := Open(f.fs())
	if err != nil {
		t.Fatal(err)
	}
	fixed, err := Fix(opened, Options{Params: dsv4Params})
	if err != nil || len(fixed) != 1 || fixed[0].Name != indexName {
		t.Fatalf("%d files (%v), want the index", len(fixed), err)
	}
	f[indexName] = fixed[0].Data
	checkFindings(t, verify(t, f, Options{}), nil)
}

// Words that are no numbers are found outside of texts only.
func TestWithoutNaN(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":NaN,"b":[Infinity,-Infinity]}`: `{"a":null,"b":[null,null]}`,
		`{"NaN":"\"NaN","b":"\\"}`:           `{"NaN":"\"NaN","b":"\\"}`,
		`"\`:                                 `"\`,
	} {
		got, found := withoutNaN([]byte(in))
		if string(got) != want || found != strings.Contains(in, ":NaN") {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
}
