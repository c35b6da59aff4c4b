//go:build linux || darwin

package page

import (
	"os"

	"golang.org/x/sys/unix"
)

func alloc(n int64) ([]byte, error) {
	return unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
}

func mapFile(f *os.File, offset, n int64) ([]byte, error) {
	return unix.Mmap(int(f.Fd()), offset, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

// rest starts to write what was changed, and unmaps the pages: they stay in the
// system's cache until they are written.
func rest(data []byte) {
	unix.Msync(data, unix.MS_ASYNC)
	unix.Madvise(data, unix.MADV_DONTNEED)
}

func free(data []byte) error { return unix.Munmap(data) }
