package bundle

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assay/engine/shard"
	"assay/engine/tensor"
	"assay/engine/variant"
)

// What is built is what the variant holds in memory, byte for byte, in every
// runtime's names, stacked or apart, with and without the MTP block; and what
// is written takes what the plan says.
func TestBuildAndOpen(t *testing.T) {
	_, src := tiny(t)
	for _, c := range []struct {
		recipe  string
		options Options
	}{
		{"g32-n8-e4", Options{Runtime: runtimeNamed(t, "mlx-lm")}},
		{"g64-n6-e3", Options{Runtime: runtimeNamed(t, "mlx-vlm")}},
		{"native", Options{Runtime: runtimeNamed(t, "vmlx"), MTP: true}},
		{"cpu-g128-n4-e5", Options{Runtime: runtimeNamed(t, "mlx-lm"), PerExpert: true}},
		{"g32-n16-e2", Options{Runtime: runtimeNamed(t, "vmlx"), PerExpert: true, MTP: true}},
		{"bf16", Options{Runtime: runtimeNamed(t, "mlx-lm")}},
	} {
		dir := filepath.Join(t.TempDir(), "bundle")
		job := jobOf(t, src, dir, c.recipe, c.options)
		if err := job.Build(t.Context()); err != nil {
			t.Fatalf("%s: %v", c.recipe, err)
		}
		checkBundle(t, src, job, c.recipe)
		if err := job.Build(t.Context()); !errors.Is(err, shard.ErrFinished) {
			t.Errorf("%s: built again: %v", c.recipe, err)
		}
	}
}

func checkBundle(t *testing.T, src variant.Source, job *Job, name string) {
	t.Helper()
	b, err := Open(job.Dir, src.Params)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer b.Close()
	want, err := variant.New(src, recipe(t, name))
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.Variant("x", src.Config)
	if err != nil {
		t.Fatal(err)
	}
	sum := variant.Sum(want.Plan())
	bytesWanted := sum.BytesMain
	if job.Layout.MTP {
		bytesWanted = sum.BytesTotal
	}
	if n := b.ck.TotalBytes(); n != bytesWanted || job.Layout.Bytes() != n {
		t.Errorf("%s: %d bytes written, %d in the layout, %d planned", name, n, job.Layout.Bytes(), bytesWanted)
	}
	if g := variant.Sum(got.Plan()); g.BytesMain != sum.BytesMain || g.GroupSize != sum.GroupSize || g.OtherBits != sum.OtherBits || g.ExpertBits != sum.ExpertBits {
		t.Errorf("%s: opened as %+v, want %+v", name, g, sum)
	}
	stored := map[string]bool{}
	for _, s := range got.Plan() {
		stored[s.Name] = true
	}
	for _, s := range want.Plan() {
		if s.MTP && !job.Layout.MTP {
			continue
		}
		if !stored[s.Name] {
			t.Fatalf("%s: %s is missing", name, s.Name)
		}
		checkStep(t, name, s, got, want)
	}
}

func checkStep(t *testing.T, name string, s variant.Step, got, want *variant.Variant) {
	t.Helper()
	if s.Format == nil {
		a, errA := got.Tensor(s.Name)
		b, errB := want.Tensor(s.Name)
		if errA != nil || errB != nil || a.DType != b.DType || !bytes.Equal(a.Data, b.Data) {
			t.Errorf("%s: %s differs: %v, %v", name, s.Name, errA, errB)
		}
		return
	}
	a, errA := got.Matrix(s.Name)
	b, errB := want.Matrix(s.Name)
	if errA != nil || errB != nil {
		t.Fatalf("%s: %s: %v, %v", name, s.Name, errA, errB)
	}
	if err := a.Check(); err != nil || a.Format != b.Format || !bytes.Equal(a.Codes, b.Codes) || !bytes.Equal(a.Scales, b.Scales) || !bytes.Equal(a.Biases, b.Biases) {
		t.Errorf("%s: %s as %v differs from %v: %v", name, s.Name, a.Format, b.Format, err)
	}
}

