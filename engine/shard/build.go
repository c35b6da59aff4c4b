package shard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/gofrs/flock"

	"assay/engine/tensor"
)

// ErrFinished is Open's error where the folder holds the finished build
// already: every file is there with the planned header and size. It is the
// build of the same key if metadata tells keys apart.
var ErrFinished = errors.New("this build is there already, finished")

// Build is a folder that is being written. Its methods may be called from many
// goroutines, Finish and Close after all others.
type Build struct {
	dir   string
	files []File
	heads [][]byte // of each file
	disk  disk
	lock  *flock.Flock

	mu      sync.Mutex
	journal journal
	sure    []bool // written or verified by this Build
	open    []bool // has a Writer
	closed  bool
}

// Open begins the build of files in a folder, which it makes where it is
// missing, or goes on with one that was cut off. key is a digest of all that
// determines the bytes; metadata goes into each header. The build is the
// folder's only one until Finish or Close.
//
// A folder that holds anything but an unfinished build of the same key and
// files is refused and left as it is, with ErrFinished where it holds the
// finished one. So is a folder that cannot be written to, and one with less
// room than the unfinished files take. What a killed build left half-written
// is removed.
func Open(dir, key string, files []File, metadata map[string]string) (*Build, error) {
	return open(disk{}, dir, key, files, metadata)
}

func open(d disk, dir, key string, files []File, metadata map[string]string) (*Build, error) {
	b := &Build{dir: filepath.Clean(dir), files: files, disk: d, sure: make([]bool, len(files)), open: make([]bool, len(files))}
	for _, f := range files {
		b.heads = append(b.heads, f.Header(metadata))
	}
	if err := checkPlan(files, b.heads); err != nil {
		return nil, fmt.Errorf("shard: %w", err)
	}
	b.journal = newJournal(key, files, b.heads)
	if _, err := b.look(); err != nil { // before anything is changed
		return nil, err
	}
	made, err := b.makeFolder()
	if err == nil {
		err = b.takeLock()
	}
	if err == nil {
		if err = b.begin(); err != nil {
			b.leave()
		}
	}
	if err != nil {
		for _, dir := range made {
			d.remove(dir) // goes if it is empty
		}
		return nil, err
	}
	return b, nil
}

// checkPlan errs on files that no reader would take.
func checkPlan(files []File, heads [][]byte) error {
	if len(files) == 0 {
		return errors.New("no files to write")
	}
	inFile, seen := map[string]bool{}, map[string]bool{}
	for i, f := range files {
		switch {
		case !plainName(f.Name) || !strings.HasSuffix(f.Name, ".safetensors"):
			return fmt.Errorf("%q is no name for a safetensors file", f.Name)
		case inFile[f.Name]:
			return fmt.Errorf("%s is there twice", f.Name)
		case len(heads[i]) > maxHeader:
			return fmt.Errorf("%s: header of %d bytes, want at most %d", f.Name, len(heads[i]), maxHeader)
		}
		inFile[f.Name] = true
		for _, t := range f.Tensors {
			if err := checkTensor(t); err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
			if seen[t.Name] {
				return fmt.Errorf("%s: tensor %q is there twice", f.Name, t.Name)
			}
			seen[t.Name] = true
		}
	}
	return nil
}

func checkTensor(t tensor.Info) error {
	if t.Name == "" || t.Name == "__metadata__" || !utf8.ValidString(t.Name) {
		return fmt.Errorf("%q is no name for a tensor", t.Name)
	}
	if t.DType.Size() == 0 {
		return fmt.Errorf("tensor %q: unknown dtype %q", t.Name, t.DType)
	}
	if slices.ContainsFunc(t.Shape, func(d int) bool { return d < 0 }) {
		return fmt.Errorf("tensor %q: shape %v", t.Name, t.Shape)
	}
	return nil
}

// plainName says whether name is a file of the folder itself, and not hidden.
func plainName(name string) bool {
	return filepath.IsLocal(name) && !strings.HasPrefix(name, ".") && !strings.ContainsAny(name, "/\\:\x00")
}

