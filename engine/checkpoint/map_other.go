//go:build !linux && !darwin

package checkpoint

import (
	"errors"
	"os"
)

// mapFile errs: memory mapping is written for Linux and macOS.
func mapFile(*os.File, int64) ([]byte, error) { return nil, errors.ErrUnsupported }

func unmapFile([]byte) error { return nil }

// There is no mapping to advise on.

func wantPages([]byte)         {}
func dropPages([]byte)         {}
func sparsePages([]byte, bool) {}
