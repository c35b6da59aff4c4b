package bench

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// WatchPeak forgets the most memory that the process has had resident. What it
// returns gives the most since then, in bytes, or 0 where the system does not
// say: pages of mapped files count as long as they are resident.
func WatchPeak() (peak func() int64) {
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return func() int64 { return 0 }
	}
	return func() int64 {
		kb, _ := procNumber("/proc/self/status", "VmHWM:")
		return kb << 10
	}
}

// DiskBytes returns the bytes that disks have read for the process so far, and
// whether the system says so.
func DiskBytes() (int64, bool) { return procNumber("/proc/self/io", "read_bytes:") }

// procNumber returns the number after a field of a file under /proc.
func procNumber(file, field string) (int64, bool) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(data) {
		if rest, ok := strings.CutPrefix(string(line), field); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// forget asks the system to drop what it caches of a file, and says whether it
// was asked.
func forget(f *os.File) bool {
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) == nil
}
