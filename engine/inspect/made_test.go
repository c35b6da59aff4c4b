package inspect

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"assay/engine/bundle"
	"assay/engine/checkpoint"
	"assay/engine/checkpoint/checkpointtest"
	"assay/engine/dsv4"
	"assay/engine/reference"
	"assay/engine/shard"
	"assay/engine/tensor"
	"assay/engine/variant"
)

func dsv4Params(config []byte) ([]tensor.Param, error) {
	c, err := dsv4.ParseConfig(config)
	if err != nil {
		return nil, err
	}
	return dsv4.Params(c), nil
}

// The files that stand beside the weights of every folder made here.
var beside = map[string]string{
	tokenizerName: `{"version":"1.0","added_tokens":[{"id":0,"content":"<bos>","special":true},{"id":1,"content":"<eos>","special":true},` +
		`{"id":7,"content":"<|im_end|>","special":true}],"model":{"vocab":{"a":2}}}`,
	tokenizerConfig: `{"bos_token":"<bos>","eos_token":{"content":"<eos>"}}`,
	generationName:  `{"eos_token_id":[1,128803,128804]}`,
}

// folder is the files of a folder, to be spoiled.
type folder map[string][]byte

func (f folder) fs() fs.FS {
	out := fstest.MapFS{}
	for name, data := range f {
		out[name] = &fstest.MapFile{Data: data}
	}
	return out
}

// source is the tiny model as upstream stores it, once for all tests.
var source = sync.OnceValues(func() (folder, error) {
	params, err := dsv4Params(checkpointtest.TinyConfig())
	if err != nil {
		return nil, err
	}
	tensors, err := checkpointtest.Tensors(params, 5)
	if err != nil {
		return nil, err
	}
	files, err := checkpointtest.Files(checkpointtest.TinyConfig(), tensors, 2)
	for name, text := range beside {
		files[name] = []byte(text)
	}
	return files, err
})

