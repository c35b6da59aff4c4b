package apple

import (
	"fmt"
	"unsafe"

	"assay/metal/host"
)

// buffer is an MTLBuffer in memory that host and GPU share.
type buffer struct {
	device   *Device
	id       id
	mem      []byte
	mapped   bool
	resident bool
}

// Buffers are ordered by barriers and the fence alone: Metal tracks none.
const resourceOptions = storageShared | hazardUntracked

// NewBuffer makes a buffer of n bytes, which Metal fills with zeros.
func (d *Device) NewBuffer(n int64) (host.Buffer, error) {
	if err := d.allow(n); err != nil {
		return nil, err
	}
	defer d.scope()()
	o := id(d.objc.send(d.device, newBufferWithLength, args{uintptr(n), resourceOptions}))
	if o == 0 {
		return nil, fmt.Errorf("apple: %s: no memory for a buffer of %d bytes", d.info.Name, n)
	}
	p := (*byte)(pointer(d.objc.send(o, bufferContents, args{})))
	if p == nil {
		d.free(o)
		return nil, fmt.Errorf("apple: %s: a buffer of %d bytes has no memory that the host sees", d.info.Name, n)
	}
	return d.keep(&buffer{device: d, id: o, mem: unsafe.Slice(p, n)}), nil
}

// Map makes a buffer of whole pages of memory, such as a mapped file's, and
// copies nothing.
func (d *Device) Map(data []byte) (host.Buffer, error) {
	n := int64(len(data))
	if err := d.allow(n); err != nil {
		return nil, err
	}
	at := address(unsafe.SliceData(data))
	if at%host.PageSize != 0 || n%host.PageSize != 0 {
		return nil, fmt.Errorf("apple: map of %d bytes at %#x: want whole pages of %d", n, at, host.PageSize)
	}
	defer d.scope()()
	o := id(d.objc.send(d.device, newBufferNoCopy, args{at, uintptr(n), resourceOptions, 0}))
	if o == 0 {
		return nil, fmt.Errorf("apple: %s: %d bytes of memory cannot be mapped", d.info.Name, n)
	}
	return d.keep(&buffer{device: d, id: o, mem: data, mapped: true}), nil
}

// allow errs on a buffer that the device cannot have.
func (d *Device) allow(n int64) error {
	if d.lost != nil {
		return d.lost
	}
	if n <= 0 || n > d.info.Limits.MaxBuffer {
		return fmt.Errorf("apple: %s: a buffer of %d bytes, want 1 to %d", d.info.Name, n, d.info.Limits.MaxBuffer)
	}
	return nil
}

// keep puts a buffer into the residency set, as far as the set may hold it all
// at once. What is left out is made resident by each command buffer that uses it.
func (d *Device) keep(b *buffer) *buffer {
	n := int64(len(b.mem))
	if d.set != 0 && d.resident+n <= d.info.Limits.WorkingSet {
		d.objc.send(d.set, addAllocation, args{uintptr(b.id)})
		d.resident += n
		d.unsettled = true
		b.resident = true
	}
	return b
}

// settle applies the changes to the residency set, many at once.
func (d *Device) settle() {
	if !d.unsettled {
		return
	}
	d.objc.send(d.set, commitResidency, args{})
	d.objc.send(d.set, requestResidency, args{})
	d.unsettled = false
}

// Len is the buffer's length in bytes.
func (b *buffer) Len() int64 { return int64(len(b.mem)) }

// Bytes is the buffer's memory. What the device writes stands there after Wait.
func (b *buffer) Bytes() []byte { return b.mem }

// Write copies into the buffer, after what was submitted.
func (b *buffer) Write(at int64, data []byte) error {
	if b.mapped {
		return fmt.Errorf("apple: write to a buffer that maps memory of the host")
	}
	dst, err := b.part(at, len(data))
	copy(dst, data)
	return err
}

// Read copies out of the buffer, after what was submitted.
func (b *buffer) Read(at int64, dst []byte) error {
	src, err := b.part(at, len(dst))
	copy(dst, src)
	return err
}

func (b *buffer) part(at int64, n int) ([]byte, error) {
	if at < 0 || at > b.Len() || int64(n) > b.Len()-at {
		return nil, fmt.Errorf("apple: bytes %d to %d of a buffer of %d", at, at+int64(n), b.Len())
	}
	if err := b.device.drain(); err != nil {
		return nil, err
	}
	return b.mem[at : at+int64(n)], nil
}

// drain waits for what was submitted. An error of it stays for Wait.
func (d *Device) drain() error {
	if len(d.flight) > 0 && d.lost == nil {
		defer d.scope()()
		d.retire(0)
	}
	return d.lost
}

// Free waits for what was submitted and lets go of the memory.
func (b *buffer) Free() {
	d := b.device
	if b.id == 0 || d.drain() != nil { // a lost device may still use it
		return
	}
	defer d.scope()()
	if b.resident { // out of the set before the memory goes
		d.objc.send(d.set, removeAllocation, args{uintptr(b.id)})
		d.objc.send(d.set, commitResidency, args{})
		d.resident -= b.Len()
	}
	d.free(b.id)
	b.id, b.mem = 0, nil
}
