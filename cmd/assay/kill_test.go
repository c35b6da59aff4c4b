package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestKilledSweep kills a sweep with SIGKILL at ten random moments and lets it
// go on; the ledger must then be that of an undisturbed one apart from times.
func TestKilledSweep(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this runs a dozen sweeps")
	}
	whole := filepath.Join(t.TempDir(), "whole")
	start := time.Now()
	if err := sweepProcess(whole).Run(); err != nil {
		t.Fatal(err)
	}
	length := time.Since(start)
	want := timeless(t, filepath.Join(whole, "ledger.jsonl"))

	rng := rand.New(rand.NewPCG(1, uint64(start.UnixNano())))
	killed := filepath.Join(t.TempDir(), "killed")
	for kills := 0; kills < 10; {
		after := time.Duration(rng.Int64N(int64(length)))
		if rng.IntN(2) == 0 { // resumed runs are shorter: half the kills come early
			after /= 4
		}
		c := sweepProcess(killed)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(after, func() { c.Process.Kill() })
		err := c.Wait()
		timer.Stop()
		var exit *exec.ExitError
		switch {
		case err == nil:
			// It finished first: the next kills start anew.
			compareLedgers(t, want, timeless(t, filepath.Join(killed, "ledger.jsonl")))
			killed = filepath.Join(t.TempDir(), "killed")
			kills++
		case errors.As(err, &exit) && exit.ExitCode() == -1:
			kills++
		default:
			t.Fatalf("a resumed sweep failed: %v", err)
		}
	}
	if out, err := sweepProcess(killed).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	compareLedgers(t, want, timeless(t, filepath.Join(killed, "ledger.jsonl")))
}

func sweepProcess(dir string) *exec.Cmd {
	return exec.Command("assay", "sweep", "--out", dir, "--window", "128", "--windows", "1", "--threads", "2",
		"--variants", "g32-n8-e4,g64-n4-e3,native", "--prefill", "64", "--decode", "4", "--repetitions", "2")
}

// timeless returns the ledger's records without their times.
func timeless(t *testing.T, path string) [][]byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for line := range bytes.Lines(data) {
		var record map[string]any
		if err := json.Unmarshal(line, &record); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		delete(record, "made")
		if record["kind"] == "timing" {
			delete(record, "prefill_seconds")
			delete(record, "decode_seconds")
		}
		clean, err := json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, clean)
	}
	return out
}

func compareLedgers(t *testing.T, want, got [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("record %d is %.200s, want %.200s", i, got[i], want[i])
		}
	}
}
