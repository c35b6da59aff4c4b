// Package page gives memory in whole pages, outside of Go's heap: what it takes
// is known, and goes back to the system at once.
package page

import (
	"fmt"
	"os"
	"unsafe"
)

// Block is a run of whole pages. It serves one goroutine.
type Block struct {
	data   []byte
	mapped bool // of a file
}

// Alloc returns n bytes, all zero.
func Alloc(n int64) (*Block, error) {
	data, err := alloc(n)
	if err != nil {
		return nil, fmt.Errorf("page: %d bytes of memory: %w", n, err)
	}
	return &Block{data: data}, nil
}

// Map returns n bytes of a file from an offset on, a multiple of Size; what is
// written there is written to the file. The file is made longer where it ends
// before, on disk too: without that a full disk would end the program at a write.
func Map(f *os.File, offset, n int64) (*Block, error) {
	info, err := f.Stat()
	if err == nil && info.Size() < offset+n {
		err = extend(f, info.Size(), offset+n)
	}
	var data []byte
	if err == nil {
		data, err = mapFile(f, offset, n)
	}
	if err != nil {
		return nil, fmt.Errorf("page: %s: %d bytes from %d on: %w", f.Name(), n, offset, err)
	}
	return &Block{data: data, mapped: true}, nil
}

// Size is what offsets of Map are a multiple of: the page of any machine that
// assay runs on divides it.
const Size = 1 << 16

// Bytes returns the block's memory.
func (b *Block) Bytes() []byte { return b.data }

// Floats returns the block's memory as float32, of the machine's byte order.
func (b *Block) Floats() []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b.data))), len(b.data)/4)
}

// Rest says that a mapped block is not needed soon: its pages leave the
// process's memory and come back from the file when they are touched. Other
// blocks stay.
func (b *Block) Rest() {
	if b.mapped {
		rest(b.data)
	}
}

// Free gives the memory back. Nothing may refer to it any more.
func (b *Block) Free() error {
	data := b.data
	b.data = nil
	if data == nil {
		return nil
	}
	return free(data)
}
