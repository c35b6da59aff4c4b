package sweep

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"assay/bench"
	"assay/datasets"
	"assay/engine"
	"assay/engine/checkpoint/checkpointtest"
	"assay/engine/reference"
	"assay/engine/tensor"
	"assay/engine/token"
	"assay/engine/variant"
	"assay/eval"
	"assay/eval/rows"
)

// source is a checkpoint of one matrix: enough to make variants with names.
func source(t *testing.T) variant.Source {
	t.Helper()
	params := []tensor.Param{{Info: tensor.Info{Name: "a.weight", DType: tensor.BF16, Shape: []int{128, 128}},
		Class: tensor.Attention, Native: tensor.FP8, Reads: [2]int64{1, 1}}}
	tensors, err := checkpointtest.Tensors(params, 1)
	if err != nil {
		t.Fatal(err)
	}
	ck, err := checkpointtest.Checkpoint([]byte("{}"), tensors)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := reference.New(ck)
	if err != nil {
		t.Fatal(err)
	}
	return variant.Source{Reference: ref, Config: []byte("{}"), Digest: "d", Params: params}
}

// backend is an engine whose hidden states are the tokens and whose
// distributions over four tokens lean by variant. It counts what it is asked.
type backend struct {
	passes map[string]int
	loads  map[string]int
	stop   int // layers left until it fails, or −1
	memory int64
}

var errStopped = errors.New("stopped")

func (b *backend) Device() engine.Device { return engine.Device{Engine: "fake", Memory: b.memory} }

func (b *backend) Load(_ context.Context, v *variant.Variant, _ int) (engine.Model, error) {
	b.loads[v.Name()]++
	return model{}, nil
}

func (b *backend) Pass(_ context.Context, v *variant.Variant, windows [][]token.ID) (engine.Pass, error) {
	b.passes[v.Name()]++
	return &pass{b: b, windows: windows}, nil
}

func (b *backend) Head(_ context.Context, v *variant.Variant) (engine.Head, error) {
	return head(len(v.Name())), nil
}

type pass struct {
	b       *backend
	windows [][]token.ID
}

func (p *pass) Layers() int  { return 2 }
func (p *pass) Close() error { return nil }
func (p *pass) Layer(context.Context) error {
	if p.b.stop == 0 {
		return errStopped
	}
	p.b.stop--
	return nil
}

func (p *pass) Hidden(context.Context) (out []float32, err error) {
	for _, id := range slices.Concat(p.windows...) {
		out = append(out, float32(id), 1)
	}
	return out, nil
}

// head leans towards token (hidden mod 4) by a strength of its own.
type head int

func (h head) Vocab() int   { return 4 }
func (h head) Hidden() int  { return 2 }
func (h head) Close() error { return nil }
func (h head) LogProbs(_ context.Context, hidden, dst []float32) error {
	for i := range len(dst) / 4 {
		lean := float64(h) / 10
		lse := math.Log(3 + math.Exp(lean))
		for k := range 4 {
			dst[4*i+k] = float32(-lse)
		}
		dst[4*i+int(hidden[2*i])%4] = float32(lean - lse)
	}
	return nil
}

type model struct{}

func (model) NewSession() (engine.Session, error) { return model{}, nil }
func (model) Bytes() int64                        { return 100 }
func (model) Len() int                            { return 0 }
func (model) Close() error                        { return nil }
func (model) Prefill(context.Context, []token.ID, func(engine.LogProbs) error) error {
	return nil
}
func (model) Decode(context.Context, token.ID) (engine.LogProbs, error) { return nil, nil }

// recorder keeps results in order and refuses one twice.
type recorder struct {
	scores  []eval.WindowScore
	timings []bench.Sample
}

func (r *recorder) HasScore(v, text string, window int) bool {
	return slices.ContainsFunc(r.scores, func(s eval.WindowScore) bool { return s.Variant == v && s.Text == text && s.Window == window })
}

