//go:build !linux

package bench

import "os"

// Elsewhere the system does not say, or not without a C library.

// WatchPeak is known on Linux only: the peak is 0.
func WatchPeak() (peak func() int64) { return func() int64 { return 0 } }

// DiskBytes is known on Linux only.
func DiskBytes() (int64, bool) { return 0, false }

func forget(*os.File) bool { return false }
