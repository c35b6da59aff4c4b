package synth_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"assay/engine/checkpoint"
	"assay/engine/checkpoint/checkpointtest"
	"assay/engine/dsv4"
	"assay/engine/shard"
	"assay/engine/synth"
	"assay/engine/tensor"
)

// tiny is the specification's smallest model, cut into several files.
func tiny(t *testing.T) synth.Spec {
	t.Helper()
	config := checkpointtest.TinyConfig()
	c, err := dsv4.ParseConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return synth.Spec{Config: config, Params: dsv4.Params(c), Seed: 7, ShardBytes: 1 << 20,
		Files: map[string][]byte{"README.md": []byte("synthetic\n")}}
}

func write(t *testing.T, s synth.Spec) (dir string) {
	t.Helper()
	p, err := synth.New(s)
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "out")
	if err := p.Write(context.Background(), dir, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

func read(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, e := range entries {
		if out[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func same(t *testing.T, what string, got, want map[string][]byte) {
	t.Helper()
	for name := range want {
		if !bytes.Equal(got[name], want[name]) {
			t.Errorf("%s: %s has other bytes", what, name)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d files, want %d", what, len(got), len(want))
	}
}

func TestWrite(t *testing.T) {
	s := tiny(t)
	dir := write(t, s)
	p, err := synth.New(s)
	if err != nil {
		t.Fatal(err)
	}
	all := int64(0)
	for _, data := range read(t, dir) {
		all += int64(len(data))
	}
	_, total := dsv4.StoredBytes(s.Params)
	if p.FileBytes() != all || p.TensorBytes() != total || p.Shards() < 3 {
		t.Errorf("planned %d bytes in files, %d of tensors, %d shards; written %d, want %d of tensors and some shards",
			p.FileBytes(), p.TensorBytes(), p.Shards(), all, total)
	}
	ck, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	for _, want := range checkpointtest.Stored(s.Params) {
		if got, err := ck.Info(want.Name); err != nil || got.String() != want.String() {
			t.Errorf("%s is %s, %v", want, got, err)
		}
	}
	if _, err := dsv4.Source(ck, ck.Digest); err != nil {
		t.Error(err)
	}
	if err := p.Write(context.Background(), dir, nil); !errors.Is(err, shard.ErrFinished) {
		t.Errorf("written twice: %v, want ErrFinished", err)
	}
}

// TestGolden: the bytes that a seed gives are a promise, on any machine. If
// they change, the version of the draws must too.
func TestGolden(t *testing.T) {
	ck, err := checkpoint.Open(write(t, tiny(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	const want = "a5a74c75d30cb6bd69244ea0b852fad1057d475d643588c2124b5b3a5a4966a4"
	if got, err := ck.Digest(); err != nil || got != want {
		t.Errorf("digest %s, %v, want %s", got, err, want)
	}
}

// TestCores: neither cores nor interruptions change a byte.
func TestCores(t *testing.T) {
	want := read(t, write(t, tiny(t)))
	func() {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		same(t, "one core", read(t, write(t, tiny(t))), want)
	}()
	p, err := synth.New(tiny(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "out")
	for stops := 0; ; stops++ {
		ctx, cancel := context.WithCancel(context.Background())
		last, first := synth.Progress{}, int64(0)
		err := p.Write(ctx, dir, func(s synth.Progress) {
			if s.Done < last.Done && s.Stage == last.Stage || s.Done > s.Total {
				t.Errorf("progress %+v after %+v", s, last)
			}
			if s.Stage != last.Stage {
				first = s.Done
			}
			if last = s; s.Stage == "write" && s.Done-first > p.TensorBytes()/2 {
				cancel()
			}
		})
		cancel()
		if err == nil {
			if stops == 0 || last.Done != p.TensorBytes() {
				t.Errorf("stopped %d times, the last progress was %+v", stops, last)
			}
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if half, _ := filepath.Glob(filepath.Join(dir, "*.partial")); len(half) > 0 {
			t.Errorf("stopped, %v is left", half)
		}
	}
	same(t, "stopped", read(t, dir), want)
}

func TestSeeds(t *testing.T) {
	s := tiny(t)
	first, err := checkpoint.Open(write(t, s))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	s.Seed++
	second, err := checkpoint.Open(write(t, s))
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	for _, name := range first.Names() {
		a, err := first.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := second.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		// The scales of a small matrix may well be alike.
		if bytes.Equal(a.Data, b.Data) && !strings.HasSuffix(name, ".scale") {
			t.Errorf("%s is the same under another seed", name)
		}
	}
}

func TestRefused(t *testing.T) {
	info := func(d tensor.DType, shape ...int) tensor.Info {
		return tensor.Info{Name: "a.gate.b", DType: d, Shape: shape}
	}
	router := tensor.Param{Info: tensor.Info{Name: "a.gate.weight", DType: tensor.BF16, Shape: []int{4, 8}}, Class: tensor.Router}
	for _, c := range []struct {
		param tensor.Param
		says  string
	}{
		{tensor.Param{Info: info(tensor.I64, 9, 5), Class: tensor.Router}, "distinct experts, of which the router has 4"},
		{tensor.Param{Info: info(tensor.BF16, 4, 4), Class: "novel"}, "no law for a parameter of class novel"},
		{tensor.Param{Info: info(tensor.BF16, 4, 4, 4), Class: tensor.Norm}, "no law"},
		{tensor.Param{Info: info(tensor.F16, 4, 4), Class: tensor.Head}, "want BF16 or F32"},
		{tensor.Param{Info: info(tensor.BF16, 4, 33), Class: tensor.Head, Native: tensor.FP4}, "multiple of 32"},
		{tensor.Param{Info: info(tensor.BF16, 4), Class: tensor.Norm, Native: tensor.FP8}, "FP8 needs a matrix"},
		{tensor.Param{Info: info(tensor.BF16, 4, 4), Class: tensor.Head, Native: "fp2"}, `stored as "fp2"`},
		{tensor.Param{Info: info(tensor.BF16, 0, 4), Class: tensor.Head}, "an empty parameter"},
	} {
		s := synth.Spec{Params: []tensor.Param{router, c.param}, ShardBytes: 100}
		if _, err := synth.New(s); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.param.Info, err, c.says)
		}
	}
	if _, err := synth.New(synth.Spec{Params: []tensor.Param{router}}); err == nil {
		t.Error("shards of no bytes are taken")
	}
	s := synth.Spec{Params: []tensor.Param{router}, ShardBytes: 1, Files: map[string][]byte{"config.json": nil}}
	if _, err := synth.New(s); err == nil {
		t.Error("two config.json are taken")
	}
}

// TestTable: the experts of a token are distinct, and all are used.
func TestTable(t *testing.T) {
	s := tiny(t)
	ck, err := checkpoint.Open(write(t, s))
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	x, err := ck.Tensor("layers.1.ffn.gate.tid2eid")
	if err != nil {
		t.Fatal(err)
	}
	table, err := x.Int64s()
	if err != nil {
		t.Fatal(err)
	}
	used := map[int64]bool{}
	for row := range slices.Chunk(table, x.Shape[1]) {
		seen := map[int64]bool{}
		for _, e := range row {
			if e < 0 || e >= 8 || seen[e] {
				t.Fatalf("a token has the experts %d", row)
			}
			seen[e], used[e] = true, true
		}
	}
	if len(used) != 8 {
		t.Errorf("%d of 8 experts are used", len(used))
	}
}
