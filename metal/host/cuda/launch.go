package cuda

import (
	"encoding/binary"
	"fmt"
	"slices"

	"assay/metal/host"
)

// packed is memory that the driver reads a kernel's parameters from, used again
// by each: the driver copies them.
type packed struct {
	data  [8*host.MaxArgs + host.MaxBytes]byte
	size  uint64
	extra [5]uintptr
}

// sent is a dispatch on its way.
type sent struct{ kernel, label string }

func (s sent) String() string { return fmt.Sprintf("%s (%s)", s.kernel, s.label) }

// Submit launches dispatches on one stream, which runs them in order, so that
// their barriers need nothing. It does not wait.
func (d *Device) Submit(ds []host.Dispatch) error {
	if d.failed != nil {
		return d.failed
	}
	for i := range ds { // before anything runs
		if err := d.check(&ds[i]); err != nil {
			return err
		}
	}
	leave := d.enter()
	defer leave()
	for piece := range slices.Chunk(ds, inGraph) {
		run := d.graph
		if d.options.Each || len(piece) < fewest {
			run = d.direct
		}
		if err := run(piece); err != nil {
			return err
		}
	}
	return nil
}

// A launch costs the host about four microseconds, a kernel in a graph about
// one, and the device as much. Work goes to it in pieces, so that it begins
// while the host still packs.
const (
	inGraph = 24 // dispatches of a graph, at most
	fewest  = 4  // for fewer a graph does not pay
)

// direct launches dispatches one by one.
func (d *Device) direct(ds []host.Dispatch) error {
	for i := range ds {
		if err := d.launch(&ds[i]); err != nil {
			return err
		}
		if d.options.Each {
			if err := d.drain(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Device) launch(x *host.Dispatch) error {
	if err := d.pack.set(x.Args); err != nil {
		return fmt.Errorf("cuda: %s (%s): %w", x.Kernel, x.Label, err)
	}
	d.flight = append(d.flight, sent{x.Kernel, x.Label})
	if r := d.cu.launch(d.kernels[x.Kernel].function, &x.Grid, x.Threads, d.stream, &d.pack.extra); r != 0 {
		d.failed = fmt.Errorf("cuda: %s (%s): launch: %s", x.Kernel, x.Label, d.explain(r))
		return d.failed
	}
	return nil
}

// graph launches dispatches as one graph: a chain, as all graphs here are, so
// that an executable graph of as many kernels can take over what the new one
// has to say of them.
func (d *Device) graph(ds []host.Dispatch) error {
	if err := d.call("graph", cuStreamBeginCapture, d.stream, captureThread); err != nil {
		return err
	}
	err := d.direct(ds)
	made := new(uintptr)
	if end := d.call("graph", cuStreamEndCapture, d.stream, address(made)); err == nil {
		err = end
	}
	if err != nil {
		return err
	}
	defer d.call("graph", cuGraphDestroy, *made)
	e := d.graphs[len(ds)]
	if e != 0 && d.cu.call(cuGraphExecUpdate, e, *made, address(new([8]uint64))) != 0 {
		d.call("graph", cuGraphExecDestroy, e)
		delete(d.graphs, len(ds))
		e = 0
	}
	if e == 0 {
		executable := new(uintptr)
		if err := d.call("graph", cuGraphInstantiateWithFlags, address(executable), *made, 0); err != nil {
			return err
		}
		e = *executable
		d.graphs[len(ds)] = e
	}
	return d.call("graph", cuGraphLaunch, e, d.stream)
}

// set packs arguments as a kernel's parameters: a pointer for each buffer, the
// bytes of the others, each at a multiple of 8.
func (l *packed) set(args []host.Arg) error {
	at := 0
	for i, a := range args {
		if a.Buffer == nil {
			if at+len(a.Bytes) > len(l.data) {
				return fmt.Errorf("argument %d: more than %d bytes of arguments", i, len(l.data))
			}
			copy(l.data[at:], a.Bytes)
			at = (at + len(a.Bytes) + 7) &^ 7
			continue
		}
		if at+8 > len(l.data) {
			return fmt.Errorf("argument %d: more than %d bytes of arguments", i, len(l.data))
		}
		binary.NativeEndian.PutUint64(l.data[at:], uint64(a.Buffer.(*buffer).at)+uint64(a.At))
		at += 8
	}
	l.size = uint64(at)
	l.extra = [5]uintptr{launchBuffer, address(&l.data[0]), launchSize, address(&l.size), launchEnd}
	return nil
}

// check holds a dispatch against the compiled kernel.
func (d *Device) check(x *host.Dispatch) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("cuda: %s (%s): %s", x.Kernel, x.Label, fmt.Sprintf(format, args...))
	}
	k, ok := d.kernels[x.Kernel]
	if !ok {
		return fail("not compiled")
	}
	if x.Threads > k.threads {
		return fail("%d threads in a threadgroup, the kernel allows %d", x.Threads, k.threads)
	}
	if x.Grid[1] > maxGrid || x.Grid[2] > maxGrid { // CUDA's limit; Metal has none of its own
		return fail("grid %v, want at most %d in the second and third dimension", x.Grid, maxGrid)
	}
	if k.sizes != nil && len(k.sizes) != len(x.Args) {
		return fail("%d arguments, the kernel has %d", len(x.Args), len(k.sizes))
	}
	for i, a := range x.Args {
		want, got := 0, len(a.Bytes)
		if a.Buffer != nil {
			if b, ok := a.Buffer.(*buffer); !ok || b.device != d || b.at == 0 {
				return fail("argument %d is no buffer of this device", i)
			}
			got = 8
		}
		if k.sizes != nil {
			want = k.sizes[i]
		}
		if want != 0 && want != got {
			return fail("argument %d has %d bytes, the kernel's has %d", i, got, want)
		}
	}
	return nil
}

const maxGrid = 1<<16 - 1

// Wait waits until all that was submitted is done. Its error names all that was
// on its way: CUDA does not say which of it failed, unless each is waited for.
func (d *Device) Wait() error {
	if d.failed != nil {
		return d.failed
	}
	leave := d.enter()
	defer leave()
	return d.drain()
}

func (d *Device) drain() error {
	if d.failed != nil {
		return d.failed
	}
	if r := d.cu.call(cuStreamSynchronize, d.stream); r != 0 {
		d.failed = fmt.Errorf("cuda: %s: %s", d.culprits(), d.explain(r))
	}
	d.flight = d.flight[:0]
	return d.failed
}

// culprits names what was submitted since the last wait.
func (d *Device) culprits() string {
	switch n := len(d.flight); n {
	case 0:
		return "nothing submitted"
	case 1:
		return d.flight[0].String()
	default:
		return fmt.Sprintf("one of %d dispatches, %v to %v", n, d.flight[0], d.flight[n-1])
	}
}