// A build that stops anywhere goes on, and ends with the bytes of one that did
// not.
func TestResume(t *testing.T) {
	_, src := tiny(t)
	o := Options{Runtime: runtimeNamed(t, "mlx-lm")}
	whole := jobOf(t, src, filepath.Join(t.TempDir(), "whole"), "g32-n8-e4", o)
	if err := whole.Build(t.Context()); err != nil {
		t.Fatal(err)
	}
	job := jobOf(t, src, filepath.Join(t.TempDir(), "cut"), "g32-n8-e4", o)
	stops := 0
	for share := 7; ; share += 13 { // percent
		ctx, cancel := context.WithCancel(t.Context())
		job.Progress = func(p Progress) {
			if p.Stage == "write" && p.Done < p.Total && p.Done*100 > p.Total*int64(share) {
				cancel()
			}
		}
		err := job.Build(ctx)
		cancel()
		if err == nil {
			break
		}
		if stops++; !errors.Is(err, context.Canceled) || stops > 20 {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(job.Dir, "config.json")); err == nil {
			t.Fatal("an unfinished build has a config.json")
		}
		if found, _ := filepath.Glob(filepath.Join(job.Dir, "*.partial")); len(found) > 0 {
			t.Errorf("%v is left behind and not hidden", found)
		}
	}
	if stops < 3 {
		t.Errorf("the build was stopped %d times", stops)
	}
	for _, f := range job.Layout.Files(job.ShardBytes) {
		a, errA := shard.Digest(t.Context(), filepath.Join(whole.Dir, f.Name))
		b, errB := shard.Digest(t.Context(), filepath.Join(job.Dir, f.Name))
		if errA != nil || errB != nil || a != b {
			t.Errorf("%s: digests %s and %s, errors %v, %v", f.Name, a, b, errA, errB)
		}
	}
}

// Another recipe in the folder of an unfinished build is refused.
func TestOtherBuild(t *testing.T) {
	_, src := tiny(t)
	o := Options{Runtime: runtimeNamed(t, "mlx-lm")}
	job := jobOf(t, src, filepath.Join(t.TempDir(), "b"), "g32-n8-e4", o)
	ctx, cancel := context.WithCancel(t.Context())
	job.Progress = func(p Progress) { cancel() }
	if err := job.Build(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := jobOf(t, src, job.Dir, "g32-n8-e3", o).Build(t.Context()); err == nil || !strings.Contains(err.Error(), job.Dir) {
		t.Errorf("another recipe over an unfinished build: %v", err)
	}
}

// A weight that cannot be quantized ends the build with its name, and a builder
// that fails leaves no half-named file.
func TestBuildError(t *testing.T) {
	_, src := tiny(t)
	job := jobOf(t, src, filepath.Join(t.TempDir(), "b"), "g32-n8-e4", Options{Runtime: runtimeNamed(t, "mlx-lm")})
	job.Weights = failing{job.Weights}
	if err := job.Build(t.Context()); err == nil || err.Error() != "broken at layers.3.attn.wkv.weight" {
		t.Errorf("error %v", err)
	}
	found, _ := filepath.Glob(filepath.Join(job.Dir, "model*.safetensors"))
	for _, f := range found {
		if _, err := shard.Digest(t.Context(), f); err != nil {
			t.Errorf("%s is half written: %v", f, err)
		}
	}
}

type failing struct{ Weights }

func (f failing) Rows(name string, from, to int) (*tensor.Matrix, error) {
	if name == "layers.3.attn.wkv.weight" {
		return nil, errors.New("broken at " + name)
	}
	return f.Weights.Rows(name, from, to)
}

// Results come in order however long each takes, and an error stops the rest.
func TestInOrder(t *testing.T) {
	var got []int
	err := inOrder(t.Context(), 50, func(i int) (int, error) {
		time.Sleep(time.Duration(i%3) * time.Millisecond)
		return i * i, nil
	}, func(i, v int) error {
		if got = append(got, v); v != i*i || len(got) != i+1 {
			t.Errorf("result %d is %d, the %dth", i, v, len(got))
		}
		return nil
	})
	if err != nil || len(got) != 50 {
		t.Errorf("%d results, error %v", len(got), err)
	}
	broken := errors.New("broken")
	taken := 0
	err = inOrder(t.Context(), 50, func(i int) (int, error) {
		if i == 7 {
			return 0, broken
		}
		return i, nil
	}, func(int, int) error { taken++; return nil })
	if !errors.Is(err, broken) || taken != 7 {
		t.Errorf("error %v after %d", err, taken)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = inOrder(ctx, 50, func(i int) (int, error) { return i, nil }, func(i, _ int) error {
		if i == 3 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
