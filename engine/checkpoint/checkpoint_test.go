package checkpoint_test

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"assay/engine/checkpoint"
	"assay/engine/checkpoint/checkpointtest"
	"assay/engine/dsv4"
	"assay/engine/tensor"
)

// tiny returns the parameters of the tiny model.
func tiny(t testing.TB) []tensor.Param {
	t.Helper()
	config, err := dsv4.ParseConfig(checkpointtest.TinyConfig())
	if err != nil {
		t.Fatal(err)
	}
	return dsv4.Params(config)
}

func digest(t *testing.T, c *checkpoint.Checkpoint) string {
	t.Helper()
	d, err := c.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// few are tensors of every kind of dtype, small enough to be told apart by eye.
func few() []tensor.Tensor {
	return []tensor.Tensor{
		{Info: tensor.Info{Name: "w.weight", DType: tensor.F8E4M3, Shape: []int{2, 3}}, Data: []byte{1, 2, 3, 4, 5, 6}},
		{Info: tensor.Info{Name: "w.scale", DType: tensor.F8E8M0, Shape: []int{1, 1}}, Data: []byte{127}},
		{Info: tensor.Info{Name: "b", DType: tensor.BF16, Shape: []int{2}}, Data: []byte{0x80, 0x3f, 0, 0x40}},
		{Info: tensor.Info{Name: "scalar", DType: tensor.F32, Shape: []int{}}, Data: []byte{0, 0, 0x80, 0x3f}},
	}
}

func files(t *testing.T, tensors []tensor.Tensor, shards int) map[string][]byte {
	t.Helper()
	f, err := checkpointtest.Files([]byte(`{"model_type":"x"}`), tensors, shards)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFolderIsReadAsWritten(t *testing.T) {
	want, err := checkpointtest.Tensors(tiny(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := checkpointtest.Write(dir, checkpointtest.TinyConfig(), tiny(t), 1, 3); err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	bytesOf := int64(0)
	for _, w := range want {
		got, err := c.Tensor(w.Name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := c.Info(w.Name)
		if err != nil || info.String() != w.Info.String() || got.String() != w.String() || !bytes.Equal(got.Data, w.Data) {
			t.Fatalf("%s comes back as %s, %v", w, got, err)
		}
		bytesOf += w.Bytes()
	}
	if names := c.Names(); len(names) != len(want) || !slices.IsSorted(names) {
		t.Errorf("%d names, sorted %v, want %d", len(names), slices.IsSorted(names), len(want))
	}
	if c.TotalBytes() != bytesOf || !bytes.Equal(c.Config(), checkpointtest.TinyConfig()) {
		t.Errorf("%d bytes, want %d; config %s", c.TotalBytes(), bytesOf, c.Config())
	}
}

// The digest is pinned, since records name it: made by Python's hashlib from the
// formula of Digest.
func TestDigestIsOfTheWeightsAndNotOfTheirFiles(t *testing.T) {
	c, err := checkpoint.New(files(t, few(), 1))
	if err != nil {
		t.Fatal(err)
	}
	want := digest(t, c)
	const pinned = "6390a1bf7f8f43dac9bd016cd1ecd52fc28dd2d4eb6cc76180fe7fa56633a320"
	if want != pinned {
		t.Errorf("digest %s, want %s", want, pinned)
	}
	for shards := 2; shards <= 4; shards++ {
		c, err := checkpoint.New(files(t, few(), shards))
		if err != nil {
			t.Fatal(err)
		}
		if got := digest(t, c); got != want {
			t.Errorf("%d shards: digest %s, want %s", shards, got, want)
		}
	}
	for name, change := range map[string]func([]tensor.Tensor){
		"a byte":         func(s []tensor.Tensor) { s[0].Data[5] ^= 1 },
		"a name":         func(s []tensor.Tensor) { s[2].Name = "c" },
		"a dtype":        func(s []tensor.Tensor) { s[2].DType = tensor.F16 },
		"a shape":        func(s []tensor.Tensor) { s[0].Shape = []int{3, 2} },
		"a dimension":    func(s []tensor.Tensor) { s[3].Shape = []int{1} },
		"tensor for two": func(s []tensor.Tensor) { s[0].Data, s[1].Data[0] = []byte{1, 2, 3, 4, 5, 127}, 6 },
	} {
		changed := few()
		change(changed)
		c, err := checkpoint.New(files(t, changed, 1))
		if err != nil {
			t.Fatal(err)
		}
		if digest(t, c) == want {
			t.Errorf("%s changed, and the digest did not", name)
		}
	}
	f := files(t, few(), 1)
	f["config.json"] = []byte(`{"model_type":"y"}`)
	f["tokenizer.json"] = []byte(`{}`)
	if c, err = checkpoint.New(f); err != nil || digest(t, c) == want {
		t.Errorf("the config changed, and the digest did not: %v", err)
	}
}

func TestOpenAndNewAgree(t *testing.T) {
	dir := t.TempDir()
	if err := checkpointtest.WriteTensors(dir, []byte(`{"model_type":"x"}`), few(), 2); err != nil {
		t.Fatal(err)
	}
	opened, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	made, err := checkpoint.New(files(t, few(), 2))
	if err != nil {
		t.Fatal(err)
	}
	if digest(t, opened) != digest(t, made) {
		t.Error("two digests of the same weights")
	}
}

// A checkpoint in memory is used where it lies.
func TestNewCopiesNothing(t *testing.T) {
	f := files(t, few(), 1)
	c, err := checkpoint.New(f)
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.Tensor("w.weight")
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(f["model.safetensors"], []byte{1, 2, 3, 4, 5, 6})
	if &w.Data[0] != &f["model.safetensors"][at] {
		t.Error("the tensor is a copy")
	}
	if cap(w.Data) != len(w.Data) {
		t.Errorf("capacity %d reaches into the next tensor", cap(w.Data))
	}
}

func TestOtherFiles(t *testing.T) {
	dir := t.TempDir()
	if err := checkpointtest.WriteTensors(dir, []byte(`{}`), few(), 1); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte("words"), 0o644); err != nil {
		t.Fatal(err)
	}
	opened, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	inMemory := files(t, few(), 1)
	inMemory["tokenizer.json"] = []byte("words")
	made, err := checkpoint.New(inMemory)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*checkpoint.Checkpoint{opened, made} {
		if got, err := c.File("tokenizer.json"); err != nil || string(got) != "words" {
			t.Errorf("tokenizer.json is %q, %v", got, err)
		}
		if _, err := c.File("vocab.json"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("error %v, want fs.ErrNotExist", err)
		}
		for _, name := range []string{"", ".", "..", "../x", "a/b", "/etc/passwd", `a\b`, "c:x", "a\x00"} {
			if _, err := c.File(name); err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%q: error %v, want a refusal", name, err)
			}
		}
	}
}

func TestClosedCheckpoint(t *testing.T) {
	dir := t.TempDir()
	if err := checkpointtest.WriteTensors(dir, []byte(`{}`), few(), 2); err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
	const want = `checkpoint: tensor "b" of a closed checkpoint`
	if _, err := c.Tensor("b"); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if _, err := c.Digest(); err == nil || err.Error() != want {
		t.Errorf("digest: error %v, want %s", err, want)
	}
}

// Broken folders, each from a good one of two shards; every error is one
// sentence that names the file.
func TestBrokenFolders(t *testing.T) {
	const (
		first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
		index         = "model.safetensors.index.json"
	)
	edit := func(name, old, new string) func(map[string][]byte) {
		return func(f map[string][]byte) { f[name] = bytes.Replace(f[name], []byte(old), []byte(new), 1) }
	}
	for name, c := range map[string]struct {
		breakIt func(map[string][]byte)
		want    string
	}{
		"no config": {func(f map[string][]byte) { delete(f, "config.json") }, "checkpoint: config.json: file does not exist"},
		"a shard missing": {func(f map[string][]byte) { delete(f, second) },
			"checkpoint: " + index + ": 1 of 2 shards are missing: " + second},
		"all shards missing": {func(f map[string][]byte) { delete(f, first); delete(f, second) },
			"checkpoint: " + index + ": 2 of 2 shards are missing: " + first + ", " + second},
		"no index": {func(f map[string][]byte) { delete(f, index) },
			"checkpoint: " + index + " is missing, and 2 files are called model*.safetensors, want 1"},
		"no weights": {func(f map[string][]byte) { delete(f, index); delete(f, first); delete(f, second) },
			"checkpoint: " + index + " is missing, and 0 files are called model*.safetensors, want 1"},
		"a shard cut short": {func(f map[string][]byte) { f[first] = f[first][:len(f[first])-1] },
			"checkpoint: " + first + `: tensor "w.weight" ends at byte 10 of 9: the file is cut short`},
		"a shard of nothing": {func(f map[string][]byte) { f[first] = nil }, "checkpoint: " + first + ": 0 bytes, want 8 for the header's length"},
		"another shape":      {edit(first, "[2,3]", "[2,4]"), "checkpoint: " + first + `: header: tensor "w.weight": 6 bytes for F8_E4M3 [2 4], want 8`},
		"shards exchanged": {func(f map[string][]byte) { f[first], f[second] = f[second], f[first] },
			"checkpoint: " + first + `: tensor "scalar", which ` + index + " places in " + second},
		"a shard twice": {func(f map[string][]byte) { f[second] = f[first] },
			"checkpoint: " + second + `: tensor "b", which ` + index + " places in " + first},
		"a tensor that the index leaves out": {edit(index, `"b": "`+first+`",`, ""),
			"checkpoint: " + first + `: tensor "b" is not in ` + index},
		"a tensor that only the index has": {edit(index, `"b": "`, `"a": "`+first+`", "b": "`),
			"checkpoint: " + first + `: no tensor "a", which ` + index + " places there"},
		"another size":      {edit(index, `"total_size": 15`, `"total_size": 16`), "checkpoint: " + index + ": total_size 16, but the tensors have 15 bytes"},
		"a size in words":   {edit(index, `"total_size": 15`, `"total_size": "15"`), "checkpoint: " + index + ": total_size: want a whole number"},
		"a fractional size": {edit(index, `"total_size": 15`, `"total_size": 15.0`), "checkpoint: " + index + ": total_size: 15.0, want a whole number of 0 or more"},
		"a path for a shard": {edit(index, `"b": "`+first, `"b": "../`+first),
			"checkpoint: " + index + `: weight_map: "b" is in "../` + first + `", want a file name that ends with .safetensors`},
		"no shard's name": {edit(index, `"b": "`+first, `"b": "config.json`),
			"checkpoint: " + index + `: weight_map: "b" is in "config.json", want a file name that ends with .safetensors`},
		"no text for a shard":      {edit(index, `"b": "`+first+`"`, `"b": 1`), "checkpoint: " + index + `: weight_map: "b": want a string`},
		"a tensor twice":           {edit(index, `"b": "`, `"b": "`+second+`", "b": "`), "checkpoint: " + index + `: name "b" is there twice`},
		"an index of nothing":      {func(f map[string][]byte) { f[index] = []byte(`{}`) }, "checkpoint: " + index + ": weight_map names no tensor"},
		"an index that is no JSON": {func(f map[string][]byte) { f[index] = []byte(`[]`) }, "checkpoint: " + index + ": want an object"},
		"an index and more":        {func(f map[string][]byte) { f[index] = append(f[index], "{}"...) }, "checkpoint: " + index + ": more than spaces after the closing }"},
	} {
		t.Run(name, func(t *testing.T) {
			f := maps.Clone(files(t, few(), 2))
			c.breakIt(f)
			if _, err := checkpoint.New(f); err == nil || err.Error() != c.want {
				t.Errorf("error %v\nwant  %s", err, c.want)
			}
			dir := t.TempDir()
			for name, data := range f {
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			onDisk := strings.Replace(c.want, "checkpoint: ", "checkpoint: "+dir+string(filepath.Separator), 1)
			onDisk = strings.Replace(onDisk, "file does not exist", "no such file or directory", 1)
			if _, err := checkpoint.Open(dir); err == nil || err.Error() != onDisk {
				t.Errorf("error %v\nwant  %s", err, onDisk)
			}
		})
	}
}

func TestManyMissingShardsAreCounted(t *testing.T) {
	fifth := few()[0]
	fifth.Name = "v.weight"
	f := files(t, append(few(), fifth), 5)
	for name := range f {
		if strings.HasSuffix(name, ".safetensors") {
			delete(f, name)
		}
	}
	const want = "5 shards are missing: model-00001-of-00005.safetensors, model-00002-of-00005.safetensors, model-00003-of-00005.safetensors and 2 more"
	if _, err := checkpoint.New(f); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestWhatIsNoFolder(t *testing.T) {
	dir := t.TempDir()
	if _, err := checkpoint.Open(filepath.Join(dir, "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
	if err := checkpointtest.WriteTensors(dir, []byte(`{}`), few(), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := checkpoint.Open(filepath.Join(dir, "model.safetensors")); err == nil || !strings.Contains(err.Error(), "is a file, want a folder") {
		t.Errorf("error %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "model.safetensors")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "model.safetensors"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := checkpoint.Open(dir); err == nil || !strings.Contains(err.Error(), "model.safetensors: not a regular file") {
		t.Errorf("error %v", err)
	}
}

// A checkpoint without FP8 is written by nlpodyssey/safetensors and read by
// both readers; the same values, as FP8's neighbours in one file, only by ours.
func TestPlainCheckpoint(t *testing.T) {
	params := tiny(t)
	for i := range params {
		params[i].Native = tensor.Plain
	}
	dir := t.TempDir()
	if err := checkpointtest.Write(dir, checkpointtest.TinyConfig(), params, 1, 2); err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if len(c.Names()) != len(params) {
		t.Errorf("%d tensors, want %d", len(c.Names()), len(params))
	}
	for _, p := range params {
		if info, err := c.Info(p.Name); err != nil || info.String() != p.Info.String() {
			t.Fatalf("%s comes back as %s, %v", p.Info, info, err)
		}
	}
}

func BenchmarkDigest(b *testing.B) {
	files, err := checkpointtest.Files(checkpointtest.TinyConfig(), mustTensors(b), 1)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c, err := checkpoint.New(files)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Digest(); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(c.TotalBytes())
	}
}

func mustTensors(b *testing.B) []tensor.Tensor {
	tensors, err := checkpointtest.Tensors(tiny(b), 1)
	if err != nil {
		b.Fatal(err)
	}
	return tensors
}
