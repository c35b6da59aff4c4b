//go:build !linux

package cuda

import (
	"errors"
	"fmt"
	"runtime"
)

var errSystem = errors.New("libraries are loaded on Linux only")

// load returns an error: this program was built for another system.
func load() (api, error) {
	return nil, fmt.Errorf("cuda: CUDA runs on Linux here; this program was built for %s/%s", runtime.GOOS, runtime.GOARCH)
}

func dlopen(string) (uintptr, error)         { return 0, errSystem }
func dlsym(uintptr, string) (uintptr, error) { return 0, errSystem }
func invoke(uintptr, ...uintptr) uintptr     { return 1 }
