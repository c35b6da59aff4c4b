//go:build linux || darwin

package checkpoint

import "golang.org/x/sys/unix"

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
