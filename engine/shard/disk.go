package shard

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// disk is the file system as a build writes to it, one method an operation.
type disk struct {
	// fault, in tests, is asked before every operation; its error is the
	// operation's. A write is then cut short.
	fault func(op, path string) error
	// free, in tests, stands in for Free.
	free func(dir string) (int64, error)
}

func (d disk) ask(op, path string) error {
	if d.fault == nil {
		return nil
	}
	return d.fault(op, path)
}

func (d disk) mkdir(path string) error {
	if err := d.ask("mkdir", path); err != nil {
		return err
	}
	return os.Mkdir(path, 0o755)
}

// create makes an empty file, over one that is there.
func (d disk) create(path string) (*os.File, error) {
	if err := d.ask("create", path); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
}

func (d disk) writeAt(f *os.File, data []byte, at int64) error {
	if err := d.ask("write", f.Name()); err != nil {
		f.WriteAt(data[:len(data)/2], at)
		return err
	}
	_, err := f.WriteAt(data, at)
	return err
}

func (d disk) sync(f *os.File) error {
	if err := d.ask("sync", f.Name()); err != nil {
		return err
	}
	return f.Sync()
}

func (d disk) rename(from, to string) error {
	if err := d.ask("rename", to); err != nil {
		return err
	}
	return os.Rename(from, to)
}

func (d disk) remove(path string) error {
	if err := d.ask("remove", path); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncDir makes names in a folder last. A file system that cannot, such as
// some network ones, is believed to need none.
func (d disk) syncDir(path string) error {
	if err := d.ask("syncdir", path); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// replace writes a small file in one step: whoever looks sees the old one or
// the new one, whole.
func (d disk) replace(path, temp string, data []byte) error {
	f, err := d.create(temp)
	if err != nil {
		return err
	}
	err = d.writeAt(f, data, 0)
	if err == nil {
		err = d.sync(f)
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = d.rename(temp, path)
	}
	if err != nil {
		d.remove(temp)
		return err
	}
	return d.syncDir(filepath.Dir(path))
}

// Replace writes a small file of a finished folder in one step: whoever looks
// sees the old one or the new one, whole.
func Replace(dir, name string, data []byte) error {
	d, path := disk{}, filepath.Join(dir, name)
	if !plainName(name) {
		return fmt.Errorf("shard: %q is no name for a file beside the weights", name)
	}
	if err := d.replace(path, filepath.Join(dir, temporary(name)), data); err != nil {
		return d.failed(path, int64(len(data)), err)
	}
	return nil
}

// Free returns the bytes that may still be written where dir is or will be.
func Free(dir string) (int64, error) {
	at, err := filepath.Abs(dir)
	if err != nil {
		return 0, fmt.Errorf("shard: %w", err)
	}
	for {
		n, err := freeBytes(at)
		if errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at) {
			at = filepath.Dir(at)
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("shard: %s: how much is free: %w", at, err)
		}
		return n, nil
	}
}

func (d disk) freeAt(dir string) (int64, error) {
	if d.free != nil {
		return d.free(dir)
	}
	return Free(dir)
}

// failed says in a sentence why path could not be written; needed is what was
// still to come of it, in bytes.
func (d disk) failed(path string, needed int64, err error) error {
	cause := reason(err)
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		free, freeErr := d.freeAt(filepath.Dir(path))
		if freeErr != nil {
			return fmt.Errorf("shard: %s: the disk is full: %d bytes of the file were still to be written: %w", path, needed, cause)
		}
		return fmt.Errorf("shard: %s: the disk is full: %d bytes of the file were still to be written, %d are free: %w", path, needed, free, cause)
	case errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("shard: %s: the folder cannot be written to: %w", path, cause)
	}
	return fmt.Errorf("shard: %s: %w", path, cause)
}

// reason returns the cause without the paths that the caller prints.
func reason(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	if l := (*os.LinkError)(nil); errors.As(err, &l) {
		return l.Err
	}
	return err
}
