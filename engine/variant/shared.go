package variant

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"assay/engine/affine"
	"assay/engine/tensor"
)

// Values identifies the values of one of v's parameters: two variants of one
// source in which it is equal have the same numbers there, to the last bit. A
// recipe that leaves an FP4 or FP8 weight at BF16 has those of its lossless
// repack.
func (v *Variant) Values(name string) string {
	s := v.byName[name]
	switch {
	case s == nil:
		return ""
	case !v.made:
		return v.digest
	}
	return s.values
}

// HeldBytes returns the bytes that Shared holds of a matrix of v, or 0 for a
// parameter that is none.
func (v *Variant) HeldBytes(name string) int64 {
	s := v.byName[name]
	switch {
	case s == nil || s.Format == nil:
		return 0
	case v.made:
		return s.held
	}
	return s.Bytes
}

// identify sets what Values and HeldBytes say of a step that is made.
func (s *Step) identify() {
	if s.Format == nil {
		s.values = "as it is"
		return
	}
	same := lossless(*s)
	s.values, s.held = same.Format.String(), same.Bytes
	if _, ok := s.Format.(affine.Format); ok {
		s.values += " " + s.Encoder.String()
	}
}

// lossless returns the step with the format in which the checkpoint stores a
// weight, where the step keeps it at BF16: the same values in a quarter or half
// of the bytes.
func lossless(s Step) Step {
	if s.Format != tensor.PlainFormat(tensor.BF16) {
		return s
	}
	f := Choice{Native: true}.format(s.Param)
	if f.Check(s.Shape[0], s.Shape[1]) == nil {
		s.Format, s.Bytes = f, tensor.FormatBytes(f, s.Shape[0], s.Shape[1])
	}
	return s
}

// Shared makes matrices for several variants of one source, each distinct one
// once, and keeps it as long as uses of it are announced. It serves one
// goroutine.
type Shared struct {
	held   map[heldKey]*held
	names  map[string]int // how many distinct values of a name are wanted
	source *Maker         // who made what is made, to release its pages
	codes  roomList[byte]
	params roomList[uint16]
	// Made counts the weights that were quantized, and Bytes what is held now.
	Made, Bytes int64
}

type heldKey struct{ name, values string }

// held is one distinct matrix.
type held struct {
	uses   int // announced and not over
	matrix *tensor.Matrix
	affine *affine.Matrix // whose memory is used again
}

// NewShared returns a Shared without announced uses.
func NewShared() *Shared { return &Shared{held: map[heldKey]*held{}, names: map[string]int{}} }

func (v *Variant) key(name string) heldKey { return heldKey{name, v.Values(name)} }

// Want announces n uses of parameters of v.
func (s *Shared) Want(v *Variant, names []string, n int) {
	if v.maker != nil {
		s.source = v.maker
	}
	for _, name := range names {
		k := v.key(name)
		if s.held[k] == nil {
			s.held[k] = &held{}
			s.names[name]++
		}
		s.held[k].uses += n
	}
}

// Make makes what is not held of parameters of v, on all threads.
func (s *Shared) Make(ctx context.Context, v *Variant, names []string) error {
	var steps []*Step
	for _, name := range names {
		st, h := v.byName[name], s.held[v.key(name)]
		switch {
		case st == nil || h == nil || h.uses == 0:
			return fmt.Errorf("variant: %s: no use of %q is announced", v.name, name)
		case h.matrix == nil && st.Format != nil:
			steps = append(steps, st)
			if v.maker != nil {
				v.maker.Prefetch(name)
			}
		}
	}
	rooms := make([]*affine.Matrix, len(steps))
	for i, st := range steps { // on this goroutine, in this order: what fits is used again
		if f, ok := st.Format.(affine.Format); ok && v.maker != nil {
			rooms[i] = s.room(f.Params, st.Shape[0], st.Shape[1])
		}
	}
	made := make([]*tensor.Matrix, len(steps))
	split := len(steps) < runtime.GOMAXPROCS(0) // else there is a matrix for each thread
	err := inParallel(runtime.GOMAXPROCS(0), len(steps), func(i int) (err error) {
		if err = ctx.Err(); err == nil {
			made[i], err = v.make(steps[i], rooms[i], split)
		}
		return err
	})
	if err != nil {
		return err
	}
	for i, m := range made {
		h := s.held[v.key(steps[i].Name)]
		h.matrix, h.affine = m, rooms[i]
		if rooms[i] != nil {
			s.Made += steps[i].Elements()
		}
		s.Bytes += m.Bytes()
	}
	return nil
}

