package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

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
	wrote    bool
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
		p.stage, p.started, p.last = s.Stage, now, now
	}
	if now.Sub(p.last) < p.every {
		return
	}
	p.last = now
	line := fmt.Sprintf("%s: %s, %s, %d%%%s", s.Stage, s.Variant, s.Detail, 100*s.Done/max(s.Total, 1), p.eta(s, now))
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
	left := time.Duration(float64(spent) / float64(made) * float64(s.Total-s.Done))
	rate := ""
	if s.Stage == "score" {
		rate = fmt.Sprintf(", %.0f tok/s", float64(made)/spent.Seconds())
	}
	return fmt.Sprintf("%s, %s left", rate, left.Round(time.Second))
}

// end clears the line.
func (p *progress) end() {
	if p.wrote {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
