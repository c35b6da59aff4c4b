package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"assay/engine/checkpoint/checkpointtest"
)

// A build's memory does not grow with its source: of 420 MB, most of it in two
// matrices, less than 300 MB are ever resident.
func TestBuildMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this writes a checkpoint of 420 MB")
	}
	dir := t.TempDir()
	source, model := filepath.Join(dir, "source"), filepath.Join(dir, "model")
	config := bytes.Replace(checkpointtest.TinyConfig(), []byte(`"vocab_size": 512`), []byte(`"vocab_size": 400000`), 1)
	if err := os.Mkdir(model, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(model, "config.json"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("assay", "synth", "--model", model, "--layers", "0,2", "--out", source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var size int64
	shards, err := filepath.Glob(filepath.Join(source, "*.safetensors"))
	for _, s := range shards {
		info, err := os.Stat(s)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if err != nil || size < 400<<20 {
		t.Fatalf("a source of %d bytes: %v", size, err)
	}
	c := exec.Command("assay", "build", "--source", source, "--recipe", "g32-n8-e4", "--out", filepath.Join(dir, "built"))
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if peak := c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10; peak > 300<<20 {
		t.Errorf("%d bytes resident at most, of a source of %d", peak, size)
	} else {
		t.Logf("%d MB resident at most, of a source of %d MB", peak>>20, size>>20)
	}
}
