package sweep

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"assay/bench"
	"assay/datasets"
	"assay/engine"
	"assay/engine/checkpoint/checkpointtest"
	"assay/engine/reference"
	"assay/engine/tensor"
	"assay/engine/token"
	"assay/engine/variant"
	"assay/eval"
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

// backend is an engine of one layer whose hidden states are the tokens and whose
// distributions over four tokens lean by variant. It counts what it is asked.
type backend struct {
	runs   map[string]int // parts that a variant's weights ran
	loads  map[string]int
	stop   int // runs of parts left until it fails, or −1
	memory int64
}

var errStopped = errors.New("stopped")

func (b *backend) Device() engine.Device { return engine.Device{Engine: "fake", Memory: b.memory} }

func (b *backend) Load(_ context.Context, v *variant.Variant, _ int) (engine.Model, error) {
	b.loads[v.Name()]++
	return model{}, nil
}

// groupTokens is the most tokens that the fake engine runs together.
const groupTokens = 16384

func (b *backend) Layout(_ *variant.Variant, lengths []int) (engine.Layout, error) {
	l := engine.Layout{Width: 8, Hidden: 2, Vocab: 4, Scratch: 1000, Head: engine.PartInfo{FLOPs: []int64{5}}}
	for at := 0; at < len(lengths); {
		g := engine.Group{From: at, To: at}
		for g.To < len(lengths) && (g.To == at || g.Tokens+lengths[g.To] <= groupTokens) {
			g.Tokens += lengths[g.To]
			g.To++
		}
		l.Groups = append(l.Groups, g)
		at = g.To
	}
	for i, name := range []string{"embedding", "layer 0 attention", "final norm"} {
		p := engine.PartInfo{Name: name}
		if i == 1 {
			p.Params = []string{"a.weight"}
		}
		for _, g := range l.Groups {
			p.FLOPs = append(p.FLOPs, int64(10*g.Tokens))
		}
		l.Parts = append(l.Parts, p)
	}
	return l, nil
}

func (b *backend) Pass(_ context.Context, v *variant.Variant, windows [][]token.ID) (engine.Pass, error) {
	lengths := make([]int, len(windows))
	for i, w := range windows {
		lengths[i] = len(w)
	}
	l, err := b.Layout(v, lengths)
	return &pass{b: b, windows: windows, layout: l}, err
}

func (b *backend) Head(_ context.Context, v *variant.Variant) (engine.Head, error) {
	return head(len(v.Name())), nil
}

type pass struct {
	b       *backend
	windows [][]token.ID
	layout  engine.Layout
}

func (p *pass) Layout() engine.Layout { return p.layout }
func (p *pass) Close() error          { return nil }
func (p *pass) Load(_ context.Context, w variant.Weights, i int) (engine.Part, error) {
	if i == 1 {
		if _, err := w.Matrix("a.weight"); err != nil {
			return nil, err
		}
	}
	return part{p, w.(*variant.Variant).Name(), i}, nil
}

type part struct {
	p    *pass
	name string
	i    int
}

func (p part) Close() error { return nil }

// Run puts a token's id and the parts that it has gone through in its streams.
func (p part) Run(_ context.Context, group int, x []float32) error {
	if p.p.b.stop == 0 {
		return errStopped
	}
	p.p.b.stop--
	p.p.b.runs[p.name]++
	g := p.p.layout.Groups[group]
	for i, id := range slices.Concat(p.p.windows[g.From:g.To]...) {
		switch p.i {
		case 0:
			x[8*i], x[8*i+1] = float32(id), 1
		case 1:
			x[8*i+1]++
		default:
			x[2*i], x[2*i+1] = x[8*i], x[8*i+1]+1
		}
	}
	return nil
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
		if hidden[2*i+1] != 3 {
			return fmt.Errorf("a token went through %g parts, want 3", hidden[2*i+1])
		}
		dst[4*i+int(hidden[2*i])%4] = float32(lean - lse)
	}
	return nil
}

type model struct{}

func (model) NewSession() (engine.Session, error) { return model{}, nil }
func (model) Bytes() int64                        { return 1 << 15 }
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
	j := &Job{Backend: b, Recorder: r, StatePath: filepath.Join(t.TempDir(), "state"), StateKey: StateKey{Model: "m"}, SpillDir: t.TempDir()}
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
	return &backend{runs: map[string]int{}, loads: map[string]int{}, stop: -1, memory: 1 << 30}
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
		if want := []string{"bf16", "native", "g32-n8-e4", "g128-n4-e3"}[i%4]; s.Variant != want || s.Window != i/4 || len(s.NLL) != 3 {
			t.Errorf("score %d is of %s, window %d, %d tokens; want %s, %d, 3", i, s.Variant, s.Window, len(s.NLL), want, i/4)
		}
	}
	// By hand: bf16 leans by 0.4 to the fed token, which is never the target.
	lse := math.Log(3 + math.Exp(0.4))
	if got := float64(r.scores[0].NLL[0]); math.Abs(got-lse) > 1e-6 {
		t.Errorf("NLL %.6f, want %.6f", got, lse)
	}
	for i := range 2 { // native has bf16's values
		if r.scores[i].KL[0] != 0 || !r.scores[i].Top1[0] {
			t.Errorf("%s differs from the reference", r.scores[i].Variant)
		}
	}
	p, q := math.Exp(0.4)/(3+math.Exp(0.4)), 0.9-math.Log(3+math.Exp(0.9))
	kl := p*(0.4-lse-q) + (1-p)*(-lse+math.Log(3+math.Exp(0.9)))
	if got := float64(r.scores[2].KL[0]); math.Abs(got-kl) > 1e-6 {
		t.Errorf("KL of a head that leans by 0.9 is %.6f, want %.6f", got, kl)
	}
	// The embedding is everybody's, the layer has three kinds of weights.
	if got := fmt.Sprint(b.runs); got != "map[bf16:3 g128-n4-e3:2 g32-n8-e4:2]" {
		t.Errorf("parts ran as %s", got)
	}
	for name, n := range b.loads {
		if n != 1 {
			t.Errorf("%s was loaded %d times though all fit", name, n)
		}
	}
}

