package emu

import (
	"fmt"
	"unsafe"

	"assay/metal/host"

	"golang.org/x/sys/unix"
)

// guard is how much memory before and behind a buffer faults.
const guard = 4 * host.PageSize

// Buffer is memory of the device.
type Buffer struct {
	dev    *Device
	data   []byte
	whole  []byte  // the mapping with its guards, nil where the memory is another's
	handle uintptr // msl_rt::Memory
	mapped bool    // read-only
}

// NewBuffer makes a buffer of n zero bytes, aligned to pages, between guards.
func (d *Device) NewBuffer(n int64) (host.Buffer, error) {
	if err := d.reserve(n); err != nil {
		return nil, err
	}
	kind := unix.MAP_PRIVATE
	if d.opt.Checked { // each argument sees the buffer at an address of its own
		kind = unix.MAP_SHARED
	}
	pages := (n + host.PageSize - 1) / host.PageSize * host.PageSize
	whole, err := unix.Mmap(-1, 0, int(pages+2*guard+host.PageSize), unix.PROT_NONE, unix.MAP_ANON|kind|unix.MAP_NORESERVE)
	at := int64(guard)
	if err == nil {
		at += int64(-uintptr(unsafe.Pointer(unsafe.SliceData(whole))) % host.PageSize)
		if err = unix.Mprotect(whole[at:at+pages], unix.PROT_READ|unix.PROT_WRITE); err != nil {
			err = fmt.Errorf("%w, %w", err, unix.Munmap(whole))
		}
	}
	if err != nil {
		d.release(n)
		return nil, fmt.Errorf("emu: a buffer of %d bytes: %w", n, err)
	}
	return d.newBuffer(whole[at:at+n:at+n], whole, false)
}

// Map makes a buffer of memory that the host has: whole pages.
func (d *Device) Map(data []byte) (host.Buffer, error) {
	if len(data) == 0 {
		return nil, errNoBytes
	}
	if at := uintptr(unsafe.Pointer(&data[0])); at%host.PageSize != 0 || len(data)%host.PageSize != 0 {
		return nil, fmt.Errorf("emu: memory to map begins %d bytes into a page and has %d bytes: want whole pages of %d", at%host.PageSize, len(data), host.PageSize)
	}
	if err := d.reserve(int64(len(data))); err != nil {
		return nil, err
	}
	return d.newBuffer(data, nil, true)
}

func (d *Device) newBuffer(data, whole []byte, mapped bool) (host.Buffer, error) {
	b := &Buffer{dev: d, data: data, whole: whole, mapped: mapped}
	b.handle = call(d.rt.memory, uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)), uintptr(boolInt(d.opt.Checked && !mapped)))
	if b.handle == 0 {
		b.Free()
		return nil, fmt.Errorf("emu: no memory for a buffer of %d bytes", len(data))
	}
	return b, nil
}

// reserve takes n bytes of the device's memory.
func (d *Device) reserve(n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case n <= 0:
		return errNoBytes
	case n > d.info.Limits.MaxBuffer:
		return fmt.Errorf("emu: a buffer of %d bytes is over the limit of %d", n, d.info.Limits.MaxBuffer)
	case n > d.info.Memory-d.used:
		return fmt.Errorf("emu: a buffer of %d bytes, with %d in use, is over the memory of %d", n, d.used, d.info.Memory)
	}
	d.used += n
	return nil
}

func (d *Device) release(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.used -= n
}

// Len returns the buffer's length in bytes.
func (b *Buffer) Len() int64 { return int64(len(b.data)) }

// Bytes returns the buffer's memory.
func (b *Buffer) Bytes() []byte { return b.data }

// Write copies data into the buffer.
func (b *Buffer) Write(at int64, data []byte) error {
	if b.mapped {
		return fmt.Errorf("emu: write to mapped memory")
	}
	if err := b.within(at, len(data)); err != nil {
		return err
	}
	copy(b.data[at:], data)
	return nil
}

// Read copies from the buffer.
func (b *Buffer) Read(at int64, dst []byte) error {
	if err := b.within(at, len(dst)); err != nil {
		return err
	}
	copy(dst, b.data[at:])
	return nil
}

func (b *Buffer) within(at int64, n int) error {
	if at < 0 || at > b.Len() || int64(n) > b.Len()-at {
		return fmt.Errorf("emu: bytes %d to %d of a buffer of %d", at, at+int64(n), b.Len())
	}
	return nil
}

// Free gives the memory back. A buffer is freed once.
func (b *Buffer) Free() {
	if b.data == nil {
		return
	}
	b.dev.release(b.Len())
	b.dev.forget(b)
	if b.handle != 0 {
		call(b.dev.rt.memoryFree, b.handle)
	}
	if b.whole != nil {
		if err := unix.Munmap(b.whole); err != nil {
			panic(err) // it is what Mmap gave
		}
	}
	b.data, b.whole, b.handle = nil, nil, 0
}

// CountReads counts from now on what kernels read of the buffer: a byte counts
// once for each threadgroup that reads it. Only a checked device sees reads.
func (b *Buffer) CountReads() error {
	if !b.dev.opt.Checked {
		return fmt.Errorf("emu: only a checked device counts what is read")
	}
	if call(b.dev.rt.memoryCount, b.handle) != 0 {
		return fmt.Errorf("emu: no memory to count the reads of %d bytes", len(b.data))
	}
	b.dev.mu.Lock()
	defer b.dev.mu.Unlock()
	b.dev.counted = append(b.dev.counted, b)
	return nil
}

// BytesRead returns what was read of the buffer since CountReads or ResetReads.
func (b *Buffer) BytesRead() int64 { return int64(call(b.dev.rt.memoryReads, b.handle)) }

// BytesRead returns what was read of all buffers that count.
func (d *Device) BytesRead() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	var n int64
	for _, b := range d.counted {
		n += b.BytesRead()
	}
	return n
}

// ResetReads lets all buffers that count begin at nought.
func (d *Device) ResetReads() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range d.counted {
		call(d.rt.memoryReset, b.handle)
	}
}

func (d *Device) forget(b *Buffer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, c := range d.counted {
		if c == b {
			d.counted = append(d.counted[:i], d.counted[i+1:]...)
			return
		}
	}
}

var _ host.Buffer = (*Buffer)(nil)
