//go:build !darwin || !arm64

package apple

import (
	"fmt"
	"runtime"
)

// Open returns an error: this program was built for another system.
func Open(Options) (*Device, error) {
	return nil, fmt.Errorf("apple: Metal needs a Mac with Apple silicon; this program was built for %s/%s", runtime.GOOS, runtime.GOARCH)
}
