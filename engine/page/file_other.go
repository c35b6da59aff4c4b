//go:build !linux && !darwin

package page

import (
	"errors"
	"os"
)

// ReadOnly errs: memory mapping is written for Linux and macOS.
func ReadOnly(*os.File, int64) ([]byte, error) { return nil, errors.ErrUnsupported }

// Close does nothing.
func Close([]byte) error { return nil }
