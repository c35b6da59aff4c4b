package apple

import (
	"fmt"
	goruntime "runtime"
	"slices"
	"strings"
	"time"
	"unsafe"

	"assay/metal/host"
)

// submission is a command buffer on its way.
type submission struct {
	commands id
	label    string
}

// maxFlight is how many submissions may be on their way: a queue makes no more
// than 64 command buffers at once, and would block for the next.
const maxFlight = 32

// Submit encodes dispatches into one command buffer and commits it. It waits
// only where many are on their way already.
func (d *Device) Submit(ds []host.Dispatch) error {
	if d.lost != nil {
		return d.lost
	}
	if len(ds) == 0 {
		return nil
	}
	kernels, err := d.check(ds) // before anything is encoded
	if err != nil {
		return err
	}
	defer d.scope()()
	d.retire(maxFlight - 1)
	if d.lost != nil {
		return d.lost
	}
	d.settle()
	rt := d.objc
	commands := id(rt.send(d.queue, commandBuffer, args{uintptr(d.commands)}))
	if commands == 0 {
		return fmt.Errorf("apple: %s: no command buffer", d.info.Name)
	}
	encoder := id(rt.send(commands, computeEncoder, args{dispatchConcurrent}))
	if encoder == 0 {
		return fmt.Errorf("apple: %s: no encoder", d.info.Name)
	}
	label := span(ds)
	text := d.str(label)
	rt.send(encoder, setLabel, args{uintptr(text)})
	d.free(text)
	// Buffers are untracked, so only the fence orders one encoder after another.
	if len(d.flight) > 0 {
		rt.send(encoder, waitForFence, args{uintptr(d.fence)})
	}
	d.encode(encoder, ds, kernels)
	rt.send(encoder, updateFence, args{uintptr(d.fence)})
	rt.send(encoder, endEncoding, args{})
	rt.send(commands, retain, args{})
	rt.send(commands, commit, args{})
	d.flight = append(d.flight, submission{commands, label})
	return nil
}

// check finds the kernel of each dispatch and refuses what Metal would abort on.
func (d *Device) check(ds []host.Dispatch) ([]kernel, error) {
	kernels := make([]kernel, len(ds))
	for i := range ds {
		x := &ds[i]
		k, ok := d.kernels[x.Kernel]
		if !ok {
			return nil, fmt.Errorf("apple: %s (%s): not compiled", x.Kernel, x.Label)
		}
		if x.Threads > k.threads {
			return nil, fmt.Errorf("apple: %s (%s): %d threads in a threadgroup, its pipeline allows %d", x.Kernel, x.Label, x.Threads, k.threads)
		}
		for j, a := range x.Args {
			if a.Buffer == nil {
				continue
			}
			if b, ok := a.Buffer.(*buffer); !ok || b.device != d || b.id == 0 {
				return nil, fmt.Errorf("apple: %s (%s): argument %d is no buffer of this device", x.Kernel, x.Label, j)
			}
		}
		kernels[i] = k
	}
	return kernels, nil
}

func (d *Device) encode(encoder id, ds []host.Dispatch, kernels []kernel) {
	rt := d.objc
	var set id
	for i := range ds {
		x := &ds[i]
		if x.Barrier && i > 0 { // the first waits by the fence
			rt.send(encoder, memoryBarrier, args{barrierBuffers})
		}
		if d.options.Signposts {
			text := d.str(x.Kernel + " " + x.Label)
			rt.send(encoder, insertDebugSignpost, args{uintptr(text)})
			d.free(text)
		}
		if p := kernels[i].pipeline; p != set {
			rt.send(encoder, setPipeline, args{uintptr(p)})
			set = p
		}
		for j, a := range x.Args {
			if a.Buffer != nil {
				rt.send(encoder, setBuffer, args{uintptr(a.Buffer.(*buffer).id), uintptr(a.At), uintptr(j)})
			} else {
				rt.send(encoder, setBytes, args{address(unsafe.SliceData(a.Bytes)), uintptr(len(a.Bytes)), uintptr(j)})
			}
		}
		*d.sizes = [6]uint64{uint64(x.Grid[0]), uint64(x.Grid[1]), uint64(x.Grid[2]), uint64(x.Threads), 1, 1}
		rt.send(encoder, dispatchThreadgroups, args{address(&d.sizes[0]), address(&d.sizes[3])})
	}
	goruntime.KeepAlive(ds)
}

// Wait waits until all that was submitted is done. It returns the first error
// since the last Wait, with all that the system says of it.
func (d *Device) Wait() error {
	if len(d.flight) > 0 && d.lost == nil {
		defer d.scope()()
		d.retire(0)
	}
	err := d.failed
	d.failed = nil
	if d.lost != nil {
		err = d.lost
	}
	return err
}

// retire waits until no more than some are on their way, oldest first.
func (d *Device) retire(some int) {
	for len(d.flight) > some && d.lost == nil {
		s := d.flight[0]
		if !d.finish(s.commands) {
			d.lost = fmt.Errorf("apple: %s: %s: not done after %v; the device is given up", d.info.Name, s.label, d.options.Limit)
			return
		}
		if d.objc.send(s.commands, commandStatus, args{}) == statusError && d.failed == nil {
			d.failed = fmt.Errorf("apple: %s: %s", s.label, d.explain(id(d.objc.send(s.commands, commandError, args{}))))
		}
		d.free(s.commands)
		d.flight = slices.Delete(d.flight, 0, 1)
	}
}

// finish waits for a command buffer. Metal's own wait has no limit, so it runs
// in a goroutine that is left behind when time is up.
func (d *Device) finish(commands id) bool {
	if d.objc.send(commands, commandStatus, args{}) >= statusCompleted {
		return true
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer d.scope()()
		d.objc.send(commands, waitUntilCompleted, args{})
	}()
	limit := time.NewTimer(d.options.Limit)
	defer limit.Stop()
	select {
	case <-done:
		return true
	case <-limit.C:
		return false
	}
}

// explain is a command buffer's error with what became of each encoder.
func (d *Device) explain(e id) string {
	rt := d.objc
	b := new(strings.Builder)
	b.WriteString(d.failure(e))
	if e == 0 {
		return b.String()
	}
	info := id(rt.send(e, userInfo, args{}))
	if info == 0 {
		return b.String()
	}
	encoders := id(rt.send(info, objectForKey, args{uintptr(rt.constant(encoderInfoKey))}))
	for i := range d.count(encoders) {
		o := id(rt.send(encoders, objectAtIndex, args{uintptr(i)}))
		state := "unknown"
		if s := int(rt.send(o, infoState, args{})); s >= 0 && s < len(encoderStates) {
			state = encoderStates[s]
		}
		fmt.Fprintf(b, "\n  encoder %q: %s", d.text(id(rt.send(o, infoLabel, args{}))), state)
		posts := id(rt.send(o, infoSignposts, args{}))
		for j := range d.count(posts) {
			fmt.Fprintf(b, "\n    %s", d.text(id(rt.send(posts, objectAtIndex, args{uintptr(j)}))))
		}
	}
	return b.String()
}

// count is the length of an NSArray, 0 for none.
func (d *Device) count(array id) int {
	if array == 0 {
		return 0
	}
	return int(d.objc.send(array, arrayCount, args{}))
}

// span names a submission by its first and last dispatch.
func span(ds []host.Dispatch) string {
	name := func(x *host.Dispatch) string {
		if x.Label == "" {
			return x.Kernel
		}
		return x.Label
	}
	first, last := name(&ds[0]), name(&ds[len(ds)-1])
	if len(ds) == 1 {
		return first
	}
	return first + " to " + last
}
