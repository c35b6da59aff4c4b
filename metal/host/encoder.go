package host

import (
	"errors"
	"fmt"
)

// ErrNoMap is what Map returns on a device that has memory of its own.
var ErrNoMap = errors.New("host: the device cannot map the host's memory")

// longest is how much work goes to a device at once, in estimated seconds: macOS
// ends command buffers that take seconds.
const longest = 0.1

// pieceOf is how many dispatches go to a device at once: it begins while the host
// encodes the next.
const pieceOf = 24

// A slow device's rates, by which work is estimated: an M1's memory and half
// its arithmetic.
const (
	slowBytes = 60e9
	slowFLOPs = 1e12
)

// Encoder collects dispatches, finds out which must wait for which from the
// ranges that they declare, and submits them in pieces that no system ends.
// Between two barriers dispatches run side by side in any order.
type Encoder struct {
	dev     Device
	ds      []Dispatch
	since   []use // uses since the last barrier
	seconds float64
	err     error
	count   int
	// Trace, where set, sees every dispatch as it is added, its Barrier decided.
	Trace func(*Dispatch)
}

type use struct {
	buffer Buffer
	Use
}

// NewEncoder makes an encoder for a device.
func NewEncoder(dev Device) *Encoder { return &Encoder{dev: dev} }

// Add appends a dispatch. An error comes out of the next Wait.
func (e *Encoder) Add(d Dispatch) {
	if e.err != nil {
		return
	}
	if e.err = d.check(e.dev.Info().Limits); e.err != nil {
		return
	}
	d.Barrier = e.conflicts(&d)
	if d.Barrier {
		e.since = e.since[:0]
	}
	for _, a := range d.Args {
		for _, u := range a.Uses {
			e.since = append(e.since, use{a.Buffer, u})
		}
	}
	if e.Trace != nil {
		e.Trace(&d)
	}
	e.ds = append(e.ds, d)
	e.count++
	e.seconds += max(float64(d.Bytes)/slowBytes, float64(d.FLOPs)/slowFLOPs)
	if e.seconds > longest || len(e.ds) >= pieceOf {
		e.Submit()
	}
}

// conflicts says whether d touches what was written since the last barrier, or
// writes what was touched.
func (e *Encoder) conflicts(d *Dispatch) bool {
	for _, a := range d.Args {
		for _, u := range a.Uses {
			for _, s := range e.since {
				if s.buffer == a.Buffer && (s.Access|u.Access)&Write != 0 && s.At < u.At+u.Len && u.At < s.At+s.Len {
					return true
				}
			}
		}
	}
	return false
}

// Count returns how many dispatches were added so far.
func (e *Encoder) Count() int { return e.count }

// Submit sends what was added to the device, which runs it after all that was
// sent before.
func (e *Encoder) Submit() {
	if e.err != nil || len(e.ds) == 0 {
		return
	}
	e.err = e.dev.Submit(e.ds)
	e.ds, e.since, e.seconds = nil, e.since[:0], 0
}

// Wait submits and waits until the device is done. It returns the first error
// since the last Wait.
func (e *Encoder) Wait() error {
	e.Submit()
	err := e.err
	if w := e.dev.Wait(); err == nil {
		err = w
	}
	e.err, e.ds, e.since, e.seconds = nil, nil, e.since[:0], 0
	return err
}

// check errs on a dispatch that no device may run.
func (d *Dispatch) check(l Limits) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("host: %s (%s): %s", d.Kernel, d.Label, fmt.Sprintf(format, args...))
	}
	if d.Threads <= 0 || d.Threads%32 != 0 || d.Threads > l.MaxThreads {
		return fail("%d threads in a threadgroup, want a multiple of 32, at most %d", d.Threads, l.MaxThreads)
	}
	for i, n := range d.Grid {
		if n < 1 {
			return fail("grid %v is empty in dimension %d", d.Grid, i)
		}
	}
	if len(d.Args) > MaxArgs {
		return fail("%d arguments, want at most %d", len(d.Args), MaxArgs)
	}
	for i, a := range d.Args {
		if a.Buffer == nil {
			if len(a.Bytes) == 0 || len(a.Bytes) > MaxBytes {
				return fail("argument %d has %d bytes, want 1 to %d", i, len(a.Bytes), MaxBytes)
			}
			continue
		}
		if a.At < 0 || a.At >= a.Buffer.Len() {
			return fail("argument %d begins at %d of a buffer of %d bytes", i, a.At, a.Buffer.Len())
		}
		for _, u := range a.Uses {
			if u.At < 0 || u.Len <= 0 || u.At+u.Len > a.Buffer.Len() {
				return fail("argument %d uses bytes %d to %d of a buffer of %d", i, u.At, u.At+u.Len, a.Buffer.Len())
			}
		}
	}
	return nil
}

// Metal's table of arguments.
const (
	MaxArgs  = 31
	MaxBytes = 4096
)
