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

// largeSource writes a checkpoint of 420 MB, most of it in two matrices, and
// returns its folder and its bytes.
func largeSource(t *testing.T) (dir string, size int64) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: this writes a checkpoint of 420 MB")
	}
	dir, model := filepath.Join(t.TempDir(), "source"), t.TempDir()
	config := bytes.Replace(checkpointtest.TinyConfig(), []byte(`"vocab_size": 512`), []byte(`"vocab_size": 400000`), 1)
	if err := os.WriteFile(filepath.Join(model, "config.json"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("assay", "synth", "--model", model, "--layers", "0,2", "--out", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	shards, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
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
	return dir, size
}

// runWatched runs assay and returns the most bytes that it had resident.
func runWatched(t *testing.T, args ...string) int64 {
	t.Helper()
	c := exec.Command("assay", args...)
	var output bytes.Buffer
	c.Stdout, c.Stderr = &output, &output
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan int64)
	go func() { done <- peakOf(c.Process.Pid) }()
	err := c.Wait()
	peak := <-done
	if err != nil || peak == 0 {
		t.Fatalf("assay %s: %v, %d bytes resident\n%s", strings.Join(args, " "), err, peak, output.Bytes())
	}
	return peak
}

// A build's memory does not grow with its source: of 420 MB less than 300 MB are
// ever resident.
func TestBuildMemory(t *testing.T) {
	source, size := largeSource(t)
	if peak := runWatched(t, "build", "--source", source, "--recipe", "g32-n8-e4", "--out", filepath.Join(t.TempDir(), "built")); peak > 300<<20 {
		t.Errorf("%d bytes resident at most, of a source of %d", peak, size)
	}
}

// A sweep stays within --memory, and what it finds does not depend on it.
func TestSweepMemory(t *testing.T) {
	source, _ := largeSource(t)
	tokenizer, err := os.ReadFile(filepath.Join("..", "..", "refmodel", "tokenizer.json"))
	if err == nil {
		err = os.WriteFile(filepath.Join(source, "tokenizer.json"), tokenizer, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	var ledgers [][][]byte
	for _, memory := range []int64{4_000_000_000, 900_000_000} {
		out := filepath.Join(t.TempDir(), "out")
		peak := runWatched(t, "sweep", "--model", source, "--out", out, "--window", "24", "--windows", "1", "--no-speed",
			"--variants", "native,g32-n8-e4,g64-n4-e3", "--memory", fmt.Sprint(memory))
		if peak > memory {
			t.Errorf("%d bytes resident with --memory %d", peak, memory)
		}
		ledgers = append(ledgers, timeless(t, filepath.Join(out, "ledger.jsonl")))
	}
	compareLedgers(t, ledgers[0], ledgers[1])
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