// makeFolder makes dir and returns what it made, the innermost first.
func (b *Build) makeFolder() (made []string, err error) {
	var missing []string
	at, err := filepath.Abs(b.dir)
	if err != nil {
		return nil, fmt.Errorf("shard: %w", err)
	}
	for {
		if _, err := os.Stat(at); !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			break
		}
		missing = append(missing, at)
		at = filepath.Dir(at)
	}
	for _, dir := range slices.Backward(missing) {
		if err = b.disk.mkdir(dir); err == nil {
			made = slices.Insert(made, 0, dir)
			err = b.disk.syncDir(filepath.Dir(dir))
		} else if info, statErr := os.Stat(dir); statErr == nil && info.IsDir() {
			err = nil // somebody else made it
		}
		if err != nil {
			return made, b.disk.failed(dir, 0, err)
		}
	}
	return made, nil
}

// takeLock makes b the folder's only build, or errs.
func (b *Build) takeLock() error {
	at := filepath.Join(b.dir, lockName)
	for range 10 {
		b.lock = flock.New(at, flock.SetPermissions(0o644))
		if err := b.disk.ask("lock", at); err != nil {
			return b.disk.failed(at, 0, err)
		}
		ok, err := b.lock.TryLock()
		switch {
		case err != nil:
			return b.disk.failed(at, 0, err)
		case !ok:
			return fmt.Errorf("shard: %s: another build is writing to this folder", b.dir)
		}
		held, err := b.lock.Stat()
		there, statErr := os.Stat(at)
		if err == nil && statErr == nil && os.SameFile(held, there) {
			return nil
		}
		b.lock.Unlock() // the build that held it removed it when it was finished
	}
	return fmt.Errorf("shard: %s: cannot be locked", at)
}

// leave gives the lock back, and removes it where no build is to go on.
func (b *Build) leave() {
	if _, err := os.Stat(b.at(journalName)); errors.Is(err, fs.ErrNotExist) {
		b.disk.remove(b.at(lockName))
	}
	b.lock.Unlock()
}

// begin, under the lock, tidies up after a killed build and takes its journal
// over, or begins a new one.
func (b *Build) begin() error {
	found, err := b.look()
	if err != nil {
		return err
	}
	if found != nil {
		b.journal = *found
	}
	if err := b.tidy(); err != nil {
		return err
	}
	if err := b.checkFree(); err != nil {
		return err
	}
	return b.writeJournal() // also where it is there: a folder that cannot be written to shows now
}

// tidy removes half-written files, and shards that the journal doesn't vouch
// for.
func (b *Build) tidy() error {
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return fmt.Errorf("shard: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		_, whole := b.journal.Shards[name]
		if b.ours(name, b.journal) && (strings.HasSuffix(name, partial) || b.planned(name) && !whole) {
			if err := b.disk.remove(b.at(name)); err != nil {
				return b.disk.failed(b.at(name), 0, err)
			}
		}
	}
	return nil
}

// checkFree errs unless the unfinished files have room.
func (b *Build) checkFree() error {
	needed := int64(0)
	for i, f := range b.files {
		if _, ok := b.journal.Shards[f.Name]; !ok || !b.sized(i) {
			needed += b.size(i)
		}
	}
	free, err := b.disk.freeAt(b.dir)
	if err != nil {
		return err
	}
	if needed > free {
		return fmt.Errorf("shard: %s: not enough space: %d bytes are to be written, %d are free", b.dir, needed, free)
	}
	return nil
}

// size returns the bytes of a whole file.
func (b *Build) size(i int) int64 { return int64(len(b.heads[i])) + b.files[i].Bytes() }

// sized says whether a file is there with the bytes that it should have.
func (b *Build) sized(i int) bool {
	info, err := os.Lstat(b.at(b.files[i].Name))
	return err == nil && info.Mode().IsRegular() && info.Size() == b.size(i)
}

func (b *Build) at(name string) string { return filepath.Join(b.dir, name) }

func (b *Build) planned(name string) bool {
	return slices.ContainsFunc(b.files, func(f File) bool { return f.Name == name })
}

