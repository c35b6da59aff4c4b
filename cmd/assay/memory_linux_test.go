package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	var output bytes.Buffer
	c.Stdout, c.Stderr = &output, &output
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan int64)
	go func() { done <- peakOf(c.Process.Pid) }()
	err = c.Wait()
	if peak := <-done; err != nil || peak == 0 || peak > 300<<20 {
		t.Errorf("%d bytes resident at most, of a source of %d; %v\n%s", peak, size, err, output.Bytes())
	}
}

// peakOf watches a process until it ends, and returns the most bytes that it
// had resident. What wait reports counts the memory of the process that
// started it.
func peakOf(pid int) (peak int64) {
	for {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		_, rest, ok := strings.Cut(string(data), "VmHWM:")
		if err != nil || !ok {
			return peak // it is gone, or a zombie without memory
		}
		var kb int64
		if _, err := fmt.Sscan(rest, &kb); err == nil {
			peak = max(peak, kb<<10)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
