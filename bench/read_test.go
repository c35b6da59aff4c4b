package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestReadFiles(t *testing.T) {
	dir := t.TempDir()
	var paths []string
	for i, n := range []int{0, 5 << 20, 3} {
		paths = append(paths, filepath.Join(dir, string(rune('a'+i))))
		if err := os.WriteFile(paths[i], make([]byte, n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r, err := ReadFiles(t.Context(), paths)
	if err != nil || r.Bytes != 5<<20+3 || !(r.Seconds > 0) || !(r.Rate() > 0) || r.Cold != (runtime.GOOS == "linux") {
		t.Errorf("%+v, %v; want %d bytes", r, err, 5<<20+3)
	}
	if _, err := ReadFiles(t.Context(), append(paths, filepath.Join(dir, "none"))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := ReadFiles(t.Context(), []string{dir}); err == nil {
		t.Error("a folder can be read")
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := ReadFiles(ctx, paths); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

// TestWatchPeak: the peak of what is touched and given back is seen, and a new
// watch does not see it.
func TestWatchPeak(t *testing.T) {
	const n = 64 << 20
	debug.FreeOSMemory() // what the heap holds in reserve would be taken first
	before := WatchPeak()()
	if before == 0 {
		t.Skip("the system does not say what is resident")
	}
	peak := WatchPeak()
	room := make([]byte, n)
	for i := 0; i < n; i += 4096 {
		room[i] = 1
	}
	if got := peak(); got < before+n*3/4 || got > before+2*n {
		t.Errorf("%d bytes at most, want %d and %d more", got, before, n)
	}
	runtime.KeepAlive(room)
	if n, ok := DiskBytes(); ok && n < 0 {
		t.Errorf("%d bytes were read", n)
	}
}
