package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"assay/metal/host"
	"assay/metal/host/emu"
	"assay/metal/kernels"
	"assay/metal/msl"
	"assay/metal/suite"
)

func TestReport(t *testing.T) {
	ms := []mutant{{Key: "found"}, {Key: "survived"}, {Key: "listed"}, {Key: "listed and found"}}
	vs := []verdict{{Found: "by a"}, {Runs: 3}, {Runs: 4}, {Found: "by b"}}
	reasons := map[string]string{"listed": "why not", "listed and found": "why", "gone": "whatever"}
	text, wrong := report(ms, vs, reasons, true)
	for _, want := range []string{"found    found\n", "SURVIVED survived\n", "3 runs", "same     listed\n", "why not",
		"FOUND    listed and found\n", "GONE     gone\n", "4 checks taken out: 1 found, 1 equivalent, 3 wrong\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
	if wrong != 3 {
		t.Errorf("%d wrong, want 3", wrong)
	}
	if _, wrong := report(ms[:1], vs[:1], reasons, false); wrong != 0 {
		t.Errorf("%d wrong where only some were asked for", wrong)
	}
}

func TestReadSurvivors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "list")
	for text, want := range map[string]string{
		"# a comment\n\nbarrier a: b\n  because\n  of it\nbound c\n\td\n": "because of it",
		"  a reason\n":               "before the first check",
		"barrier a: b\n":             "no reason",
		"bound c\n d\nbound c\n e\n": "twice",
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := readSurvivors(file)
		if err != nil && !strings.Contains(err.Error(), want) || err == nil && got["barrier a: b"] != want {
			t.Errorf("of %q: %v, %v, want %q", text, got, err, want)
		}
	}
}

// TestSurvivorsAreThere wants every check of the committed list to be in the
// kernels, or to be a use of one of their arguments.
func TestSurvivorsAreThere(t *testing.T) {
	list, err := readSurvivors("survivors.txt")
	if err != nil {
		t.Fatal(err)
	}
	src, err := msl.Parse(kernels.Source())
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for _, m := range src.Mutants() {
		if keys[m.Key()] {
			t.Errorf("two checks are named %s", m.Key())
		}
		keys[m.Key()] = true
	}
	for key := range list {
		if use, ok := strings.CutPrefix(key, "use "); ok {
			u, err := parseUse(use)
			if err != nil || src.Kernel(u.Kernel) == nil {
				t.Errorf("%s: %v", key, err)
			}
		} else if !keys[key] {
			t.Errorf("the kernels have no check %s", key)
		}
	}
}

func TestUseKey(t *testing.T) {
	key := useKey("matvec", "x", host.Read)
	u, err := parseUse(key)
	if err != nil || key != "matvec: reads x" || u.Kernel != "matvec" || u.Argument != "x" || u.Access != host.Read {
		t.Errorf("%s is %+v, %v", key, u, err)
	}
	if _, err := parseUse("matvec: licks x"); err == nil {
		t.Error("no error of a use that is none")
	}
}

// TestFinds takes a barrier and a declared use out, and wants a case to fail.
func TestFinds(t *testing.T) {
	if _, err := emu.New(emu.Options{}); err != nil {
		t.Skip(err)
	}
	i := slices.IndexFunc(suite.Cases(), func(c suite.Case) bool { return strings.HasPrefix(c.Name, "latents/") })
	runs := []caseRun{{Name: suite.Cases()[i].Name}}
	folder := t.TempDir()
	for key, want := range map[string]string{
		"": "",
		"barrier arith.metal group_sum#1: threadgroup_barrier(mem_flags::mem_threadgroup)": "threadgroup memory",
		"use latents: reads q_weight": "at q_weight, whose byte",
	} {
		task := task{Folder: folder, Key: key, Runs: runs}
		if key == "" {
			task.Key = "use none: reads none" // nobody's
		}
		var a answer
		if err := task.do(&a, func() { t.Error("it hangs") }); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		if (a.Found == "") != (want == "") || !strings.Contains(a.Found, want) {
			t.Errorf("%q: found %q, want %q", key, a.Found, want)
		}
	}
}
