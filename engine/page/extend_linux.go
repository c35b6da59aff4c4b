package page

import (
	"os"

	"golang.org/x/sys/unix"
)

// extend makes f, which ends at from, end at to, with room for it on disk.
func extend(f *os.File, from, to int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, from, to-from)
	if err == unix.EOPNOTSUPP {
		return f.Truncate(to)
	}
	return err
}
