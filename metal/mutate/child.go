package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"assay/engine/cpu"
	"assay/engine/dsv4"
	"assay/metal"
	"assay/metal/suite"
)

// task is what a child process is asked: to run cases of the suite on kernels with
// one check taken out, until one fails.
type task struct {
	Folder string // of compiled kernels; "" is the usual one
	Key    string // the check; "" takes none out, and runs all
	Runs   []caseRun
}

// caseRun is a case in a mode.
type caseRun struct {
	Mode    int
	Name    string
	Seconds float64  // of a processor, without compiling
	Uses    []string // of its dispatches
}

// modes are the ways that the suite is run: every kernel is in the first, what
// rounds is in the second.
var modes = []metal.Options{{}, {Activations: "bf16", Model: dsv4.Options{KVSim: true}}}

// patience is how long a case may take before it is said to hang: compiling
// included, on a busy machine.
const patience = 5 * time.Minute

// answer is what a child says.
type answer struct {
	Runs  []caseRun
	Found string // the first failure
	Error string // why the child could not do its task
}

// child does a task that it reads, and writes its answer.
func child(out io.Writer, in io.Reader) error {
	var t task
	if err := json.NewDecoder(in).Decode(&t); err != nil {
		return err
	}
	var a answer
	if err := t.do(&a, func() { json.NewEncoder(out).Encode(a); os.Exit(0) }); err != nil {
		a.Error = err.Error()
	}
	return json.NewEncoder(out).Encode(a)
}

// do runs the task's cases. hang is called, from another thread, when one does
// not end.
func (t *task) do(a *answer, hang func()) error {
	var plain []*cpu.Backend // the twins, of each mode
	for _, m := range modes {
		p, err := cpu.New(cpu.Options{Kernels: "plain", Model: m.Model})
		if err != nil {
			return err
		}
		defer p.Close()
		plain = append(plain, p)
	}
	dev, err := newDevice(t.Folder, t.Key)
	if err != nil {
		return err
	}
	cases := suite.Cases()
	runs := t.Runs
	if t.Key == "" {
		if runs, err = everything(dev, cases); err != nil {
			return err
		}
	}
	for _, r := range runs {
		i := slices.IndexFunc(cases, func(c suite.Case) bool { return c.Name == r.Name })
		if i < 0 {
			return fmt.Errorf("no case is named %s", r.Name)
		}
		back, err := metal.New(dev, modes[r.Mode])
		if err != nil {
			return err
		}
		if !cases[i].Defined(back) {
			continue
		}
		clear(dev.uses)
		start := processorTime()
		timer := time.AfterFunc(patience, func() {
			a.Found = r.Name + " does not end"
			hang()
		})
		err = suite.Run(cases[i], back, plain[r.Mode])
		timer.Stop()
		if err != nil && strings.Contains(err.Error(), "refuses the kernels") {
			return err
		}
		if err != nil {
			a.Found = oneLine(err.Error())
			return nil
		}
		if t.Key == "" {
			r.Seconds = (processorTime() - start).Seconds()
			r.Uses = slices.Sorted(maps.Keys(dev.uses))
		}
		a.Runs = append(a.Runs, r)
	}
	return nil
}

// everything is all cases in all modes, their kernels compiled side by side.
func everything(dev *device, cases []suite.Case) (runs []caseRun, err error) {
	for mode, m := range modes {
		p, err := suite.Program(cases, m)
		if err != nil {
			return nil, err
		}
		if err := dev.Compile(context.Background(), p); err != nil {
			return nil, err
		}
		for _, c := range cases {
			runs = append(runs, caseRun{Mode: mode, Name: c.Name})
		}
	}
	return runs, nil
}

// processorTime is what this process has computed for, not the compilers that it
// started.
func processorTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano())
}

// oneLine is the start of an error.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 240 {
		return string(r[:240]) + "…"
	}
	return s
}
