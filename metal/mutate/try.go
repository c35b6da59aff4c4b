package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"assay/metal/host/emu"
	"assay/metal/kernels"
	"assay/metal/msl"
)

// mutant is a check to take out, and the kernels that it is part of.
type mutant struct {
	Key     string
	Kernels []string
}

// verdict is what became of one.
type verdict struct {
	Found string // by which case and how, "" where all pass
	Runs  int    // cases that passed
}

// base is the suite as it is.
type base struct{ Runs []caseRun }

// ask has a child process do a task. A child that crashes has found something.
func ask(ctx context.Context, t task) (answer, error) {
	self, err := os.Executable()
	if err != nil {
		return answer{}, err
	}
	in, err := json.Marshal(t)
	if err != nil {
		return answer{}, err
	}
	cmd := exec.CommandContext(ctx, self, "child")
	cmd.Stdin = bytes.NewReader(in)
	var errText bytes.Buffer
	cmd.Stderr = &errText
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil && t.Key != "" {
		return answer{Found: "the process dies: " + oneLine(errText.String())}, nil
	}
	if err != nil {
		return answer{}, fmt.Errorf("%w: %s", err, oneLine(errText.String()))
	}
	var a answer
	if err := json.Unmarshal(out, &a); err != nil {
		return answer{}, err
	}
	if a.Error != "" {
		return answer{}, fmt.Errorf("%s: %s", t.Key, a.Error)
	}
	return a, nil
}

// readyFolder makes a folder of compiled kernels for mutants, which begins with
// what the usual folder has: most kernels of a mutant are as they were.
func readyFolder() (string, error) {
	folder, err := os.MkdirTemp(filepath.Dir(emu.DefaultCache()), "mutants-")
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(emu.DefaultCache())
	for _, e := range entries {
		from, to := filepath.Join(emu.DefaultCache(), e.Name()), filepath.Join(folder, e.Name())
		switch {
		case err != nil:
		case e.Type()&os.ModeSymlink != 0:
			var target string
			if target, err = os.Readlink(from); err == nil {
				err = os.Symlink(target, to)
			}
		case e.Type().IsRegular():
			err = os.Link(from, to)
		}
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(folder))
	}
	return folder, nil
}

// baseline runs the whole suite on the kernels as they are.
func baseline(ctx context.Context) (*base, error) {
	a, err := ask(ctx, task{})
	if err != nil {
		return nil, err
	}
	if a.Found != "" {
		return nil, fmt.Errorf("the suite fails on the kernels as they are: %s", a.Found)
	}
	slices.SortStableFunc(a.Runs, func(x, y caseRun) int { return cmp.Compare(x.Seconds, y.Seconds) })
	return &base{a.Runs}, nil
}

// all is every check of the kernels, then every use that dispatches declare.
func all(b *base) []mutant {
	src, err := msl.Parse(kernels.Source())
	if err != nil {
		panic(err) // the baseline has compiled it
	}
	var out []mutant
	for _, m := range src.Mutants() {
		out = append(out, mutant{Key: m.Key(), Kernels: src.Affected(m)})
	}
	seen := map[string]bool{}
	var uses []mutant
	for _, r := range b.Runs {
		for _, u := range r.Uses {
			if f, _, ok := strings.Cut(u, ":"); ok && !seen[u] {
				seen[u] = true
				uses = append(uses, mutant{Key: "use " + u, Kernels: []string{f}})
			}
		}
	}
	slices.SortFunc(uses, func(x, y mutant) int { return strings.Compare(x.Key, y.Key) })
	return append(out, uses...)
}

// concerned is the runs that dispatch a mutant's kernels, the quickest first.
func (b *base) concerned(m mutant) []caseRun {
	var out []caseRun
	for _, r := range b.Runs {
		if slices.ContainsFunc(m.Kernels, func(k string) bool { return slices.Contains(r.Uses, k) }) {
			r.Uses = nil
			out = append(out, r)
		}
	}
	return out
}

// tryAll tries mutants, some at once, and says how far it is.
func tryAll(ctx context.Context, folder string, b *base, ms []mutant, jobs int, out io.Writer) []verdict {
	verdicts := make([]verdict, len(ms))
	var mu sync.Mutex
	var wg sync.WaitGroup
	next, done := 0, 0
	for range max(jobs, 1) {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= len(ms) || ctx.Err() != nil {
					return
				}
				runs := b.concerned(ms[i])
				a, err := ask(ctx, task{Folder: folder, Key: ms[i].Key, Runs: runs})
				v := verdict{Found: a.Found, Runs: len(a.Runs)}
				mu.Lock()
				done++
				verdicts[i] = v
				switch {
				case err != nil && ctx.Err() == nil:
					fmt.Fprintf(out, "%d/%d could not be tried: %v\n", done, len(ms), err)
				case done%50 == 0 && v.Found != "":
					fmt.Fprintf(out, "%d/%d\n", done, len(ms))
				case v.Found == "" && ctx.Err() == nil:
					fmt.Fprintf(out, "%d/%d survives %d of %d runs: %s\n", done, len(ms), v.Runs, len(runs), ms[i].Key)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return verdicts
}
