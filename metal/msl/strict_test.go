package msl_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"assay/metal/msl"
)

// clang returns a clang++ of version 17 or newer, or skips the test: older ones
// lack bfloat. $CLANG names it; make msl-check installs one on Debian.
func clang(t *testing.T) string {
	t.Helper()
	tried := []string{os.Getenv("CLANG"), "clang++-19", "clang++-20", "clang++-18", "clang++-17", "clang++"}
	for _, c := range tried {
		out, err := exec.Command(c, "--version").Output()
		if err != nil {
			continue
		}
		m := regexp.MustCompile(`clang version (\d+)`).FindSubmatch(out)
		if m == nil {
			continue
		}
		if n, _ := strconv.Atoi(string(m[1])); n >= 17 {
			return c
		}
	}
	if os.Getenv("ASSAY_NEEDS_CLANG") != "" {
		t.Fatal("no clang++ of version 17 or newer")
	}
	t.Skip("no clang++ of version 17 or newer: make msl-check installs one")
	return ""
}

// strict has clang check a source with Metal's address spaces, and returns its
// first complaint.
func strict(t *testing.T, cxx, source string, defines ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "source.metal")
	if err := os.WriteFile(file, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-x", "c++", "-std=c++14", "-fsyntax-only", "-fno-exceptions", "-fno-rtti", "-ferror-limit=3",
		"-Wall", "-Wextra", "-Wdouble-promotion", "-Werror", "-Wno-unused-variable", "-Wno-unused-const-variable",
		"-Wno-unknown-attributes", "-Wno-c++17-extensions", "-I", filepath.Join("testdata", "strict")}, defines...)
	out, err := exec.Command(cxx, append(args, file)...).CombinedOutput()
	if err == nil {
		return ""
	}
	for line := range strings.Lines(string(out)) {
		if _, what, ok := strings.Cut(line, "error: "); ok {
			return strings.TrimSpace(what)
		}
	}
	t.Fatalf("%s: %v\n%s", cxx, err, out)
	return ""
}

// preprocessed returns bad.metal's text of one case, for Lint, which does no
// preprocessing.
func preprocessed(t *testing.T, cxx, source string, define string) string {
	t.Helper()
	var kept bytes.Buffer
	for line := range strings.Lines(source) {
		if !strings.HasPrefix(line, "#include") {
			kept.WriteString(line)
		}
	}
	cmd := exec.Command(cxx, "-E", "-P", "-x", "c++", define, "-")
	cmd.Stdin = &kept
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestMistakesAreRefused plants mistakes that Metal, or one of the shims, would
// refuse or take otherwise. Each must be found here.
func TestMistakesAreRefused(t *testing.T) {
	cxx := clang(t)
	raw, err := os.ReadFile(filepath.Join("testdata", "bad.metal"))
	if err != nil {
		t.Fatal(err)
	}
	source := string(raw)
	const cases = 43
	if n := strings.Count(source, "CASE == "); n != cases {
		t.Errorf("bad.metal has %d cases, want %d", n, cases)
	}
	for i := range cases + 1 {
		define := fmt.Sprintf("-DCASE=%d", i)
		byClang := strict(t, cxx, source, define)
		lint := ""
		if p := msl.Lint(preprocessed(t, cxx, source, define)); len(p) > 0 {
			lint = p[0].Text
		}
		if found := byClang != "" || lint != ""; found != (i > 0) {
			t.Errorf("case %d: clang says %q, Lint says %q", i, byClang, lint)
		} else {
			t.Logf("case %d: clang: %s; Lint: %s", i, byClang, lint)
		}
	}
}