// make makes one matrix, where it is affine in room, on all threads if split.
func (v *Variant) make(s *Step, room *affine.Matrix, split bool) (*tensor.Matrix, error) {
	if v.maker == nil {
		return v.Matrix(s.Name)
	}
	st := lossless(*s)
	return v.maker.matrix(&st, split, func(affine.Params, int, int) (*affine.Matrix, error) { return room, nil })
}

// Done says that one announced use of parameters of v is over.
func (s *Shared) Done(v *Variant, names []string) {
	for _, name := range names {
		k := v.key(name)
		h := s.held[k]
		if h.uses--; h.uses > 0 {
			continue
		}
		delete(s.held, k)
		if h.matrix != nil {
			s.Bytes -= h.matrix.Bytes()
		}
		if h.affine != nil {
			s.codes.give(h.affine.Codes)
			s.params.give(h.affine.Scales)
			s.params.give(h.affine.Biases)
		}
		if s.names[name]--; s.names[name] == 0 && s.source != nil {
			s.source.Release(name)
		}
	}
}

// Variant returns v with its matrices as Make made them.
func (s *Shared) Variant(v *Variant) *Variant {
	out := *v
	out.Weights = sharedWeights{s, v}
	return &out
}

type sharedWeights struct {
	s *Shared
	v *Variant
}

func (w sharedWeights) Matrix(name string) (*tensor.Matrix, error) {
	h := w.s.held[w.v.key(name)]
	if h == nil || h.matrix == nil {
		return nil, fmt.Errorf("variant: %s: matrix %q is not made", w.v.name, name)
	}
	return h.matrix, nil
}

func (w sharedWeights) Tensor(name string) (tensor.Tensor, error) { return w.v.Tensor(name) }

// room returns memory for an affine matrix, all of whose rows are to be filled.
func (s *Shared) room(p affine.Params, rows, cols int) *affine.Matrix {
	groups := rows * p.GroupsPerRow(cols)
	return &affine.Matrix{Params: p, Rows: rows, Cols: cols, Codes: s.codes.take(int(p.CodeBytes(rows, cols))),
		Scales: s.params.take(groups), Biases: s.params.take(groups)}
}

// Trim gives back memory that no matrix has used since the last Trim but one.
func (s *Shared) Trim() {
	s.codes.trim()
	s.params.trim()
}

// roomList is memory to use again, by length.
type roomList[T any] struct{ free []room[T] }

// room is memory, and how many Trims it has waited.
type room[T any] struct {
	data []T
	age  int
}

func (r *roomList[T]) search(n int) int {
	i, _ := slices.BinarySearchFunc(r.free, n, func(b room[T], n int) int { return cap(b.data) - n })
	return i
}

// take returns the smallest that holds n, unless that is more than twice as long.
func (r *roomList[T]) take(n int) []T {
	i := r.search(n)
	if i == len(r.free) || cap(r.free[i].data) > 2*n {
		return make([]T, n)
	}
	b := r.free[i].data
	r.free = slices.Delete(r.free, i, i+1)
	return b[:n]
}

func (r *roomList[T]) give(b []T) { r.free = slices.Insert(r.free, r.search(cap(b)), room[T]{data: b}) }

func (r *roomList[T]) trim() {
	r.free = slices.DeleteFunc(r.free, func(b room[T]) bool { return b.age > 0 })
	for i := range r.free {
		r.free[i].age++
	}
}

// inParallel calls f for 0..n-1 on a number of threads and returns the first
// error in that order.
func inParallel(threads, n int, f func(i int) error) error {
	errs := make([]error, n)
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	var wg sync.WaitGroup
	for range min(threads, n) {
		wg.Go(func() {
			for i := range next {
				if errs[i] = f(i); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
