//go:build linux || darwin

package page

import (
	"fmt"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ReadOnly maps all size bytes of f, which is not empty, at an address that is a
// multiple of Shared. Close ends the mapping.
func ReadOnly(f *os.File, size int64) ([]byte, error) {
	if int64(int(size)) != size {
		return nil, fmt.Errorf("larger than the address space")
	}
	n := (uintptr(size) + Shared - 1) &^ (Shared - 1)
	// Addresses for a page more than that: an aligned part of them is taken.
	all, err := unix.MmapPtr(-1, 0, nil, n+Shared, unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, err
	}
	skip := -uintptr(all) & (Shared - 1)
	at := unsafe.Add(all, skip)
	if skip > 0 {
		unix.MunmapPtr(all, skip)
	}
	unix.MunmapPtr(unsafe.Add(at, n), Shared-skip)
	if _, err := unix.MmapPtr(int(f.Fd()), 0, at, uintptr(size), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_FIXED); err != nil {
		unix.MunmapPtr(at, n)
		return nil, err
	}
	whole := unsafe.Slice((*byte)(at), n)
	files.Lock()
	files.all = append(files.all, mapping{whole[:size], whole})
	files.Unlock()
	return whole[:size], nil
}

// Close ends a mapping of ReadOnly's. Nothing may refer to it any more.
func Close(data []byte) error {
	files.Lock()
	defer files.Unlock()
	for i, m := range files.all {
		if unsafe.SliceData(m.data) == unsafe.SliceData(data) {
			files.all = slices.Delete(files.all, i, i+1)
			return unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(m.whole)), uintptr(len(m.whole)))
		}
	}
	return fmt.Errorf("page: no such mapping")
}
