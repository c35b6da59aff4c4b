package shard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"assay/engine/checkpoint"
	"assay/engine/tensor"
)

var (
	testMeta  = map[string]string{"format": "mlx", "key": "k1"}
	testFiles = Cut([][]tensor.Info{
		{info("a.weight", tensor.U32, 3, 5), info("a.scales", tensor.BF16, 3)},
		{info("b", tensor.F32, 7)},
		{info("c", tensor.F8E4M3, 40), info("empty", tensor.F32, 0)},
		{info("d", tensor.U8, 90)},
	}, 100)
)

// content is what byte i of a tensor is to be.
func content(t tensor.Info) []byte {
	out := make([]byte, t.Bytes())
	for i := range out {
		out[i] = byte(int(t.Name[0]) + 7*i)
	}
	return out
}

// fill writes a file, two tensors turn by turn.
func fill(w *Writer, f File) error {
	for half := range 2 {
		for k, t := range f.Tensors {
			data := content(t)
			cut := len(data) / 3
			if half == 0 {
				data = data[:cut]
			} else {
				data = data[cut:]
			}
			if err := w.Append(k, data); err != nil {
				return err
			}
		}
	}
	return nil
}

// build is a whole run, as a command makes it: each Commit on another
// goroutine, while the next file is written.
func build(d disk, dir string) (map[string]string, error) {
	b, err := open(d, dir, "k1", testFiles, testMeta)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	pending, err := b.Pending(context.Background(), nil)
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	errs := make([]error, len(pending))
	for n, i := range pending {
		w, err := b.Shard(i)
		if err == nil {
			err = fill(w, testFiles[i])
		}
		if err != nil {
			wg.Wait()
			return nil, err
		}
		wg.Wait()
		wg.Go(func() { errs[n] = w.Commit() })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if err := b.Put(tensor.IndexFile, Index(testFiles, 0)); err != nil {
		return nil, err
	}
	if err := b.Put("config.json", []byte("{}")); err != nil {
		return nil, err
	}
	digests := b.Digests()
	return digests, b.Finish()
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

var finishedNames = []string{"config.json", "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
	"model-00003-of-00003.safetensors", tensor.IndexFile}

// checkFolder errs unless dir is the finished build.
func checkFolder(t *testing.T, dir string) {
	t.Helper()
	if got := names(t, dir); !slices.Equal(got, finishedNames) {
		t.Errorf("the folder holds %v, want %v", got, finishedNames)
	}
	ck, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	for _, f := range testFiles {
		for _, want := range f.Tensors {
			got, err := ck.Tensor(want.Name)
			if err != nil {
				t.Fatal(err)
			}
			if got.DType != want.DType || !slices.Equal(got.Shape, want.Shape) || !bytes.Equal(got.Data, content(want)) {
				t.Errorf("%s came back as %s, or with other bytes", want, got.Info)
			}
		}
	}
}

func TestBuild(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	digests, err := build(disk{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	checkFolder(t, dir)
	for _, f := range testFiles {
		got, err := Digest(context.Background(), filepath.Join(dir, f.Name))
		if err != nil || got != digests[f.Name] {
			t.Errorf("%s: digest %s, %v, want %s", f.Name, got, err, digests[f.Name])
		}
		info, err := os.Stat(filepath.Join(dir, f.Name))
		if err != nil || info.Size() != f.Bytes()+int64(len(f.Header(testMeta))) || info.Mode().Perm()&0o444 != 0o444 {
			t.Errorf("%s: %v, %v", f.Name, info, err)
		}
	}
	// By Python's hashlib: SHA-256(header, SHA-256(the 90 bytes)).
	if got, want := digests["model-00003-of-00003.safetensors"], "d6e4bb750b587ad73b79eeeab66152a79dc7dc86f32ddbbe57f6e0da7ff0add0"; got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	if _, err := build(disk{}, dir); !errors.Is(err, ErrFinished) {
		t.Errorf("built again: %v, want ErrFinished", err)
	}
	checkFolder(t, dir)
}

var errKilled = errors.New("killed")

// TestKilled ends a build before each of its operations on the file system in
// turn, after which nothing is done any more, and lets another finish it.
func TestKilled(t *testing.T) {
	want, err := build(disk{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	for at := 0; ; at++ {
		dir := filepath.Join(t.TempDir(), "out")
		n, last := 0, ""
		_, err := build(disk{fault: func(op, path string) error {
			mu.Lock()
			defer mu.Unlock()
			n++
			if n > at {
				if last == "" {
					last = op + " " + filepath.Base(path)
				}
				return errKilled
			}
			return nil
		}}, dir)
		if last == "" {
			if err != nil {
				t.Fatal(err)
			}
			if at < 50 {
				t.Errorf("a build is %d operations, want more", at)
			}
			return
		}
		if weights, _ := filepath.Glob(filepath.Join(dir, "model*.safetensors")); err == nil {
			t.Errorf("killed before %s: no error", last)
		} else {
			for _, name := range weights {
				if got, err := Digest(context.Background(), name); err != nil || got != want[filepath.Base(name)] {
					t.Errorf("killed before %s: %s is there, but not whole: %v", last, name, err)
				}
			}
		}
		got, err := build(disk{}, dir)
		if errors.Is(err, ErrFinished) {
			got, err = want, nil
		}
		if err != nil || !maps.Equal(got, want) {
			t.Fatalf("killed before %s: the next build: %v, digests %v, want %v", last, err, got, want)
		}
		checkFolder(t, dir)
	}
}

// TestFailing lets one operation fail, and the build clean up after it.
func TestFailing(t *testing.T) {
	for _, c := range []struct {
		op, file string
		cause    error
		says     string
	}{
		{"write", ".model-00002-of-00003.safetensors.partial", syscall.ENOSPC, "disk is full: %d bytes of the file were still to be written, 5 are free"},
		{"sync", ".model-00002-of-00003.safetensors.partial", syscall.EDQUOT, "disk is full"},
		{"create", ".model-00002-of-00003.safetensors.partial", syscall.EROFS, "cannot be written to: read-only file system"},
		{"rename", "model-00002-of-00003.safetensors", syscall.EACCES, "cannot be written to: permission denied"},
		{"write", ".config.json.partial", syscall.ENOSPC, "config.json: the disk is full: 2 bytes"},
		{"write", ".build.json.partial", syscall.ENOSPC, ".build.json: the disk is full"},
		{"lock", ".build.lock", syscall.EROFS, "cannot be written to"},
		{"mkdir", "out", syscall.EROFS, "out: the folder cannot be written to: read-only file system"},
	} {
		dir := filepath.Join(t.TempDir(), "out")
		opened := false
		d := disk{
			fault: func(op, path string) error {
				if op == c.op && filepath.Base(path) == c.file {
					return c.cause
				}
				return nil
			},
			free: func(string) (int64, error) {
				if !opened {
					opened = true
					return 1 << 20, nil
				}
				return 5, nil
			},
		}
		_, err := build(d, dir)
		says := c.says
		if strings.Contains(says, "%d") {
			says = fmt.Sprintf(says, testFiles[1].Bytes()+int64(len(testFiles[1].Header(testMeta))))
		}
		if !errors.Is(err, c.cause) || !strings.Contains(err.Error(), says) || strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s of %s: %v, want %q", c.op, c.file, err, says)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, ".*"+partial)); len(left) > 0 {
			t.Errorf("%s of %s: %v is left", c.op, c.file, left)
		}
		if _, err := build(disk{}, dir); err != nil {
			t.Errorf("%s of %s: the next build: %v", c.op, c.file, err)
		}
	}
}

// begun returns a build of which the first file is written.
func begun(t *testing.T, dir string) *Build {
	t.Helper()
	b, err := Open(dir, "k1", testFiles, testMeta)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	w, err := b.Shard(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := fill(w, testFiles[0]); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPending: what an earlier run finished is believed only if it is intact.
func TestPending(t *testing.T) {
	name := testFiles[0].Name
	for _, c := range []struct {
		what   string
		change func(path string) error
		want   []int
	}{
		{"nothing", func(string) error { return nil }, []int{1, 2}},
		{"one byte of the data", func(path string) error { return poke(path, -1) }, []int{0, 1, 2}},
		{"one byte of the header", func(path string) error { return poke(path, 12) }, []int{0, 1, 2}},
		{"the end", func(path string) error { return os.Truncate(path, 300) }, []int{0, 1, 2}},
		{"the file", os.Remove, []int{0, 1, 2}},
	} {
		dir := t.TempDir()
		begun(t, dir).Close()
		if err := c.change(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		b, err := Open(dir, "k1", testFiles, testMeta)
		if err != nil {
			t.Fatal(err)
		}
		var done, total int64
		got, err := b.Pending(context.Background(), func(d, n int64) { done, total = d, n })
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s is lost: pending are %v, %v, want %v", c.what, got, err, c.want)
		}
		if done != total || total != b.size(0) {
			t.Errorf("%s is lost: %d of %d bytes were read, want %d", c.what, done, total, b.size(0))
		}
		b.Close()
		if _, err := build(disk{}, dir); err != nil {
			t.Error(err)
		}
		checkFolder(t, dir)
	}
}

// poke changes one byte of a file; below 0 from its end.
func poke(path string, at int) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[(at+len(data))%len(data)] ^= 1
	return os.WriteFile(path, data, 0o644)
}

func TestPendingStops(t *testing.T) {
	dir := t.TempDir()
	begun(t, dir).Close()
	b, err := Open(dir, "k1", testFiles, testMeta)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.Pending(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Pending of a cancelled context: %v", err)
	}
	if err := b.Finish(); err == nil || len(b.Digests()) != 0 {
		t.Errorf("finished with what was not verified: %v, %v", err, b.Digests())
	}
}

func TestWriterErrors(t *testing.T) {
	b := begun(t, t.TempDir())
	if _, err := b.Shard(0); err == nil || !strings.Contains(err.Error(), "is finished") {
		t.Errorf("a finished file begun again: %v", err)
	}
	next := func() *Writer {
		t.Helper()
		w, err := b.Shard(1)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	w := next()
	if _, err := b.Shard(1); err == nil || !strings.Contains(err.Error(), "is being written") {
		t.Errorf("two writers of a file: %v", err)
	}
	w.Abort()
	w.Abort()
	if err := w.Append(0, nil); err == nil || !strings.Contains(err.Error(), "given up") {
		t.Errorf("append after Abort: %v", err)
	}
	w = next()
	if err := w.Append(0, make([]byte, 41)); err == nil || !strings.Contains(err.Error(), `tensor "c": 1 bytes more than it has`) {
		t.Errorf("too much: %v", err)
	}
	w = next()
	if err := w.Append(2, nil); err == nil || !strings.Contains(err.Error(), "tensor 2 of 2") {
		t.Errorf("no such tensor: %v", err)
	}
	w = next()
	w.Append(0, make([]byte, 39))
	if err := w.Commit(); err == nil || !strings.Contains(err.Error(), `tensor "c": 39 of 40 bytes were written`) {
		t.Errorf("too little: %v", err)
	}
	if err := b.Finish(); err == nil || !strings.Contains(err.Error(), testFiles[1].Name+" is not written yet") {
		t.Errorf("finished early: %v", err)
	}
	for _, name := range []string{"model.safetensors", "a/b", ".hidden", "", testFiles[0].Name} {
		if err := b.Put(name, nil); err == nil {
			t.Errorf("Put took the name %q", name)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(b.dir, ".*"+partial)); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

// TestParallel appends to all tensors of a file at once.
func TestParallel(t *testing.T) {
	var tensors []tensor.Info
	for i := range 8 {
		tensors = append(tensors, info(fmt.Sprintf("%c", 'a'+i), tensor.U8, 5000))
	}
	files := []File{{"model-00001-of-00001.safetensors", tensors}}
	dir := t.TempDir()
	b, err := Open(dir, "k1", files, nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := b.Shard(0)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for k, info := range tensors {
		wg.Go(func() {
			for part := range slices.Chunk(content(info), 100) {
				if err := w.Append(k, part); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	want := b.Digests()[files[0].Name]
	if got, err := Digest(context.Background(), filepath.Join(dir, files[0].Name)); err != nil || got != want {
		t.Errorf("digest %s, %v, want %s", got, err, want)
	}
	if err := b.Finish(); err != nil {
		t.Fatal(err)
	}
}

func TestDigestErrors(t *testing.T) {
	raw := func(header, data string) string {
		return string([]byte{byte(len(header)), 0, 0, 0, 0, 0, 0, 0}) + header + data
	}
	for _, c := range []struct{ file, says string }{
		{"x", "no safetensors file"},
		{"\xff\xff\xff\xff\xff\xff\xff\xff", "header of"},
		{raw("{", ""), "header:"},
		{raw(`{"a":{"data_offsets":[0,2]}}`, "x"), "the tensors have 2 bytes, the file 1"},
		{raw(`{"a":{"data_offsets":[1,2]}}`, "xx"), "a tensor has the bytes 1 to 2"},
		{raw(`{"a":{"data_offsets":[0,-1]}}`, ""), "a tensor has the bytes 0 to -1"},
	} {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte(c.file), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Digest(context.Background(), path); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v, want %q", c.file, err, c.says)
		}
	}
}