func (r *recorder) AppendScore(s eval.WindowScore) error {
	if r.HasScore(s.Variant, s.Text, s.Window) {
		return fmt.Errorf("%s window %d twice", s.Variant, s.Window)
	}
	r.scores = append(r.scores, s)
	return nil
}

func (r *recorder) HasTiming(v string, rep int) bool {
	return slices.ContainsFunc(r.timings, func(s bench.Sample) bool { return s.Variant == v && s.Repetition == rep })
}

func (r *recorder) AppendTiming(s bench.Sample) error {
	if r.HasTiming(s.Variant, s.Repetition) {
		return fmt.Errorf("%s repetition %d twice", s.Variant, s.Repetition)
	}
	r.timings = append(r.timings, s)
	return nil
}

func newJob(t *testing.T, b *backend, r *recorder) *Job {
	t.Helper()
	j := &Job{Backend: b, Recorder: r, RowsPath: filepath.Join(t.TempDir(), "rows"), RowsKey: rows.Key{Variant: "v"}}
	src := source(t)
	for _, name := range []string{"bf16", "native", "g32-n8-e4", "g128-n4-e3"} {
		recipe, err := variant.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		v, err := variant.New(src, recipe)
		if err != nil {
			t.Fatal(err)
		}
		if name == "bf16" {
			j.Reference = v
		} else {
			j.Variants = append(j.Variants, v)
		}
	}
	for i := range 3 {
		j.Windows = append(j.Windows, datasets.Window{Text: "t", Index: i, Tokens: []token.ID{0, 1, 2, 3}, Targets: []token.ID{1, 2, 3, 0}, From: 1, To: 4})
	}
	plan := bench.Plan{PrefillTokens: 2, DecodeTokens: 1, Repetitions: 2, Discarded: 1}
	j.Speed, j.SpeedTokens = &plan, []token.ID{0, 1, 2}
	return j
}

func newBackend() *backend {
	return &backend{passes: map[string]int{}, loads: map[string]int{}, stop: -1, memory: 1 << 20}
}

func TestSweep(t *testing.T) {
	b, r := newBackend(), &recorder{}
	if err := newJob(t, b, r).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.scores) != 12 || len(r.timings) != 12 {
		t.Fatalf("%d scores and %d timings, want 12 and 12", len(r.scores), len(r.timings))
	}
	for i, s := range r.scores {
		if want := []string{"bf16", "native", "g32-n8-e4", "g128-n4-e3"}[i/3]; s.Variant != want || s.Window != i%3 || len(s.NLL) != 3 {
			t.Errorf("score %d is of %s, window %d, %d tokens; want %s, %d, 3", i, s.Variant, s.Window, len(s.NLL), want, i%3)
		}
	}
	// By hand: bf16 leans by 0.4 to the fed token, which is never the target.
	lse := math.Log(3 + math.Exp(0.4))
	if got := float64(r.scores[0].NLL[0]); math.Abs(got-lse) > 1e-6 {
		t.Errorf("NLL %.6f, want %.6f", got, lse)
	}
	if r.scores[0].KL[0] != 0 || !r.scores[0].Top1[0] {
		t.Error("the reference differs from itself")
	}
	p, q := math.Exp(0.4)/(3+math.Exp(0.4)), 0.9-math.Log(3+math.Exp(0.9))
	kl := p*(0.4-lse-q) + (1-p)*(-lse+math.Log(3+math.Exp(0.9)))
	if got := float64(r.scores[6].KL[0]); math.Abs(got-kl) > 1e-6 {
		t.Errorf("KL of a head that leans by 0.9 is %.6f, want %.6f", got, kl)
	}
	for name, n := range b.passes {
		if n != 1 {
			t.Errorf("%s went through %d passes", name, n)
		}
	}
	for name, n := range b.loads {
		if n != 1 {
			t.Errorf("%s was loaded %d times though all fit", name, n)
		}
	}
}

