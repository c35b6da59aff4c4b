package cuda

import (
	"fmt"

	"github.com/ebitengine/purego"
)

// library is the CUDA driver's library.
type library struct{ at []uintptr }

// load loads the driver, which comes with the kernel's module.
func load() (api, error) {
	const name = "libcuda.so.1"
	h, err := purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("cuda: no NVIDIA driver here: %w", err)
	}
	l := &library{make([]uintptr, len(functions))}
	for i, f := range functions {
		if l.at[i], err = purego.Dlsym(h, f); err != nil && !function(i).optional() {
			return nil, fmt.Errorf("cuda: %s: %w", name, err)
		}
	}
	return l, nil
}

func (l *library) call(f function, a ...uintptr) int32 {
	if l.at[f] == 0 {
		return notThere
	}
	r, _, _ := purego.SyscallN(l.at[f], a...)
	return int32(r)
}

func (l *library) launch(kernel uintptr, grid *[3]int, threads int, stream uintptr, extra *[5]uintptr) int32 {
	r, _, _ := purego.SyscallN(l.at[cuLaunchKernel], kernel, uintptr(grid[0]), uintptr(grid[1]), uintptr(grid[2]),
		uintptr(threads), 1, 1, 0, stream, 0, address(extra))
	return int32(r)
}

// dlopen and dlsym are the compiler's way to its library.
func dlopen(name string) (uintptr, error) {
	return purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_LOCAL)
}
func dlsym(h uintptr, name string) (uintptr, error) { return purego.Dlsym(h, name) }

func invoke(f uintptr, a ...uintptr) uintptr {
	r, _, _ := purego.SyscallN(f, a...)
	return r
}
