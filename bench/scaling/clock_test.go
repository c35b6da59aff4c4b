package scaling

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"assay/engine"
	"assay/engine/token"
	"assay/engine/variant"
	"assay/eval/sweep"
)

// A step of the fakes takes this long, or a multiple of it.
const tick = 10 * time.Millisecond

func wait(n int) { time.Sleep(time.Duration(n) * tick) }

// slow is an engine whose every call takes its time.
type slow struct {
	engine.Backend
	fail error
}

func (s slow) Pass(context.Context, *variant.Variant, [][]token.ID) (engine.Pass, error) {
	wait(1)
	return slowPass{}, s.fail
}
func (slow) Head(context.Context, *variant.Variant) (engine.Head, error) {
	wait(1)
	return slowHead{}, nil
}

type slowPass struct{ engine.Pass }

func (slowPass) Layout() engine.Layout {
	return engine.Layout{Parts: []engine.PartInfo{{Name: "embedding"}, {Name: "layer 0 attention"}, {Name: "layer 0 experts"}}}
}
func (slowPass) Load(_ context.Context, _ variant.Weights, i int) (engine.Part, error) {
	wait(1)
	return slowPart{i: i}, nil
}

type slowPart struct {
	engine.Part
	i int
}

func (p slowPart) Run(context.Context, int, []float32) error { wait(2 + p.i); return nil }

type slowHead struct{ engine.Head }

func (slowHead) LogProbs(context.Context, []float32, []float32) error { wait(2); return nil }

// TestMeasure takes a job's engine through all it is asked for, with work between
// the calls, and finds each in its place: weights are what comes before a load,
// scoring what follows distributions. The sum is the whole time.
func TestMeasure(t *testing.T) {
	ctx := t.Context()
	job := &sweep.Job{Backend: slow{}}
	s, err := Measure(job, func() error {
		b := job.Backend
		wait(2) // planning: rest
		p, err := b.Pass(ctx, nil, nil)
		if err != nil {
			return err
		}
		for i := range 3 {
			wait(3) // making weights
			part, err := p.Load(ctx, nil, i)
			if err != nil {
				return err
			}
			wait(1) // copying streams: rest
			for g := range i + 1 {
				if err := part.Run(ctx, g, nil); err != nil {
					return err
				}
			}
		}
		wait(3)
		h, err := b.Head(ctx, nil)
		if err != nil {
			return err
		}
		for range 2 {
			if err := h.LogProbs(ctx, nil, nil); err != nil {
				return err
			}
			wait(5)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := job.Backend.(slow); !ok {
		t.Errorf("the job is left with a %T", job.Backend)
	}
	// Ticks: planning 2, Pass 1, copies 3, the embedding's run 2.
	for _, x := range []struct {
		what  string
		got   float64
		ticks int
	}{
		{"attention", s.Split.Attention, 2 * 3}, {"experts", s.Split.Experts, 3 * 4}, {"head", s.Split.Head, 2 * 2},
		{"scoring", s.Split.Scoring, 2 * 5}, {"weights", s.Split.Weights, 4 * 4}, {"rest", s.Split.Rest, 2 + 1 + 3 + 2},
	} {
		if want := float64(x.ticks) * tick.Seconds(); x.got < want { // and not more, since the sum is the whole
			t.Errorf("%s took %.3f s, want %.3f at least", x.what, x.got, want)
		}
	}
	if math.Abs(s.Split.Total()-s.Seconds) > 1e-9 {
		t.Errorf("the split has %g s, the run took %g", s.Split.Total(), s.Seconds)
	}
	if len(s.Parts) != 4 || s.Parts[2].Name != "layer 0 experts" || s.Parts[2].Loads != 1 || s.Parts[3].Name != outputProjection || s.Parts[3].Loads != 1 {
		t.Errorf("parts are %+v", s.Parts)
	}
}

func TestMeasureFails(t *testing.T) {
	want := errors.New("no room")
	job := &sweep.Job{Backend: slow{fail: want}}
	_, err := Measure(job, func() error {
		_, err := job.Backend.Pass(t.Context(), nil, nil)
		return err
	})
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}
