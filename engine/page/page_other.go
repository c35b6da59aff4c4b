//go:build !linux && !darwin

package page

import (
	"errors"
	"os"
)

func alloc(n int64) ([]byte, error) { return make([]byte, n), nil }

func mapFile(*os.File, int64, int64) ([]byte, error) {
	return nil, errors.New("files are not mapped into memory on this system")
}

func rest([]byte) {}

func free([]byte) error { return nil }