// Pending returns the files that are still to be written, by their place in
// the plan. It reads what an earlier run finished again, on all cores, and
// holds it against the journal's digests: a file that doesn't agree is removed
// and pending. progress, which may be nil, is told the bytes read, of how many.
func (b *Build) Pending(ctx context.Context, progress func(done, total int64)) ([]int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var total, done int64
	for i, f := range b.files {
		if _, ok := b.journal.Shards[f.Name]; ok && !b.sure[i] {
			total += b.size(i)
		}
	}
	read := func(n int64) {
		if done += n; progress != nil {
			progress(done, total)
		}
	}
	var pending []int
	for i, f := range b.files {
		want, ok := b.journal.Shards[f.Name]
		if b.sure[i] {
			continue
		}
		if ok {
			got, err := b.verify(ctx, i, read)
			if err != nil {
				return nil, err
			}
			if got == want {
				b.sure[i] = true
				continue
			}
			if err := b.forget(i); err != nil {
				return nil, err
			}
		}
		pending = append(pending, i)
	}
	return pending, nil
}

// verify returns the digest of a finished file, or "" if it isn't as planned.
func (b *Build) verify(ctx context.Context, i int, read func(int64)) (string, error) {
	name := b.at(b.files[i].Name)
	if !b.sized(i) {
		read(b.size(i))
		return "", nil
	}
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("shard: %w", err)
	}
	defer f.Close()
	head := make([]byte, len(b.heads[i]))
	if _, err := f.ReadAt(head, 0); err != nil {
		return "", fmt.Errorf("shard: %s: %w", name, reason(err))
	}
	read(int64(len(head)))
	if !bytes.Equal(head, b.heads[i]) {
		read(b.files[i].Bytes())
		return "", nil
	}
	var ends []int64
	at := int64(0)
	for _, t := range b.files[i].Tensors {
		at += t.Bytes()
		ends = append(ends, at)
	}
	sums, err := sumAll(ctx, f, int64(len(head)), ends, read)
	if err != nil {
		return "", fmt.Errorf("shard: %s: %w", name, reason(err))
	}
	return digestOf(head, sums), nil
}

// forget strikes a file that isn't what the journal says. The caller holds mu.
func (b *Build) forget(i int) error {
	name := b.files[i].Name
	delete(b.journal.Shards, name)
	if err := b.writeJournal(); err != nil {
		return err
	}
	if err := b.disk.remove(b.at(name)); err != nil {
		return b.disk.failed(b.at(name), 0, err)
	}
	return nil
}

// Put writes a small file, such as config.json, in one step: it is there whole
// or not at all. The name must not be one that loaders take for weights.
func (b *Build) Put(name string, data []byte) error {
	if weights, _ := path.Match("model*.safetensors", name); weights || !plainName(name) || b.planned(name) {
		return fmt.Errorf("shard: %q is no name for a file beside the weights", name)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.journal.Files, name) {
		b.journal.Files = append(b.journal.Files, name)
		if err := b.writeJournal(); err != nil {
			return err
		}
	}
	if err := b.disk.replace(b.at(name), b.at(temporary(name)), data); err != nil {
		return b.disk.failed(b.at(name), int64(len(data)), err)
	}
	return nil
}

// Digests returns the digest of every file that this Build has written or
// verified, in hexadecimal, by name. See Digest for what it is of.
func (b *Build) Digests() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := maps.Clone(b.journal.Shards)
	for i, f := range b.files {
		if !b.sure[i] {
			delete(out, f.Name)
		}
	}
	return out
}

// Finish ends the build: it removes journal and lock, and b is of no more use.
// It errs if a file of the plan is neither written nor verified by this Build,
// which then stays open.
func (b *Build) Finish() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return fmt.Errorf("shard: %s: the build is closed", b.dir)
	}
	for i, f := range b.files {
		if !b.sure[i] {
			return fmt.Errorf("shard: %s: %s is not written yet", b.dir, f.Name)
		}
	}
	for _, step := range []func() error{
		func() error { return b.disk.syncDir(b.dir) },
		func() error { return b.disk.remove(b.at(journalName)) },
		func() error { return b.disk.remove(b.at(lockName)) },
		func() error { return b.disk.syncDir(b.dir) },
	} {
		if err := step(); err != nil {
			return b.disk.failed(b.dir, 0, err)
		}
	}
	b.closed = true
	return b.lock.Unlock()
}

// Close gives the folder back without finishing: a later Open goes on from
// there. Writers must have been committed or aborted. After Finish it does
// nothing.
func (b *Build) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	if err := b.lock.Unlock(); err != nil {
		return fmt.Errorf("shard: %w", err)
	}
	return nil
}
