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
	"assay/metal/host"
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
// rounds is in the second, and tables in parts are in the third.
var modes = []mode{
	{},
	{opt: metal.Options{Activations: "bf16", Model: dsv4.Options{KVSim: true}}},
	{limits: host.Limits{MaxBuffer: 32 << 10}, only: "embed/"},
}

type mode struct {
	opt    metal.Options
	limits host.Limits
	only   string // what the cases' names begin with
}

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
	var backs []*metal.Backend // of each mode, and their twins
	var plain []*cpu.Backend
	var devs []*device
	for _, m := range modes {
		p, err := cpu.New(cpu.Options{Kernels: "plain", Model: m.opt.Model})
		if err != nil {
			return err
		}
		defer p.Close()
		dev, err := newDevice(t.Folder, t.Key, m.limits)
		if err != nil {
			return err
		}
		back, err := metal.New(dev, m.opt)
		if err != nil {
			return err
		}
		plain, devs, backs = append(plain, p), append(devs, dev), append(backs, back)
	}
	cases := suite.Cases()
	runs := t.Runs
	if t.Key == "" {
		var err error
		if runs, err = everything(devs, cases); err != nil {
			return err
		}
	}
	for _, r := range runs {
		i := slices.IndexFunc(cases, func(c suite.Case) bool { return c.Name == r.Name })
		if i < 0 {
			return fmt.Errorf("no case is named %s", r.Name)
		}
		back := backs[r.Mode]
		if !cases[i].Defined(back) {
			continue
		}
		clear(devs[r.Mode].uses)
		start := processorTime()
		timer := time.AfterFunc(patience, func() {
			a.Found = r.Name + " does not end"
			hang()
		})
		err := suite.Run(cases[i], back, plain[r.Mode])
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
			r.Uses = slices.Sorted(maps.Keys(devs[r.Mode].uses))
		}
		a.Runs = append(a.Runs, r)
	}
	return nil
}

// everything is all cases in all modes, their kernels compiled side by side.
func everything(devs []*device, cases []suite.Case) (runs []caseRun, err error) {
	for mode, m := range modes {
		var of []suite.Case
		for _, c := range cases {
			if strings.HasPrefix(c.Name, m.only) {
				of = append(of, c)
			}
		}
		p, err := suite.Program(of, m.opt)
		if err != nil {
			return nil, err
		}
		if err := devs[mode].Compile(context.Background(), p); err != nil {
			return nil, err
		}
		for _, c := range of {
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
