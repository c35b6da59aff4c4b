//go:build linux || darwin

package checkpoint

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mapFile maps all size bytes of f, which is not empty, read only.
func mapFile(f *os.File, size int64) ([]byte, error) {
	if int64(int(size)) != size {
		return nil, fmt.Errorf("larger than the address space")
	}
	return unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
}

func unmapFile(data []byte) error { return unix.Munmap(data) }

// dropPages takes whole pages of a mapping out of memory.
func dropPages(pages []byte) { unix.Madvise(pages, unix.MADV_DONTNEED) }

// wantPages begins to read the pages of a mapping, from a page's start on.
func wantPages(pages []byte) { unix.Madvise(pages, unix.MADV_WILLNEED) }

// sparsePages says that pages are read here and there, or in order again.
func sparsePages(pages []byte, on bool) {
	advice := unix.MADV_NORMAL
	if on {
		advice = unix.MADV_RANDOM
	}
	unix.Madvise(pages, advice)
}
