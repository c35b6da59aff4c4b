package sweep

import (
	"fmt"
	"os"
	"slices"

	"assay/engine/page"
)

// store keeps streams between parts: in memory up to a budget, beyond it in a
// memory-mapped file that has no name.
type store struct {
	room int64  // bytes of memory that are left
	dir  string // of the file
	file *os.File
	end  int64 // of the file
	free []*slab
	all  []*slab
}

// slab is the streams of one node and group.
type slab struct {
	block *page.Block
	x     []float32 // as long as was asked for
}

// slabBytes returns what a slab of n float32 takes: whole pages.
func slabBytes(n int) int64 { return (4*int64(n) + page.Size - 1) / page.Size * page.Size }

// take returns a slab of n float32, whose contents are left over from any use.
func (s *store) take(n int) (*slab, error) {
	size := slabBytes(n)
	for i, f := range s.free {
		if int64(len(f.block.Bytes())) == size {
			s.free = slices.Delete(s.free, i, i+1)
			f.x = f.block.Floats()[:n]
			return f, nil
		}
	}
	b, err := s.block(size)
	if err != nil {
		return nil, err
	}
	out := &slab{block: b, x: b.Floats()[:n]}
	s.all = append(s.all, out)
	return out, nil
}

func (s *store) block(size int64) (*page.Block, error) {
	if size <= s.room {
		b, err := page.Alloc(size)
		if err == nil {
			s.room -= size
		}
		return b, err
	}
	if s.file == nil {
		f, err := os.CreateTemp(s.dir, "streams-*.tmp")
		if err != nil {
			return nil, fmt.Errorf("sweep: streams: %w", err)
		}
		os.Remove(f.Name()) // it goes when this program does, whatever ends it
		s.file = f
	}
	b, err := page.Map(s.file, s.end, size)
	if err == nil {
		s.end += size
	}
	return b, err
}

// give takes slabs back.
func (s *store) give(slabs ...*slab) { s.free = append(s.free, slabs...) }

// close gives all memory back.
func (s *store) close() error {
	var err error
	for _, x := range s.all {
		if e := x.block.Free(); err == nil {
			err = e
		}
	}
	s.all, s.free = nil, nil
	if s.file != nil {
		s.file.Close()
	}
	return err
}
