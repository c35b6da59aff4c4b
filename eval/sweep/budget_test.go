package sweep

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"assay/datasets"
	"assay/engine/checkpoint"
	"assay/engine/cpu"
	"assay/engine/dsv4"
	"assay/engine/token"
	"assay/engine/variant"
	"assay/refmodel"
)

// realJob is a job on the reference model with a memory limit, 0 for none.
func realJob(t *testing.T, memory int64, names ...string) (*Job, *recorder) {
	t.Helper()
	files := refmodel.Files()
	if files == nil {
		t.Skip("built without the reference model's weights")
	}
	ck, err := checkpoint.New(files)
	if err != nil {
		t.Fatal(err)
	}
	src, err := dsv4.Source(ck, ck.Digest)
	if err != nil {
		t.Fatal(err)
	}
	b, err := cpu.New(cpu.Options{Memory: memory})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	r := &recorder{}
	j := &Job{Backend: b, Recorder: r, SpillDir: t.TempDir()}
	for i, name := range append([]string{"bf16"}, names...) {
		recipe, err := variant.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		v, err := variant.New(src, recipe)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			j.Reference = v
		} else {
			j.Variants = append(j.Variants, v)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i, n := range []int{300, 40, 140} {
		w := datasets.Window{Text: "t", Index: i, To: n}
		for range n {
			w.Tokens = append(w.Tokens, token.ID(random.IntN(6144)))
			w.Targets = append(w.Targets, token.ID(random.IntN(6144)))
		}
		j.Windows = append(j.Windows, w)
	}
	return j, r
}

// scoresOf maps what was recorded to its figures, in full.
func scoresOf(r *recorder) map[string]string {
	out := map[string]string{}
	for _, s := range r.scores {
		out[fmt.Sprint(s.Variant, " ", s.Window)] = fmt.Sprint(s.NLL, s.KL, s.Top1)
	}
	return out
}

// TestSameBits: a variant's figures are the same to the last bit alone, beside
// others, with weights that stay or are streamed, with streams in memory or in a
// file, and each distinct matrix is quantized once.
func TestSameBits(t *testing.T) {
	names := []string{"native", "g32-n8-e4", "g32-n4-e4", "g64-n8-e3"}
	want := map[string]string{}
	for _, name := range names {
		j, r := realJob(t, 0, name)
		if err := j.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for k, v := range scoresOf(r) {
			want[k] = v
		}
	}
	if len(want) != 15 {
		t.Fatalf("%d scores alone, want 15", len(want))
	}
	for _, x := range []struct {
		name              string
		memory            int64
		resident, spilled bool
	}{
		{"all in memory", 2 << 30, true, false},
		{"weights streamed", 300 << 20, false, false},
		{"streams in a file", 0, false, true},
	} {
		if x.spilled { // as much as is needed at least
			j, _ := realJob(t, 300<<20, names...)
			p, err := j.Plan()
			if err != nil {
				t.Fatal(err)
			}
			x.memory = p.Memory.Total() - p.Memory.Streams + 5<<20
		}
		j, r := realJob(t, x.memory, names...)
		p, err := j.Plan()
		if err != nil {
			t.Fatal(err)
		}
		if p.Resident != x.resident || p.Memory.Spilled > 0 != x.spilled || p.Memory.Total() > x.memory {
			t.Errorf("%s: resident %v, %d bytes spilled, %d of %d in memory", x.name, p.Resident, p.Memory.Spilled, p.Memory.Total(), x.memory)
		}
		s := newScorer(j, p)
		if err := s.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s.shared.Made != p.Weights || s.shared.Bytes != 0 {
			t.Errorf("%s: %d weights quantized, want %d, each distinct one once; %d bytes still held", x.name, s.shared.Made, p.Weights, s.shared.Bytes)
		}
		if s.done != p.FLOPs {
			t.Errorf("%s: progress ends at %d of %d", x.name, s.done, p.FLOPs)
		}
		got := scoresOf(r)
		for k, v := range want {
			if got[k] != v {
				t.Errorf("%s: %s differs from a run of its own", x.name, k)
			}
		}
	}
}

// TestRestoreSameBits stops a sweep of real weights between any two reports of
// it, with a state at every part, and goes on: the figures are the same.
func TestRestoreSameBits(t *testing.T) {
	j, r := realJob(t, 0, "native", "g32-n8-e4")
	j.Windows = j.Windows[1:]
	if err := j.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := scoresOf(r)
	for _, stop := range []int{1, 20, 45, 70} {
		j, r := realJob(t, 0, "native", "g32-n8-e4")
		j.Windows = j.Windows[1:]
		j.StatePath, j.saveAlways = filepath.Join(t.TempDir(), "state"), true
		ctx, cancel := context.WithCancel(t.Context())
		steps := 0
		j.Progress = func(Step) {
			if steps++; steps == stop {
				cancel()
			}
		}
		if err := j.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped after %d steps: %v", stop, err)
		}
		first := steps
		j.Progress = func(s Step) { steps++ }
		if err := j.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if first >= 20 && steps-first >= steps-1 {
			t.Errorf("stopped after %d steps, all %d are done again", first, steps-first)
		}
		for k, v := range want {
			if scoresOf(r)[k] != v {
				t.Errorf("stopped after %d steps: %s differs", stop, k)
			}
		}
	}
}

// TestUnwritableState: a run whose state cannot be written says so, once, and
// goes on.
func TestUnwritableState(t *testing.T) {
	j := newJob(t, newBackend(), &recorder{})
	j.StatePath, j.saveAlways = filepath.Join(t.TempDir(), "none", "state"), true
	warnings := 0
	j.Progress = func(s Step) {
		if s.Warning != "" {
			warnings++
		}
	}
	if err := j.Run(t.Context()); err != nil || warnings != 1 {
		t.Errorf("%v, %d warnings", err, warnings)
	}
}
