// Package scaling measures how the quality part of a sweep grows with tokens,
// variants, layers, experts and threads, and what a sweep of a whole model takes
// by a checkpoint of a few of its layers. Who makes the jobs is the caller; what
// a sweep does is eval/sweep's.
package scaling

import (
	"runtime/debug"

	"assay/bench"
	"assay/datasets"
	"assay/eval/sweep"
)

// Sample is one timed run of a job.
type Sample struct {
	Seconds  float64    `json:"seconds"`
	Split    Split      `json:"split"`
	Peak     int64      `json:"peak_bytes,omitempty"` // most memory resident; 0 where the system does not say
	FromDisk int64      `json:"disk_bytes"`           // that disks read for it; 0 where the system does not say
	Parts    []PartTime `json:"parts,omitempty"`
}

// Split is where a run's seconds went; the sum is all of them.
type Split struct {
	Attention float64 `json:"attention"` // sublayers of all layers and variants
	Experts   float64 `json:"experts"`   //
	Head      float64 `json:"head"`      // output projection and softmax
	Scoring   float64 `json:"scoring"`   // comparing distributions, recording
	Weights   float64 `json:"weights"`   // read, decoded, quantized, loaded
	Rest      float64 `json:"rest"`      // embedding, final norm, copies of streams, planning
}

// Total returns the sum.
func (s Split) Total() float64 {
	return s.Attention + s.Experts + s.Head + s.Scoring + s.Weights + s.Rest
}

// Work is what a run does, by its plan: the same in every repetition.
type Work struct {
	Fed     int   `json:"tokens_fed"`        // of all windows, once
	Tokens  int64 `json:"tokens"`            // of all variants
	Scored  int64 `json:"scored"`            // of all variants
	FLOPs   int64 `json:"flop"`              // useful; what variants share counts once
	Weights int64 `json:"weights_quantized"` //
	Source  int64 `json:"bytes_read"`
	Planned int64 `json:"planned_bytes"` // of memory at once
	Limit   int64 `json:"memory_limit"`
}

// WorkOf takes from a plan what a record wants.
func WorkOf(p *sweep.Plan, windows []datasets.Window) Work {
	w := Work{Tokens: p.Tokens, Scored: p.Scored, FLOPs: p.FLOPs, Weights: p.Weights, Source: p.Source,
		Planned: p.Memory.Total(), Limit: p.Memory.Limit}
	for _, x := range windows {
		w.Fed += len(x.Tokens)
	}
	return w
}

// Measure times run, which runs the job, and watches the process's memory
// meanwhile. What earlier runs left is collected before.
func Measure(job *sweep.Job, run func() error) (Sample, error) {
	debug.FreeOSMemory()
	peak := bench.WatchPeak()
	engine := job.Backend
	c := newClock()
	job.Backend = timedBackend{engine, c}
	disk, _ := bench.DiskBytes()
	start := c.last
	err := run()
	c.call()
	job.Backend = engine
	s := Sample{Seconds: c.last.Sub(start).Seconds(), Split: c.split(), Peak: peak()}
	if n, ok := bench.DiskBytes(); ok {
		s.FromDisk = n - disk
	}
	for _, p := range c.parts {
		s.Parts = append(s.Parts, *p)
	}
	return s, err
}

// Rate is what a number of threads reach on this machine, the median of several
// measurements.
type Rate struct {
	Threads  int     `json:"threads"`
	FLOPs    float64 `json:"flop_per_second"`    // of a matrix product in float32
	Quantize float64 `json:"weights_per_second"` // quantized
}
