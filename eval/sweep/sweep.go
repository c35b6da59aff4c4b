// Package sweep runs a comparison: the reference once, then each variant on the
// same windows, then the timings, every result handed over as soon as it is
// known, so that a run killed at any moment goes on where it was. It leaves the
// ledger's form to results and the flags to the command.
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
	"assay/eval/rows"
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
	// RowsPath, with a number for each batch behind it, is where the reference's
	// hidden states are kept between runs; "" keeps them in memory only. RowsKey
	// names what made them.
	RowsPath string
	RowsKey  rows.Key
	// Speed is nil where nothing is timed; SpeedTokens is the text of the timings.
	Speed       *bench.Plan
	SpeedTokens []token.ID
	// Progress is told of every step; it may be nil.
	Progress func(Step)
}

// Step says how far a job is, in tokens of one stage.
type Step struct {
	Stage   string // "score" or "speed"
	Variant string
	Detail  string // such as "layer 3 of 8"
	Done    int64  // units of work done in the stage, comparable with Total
	Total   int64
	Skipped int64 // of Done, what an earlier run had done
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
	return j.speed(ctx)
}

// all returns the reference and the variants.
func (j *Job) all() []*variant.Variant {
	return append([]*variant.Variant{j.Reference}, j.Variants...)
}

func (j *Job) report(s Step) {
	if j.Progress != nil {
		j.Progress(s)
	}
}

// scored says whether every window of a variant is recorded.
func (j *Job) scored(name string) bool {
	for _, w := range j.Windows {
		if !j.Recorder.HasScore(name, w.Text, w.Index) {
			return false
		}
	}
	return true
}
