// Package sweep runs a comparison: the reference and all variants go through the
// model together, part by part on the same windows, then come the timings. The
// checkpoint is read once and each distinct matrix is made once; variants that
// are still the same share the work. Results are handed over as soon as they are
// known, so that a run killed at any moment goes on about where it was. It leaves
// the ledger's form to results and the flags to the command.
package sweep

import (
	"context"
	"fmt"

	"assay/bench"
	"assay/datasets"
	"assay/engine"
	"assay/engine/token"
	"assay/engine/variant"
	"assay/eval"
)

// Recorder is where results go for good. A result that it has is not made again.
type Recorder interface {
	HasScore(variant, text string, window int) bool
	AppendScore(eval.WindowScore) error
	HasTiming(variant string, repetition int) bool
	AppendTiming(bench.Sample) error
}

// Job is one sweep.
type Job struct {
	Backend   engine.Backend
	Reference *variant.Variant
	Variants  []*variant.Variant // without the reference, in table order
	Windows   []datasets.Window
	Recorder  Recorder
	// StatePath is where the streams of a batch are kept between runs where they
	// would take long to make again; "" keeps none. StateKey names what makes
	// them. SpillDir is the folder of the file for streams that memory has no
	// room for; "" is the system's for temporary files.
	StatePath  string
	StateKey   StateKey
	SpillDir   string
	saveAlways bool // between all parts, for tests
	// Speed is nil where nothing is timed; SpeedTokens is the text of the timings.
	Speed       *bench.Plan
	SpeedTokens []token.ID
	// OnlyVariants leaves the reference out of the timings: it may be too large.
	OnlyVariants bool
	// BeforeSpeed is called when scoring is done and its memory is free; it may be nil.
	BeforeSpeed func()
	// Progress is told of every step; it may be nil.
	Progress func(Step)
}

// Step says how far a stage of a job is.
type Step struct {
	Stage   string // "score" or "speed"
	Variant string
	Detail  string // such as "layer 3 attention"
	Done    int64  // work done in the stage: floating-point operations, or repetitions
	Total   int64
	Skipped int64  // of Done, what an earlier run had done
	Tokens  int64  // what Total is in tokens of all variants; 0 where nothing is scored
	Warning string // what a user must know, told once
}

// Run does what is not done yet: scores first, then timings. A job without
// windows only times.
func (j *Job) Run(ctx context.Context) error {
	if len(j.Windows) == 0 && j.Speed == nil {
		return fmt.Errorf("sweep: nothing to score and nothing to time")
	}
	if err := j.score(ctx); err != nil {
		return err
	}
	if j.Speed == nil {
		return nil
	}
	if j.BeforeSpeed != nil {
		j.BeforeSpeed()
	}
	return j.speed(ctx)
}

// all returns the reference and the variants.
func (j *Job) all() []*variant.Variant {
	return append([]*variant.Variant{j.Reference}, j.Variants...)
}

// timed returns what is timed.
func (j *Job) timed() []*variant.Variant {
	if j.OnlyVariants {
		return j.Variants
	}
	return j.all()
}

func (j *Job) report(s Step) {
	if j.Progress != nil {
		j.Progress(s)
	}
}