func upstreamFolder(t testing.TB) folder {
	t.Helper()
	f, err := source()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func sourceOf(t testing.TB) *Source {
	t.Helper()
	ck, err := checkpoint.New(upstreamFolder(t))
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSource(ck)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// kind is a way to build a bundle.
type kind struct {
	recipe, runtime string
	apart, mtp      bool
}

var built = map[kind]folder{}

// healthy returns a bundle of the tiny model, a copy of its own.
func healthy(t testing.TB, k kind) folder {
	t.Helper()
	made, ok := built[k]
	if !ok {
		made = build(t, k)
		built[k] = made
	}
	out := folder{}
	for name, data := range made {
		out[name] = slices.Clone(data)
	}
	return out
}

func build(t testing.TB, k kind) folder {
	t.Helper()
	ck, err := checkpoint.New(upstreamFolder(t))
	if err != nil {
		t.Fatal(err)
	}
	ref, err := reference.New(ck)
	if err != nil {
		t.Fatal(err)
	}
	params, err := dsv4Params(ck.Config())
	if err != nil {
		t.Fatal(err)
	}
	r, err := variant.Parse(k.recipe)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := r.Plan(params)
	if err != nil {
		t.Fatal(err)
	}
	names, err := bundle.RuntimeOf(k.runtime)
	if err != nil {
		t.Fatal(err)
	}
	layout, err := bundle.NewLayout(steps, bundle.Options{Runtime: names, PerExpert: k.apart, MTP: k.mtp})
	if err != nil {
		t.Fatal(err)
	}
	job := &bundle.Job{Dir: t.TempDir(), Layout: layout, Weights: variant.NewMaker(ref, steps, k.recipe), ShardBytes: 4 << 20}
	job.Files = func(map[string]string) ([]bundle.File, error) {
		config, err := layout.Config(ck.Config())
		files := []bundle.File{layout.Index(layout.Files(job.ShardBytes)), {Name: configName, Data: config}}
		for _, name := range sortedKeys(beside) {
			files = append(files, bundle.File{Name: name, Data: []byte(beside[name])})
		}
		return files, err
	}
	if err := job.Build(context.Background()); err != nil {
		t.Fatal(err)
	}
	return readFolder(t, job.Dir)
}

func readFolder(t testing.TB, dir string) folder {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := folder{}
	for _, e := range list {
		if out[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// stored is one file taken apart.
type stored struct {
	metadata map[string]string
	tensors  []tensor.Tensor
}

// edit takes every shard apart, lets change do what it likes with all tensors,
// and writes shards and index anew.
func (f folder) edit(t testing.TB, change func(all map[string]*tensor.Tensor)) {
	t.Helper()
	files := map[string]*stored{}
	for name, data := range f {
		if !strings.HasSuffix(name, ".safetensors") {
			continue
		}
		h, err := checkpoint.ParseHeader(data)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &stored{h.Metadata, takeApart(t, data)}
	}
	all := map[string]*tensor.Tensor{}
	at := map[*tensor.Tensor]string{}
	for name, s := range files {
		for i := range s.tensors {
			all[s.tensors[i].Name] = &s.tensors[i]
			at[&s.tensors[i]] = name
		}
	}
	change(all)
	lists := map[string][]tensor.Tensor{}
	for _, key := range sortedKeys(all) {
		name, old := at[all[key]]
		if !old {
			name = sortedKeys(files)[0]
		}
		lists[name] = append(lists[name], *all[key])
	}
	for name, s := range files {
		f[name] = file(lists[name], s.metadata)
	}
	f.reindex(t)
}

// takeApart returns the tensors of a file.
func takeApart(t testing.TB, data []byte) []tensor.Tensor {
	t.Helper()
	h, err := checkpoint.ParseHeader(data)
	if err != nil {
		t.Fatal(err)
	}
	var out []tensor.Tensor
	for _, e := range h.Entries {
		out = append(out, tensor.Tensor{Info: e.Info, Data: slices.Clone(h.Data(data, e))})
	}
	return out
}

// file writes a safetensors file.
func file(list []tensor.Tensor, metadata map[string]string) []byte {
	var infos []tensor.Info
	for _, t := range list {
		infos = append(infos, t.Info)
	}
	out := shard.File{Tensors: infos}.Header(metadata)
	for _, t := range list {
		out = append(out, t.Data...)
	}
	return out
}

// reindex writes the index from the headers.
func (f folder) reindex(t testing.TB) {
	t.Helper()
	var files []shard.File
	for _, name := range sortedKeys(f) {
		if strings.HasSuffix(name, ".safetensors") {
			h, err := checkpoint.ParseHeader(f[name])
			if err != nil {
				t.Fatal(err)
			}
			s := shard.File{Name: name}
			for _, e := range h.Entries {
				s.Tensors = append(s.Tensors, e.Info)
			}
			files = append(files, s)
		}
	}
	f[indexName] = shard.Index(files, 1)
}

// editJSON changes an object in a file.
func (f folder) editJSON(t testing.TB, name string, change func(all map[string]any)) {
	t.Helper()
	all := map[string]any{}
	if err := json.Unmarshal(f[name], &all); err != nil {
		t.Fatal(err)
	}
	change(all)
	data, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	f[name] = data
}

// quantization changes both keys of config.json.
func (f folder) quantization(t testing.TB, change func(q map[string]any)) {
	t.Helper()
	f.editJSON(t, configName, func(all map[string]any) {
		change(all[quantizationKey].(map[string]any))
		all[twinKey] = all[quantizationKey]
	})
}

// words lets change rewrite each little-endian uint16 of data.
func words(data []byte, change func(i int, v uint16) uint16) {
	for i := 0; i+1 < len(data); i += 2 {
		binary.LittleEndian.PutUint16(data[i:], change(i/2, binary.LittleEndian.Uint16(data[i:])))
	}
}

// verify looks at a folder with every weight sampled that it would sample.
func verify(t testing.TB, f folder, o Options) Result {
	t.Helper()
	opened, err := Open(f.fs())
	if err != nil {
		t.Fatal(err)
	}
	o.Params = dsv4Params
	if o.Sample == (Sample{}) {
		o.Sample = Sample{Bytes: 1 << 30, Seed: 1}
	}
	return Verify(opened, o)
}
