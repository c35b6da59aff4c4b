package metal

import (
	"assay/engine/dsv4"
	"assay/metal/kernels"
)

// NewArray makes an array of n float32, zero.
func (o *ops) NewArray(n int) (dsv4.Array, error) {
	b, at, err := o.heap.alloc(4*int64(n), true)
	if err != nil {
		return nil, err
	}
	return array{block: b, buf: b.buf, at: at, n: n}, nil
}

// NewInts makes an array of n int32, zero.
func (o *ops) NewInts(n int) (dsv4.Array, error) { return o.NewArray(n) }

// Slice views n elements.
func (o *ops) Slice(a dsv4.Array, from, n int) dsv4.Array {
	x := a.(array)
	return array{buf: x.buf, at: x.at + 4*int64(from), n: n}
}

// Free gives an array back, and what was wrapped to the host.
func (o *ops) Free(a dsv4.Array) {
	x := a.(array)
	if x.block == nil {
		return
	}
	if err := o.wait(); err != nil { // nothing that still runs may use it
		o.fail("%w", err)
	} else if x.host != nil {
		if err := x.buf.Read(x.at, kernels.SliceBytes(x.host)); err != nil {
			o.fail("%w", err)
		}
	}
	o.heap.release(x.block, x.at, 4*int64(x.n))
}

// Wrap works on a copy of the host's memory.
func (o *ops) Wrap(host []float32) (dsv4.Array, error) {
	b, at, err := o.heap.alloc(4*int64(len(host)), false)
	if err != nil {
		return nil, err
	}
	if err := b.buf.Write(at, kernels.SliceBytes(host)); err != nil {
		return nil, err
	}
	return array{block: b, buf: b.buf, at: at, n: len(host), host: host}, nil
}

// Read runs all operations so far and copies elements to dst.
func (o *ops) Read(dst []float32, a dsv4.Array, from int) error {
	return read(o, dst, a, from)
}

// ReadInts is Read for int32.
func (o *ops) ReadInts(dst []int32, a dsv4.Array, from int) error {
	return read(o, dst, a, from)
}

// SetInts fills an array of int32, for tests of one operation.
func (o *ops) SetInts(a dsv4.Array, v []int32) error {
	x := a.(array)
	if err := o.wait(); err != nil {
		return err
	}
	return x.buf.Write(x.at, kernels.SliceBytes(v))
}

// scratch returns n elements that an operation keeps in *room from call to call.
func (o *ops) scratch(room *array, n int) array {
	if room.n < n {
		if room.block != nil {
			o.Free(*room)
			*room = array{}
		}
		b, at, err := o.heap.alloc(4*int64(n), false)
		if err != nil {
			o.fail("%w", err)
			return array{}
		}
		*room = array{block: b, buf: b.buf, at: at, n: n}
	}
	return *room
}

func read[T int32 | float32](o *ops, dst []T, a dsv4.Array, from int) error {
	if err := o.wait(); err != nil {
		return err
	}
	if len(dst) == 0 {
		return nil
	}
	x := a.(array)
	return x.buf.Read(x.at+4*int64(from), kernels.SliceBytes(dst))
}
