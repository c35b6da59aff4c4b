package shard

import (
	"strings"
	"testing"

	"assay/engine/tensor"
)

func info(name string, dtype tensor.DType, shape ...int) tensor.Info {
	return tensor.Info{Name: name, DType: dtype, Shape: shape}
}

func TestHeader(t *testing.T) {
	f := File{Tensors: []tensor.Info{info("b", tensor.BF16, 2, 3), info(`a"<é`, tensor.U8), info("z", tensor.F32, 0)}}
	for _, c := range []struct {
		metadata map[string]string
		text     string
		bytes    int // with the length, a multiple of 64
	}{
		{map[string]string{"format": "mlx", "a": "1"}, `{"__metadata__":{"a":"1","format":"mlx"},` +
			`"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},` +
			`"a\"<é":{"dtype":"U8","shape":[],"data_offsets":[12,13]},` +
			`"z":{"dtype":"F32","shape":[0],"data_offsets":[13,13]}}`, 256},
		{nil, `{"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},` +
			`"a\"<é":{"dtype":"U8","shape":[],"data_offsets":[12,13]},` +
			`"z":{"dtype":"F32","shape":[0],"data_offsets":[13,13]}}`, 192},
	} {
		want := string([]byte{byte(c.bytes - 8), 0, 0, 0, 0, 0, 0, 0}) + c.text + strings.Repeat(" ", c.bytes-8-len(c.text))
		if got := string(f.Header(c.metadata)); got != want {
			t.Errorf("header is\n%q, want\n%q", got, want)
		}
	}
	if f.Bytes() != 13 {
		t.Errorf("%d bytes, want 13", f.Bytes())
	}
}

func TestCut(t *testing.T) {
	group := func(sizes ...int) []tensor.Info {
		var out []tensor.Info
		for _, n := range sizes {
			out = append(out, info("", tensor.U8, n))
		}
		return out
	}
	for _, c := range []struct {
		name   string
		groups [][]tensor.Info
		want   []int64 // bytes of each file
	}{
		{"none", nil, nil},
		{"empty groups", [][]tensor.Info{{}, nil}, nil},
		{"one", [][]tensor.Info{group(3)}, []int64{3}},
		{"just full", [][]tensor.Info{group(4, 2), group(4)}, []int64{10}},
		{"one too many", [][]tensor.Info{group(4, 2), group(4), group(1)}, []int64{10, 1}},
		{"a group stays whole", [][]tensor.Info{group(6), group(3, 2), group(5)}, []int64{6, 10}},
		{"oversize first", [][]tensor.Info{group(11), group(1)}, []int64{11, 1}},
		{"oversize between", [][]tensor.Info{group(1), group(20, 1), group(1)}, []int64{1, 21, 1}},
		{"nothing in a full one", [][]tensor.Info{group(10), group(0)}, []int64{10}},
	} {
		files := Cut(c.groups, 10)
		if len(files) != len(c.want) {
			t.Errorf("%s: %d files, want %d", c.name, len(files), len(c.want))
			continue
		}
		for i, f := range files {
			if f.Bytes() != c.want[i] || len(f.Tensors) == 0 {
				t.Errorf("%s: file %d has %d bytes, want %d", c.name, i, f.Bytes(), c.want[i])
			}
		}
	}
	if f := Cut([][]tensor.Info{group(1)}, 10); f[0].Name != "model-00001-of-00001.safetensors" {
		t.Errorf("the only file is called %s", f[0].Name)
	}
	if f := Cut([][]tensor.Info{group(9), group(9)}, 10); f[1].Name != "model-00002-of-00002.safetensors" {
		t.Errorf("the second of two is called %s", f[1].Name)
	}
}

func TestIndex(t *testing.T) {
	files := []File{{"model-00001-of-00002.safetensors", []tensor.Info{info("b<", tensor.F32, 2)}},
		{"model-00002-of-00002.safetensors", []tensor.Info{info("a", tensor.U8, 3)}}}
	want := `{
  "metadata": {
    "total_parameters": 5,
    "total_size": 11
  },
  "weight_map": {
    "a": "model-00002-of-00002.safetensors",
    "b<": "model-00001-of-00002.safetensors"
  }
}
`
	if got := string(Index(files, 5)); got != want {
		t.Errorf("index is\n%s, want\n%s", got, want)
	}
	if got := string(Index(files, 0)); got != strings.Replace(want, "    \"total_parameters\": 5,\n", "", 1) {
		t.Errorf("without parameters the index is\n%s", got)
	}
}
