package timing

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"assay/metal/host/cuda"
	"assay/metal/host/emu"
)

// TestRun times a case of each kind, small, on an emulated device: that it runs,
// and counts what it moves.
func TestRun(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the emulated device runs on Linux")
	}
	d, err := emu.New(emu.Options{})
	if err != nil {
		t.Skip(err)
	}
	seen, only := 0, []string{"grouped", "head", "experts"}
	r, err := Run(t.Context(), d, Options{Only: only, Divide: 64, Cache: 1 << 20, Time: time.Millisecond, Each: func(Row) { seen++ }})
	if err != nil {
		t.Fatal(err)
	}
	if want := 5; len(r.Rows) != want || seen != want {
		t.Fatalf("%d rows, %d seen, want %d", len(r.Rows), seen, want)
	}
	for _, x := range r.Rows {
		if !(x.Seconds > 0) || x.Bytes <= 0 || x.FLOPs <= 0 || x.Dispatches < 1 || x.ShareOfCopy <= 0 {
			t.Errorf("%+v", x)
		}
	}
	first := r.Rows[len(r.Rows)-1] // 9 of 2048 tokens: those of 32 and of 6 of 12 experts
	if !strings.HasPrefix(first.Shape, "32 tokens, 6 of 12, 128x128 affine 4-bit g32") {
		t.Errorf("shape %q", first.Shape)
	}
	var b strings.Builder
	if err := r.Print(&b); err != nil || !strings.Contains(b.String(), "70 % of copy") {
		t.Errorf("error %v:\n%s", err, b.String())
	}
}

// TestSteps times every operation that is no product, small, on an emulated device.
func TestSteps(t *testing.T) {
	d, err := emu.New(emu.Options{})
	if err != nil {
		t.Skip(err)
	}
	var only []string
	for _, s := range steps() {
		only = append(only, s.name)
	}
	r, err := Run(t.Context(), d, Options{Only: only, Divide: 64, Cache: 1 << 20, Time: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, x := range r.Rows {
		seen[x.Name] = true
		if !(x.Seconds > 0) || x.Bytes <= 0 || x.FLOPs <= 0 || x.Dispatches < 1 {
			t.Errorf("%+v", x)
		}
	}
	for _, name := range only {
		if !seen[name] {
			t.Errorf("%s was not timed", name)
		}
	}
}

func TestMissed(t *testing.T) {
	for _, c := range []struct {
		row  Row
		want bool
	}{
		{Row{Want: 0.6, ShareOfCopy: 0.61}, false},
		{Row{Want: 0.6, ShareOfCopy: 0.59}, true},
		{Row{WantRate: 30e12, FLOPs: 31e12, Seconds: 1}, false},
		{Row{WantRate: 30e12, FLOPs: 29e12, Seconds: 1}, true},
		{Row{ShareOfCopy: 0.01, Seconds: 1}, false},
	} {
		if got := c.row.Missed(); got != c.want {
			t.Errorf("%+v: missed is %v", c.row, got)
		}
	}
}

// TestCUDA times everything on a GPU.
func TestCUDA(t *testing.T) {
	d, err := cuda.Open(cuda.Options{})
	if err != nil && os.Getenv("ASSAY_NEEDS_CUDA") == "" {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var b strings.Builder
	r, err := Run(t.Context(), d, Options{})
	if err != nil {
		t.Error(err)
	}
	if err := r.Print(&b); err != nil {
		t.Error(err)
	}
	t.Log("\n" + b.String())
	for _, x := range r.Rows {
		if x.Missed() {
			t.Errorf("%s %s (%s): less than is wanted of an H200", x.Name, x.Shape, x.Activations)
		}
	}
}
