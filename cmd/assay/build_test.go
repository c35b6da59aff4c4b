package main

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"assay/engine/shard"
	"assay/engine/variant"
	"assay/results"
)

// A bundle scores what its recipe scores in memory, to the last bit: in every
// runtime's names, stacked and apart.
func TestBundleScoresAsItsRecipe(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.txt")
	if err := os.WriteFile(text, []byte(strings.Repeat("One bundle, one recipe, the same figures; or the builder is wrong. ", 30)), 0o644); err != nil {
		t.Fatal(err)
	}
	var pairs [][2]string
	list := ""
	for _, c := range [][]string{
		{"g32-n8-e4", "mlx-lm", "stacked"}, {"g128-n4-e3", "mlx-vlm", "per-expert"}, {"native", "vmlx", "stacked"},
		{"search-g64-n6-e2", "mlx-lm", "per-expert"}, {"g32-n16-e5", "vmlx", "stacked"},
	} {
		out := filepath.Join(dir, "built-"+c[0])
		if err := run(io.Discard, io.Discard, []string{"build", "--source", "reference", "--recipe", c[0], "--runtime", c[1], "--layout", c[2], "--out", out}); err != nil {
			t.Fatal(err)
		}
		pairs = append(pairs, [2]string{c[0], filepath.Base(out)})
		list += "," + c[0] + "," + out
	}
	scores := filepath.Join(dir, "scores")
	if err := run(io.Discard, io.Discard, []string{"eval", "--text", text, "--window", "96", "--windows", "2", "--variants", list[1:], "--out", scores}); err != nil {
		t.Fatal(err)
	}
	c, err := results.Read(filepath.Join(scores, "ledger.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pairs {
		a, b := bitsOf(c, p[0]), bitsOf(c, p[1])
		if len(a) != 2*2*96 || !slices.Equal(a, b) {
			t.Errorf("%s and its bundle differ in %d values", p[0], len(a))
		}
		v, _ := c.Run.Variant(p[0])
		w, _ := c.Run.Variant(p[1])
		if v.BytesMain != w.BytesMain || v.BytesPerToken != w.BytesPerToken || v.GroupSize != w.GroupSize || v.ExpertBits != w.ExpertBits || v.Encoder != w.Encoder || v.Digest == w.Digest {
			t.Errorf("%s is recorded as %+v, its bundle as %+v", p[0], v, w)
		}
	}
}

// bitsOf returns the bits of a variant's NLL and KL.
func bitsOf(c *results.Contents, name string) []uint64 {
	var out []uint64
	for _, s := range c.Scores {
		if s.Variant != name {
			continue
		}
		for _, v := range slices.Concat(s.NLL, s.KL) {
			out = append(out, math.Float64bits(float64(v)))
		}
	}
	return out
}

// TestKilledBuild kills a build with SIGKILL at random moments; when it is let
// go on, every shard and every small file is that of an undisturbed one.
func TestKilledBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this runs a dozen builds")
	}
	build := func(dir string) *exec.Cmd {
		return exec.Command("assay", "build", "--source", "reference", "--recipe", "search-g32-n4-e3", "--out", dir, "--shard-bytes", "2000000")
	}
	whole := filepath.Join(t.TempDir(), "whole")
	start := time.Now()
	if out, err := build(whole).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	length := time.Since(start)
	want := filesOf(t, whole)
	if len(want) < 10 {
		t.Fatalf("%d files", len(want))
	}
	rng := rand.New(rand.NewPCG(2, uint64(start.UnixNano())))
	killed, resumed := filepath.Join(t.TempDir(), "killed"), 0
	for range 10 {
		c := build(killed)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(rng.Int64N(int64(length)/3)), func() { c.Process.Kill() })
		err := c.Wait()
		timer.Stop()
		if err == nil {
			compareFiles(t, want, filesOf(t, killed))
			killed = filepath.Join(t.TempDir(), "killed")
			continue
		}
		resumed++
		if _, err := os.Stat(filepath.Join(killed, "config.json")); err == nil && len(filesOf(t, killed)) < len(want) {
			t.Error("a killed build looks finished")
		}
	}
	if out, err := build(killed).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	compareFiles(t, want, filesOf(t, killed))
	if resumed == 0 {
		t.Error("no build was killed")
	}
}

// filesOf returns the digests of a bundle's shards and its other files' text.
func filesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasSuffix(e.Name(), ".safetensors") {
			if out[e.Name()], err = shard.Digest(t.Context(), path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(data)
	}
	return out
}

func compareFiles(t *testing.T, want, got map[string]string) {
	t.Helper()
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s differs", name)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is left over", name)
		}
	}
}

// Bundles score what transformers gives for them in float32, on their weights
// dequantized to float32: the figures of interop/torch.json, whose making is
// `make interop-torch`.
func TestTransformersOnBundles(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this scores 20 windows")
	}
	var want struct {
		Bundles map[string]struct {
			NLL []float64 `json:"nll"`
		} `json:"bundles"`
	}
	data, err := os.ReadFile(filepath.Join("..", "..", "interop", "torch.json"))
	if err == nil {
		err = json.Unmarshal(data, &want)
	}
	if err != nil || len(want.Bundles) != 4 {
		t.Fatalf("%d bundles, error %v", len(want.Bundles), err)
	}
	dir := t.TempDir()
	var folders []string
	for name := range want.Bundles {
		out := filepath.Join(dir, "built-"+name)
		if err := run(io.Discard, io.Discard, []string{"build", "--source", "reference", "--recipe", name, "--out", out}); err != nil {
			t.Fatal(err)
		}
		folders = append(folders, out)
	}
	if err := run(io.Discard, io.Discard, []string{"eval", "--windows", "1", "--variants", strings.Join(folders, ","), "--out", dir}); err != nil {
		t.Fatal(err)
	}
	c, err := results.Read(filepath.Join(dir, "ledger.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range want.Bundles {
		at := 0
		for _, s := range c.Scores {
			if s.Variant != "built-"+name {
				continue
			}
			sum := 0.0
			for _, v := range s.NLL {
				sum += float64(v)
			}
			if got := sum / float64(len(s.NLL)); at >= len(w.NLL) || !(math.Abs(got-w.NLL[at]) <= 5e-4) {
				t.Errorf("%s, %s: NLL %.6f, transformers has %v", name, s.Text, got, w.NLL)
			}
			at++
		}
		if at != len(w.NLL) || at != 4 {
			t.Errorf("%s: %d windows, transformers has %d", name, at, len(w.NLL))
		}
	}
}

// The grid and native, built from the reference model, verify clean against it.
func TestGridVerifies(t *testing.T) {
	folder := filepath.Join("..", "..", "refmodel")
	for _, name := range append(variant.Grid(), variant.Native) {
		out := filepath.Join(t.TempDir(), name)
		if err := run(io.Discard, io.Discard, []string{"build", "--source", folder, "--recipe", name, "--out", out}); err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		if err := run(&text, io.Discard, []string{"verify", out, "--source", folder, "--json"}); err != nil {
			t.Errorf("%s: %v\n%s", name, err, text.Bytes())
		}
		var report struct {
			Findings []struct{ Severity string }
		}
		if err := json.Unmarshal(text.Bytes(), &report); err != nil || len(report.Findings) != 1 || report.Findings[0].Severity != "note" {
			t.Errorf("%s: %d findings, want the note on the chat template: %v", name, len(report.Findings), err)
		}
	}
}
