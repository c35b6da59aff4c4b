package emu

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"assay/metal/host"
)

// planted reads what bugs.metal says will be found: the kernels in order, and of
// a bug the text and the line.
func planted(t *testing.T) (names []string, found map[string]string, line map[string]int) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "bugs.metal"))
	if err != nil {
		t.Fatal(err)
	}
	found, line = map[string]string{}, map[string]int{}
	name := ""
	n := 0
	for text := range strings.Lines(string(raw)) {
		n++
		if m := regexp.MustCompile(`^kernel void (\w+)`).FindStringSubmatch(text); m != nil {
			name = m[1]
			names = append(names, name)
		}
		if _, f, ok := strings.Cut(text, "// FOUND"); ok {
			found[name], line[name] = strings.TrimSpace(f), n
		}
	}
	return names, found, line
}

// bugDispatch runs a kernel of bugs.metal on two threadgroups of 64 threads; the
// first 64 elements of in and out are declared.
func bugDispatch(name string, in, out host.Buffer) host.Dispatch {
	use := func(b host.Buffer, access host.Access) host.Arg {
		return host.Arg{Buffer: b, Uses: []host.Use{{Len: 256, Access: access}}}
	}
	groups := 1
	if name == "bug_group_race" {
		groups = 2
	}
	return host.Dispatch{Kernel: name, Label: "planted", Grid: [3]int{groups, 1, 1}, Threads: 64,
		Args: []host.Arg{use(in, host.Read), use(out, host.ReadWrite)}}
}

// TestPlantedBugs wants every planted bug found, where it is, and every clean
// twin passed, whatever the seed.
func TestPlantedBugs(t *testing.T) {
	names, found, line := planted(t)
	if len(names) < 25 {
		t.Fatalf("bugs.metal has %d kernels", len(names))
	}
	for seed := range uint32(3) {
		d := open(t, Options{Checked: true, Seed: seed})
		if err := d.Compile(t.Context(), program(t, "bugs.metal")); err != nil {
			t.Fatal(err)
		}
		a, b := floats(t, d, make([]float32, 1024)...), floats(t, d, make([]float32, 1024)...)
		for _, name := range names {
			for i := range a.data {
				a.data[i], b.data[i] = 0, 0
			}
			for i := range 64 {
				copy(a.data[4*i:], "\x00\x00\x80\x3f") // 1
			}
			err := d.Submit([]host.Dispatch{bugDispatch(name, a, b)})
			want, bug := found[name]
			switch {
			case name == "bug_misaligned" && strings.Contains(d.Info().System, "clang"):
				// It loads such a vector in parts, and does not check it whole.
			case !bug && err != nil:
				t.Errorf("seed %d: %s is clean: %v", seed, name, err)
			case bug && err == nil:
				t.Errorf("seed %d: %s was not found", seed, name)
			case bug:
				text := err.Error()
				where := regexp.MustCompile(fmt.Sprintf(`bugs\.metal:%d\b|line %d\b|lines \d+ and %d\b`, line[name], line[name], line[name]))
				if !strings.Contains(text, want) || !where.MatchString(text) || !strings.Contains(text, name+" (planted)") {
					t.Errorf("seed %d: %s, line %d: error %q, want %q", seed, name, line[name], text, want)
				} else if seed == 0 {
					t.Log(text)
				}
			}
		}
	}
}
