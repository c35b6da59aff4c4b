package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"assay/engine/bundle"
	"assay/eval/sweep"
)

// progress tells on a terminal how far a run is, on one line; elsewhere a line
// every now and then.
type progress struct {
	w        io.Writer
	terminal bool
	every    time.Duration
	started  time.Time // of the stage
	stage    string
	last     time.Time
	first    int64 // bytes that were done when the stage began
	wrote    bool
	score    sweep.Step    // the last of the scoring
	scored   time.Duration // how long it took
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, every: 10 * time.Second}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.terminal, p.every = true, 100*time.Millisecond
	}
	return p
}

func (p *progress) step(s sweep.Step) {
	now := time.Now()
	if s.Stage != p.stage {
		if p.stage != "" || p.started.IsZero() {
			p.started = now
		}
		p.stage, p.last = s.Stage, now
	}
	if s.Warning != "" {
		p.print(now, "warning: "+s.Warning)
		fmt.Fprintln(p.w)
		return
	}
	if s.Stage == "score" {
		p.score, p.scored = s, now.Sub(p.started)
	}
	if now.Sub(p.last) < p.every {
		return
	}
	p.print(now, fmt.Sprintf("%s: %s, %s, %d%%%s", s.Stage, s.Variant, s.Detail, 100*s.Done/max(s.Total, 1), p.eta(s, now)))
}

// build tells how far a build is.
func (p *progress) build(s bundle.Progress) {
	now := time.Now()
	if s.Stage != p.stage {
		p.stage, p.started, p.last, p.first = s.Stage, now, now, s.Done
	}
	if now.Sub(p.last) < p.every {
		return
	}
	line := fmt.Sprintf("%s: %s of %s, %d%%", s.Stage, size(s.Done), size(s.Total), 100*s.Done/max(s.Total, 1))
	if spent := now.Sub(p.started); s.Done > p.first && spent > time.Second {
		if s.Weights > 0 {
			line += fmt.Sprintf(", %.3f G weights/s", float64(s.Weights)/1e9/spent.Seconds())
		}
		line += ", " + remaining(spent, s.Done-p.first, s.Total-s.Done)
	}
	p.print(now, line)
}

// remaining is the time that left more will take at the rate of made in spent.
func remaining(spent time.Duration, made, left int64) string {
	t := spent.Seconds() / float64(made) * float64(left)
	if t > 1e7 {
		return "months left"
	}
	return time.Duration(t*float64(time.Second)).Round(time.Second).String() + " left"
}

// print shows a line, on a terminal in place of the last one.
func (p *progress) print(now time.Time, line string) {
	p.last = now
	if !p.terminal {
		fmt.Fprintln(p.w, line)
		return
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", line)
	p.wrote = true
}

// eta is the time left at the rate of this run so far.
func (p *progress) eta(s sweep.Step, now time.Time) string {
	made, spent := s.Done-s.Skipped, now.Sub(p.started)
	if made <= 0 || spent < time.Second {
		return ""
	}
	rate := ""
	if s.Tokens > 0 {
		rate = fmt.Sprintf(", %.0f tok/s", float64(made)/float64(s.Total)*float64(s.Tokens)/spent.Seconds())
	}
	return rate + ", " + remaining(spent, made, s.Total-s.Done)
}

// end clears the line, and says what the scoring took.
func (p *progress) end() {
	if p.wrote {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	if made := p.score.Done - p.score.Skipped; made > 0 {
		fmt.Fprintf(p.w, "score: %.3g TFLOP in %.1f s, %.0f GFLOP/s with reading, quantizing, comparing and writing\n",
			float64(made)/1e12, p.scored.Seconds(), float64(made)/1e9/p.scored.Seconds())
	}
}
