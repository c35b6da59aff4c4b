package page

import (
	"os"

	"golang.org/x/sys/unix"
)

// extend makes f, which ends at from, end at to, with room for it on disk.
func extend(f *os.File, from, to int64) error {
	room := unix.Fstore_t{Flags: unix.F_ALLOCATEALL, Posmode: unix.F_PEOFPOSMODE, Length: to - from}
	if err := unix.FcntlFstore(f.Fd(), unix.F_PREALLOCATE, &room); err != nil && err != unix.ENOTSUP {
		return err
	}
	return f.Truncate(to)
}
