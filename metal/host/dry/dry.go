// Package dry is a device that runs nothing: buffers without memory, kernels that
// are never compiled. It shows what a model would ask of a device, of any size, on
// any machine.
package dry

import (
	"context"
	"fmt"
	"math"

	"assay/metal/host"
)

// Device notes what it is asked.
type Device struct {
	Dispatches []host.Dispatch // since the last Reset
	known      map[string]bool // kernels that were compiled
}

// New makes a device.
func New() *Device { return &Device{known: map[string]bool{}} }

// Reset forgets the dispatches so far.
func (d *Device) Reset() { d.Dispatches = nil }

// Info is that of a device with Metal's limits and all the memory in the world.
func (d *Device) Info() host.Info {
	return host.Info{Driver: "dry", Name: "no device", Memory: math.MaxInt64,
		Limits: host.Limits{MaxBuffer: math.MaxInt64 / 2, Threadgroup: 32 << 10, MaxThreads: 1024}}
}

// NewBuffer makes a buffer without memory.
func (d *Device) NewBuffer(n int64) (host.Buffer, error) { return &buffer{n}, nil }

// Map errs: there is nothing to map for.
func (d *Device) Map([]byte) (host.Buffer, error) { return nil, host.ErrNoMap }

// Compile notes the kernels.
func (d *Device) Compile(_ context.Context, p host.Program) error {
	for _, k := range p.Kernels {
		d.known[k] = true
	}
	return nil
}

// Submit notes the dispatches. It errs on a kernel that was not asked for.
func (d *Device) Submit(ds []host.Dispatch) error {
	for _, x := range ds {
		if !d.known[x.Kernel] {
			return fmt.Errorf("dry: %s (%s) was not compiled", x.Kernel, x.Label)
		}
	}
	d.Dispatches = append(d.Dispatches, ds...)
	return nil
}

// Wait has nothing to wait for.
func (d *Device) Wait() error { return nil }

// Close does nothing.
func (d *Device) Close() error { return nil }

type buffer struct{ n int64 }

func (b *buffer) Len() int64    { return b.n }
func (b *buffer) Bytes() []byte { return nil }
func (b *buffer) Free()         {}

// Write drops what is written, and Read reads zeros.
func (b *buffer) Write(at int64, data []byte) error { return b.within(at, len(data)) }
func (b *buffer) Read(at int64, dst []byte) error {
	clear(dst)
	return b.within(at, len(dst))
}

func (b *buffer) within(at int64, n int) error {
	if at < 0 || at+int64(n) > b.n {
		return fmt.Errorf("dry: bytes %d to %d of a buffer of %d", at, at+int64(n), b.n)
	}
	return nil
}

var _ host.Device = (*Device)(nil)