// TestResume stops a sweep after every number of layers; what is recorded then
// is not made again, and the whole is what an undisturbed run gives.
func TestResume(t *testing.T) {
	whole := &recorder{}
	if err := newJob(t, newBackend(), whole).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for layers := range 8 {
		r, first := &recorder{}, newBackend()
		first.stop = layers
		j := newJob(t, first, r)
		if err := j.Run(t.Context()); !errors.Is(err, errStopped) {
			t.Fatalf("after %d layers: %v", layers, err)
		}
		had := len(r.scores)
		again := newBackend()
		j.Backend = again
		if err := j.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := again.passes["bf16"]; layers >= 2 && n != 0 {
			t.Errorf("after %d layers the reference went through again", layers)
		}
		if want := (12 - had + 2) / 3; layers >= 2 && sum(again.passes) != want {
			t.Errorf("after %d layers: %d passes, want %d", layers, sum(again.passes), want)
		}
		for i := range whole.scores {
			if fmt.Sprint(r.scores[i]) != fmt.Sprint(whole.scores[i]) {
				t.Fatalf("after %d layers: score %d is %v, want %v", layers, i, r.scores[i], whole.scores[i])
			}
		}
	}
}

func sum(m map[string]int) (n int) {
	for _, k := range m {
		n += k
	}
	return n
}

// TestSpeedReloads loads each time what does not fit.
func TestSpeedReloads(t *testing.T) {
	b, r := newBackend(), &recorder{}
	b.memory = 2 * 150 // room for one model of 100 bytes
	j := newJob(t, b, r)
	j.Windows = nil
	if err := j.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	once, often := 0, 0
	for _, n := range b.loads {
		switch n {
		case 1:
			once++
		case 3:
			often++
		}
	}
	if once != 1 || often != 3 {
		t.Errorf("loads %v, want one model kept and three loaded for each of 3 repetitions", b.loads)
	}
	if len(r.scores) != 0 || len(r.timings) != 12 {
		t.Errorf("%d scores, %d timings, want 0 and 12", len(r.scores), len(r.timings))
	}
}

// TestReferenceBatches keeps the reference's states batch by batch: what a run
// finished of them, another does not make again.
func TestReferenceBatches(t *testing.T) {
	b, r := newBackend(), &recorder{}
	j := newJob(t, b, r)
	long := make([]token.ID, passTokens-2)
	j.Windows[0] = datasets.Window{Text: "t", Tokens: long, Targets: make([]token.ID, len(long)), From: 5, To: 9}
	b.stop = 3 // two layers of the first batch, one of the second
	if err := j.Run(t.Context()); !errors.Is(err, errStopped) {
		t.Fatal(err)
	}
	if len(r.scores) != 1 || r.scores[0].Window != 0 {
		t.Errorf("%d windows are recorded of the first batch, want 1", len(r.scores))
	}
	again := newBackend()
	j.Backend = again
	if err := j.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again.passes["bf16"] != 1 || len(r.scores) != 12 {
		t.Errorf("%d passes of the reference, %d scores, want 1 and 12", again.passes["bf16"], len(r.scores))
	}
}

func TestProgress(t *testing.T) {
	j := newJob(t, newBackend(), &recorder{})
	var steps []Step
	j.Progress = func(s Step) { steps = append(steps, s) }
	if err := j.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	last := map[string]Step{}
	for _, s := range steps {
		if s.Done < last[s.Stage].Done || s.Done > s.Total {
			t.Errorf("%s goes from %d to %d of %d", s.Stage, last[s.Stage].Done, s.Done, s.Total)
		}
		last[s.Stage] = s
	}
	for _, stage := range []string{"score", "speed"} {
		if s := last[stage]; s.Total == 0 || s.Done != s.Total {
			t.Errorf("%s ends at %d of %d", stage, s.Done, s.Total)
		}
	}
	if err := (&Job{}).Run(t.Context()); err == nil {
		t.Error("a job of nothing runs")
	}
}
