//go:build !linux && !darwin

package checkpoint

import (
	"errors"
	"os"
)

// mapFile errs: memory mapping is written for Linux and macOS.
func mapFile(*os.File, int64) ([]byte, error) { return nil, errors.ErrUnsupported }

func unmapFile([]byte) error { return nil }

// dropPages does nothing: there is no mapping.
func dropPages([]byte) {}
