package cuda

import (
	"fmt"
	"runtime"
	"unsafe"

	"assay/metal/host"
)

// buffer is memory of the GPU.
type buffer struct {
	device *Device
	at     uintptr
	n      int64
}

// NewBuffer makes a buffer of n zero bytes.
func (d *Device) NewBuffer(n int64) (host.Buffer, error) {
	if d.failed != nil {
		return nil, d.failed
	}
	if n <= 0 || n > d.info.Limits.MaxBuffer {
		return nil, fmt.Errorf("cuda: %s: a buffer of %d bytes, want 1 to %d", d.info.Name, n, d.info.Limits.MaxBuffer)
	}
	leave := d.enter()
	defer leave()
	at := new(uintptr)
	if err := d.call(fmt.Sprintf("%d bytes of memory", n), cuMemAlloc, address(at), uintptr(n)); err != nil {
		return nil, err
	}
	if err := d.call("memory", cuMemsetD8Async, *at, 0, uintptr(n), d.stream); err != nil {
		d.call("memory", cuMemFree, *at)
		return nil, err
	}
	return &buffer{d, *at, n}, nil
}

// Map returns host.ErrNoMap: the GPU has memory of its own.
func (d *Device) Map([]byte) (host.Buffer, error) { return nil, host.ErrNoMap }

// Len is the buffer's length in bytes.
func (b *buffer) Len() int64 { return b.n }

// Bytes is nil: the host does not see the memory.
func (b *buffer) Bytes() []byte { return nil }

// Write copies into the buffer, in the stream's order: after what was submitted
// and before what will be. The driver has read data when it returns, since the
// memory is not pinned.
func (b *buffer) Write(at int64, data []byte) error {
	d := b.device
	there, err := d.own(b, at, int64(len(data)))
	if err != nil || len(data) == 0 {
		return err
	}
	if d.failed != nil {
		return d.failed
	}
	leave := d.enter()
	defer leave()
	err = d.call("write", cuMemcpyHtoDAsync, there, address(unsafe.SliceData(data)), uintptr(len(data)), d.stream)
	runtime.KeepAlive(data)
	return err
}

// Read copies out of the buffer, after what was submitted.
func (b *buffer) Read(at int64, dst []byte) error {
	d := b.device
	there, err := d.own(b, at, int64(len(dst)))
	if err != nil || len(dst) == 0 {
		return err
	}
	leave := d.enter()
	defer leave()
	if err := d.drain(); err != nil {
		return err
	}
	err = d.call("read", cuMemcpyDtoH, address(unsafe.SliceData(dst)), there, uintptr(len(dst)))
	runtime.KeepAlive(dst)
	return err
}

// own returns the address of n bytes of a buffer of the device's.
func (d *Device) own(of host.Buffer, at, n int64) (uintptr, error) {
	b, ok := of.(*buffer)
	if !ok || b.device != d || b.at == 0 {
		return 0, fmt.Errorf("cuda: no buffer of this device")
	}
	if at < 0 || n < 0 || at > b.n || n > b.n-at {
		return 0, fmt.Errorf("cuda: bytes %d to %d of a buffer of %d", at, at+n, b.n)
	}
	return b.at + uintptr(at), nil
}

// Free waits for what was submitted and lets go of the memory.
func (b *buffer) Free() {
	if b.at == 0 {
		return
	}
	leave := b.device.enter()
	defer leave()
	b.device.drain()
	b.device.call("free", cuMemFree, b.at)
	b.at = 0
}