// TestResume stops a sweep after every number of runs of a part, with a state
// written wherever there can be one; what was done before it is not done again,
// and the whole is what an undisturbed run gives.
func TestResume(t *testing.T) {
	whole := &recorder{}
	if err := newJob(t, newBackend(), whole).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	// One run of the embedding, three of the layer, three of the final norm.
	for stop, want := range []int{7, 6, 6, 6, 3, 3, 3} {
		r, first := &recorder{}, newBackend()
		first.stop = stop
		j := newJob(t, first, r)
		j.saveAlways = true
		if err := j.Run(t.Context()); !errors.Is(err, errStopped) {
			t.Fatalf("after %d parts: %v", stop, err)
		}
		again := newBackend()
		j.Backend = again
		if err := j.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := sum(again.runs); got != want {
			t.Errorf("after %d parts: %d are run, want %d", stop, got, want)
		}
		if _, err := os.Stat(j.StatePath); !os.IsNotExist(err) {
			t.Errorf("after %d parts: the state is left over (%v)", stop, err)
		}
		for i := range whole.scores {
			if fmt.Sprint(r.scores[i]) != fmt.Sprint(whole.scores[i]) {
				t.Fatalf("after %d parts: score %d is %v, want %v", stop, i, r.scores[i], whole.scores[i])
			}
		}
	}
}

// TestStateOfOthers: a state that is damaged, cut short, or of another run is
// not used.
func TestStateOfOthers(t *testing.T) {
	for name, spoil := range map[string]func(j *Job, data []byte) []byte{
		"as written":     func(_ *Job, d []byte) []byte { return d },
		"a changed byte": func(_ *Job, d []byte) []byte { d[len(d)-20] ^= 1; return d },
		"cut short":      func(_ *Job, d []byte) []byte { return d[:len(d)-9] },
		"another model":  func(j *Job, d []byte) []byte { j.StateKey.Model = "other"; return d },
		"text":           func(*Job, []byte) []byte { return []byte("assay state 1\nhello") },
		"other variants": func(j *Job, d []byte) []byte {
			recipe, _ := variant.Parse("g64-n6-e3")
			v, err := variant.New(source(t), recipe)
			if err != nil {
				t.Fatal(err)
			}
			j.Variants = append(j.Variants, v)
			return d
		},
	} {
		first := newBackend()
		first.stop = 4
		j := newJob(t, first, &recorder{})
		j.saveAlways = true
		if err := j.Run(t.Context()); !errors.Is(err, errStopped) {
			t.Fatal(err)
		}
		data, err := os.ReadFile(j.StatePath)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(j.StatePath, spoil(j, data), 0o644); err != nil {
			t.Fatal(err)
		}
		again := newBackend()
		j.Backend = again
		if err := j.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := map[string]int{"as written": 3, "other variants": 9}[name]
		if want == 0 {
			want = 7
		}
		if got := sum(again.runs); got != want {
			t.Errorf("%s: %d parts are run, want %d", name, got, want)
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
	b.memory = 3 << 15 // room for one model of 1 << 15 bytes in the half that keeps models
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

// TestBatches: weights that fit stay, and windows go through in batches; of a
// batch that is recorded nothing is made again.
func TestBatches(t *testing.T) {
	b, r := newBackend(), &recorder{}
	j := newJob(t, b, r)
	long := make([]token.ID, groupTokens-2)
	j.Windows[0] = datasets.Window{Text: "t", Tokens: long, Targets: make([]token.ID, len(long)), From: 5, To: 9}
	b.stop = 9 // all seven runs of the first batch, two of the second
	if err := j.Run(t.Context()); !errors.Is(err, errStopped) {
		t.Fatal(err)
	}
	if len(r.scores) != 4 || r.scores[3].Window != 0 {
		t.Errorf("%d windows are recorded of the first batch, want one of 4 variants", len(r.scores))
	}
	again := newBackend()
	j.Backend = again
	if err := j.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if sum(again.runs) != 7 || len(r.scores) != 12 {
		t.Errorf("%d runs of parts, %d scores, want 7 and 12", sum(again.runs), len(r.scores))
	}
}

// TestPlanRefuses names the parts of the sum where memory is too little.
func TestPlanRefuses(t *testing.T) {
	b := newBackend()
	b.memory = 100 << 20
	err := newJob(t, b, &recorder{}).Run(t.Context())
	for _, want := range []string{"sweep: 0.10 GB of memory are too little", "program 0.20 GB", "scratch 0.00 GB", "streams"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// TestPace: a state is written when a minute is at stake and the writing takes
// 4 % of the time since the last at most.
func TestPace(t *testing.T) {
	at := time.Now()
	p := savePace{last: at, speed: 100}
	for _, x := range []struct {
		after time.Duration
		bytes int64
		want  bool
	}{{59 * time.Second, 1, false}, {60 * time.Second, 240, true}, {60 * time.Second, 241, false}, {time.Hour, 14_400, true}} {
		if got := p.due(at.Add(x.after), x.bytes); got != x.want {
			t.Errorf("after %v, %d bytes: due is %v", x.after, x.bytes, got)
		}
	}
	p.wrote(at, at.Add(2*time.Second), 100)
	if p.speed != 50 || !p.last.Equal(at.Add(2*time.Second)) {
		t.Errorf("100 bytes in 2 s give %g B/s", p.speed)
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
