package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"unsafe"

	"assay/engine/page"
)

// smallFile bounds what read takes into memory: far above the largest index
// and tokenizer, far below any shard.
const smallFile = 256 << 20

// folder is where the files of a checkpoint are: a directory or memory.
type folder interface {
	// list returns the names of the files.
	list() ([]string, error)
	// regular says whether a name is a regular file, or leads to one.
	regular(name string) bool
	// open returns a whole file of any size, valid until close.
	open(name string) ([]byte, error)
	// read returns a small file. Its errors name the file.
	read(name string) ([]byte, error)
	// prefetch begins to read part of an open file; release gives back its memory.
	prefetch(part []byte)
	release(part []byte)
	// sparse says whether open files are read here and there, or onwards.
	sparse(on bool)
	// path returns what to call a file in an error.
	path(name string) string
	close() error
}

// directory is a folder on disk, and the mappings made of it.
type directory struct {
	dir    string
	mapped [][]byte
}

func openFolder(dir string) (*directory, error) {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, fmt.Errorf("%s is a file, want a folder", dir)
	}
	return &directory{dir: dir}, nil
}

func (d *directory) path(name string) string { return filepath.Join(d.dir, name) }

func (d *directory) list() ([]string, error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

func (d *directory) regular(name string) bool {
	info, err := os.Stat(d.path(name))
	return err == nil && info.Mode().IsRegular()
}

// openRegular opens a file that is one: opening a pipe would wait for ever.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, reason(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, reason(err)
	}
	return f, nil
}

func (d *directory) open(name string) ([]byte, error) {
	f, err := openRegular(d.path(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, reason(err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("not a regular file")
	case info.Size() == 0:
		return nil, nil // an empty file has no mapping
	}
	data, err := page.ReadOnly(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("cannot map %d bytes: %w", info.Size(), reason(err))
	}
	d.mapped = append(d.mapped, data)
	return data, nil
}

// reason returns the cause without the path that the caller prints.
func reason(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	return err
}

func (d *directory) read(name string) ([]byte, error) {
	f, err := openRegular(d.path(name))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.path(name), err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, smallFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", d.path(name), reason(err))
	case len(data) > smallFile:
		return nil, fmt.Errorf("%s: more than %d bytes", d.path(name), smallFile)
	}
	return data, nil
}

func (d *directory) close() error {
	var errs []error
	for _, m := range d.mapped {
		errs = append(errs, page.Close(m))
	}
	d.mapped = nil
	return errors.Join(errs...)
}

// release drops the pages that lie within part. The mapping is read only, so
// nothing is lost; where the system refuses, memory is all that it costs.
func (d *directory) release(part []byte) {
	size := os.Getpagesize()
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(part)))) & (size - 1)
	if n := (len(part) - skip) &^ (size - 1); n > 0 {
		dropPages(part[skip : skip+n])
	}
}

// prefetch asks for the pages that part lies on.
func (d *directory) prefetch(part []byte) {
	for _, m := range d.mapped {
		if from := offset(m, part); from >= 0 && len(part) > 0 {
			from &^= os.Getpagesize() - 1
			wantPages(m[from : offset(m, part)+len(part)])
			return
		}
	}
}

// sparse turns reading ahead off or on: a system may read 8 MB around each page.
func (d *directory) sparse(on bool) {
	for _, m := range d.mapped {
		sparsePages(m, on)
	}
}

// offset returns where part lies in whole, or -1.
func offset(whole, part []byte) int {
	at := int(uintptr(unsafe.Pointer(unsafe.SliceData(part)))) - int(uintptr(unsafe.Pointer(unsafe.SliceData(whole))))
	if at < 0 || at+len(part) > len(whole) {
		return -1
	}
	return at
}

// memory is a folder of file contents.
type memory map[string][]byte

func (m memory) path(name string) string { return name }

func (m memory) list() ([]string, error) { return slices.Sorted(maps.Keys(m)), nil }

func (m memory) open(name string) ([]byte, error) {
	data, ok := m[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return data, nil
}

func (m memory) read(name string) ([]byte, error) {
	data, err := m.open(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}

func (m memory) regular(string) bool { return true }

func (m memory) prefetch([]byte) {}
func (m memory) release([]byte)  {}
func (m memory) sparse(bool)     {}

func (m memory) close() error { return nil }
