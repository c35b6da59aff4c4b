package emu

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// What nobody has used for so long goes from the folder of compiled kernels, which
// is looked through once a day.
const (
	keep  = 30 * 24 * time.Hour
	daily = 24 * time.Hour
)

// trim removes what is old, and links to what is gone.
func (b *builder) trim(now time.Time) error {
	marker := b.path("trimmed")
	if i, err := os.Stat(marker); err == nil && now.Sub(i.ModTime()) < daily {
		return nil
	}
	if err := os.WriteFile(marker, nil, 0o644); err != nil {
		return err
	}
	entries, err := os.ReadDir(b.folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		file := b.path(e.Name())
		i, err := os.Stat(file) // of a link, what it leads to
		gone := errors.Is(err, fs.ErrNotExist)
		if err != nil && !gone {
			return err
		}
		if gone || now.Sub(i.ModTime()) > keep {
			if err := os.RemoveAll(file); err != nil {
				return err
			}
		}
	}
	return nil
}

// touch notes that a file of the folder was used.
func (b *builder) touch(name string, now time.Time) error {
	i, err := os.Stat(b.path(name))
	if err != nil || now.Sub(i.ModTime()) < daily {
		return err
	}
	return os.Chtimes(filepath.Join(b.folder, name), now, now)
}
