package metal

import (
	"context"
	"fmt"

	"assay/engine/dsv4"
	"assay/metal/host"
	"assay/metal/kernels"
)

// ops encodes one model's operations for a device. An operation is one or a few
// dispatches, added to the encoder; they run when somebody reads.
type ops struct {
	c    *dsv4.Config
	opt  Options
	dev  host.Device
	enc  *host.Encoder
	heap *heap
	// Kernels that dispatches have asked for: compiled, or to be compiled before
	// the next submission.
	compiled map[string]kernels.Instance
	wanted   []kernels.Instance
	held     []host.Dispatch // wait for wanted
	batch    *dsv4.Batch     // whose tokens are on the device
	ids      array
	rooms    rooms
	err      error // of an operation, for the next Read
	// Scratch of operations.
	expertRooms expertRooms
	headRooms   headRooms
}

// rooms is what the model's operations keep between their dispatches.
type rooms struct{ sums, chunks, stats, scores, logits array }

var _ dsv4.Ops = (*ops)(nil)

// array is float32 or int32 elements of a buffer, from a byte on.
type array struct {
	block *block // where it was allocated, nil of a slice
	buf   host.Buffer
	at    int64
	n     int
	host  []float32 // what Wrap copied, if it did
}

// Len returns the elements.
func (a array) Len() int { return a.n }

// dispatch adds one kernel's run, and the kernel to those that must be compiled.
func (o *ops) dispatch(k kernels.Instance, label string, grid [3]int, threads int, bytes, flops int64, args ...host.Arg) {
	name := k.Name()
	if _, ok := o.compiled[name]; !ok {
		o.compiled[name] = k
		o.wanted = append(o.wanted, k)
	}
	d := host.Dispatch{Kernel: name, Label: label, Grid: grid, Threads: threads, Bytes: bytes, FLOPs: flops, Args: args}
	if len(o.wanted) > 0 { // the encoder submits when it likes: not before its kernels are there
		o.held = append(o.held, d)
		return
	}
	o.enc.Add(d)
}

// Asked returns the kernels that operations made by a backend have asked for, by
// host name.
func Asked(o dsv4.Ops) map[string]kernels.Instance { return o.(*ops).compiled }

// flush compiles what is wanted and hands on what waited for it.
func (o *ops) flush() {
	if len(o.wanted) > 0 && o.err == nil {
		o.err = o.dev.Compile(context.Background(), kernels.Program(o.wanted))
	}
	o.wanted = nil
	for _, d := range o.held {
		if o.err == nil {
			o.enc.Add(d)
		}
	}
	o.held = nil
}

// wait runs all that was asked for and returns the first error since the last
// wait.
func (o *ops) wait() error {
	o.flush()
	err := o.enc.Wait()
	if o.err != nil {
		err = o.err
	}
	o.err = nil
	return err
}

// fail keeps the first error of an operation.
func (o *ops) fail(format string, args ...any) {
	if o.err == nil {
		o.err = fmt.Errorf("metal: "+format, args...)
	}
}

// in, out and both bind n elements of a from an element on, of which a dispatch
// reads or writes all.
func in(a array, from, n int) host.Arg   { return bind(a, from, n, host.Read) }
func out(a array, from, n int) host.Arg  { return bind(a, from, n, host.Write) }
func both(a array, from, n int) host.Arg { return bind(a, from, n, host.ReadWrite) }

func bind(a array, from, n int, access host.Access) host.Arg {
	at := a.at + 4*int64(from)
	return host.Arg{Buffer: a.buf, At: at, Uses: []host.Use{{At: at, Len: 4 * int64(n), Access: access}}}
}

// weight binds all of a span of a weight.
func weight(s span) host.Arg {
	return host.Arg{Buffer: s.buf, At: s.at, Uses: []host.Use{{At: s.at, Len: s.len, Access: host.Read}}}
}

// raw binds an argument struct.
func raw[T any](p *T) host.Arg { return host.Arg{Bytes: kernels.Bytes(p)} }

// tokens are the ids of a batch on the device, int32 [T].
func (o *ops) tokens(b *dsv4.Batch) array {
	if o.batch == b && o.ids.n >= len(b.Tokens) {
		return o.ids
	}
	if o.ids.n < len(b.Tokens) {
		if o.ids.buf != nil {
			o.Free(o.ids)
		}
		a, err := o.NewInts(max(len(b.Tokens), 64))
		if err != nil {
			o.fail("%w", err)
			return array{}
		}
		o.ids = a.(array)
	}
	ids := make([]int32, len(b.Tokens))
	for i, t := range b.Tokens {
		ids[i] = int32(t)
	}
	if err := o.wait(); err != nil { // what ran may still read the last batch's
		o.fail("%w", err)
		return o.ids
	}
	if err := o.ids.buf.Write(o.ids.at, kernels.SliceBytes(ids)); err != nil {
		o.fail("%w", err)
	}
	o.batch = b
	return o.ids
}
