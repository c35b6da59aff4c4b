package shard

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"os"
	"sync"
	"sync/atomic"
)

// Writer writes one file of a build. Different tensors may be appended to from
// different goroutines at once, one tensor from one at a time. Commit and
// Abort come after all Appends; they may run on another goroutine, while other
// files of the build are written.
type Writer struct {
	b     *Build
	i     int
	f     *os.File
	parts []part
	left  atomic.Int64 // bytes of the file still to be written

	mu     sync.Mutex
	err    error // the first, which all later calls return
	closed bool
}

// part is a tensor as far as it is written.
type part struct {
	at, end int64 // in the file
	sum     hash.Hash
}

// Shard begins file i of the plan, under a temporary name. It errs if the file
// is finished or has a Writer already.
func (b *Build) Shard(i int) (*Writer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	name := b.files[i].Name
	_, whole := b.journal.Shards[name]
	switch {
	case b.closed:
		return nil, fmt.Errorf("shard: %s: the build is closed", b.dir)
	case whole:
		return nil, fmt.Errorf("shard: %s is finished", b.at(name))
	case b.open[i]:
		return nil, fmt.Errorf("shard: %s is being written", b.at(name))
	}
	w := &Writer{b: b, i: i, parts: make([]part, len(b.files[i].Tensors))}
	at := int64(len(b.heads[i]))
	for k, t := range b.files[i].Tensors {
		w.parts[k] = part{at: at, end: at + t.Bytes(), sum: sha256.New()}
		at += t.Bytes()
	}
	w.left.Store(at)
	f, err := b.disk.create(w.temp())
	if err != nil {
		return nil, b.disk.failed(w.temp(), w.left.Load(), err)
	}
	w.f = f
	b.open[i] = true
	if err := b.disk.writeAt(f, b.heads[i], 0); err != nil {
		err = b.disk.failed(w.temp(), w.left.Load(), err)
		w.drop()
		b.open[i] = false
		return nil, err
	}
	w.left.Add(-int64(len(b.heads[i])))
	return w, nil
}

func (w *Writer) temp() string { return w.b.at(temporary(w.b.files[w.i].Name)) }

// drop removes the file, as far as that is possible.
func (w *Writer) drop() {
	w.closed = true
	w.f.Close()
	w.b.disk.remove(w.temp())
}

// fail ends the Writer for an error and returns it, or the one that ended it
// before.
func (w *Writer) fail(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	if !w.closed {
		w.drop()
		w.b.release(w.i)
	}
	return w.err
}

func (b *Build) release(i int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[i] = false
}

func (w *Writer) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Append adds data to tensor k of the file, from where its last Append ended.
// It doesn't keep data. It errs on more bytes than the tensor has; any error
// ends the Writer and removes the file.
func (w *Writer) Append(k int, data []byte) error {
	if err := w.failure(); err != nil {
		return err
	}
	if k < 0 || k >= len(w.parts) {
		return w.fail(fmt.Errorf("shard: %s: tensor %d of %d", w.temp(), k, len(w.parts)))
	}
	p := &w.parts[k]
	if int64(len(data)) > p.end-p.at {
		return w.fail(fmt.Errorf("shard: %s: tensor %q: %d bytes more than it has",
			w.temp(), w.b.files[w.i].Tensors[k].Name, int64(len(data))-(p.end-p.at)))
	}
	if err := w.b.disk.writeAt(w.f, data, p.at); err != nil {
		return w.fail(w.b.disk.failed(w.temp(), w.left.Load(), err))
	}
	p.sum.Write(data)
	p.at += int64(len(data))
	w.left.Add(-int64(len(data)))
	return nil
}

// Commit makes the file last, gives it its name and notes its digest in the
// journal. It errs unless every tensor is whole; any error ends the Writer, and
// the file is still to be written.
func (w *Writer) Commit() error {
	if err := w.failure(); err != nil {
		return err
	}
	sums := make([][sha256.Size]byte, len(w.parts))
	for k, p := range w.parts {
		if p.at != p.end {
			t := w.b.files[w.i].Tensors[k]
			return w.fail(fmt.Errorf("shard: %s: tensor %q: %d of %d bytes were written", w.temp(), t.Name, t.Bytes()-(p.end-p.at), t.Bytes()))
		}
		p.sum.Sum(sums[k][:0])
	}
	d, name := w.b.disk, w.b.files[w.i].Name
	err := d.sync(w.f)
	if err == nil {
		err = w.f.Close()
	}
	if err == nil {
		err = d.rename(w.temp(), w.b.at(name))
	}
	if err == nil {
		err = d.syncDir(w.b.dir)
	}
	if err != nil {
		return w.fail(d.failed(w.temp(), w.b.size(w.i), err)) // a full disk may show only now
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed, w.err = true, errors.New("shard: the file is finished")
	return w.b.record(w.i, digestOf(w.b.heads[w.i], sums))
}

// record notes that a file is whole.
func (b *Build) record(i int, digest string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[i] = false
	b.journal.Shards[b.files[i].Name] = digest
	if err := b.writeJournal(); err != nil {
		delete(b.journal.Shards, b.files[i].Name)
		return err
	}
	b.sure[i] = true
	return nil
}

// Abort ends the Writer and removes its file. After Commit it does nothing.
func (w *Writer) Abort() {
	w.mu.Lock()
	done := w.closed
	w.mu.Unlock()
	if !done {
		w.fail(errors.New("shard: the file was given up"))
	}
}

// Fill writes files of the plan, one after the other: fill appends all of one.
// While it does, the one before is made to last. The first error ends it, and
// the file that it was in is taken back.
func (b *Build) Fill(pending []int, fill func(i int, w *Writer) error) error {
	committed := make(chan error, 1)
	committed <- nil
	for _, i := range pending {
		w, err := b.Shard(i)
		if err == nil {
			if err = fill(i, w); err != nil {
				w.Abort()
			}
		}
		if last := <-committed; err == nil && last != nil {
			w.Abort()
			err = last
		}
		if err != nil {
			return err
		}
		go func() { committed <- w.Commit() }()
	}
	return <-committed
}
