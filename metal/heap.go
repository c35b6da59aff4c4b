package metal

import (
	"fmt"
	"slices"

	"assay/metal/host"
)

// align is where allocations begin, and a multiple of what they take.
const align = 256

// blockBytes is the size of the buffers that small allocations share.
const blockBytes = 32 << 20

// heap hands out pieces of device buffers. What is freed is used again; a buffer
// with nothing in it is given back.
type heap struct {
	dev    host.Device
	limit  int64 // bytes that buffers may take together, 0 for any
	taken  int64 // by buffers
	blocks []*block
}

// block is one buffer and what is free of it, in order.
type block struct {
	buf  host.Buffer
	free []extent
	used bool // something was freed: what is handed out again is not zero
}

type extent struct{ at, n int64 }

// alloc returns n bytes, from at of a block on. zero says that they must be zero.
func (h *heap) alloc(n int64, zero bool) (*block, int64, error) {
	n = (max(n, 1) + align - 1) &^ (align - 1)
	for _, b := range h.blocks {
		for i, f := range b.free {
			if f.n < n {
				continue
			}
			b.free[i] = extent{f.at + n, f.n - n}
			if b.free[i].n == 0 {
				b.free = slices.Delete(b.free, i, i+1)
			}
			if zero && b.used {
				if err := b.buf.Write(f.at, make([]byte, n)); err != nil {
					return nil, 0, err
				}
			}
			return b, f.at, nil
		}
	}
	b, err := h.grow(n)
	if err != nil {
		return nil, 0, err
	}
	b.free = []extent{{n, b.buf.Len() - n}}
	if b.free[0].n == 0 {
		b.free = nil
	}
	return b, 0, nil
}

// grow makes a buffer of at least n bytes.
func (h *heap) grow(n int64) (*block, error) {
	most := h.dev.Info().Limits.MaxBuffer
	if n > most {
		return nil, fmt.Errorf("metal: %s are wanted in one piece, the device's largest buffer is %s", gigabytes(n), gigabytes(most))
	}
	size := max(n, min(blockBytes, most&^(align-1)))
	if h.limit > 0 && h.taken+size > h.limit {
		if size = n; h.taken+size > h.limit {
			return nil, fmt.Errorf("metal: %s more are wanted, %s of %s are taken", gigabytes(n), gigabytes(h.taken), gigabytes(h.limit))
		}
	}
	buf, err := h.dev.NewBuffer(size)
	if err != nil {
		return nil, err
	}
	b := &block{buf: buf}
	h.blocks = append(h.blocks, b)
	h.taken += size
	return b, nil
}

// release gives back n bytes from at of b on.
func (h *heap) release(b *block, at, n int64) {
	n = (max(n, 1) + align - 1) &^ (align - 1)
	i, _ := slices.BinarySearchFunc(b.free, at, func(e extent, at int64) int { return int(min(max(e.at-at, -1), 1)) })
	b.free = slices.Insert(b.free, i, extent{at, n})
	b.used = true
	for j := i; j >= max(i-1, 0); j-- { // with what follows, then with what comes before
		if j+1 < len(b.free) && b.free[j].at+b.free[j].n == b.free[j+1].at {
			b.free[j].n += b.free[j+1].n
			b.free = slices.Delete(b.free, j+1, j+2)
		}
	}
	if b.free[0].n == b.buf.Len() {
		h.blocks = slices.DeleteFunc(h.blocks, func(x *block) bool { return x == b })
		h.taken -= b.buf.Len()
		b.buf.Free()
	}
}

// close gives back all buffers.
func (h *heap) close() {
	for _, b := range h.blocks {
		b.buf.Free()
	}
	h.blocks, h.taken = nil, 0
}

func gigabytes(n int64) string { return fmt.Sprintf("%.3f GB", float64(n)/1e9) }
