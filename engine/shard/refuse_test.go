package shard

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"assay/engine/tensor"
)

// TestRefused: a folder that isn't this build's is left as it was.
func TestRefused(t *testing.T) {
	other := Cut([][]tensor.Info{{info("a", tensor.U8, 3)}}, 100)
	write := func(name string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644) }
	}
	unfinished := func(dir string) error { begun(t, dir).Close(); return nil }
	for _, c := range []struct {
		what string
		make func(dir string) error
		key  string
		plan []File
		says string
	}{
		{"foreign file", write("notes.txt"), "k1", testFiles, "holds something else than an unfinished build: notes.txt; want an empty folder"},
		{"foreign weights", write(testFiles[0].Name), "k1", testFiles, "something else"},
		{"other key", unfinished, "k2", testFiles, "unfinished build of another recipe, source or set of options"},
		{"other plan", unfinished, "k1", other, "unfinished build of another recipe"},
		{"foreign file in a build", func(dir string) error { return errors.Join(unfinished(dir), write("model.safetensors")(dir)) },
			"k1", testFiles, "not of its unfinished build: model.safetensors; move them away"},
		{"broken journal", write(journalName), "k1", testFiles, "remove the folder to begin anew"},
		{"newer journal", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, journalName), []byte(`{"version":2}`), 0o644)
		}, "k1", testFiles, "version 2, want 1"},
		{"finished with other weights", func(dir string) error {
			_, err := build(disk{}, dir)
			return errors.Join(err, write("model-00004.safetensors")(dir))
		}, "k1", testFiles, "something else"},
		{"no plan", unfinished, "k1", nil, "no files"},
		{"tensor twice", unfinished, "k1", []File{{"model.safetensors", []tensor.Info{info("a", tensor.U8), info("a", tensor.U8)}}}, "twice"},
		{"file twice", unfinished, "k1", []File{{Name: "model.safetensors"}, {Name: "model.safetensors"}}, "twice"},
		{"file elsewhere", unfinished, "k1", []File{{Name: "../model.safetensors"}}, "no name for a safetensors file"},
		{"unknown dtype", unfinished, "k1", []File{{"model.safetensors", []tensor.Info{info("a", "F4")}}}, "unknown dtype"},
		{"bad name", unfinished, "k1", []File{{"model.safetensors", []tensor.Info{info("\xff", "U8")}}}, "no name for a tensor"},
	} {
		dir := t.TempDir()
		if err := c.make(dir); err != nil {
			t.Fatal(err)
		}
		before := names(t, dir)
		b, err := Open(dir, c.key, c.plan, testMeta)
		if err == nil {
			b.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.says) || errors.Is(err, ErrFinished) {
			t.Errorf("%s: %v, want %q", c.what, err, c.says)
		}
		if after := names(t, dir); !slices.Equal(after, before) {
			t.Errorf("%s: the folder held %v, now %v", c.what, before, after)
		}
	}
}

func TestRefusedPlaces(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, "k1", testFiles, nil); err == nil || !strings.Contains(err.Error(), "is a file, want a folder") {
		t.Errorf("in a file's place: %v", err)
	}
	// Too little room: the folders made for it go again.
	full := disk{free: func(string) (int64, error) { return 700, nil }}
	_, err := open(full, filepath.Join(dir, "a", "b"), "k1", testFiles, testMeta)
	want := int64(0)
	for _, f := range testFiles {
		want += f.Bytes() + int64(len(f.Header(testMeta)))
	}
	if says := fmt.Sprintf("not enough space: %d bytes are to be written, 700 are free", want); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("without room: %v, want %q", err, says)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"file"}) {
		t.Errorf("without room, the folder holds %v", got)
	}
	// What is finished needs none.
	f0 := testFiles[0].Bytes() + int64(len(testFiles[0].Header(testMeta)))
	begun(t, filepath.Join(dir, "c")).Close()
	b, err := open(disk{free: func(string) (int64, error) { return want - f0, nil }}, filepath.Join(dir, "c"), "k1", testFiles, testMeta)
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	b := begun(t, dir)
	if _, err := Open(dir, "k1", testFiles, testMeta); err == nil || !strings.Contains(err.Error(), "another build is writing") {
		t.Errorf("opened twice: %v", err)
	}
	b.Close()
	b, err := Open(dir, "k1", testFiles, testMeta)
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
}

// TestReadOnly needs a user whom permissions bind.
func TestReadOnly(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write to a read-only folder")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, "k1", testFiles, nil); err == nil || !strings.Contains(err.Error(), "cannot be written to: permission denied") {
		t.Errorf("read-only folder: %v", err)
	}
}

// TestFullDisk fills a real file system.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256k", "none", dir).CombinedOutput(); err != nil {
		t.Skipf("no tmpfs can be mounted here: %v %s", err, out)
	}
	defer exec.Command("umount", dir).Run()
	big := []File{{"model-00001-of-00001.safetensors", []tensor.Info{info("a", tensor.U8, 400<<10)}}}
	out := filepath.Join(dir, "out")
	if _, err := Open(out, "k1", big, nil); err == nil || !strings.Contains(err.Error(), "not enough space: 409728 bytes are to be written, 262144 are free") {
		t.Errorf("on a small disk: %v", err)
	}
	b, err := open(disk{free: func(string) (int64, error) { return 1 << 30, nil }}, out, "k1", big, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.disk = disk{}
	w, err := b.Shard(0)
	if err != nil {
		t.Fatal(err)
	}
	err = w.Append(0, make([]byte, 400<<10))
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the disk is full: 409600 bytes of the file were still to be written, ") {
		t.Errorf("on a full disk: %v", err)
	}
	if got := names(t, out); !slices.Equal(got, []string{journalName, lockName}) {
		t.Errorf("after a full disk the folder holds %v", got)
	}
	if exec.Command("mount", "-o", "remount,ro", dir).Run() == nil {
		if err := b.Put("x.json", nil); err == nil || !strings.Contains(err.Error(), "cannot be written to: read-only file system") {
			t.Errorf("on a read-only disk: %v", err)
		}
	}
}
