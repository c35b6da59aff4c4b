package scaling

import (
	"context"
	"strings"
	"time"

	"assay/engine"
	"assay/engine/token"
	"assay/engine/variant"
)

// clock splits a job's time by what its engine is asked to do. It serves the one
// goroutine that runs the job.
type clock struct {
	last    time.Time
	between *float64 // what the time up to the next call counts as
	parts   []*PartTime
	byName  map[string]*PartTime
	scoring float64
	rest    float64
}

// PartTime is the time that a part of the model took, of all variants and
// groups of windows.
type PartTime struct {
	Name    string  `json:"name"`            // such as "layer 3 attention"
	Loads   int     `json:"loads"`           // how often weights were loaded: the variants that differ here, in each batch
	Weights float64 `json:"weights_seconds"` // reading, decoding and quantizing what was not there, and loading it
	Run     float64 `json:"run_seconds"`
}

// outputProjection names the part that makes distributions.
const outputProjection = "output projection"

// newClock starts.
func newClock() *clock {
	c := &clock{last: time.Now(), byName: map[string]*PartTime{}}
	c.between = &c.rest
	return c
}

// lap counts the time since the last call as some sum's.
func (c *clock) lap(sum *float64) {
	now := time.Now()
	*sum += now.Sub(c.last).Seconds()
	c.last, c.between = now, &c.rest
}

// call ends what lay between two calls.
func (c *clock) call() { c.lap(c.between) }

func (c *clock) part(name string) *PartTime {
	p := c.byName[name]
	if p == nil {
		p = &PartTime{Name: name}
		c.byName[name], c.parts = p, append(c.parts, p)
	}
	return p
}

// split sums up by kind of part. All of it together is the time from newClock to
// the last lap.
func (c *clock) split() Split {
	s := Split{Scoring: c.scoring, Rest: c.rest}
	for _, p := range c.parts {
		s.Weights += p.Weights
		switch {
		case strings.HasSuffix(p.Name, " attention"):
			s.Attention += p.Run
		case strings.HasSuffix(p.Name, " experts"):
			s.Experts += p.Run
		case p.Name == outputProjection:
			s.Head += p.Run
		default:
			s.Rest += p.Run
		}
	}
	return s
}

// timedBackend is an engine whose passes and heads are timed.
type timedBackend struct {
	engine.Backend
	c *clock
}

func (b timedBackend) Pass(ctx context.Context, v *variant.Variant, windows [][]token.ID) (engine.Pass, error) {
	b.c.call()
	p, err := b.Backend.Pass(ctx, v, windows)
	b.c.call()
	if err != nil {
		return nil, err
	}
	return timedPass{p, b.c, p.Layout().Parts}, nil
}

func (b timedBackend) Head(ctx context.Context, v *variant.Variant) (engine.Head, error) {
	h, err := b.Backend.Head(ctx, v)
	p := b.c.part(outputProjection)
	p.Loads++
	b.c.lap(&p.Weights)
	if err != nil {
		return nil, err
	}
	return timedHead{h, b.c}, nil
}

type timedPass struct {
	engine.Pass
	c     *clock
	parts []engine.PartInfo
}

// Load counts all since the last call as the weights': they were made before it.
func (p timedPass) Load(ctx context.Context, w variant.Weights, i int) (engine.Part, error) {
	part, err := p.Pass.Load(ctx, w, i)
	if err != nil {
		return nil, err
	}
	t := p.c.part(p.parts[i].Name)
	t.Loads++
	p.c.lap(&t.Weights)
	return timedPart{part, p.c, t}, nil
}

type timedPart struct {
	engine.Part
	c *clock
	t *PartTime
}

func (p timedPart) Run(ctx context.Context, group int, x []float32) error {
	p.c.call()
	defer p.c.lap(&p.t.Run)
	return p.Part.Run(ctx, group, x)
}

type timedHead struct {
	engine.Head
	c *clock
}

// LogProbs counts what follows it as scoring: the distributions that it made are
// compared next.
func (h timedHead) LogProbs(ctx context.Context, hidden, dst []float32) error {
	h.c.call()
	err := h.Head.LogProbs(ctx, hidden, dst)
	h.c.lap(&h.c.part(outputProjection).Run)
	h.c.between = &h.c.scoring
	return err
}
