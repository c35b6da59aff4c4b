package variant

import (
	"fmt"
	"runtime"
	"sync"

	"assay/engine/affine"
	"assay/engine/mx"
	"assay/engine/reference"
	"assay/engine/tensor"
)

// Maker makes weights in the formats of a plan from a reference, and keeps
// none. It serves many goroutines.
type Maker struct {
	ref    *reference.Reference
	byName map[string]*Step
	recipe string    // for errors
	rooms  sync.Pool // *[]float32, for decoded rows
}

// NewMaker returns a maker of the matrices of steps.
func NewMaker(ref *reference.Reference, steps []Step, recipe string) *Maker {
	return &Maker{ref: ref, byName: stepsByName(steps), recipe: recipe}
}

func stepsByName(steps []Step) map[string]*Step {
	out := map[string]*Step{}
	for i := range steps {
		out[steps[i].Name] = &steps[i]
	}
	return out
}

// Tensor returns a parameter that no recipe changes.
func (k *Maker) Tensor(name string) (tensor.Tensor, error) { return k.ref.Tensor(name) }

// Prefetch says that a parameter's stored bytes are needed soon.
func (k *Maker) Prefetch(name string) { k.ref.Prefetch(name) }

// Release says that a parameter's stored bytes are not needed soon: memory
// that the system spends on the file's pages can go elsewhere.
func (k *Maker) Release(name string) { k.ref.Release(name) }

// step returns the step of a matrix.
func (k *Maker) step(name string) (*Step, error) {
	s := k.byName[name]
	if s == nil || s.Format == nil {
		return nil, fmt.Errorf("variant: %s: no matrix is named %q", k.recipe, name)
	}
	return s, nil
}

// Matrix returns a weight matrix in the variant's format. It errs on a name
// that is no matrix of the model and on weights that cannot be quantized.
func (k *Maker) Matrix(name string) (*tensor.Matrix, error) {
	s, err := k.step(name)
	if err != nil {
		return nil, err
	}
	return k.matrix(s, true, affine.NewMatrix)
}

// matrix makes the matrix of a step, where it is affine in what room returns, on
// all threads if split.
func (k *Maker) matrix(s *Step, split bool, room func(p affine.Params, rows, cols int) (*affine.Matrix, error)) (*tensor.Matrix, error) {
	rows, cols := s.Shape[0], s.Shape[1]
	f, ok := s.Format.(affine.Format)
	if !ok {
		return k.rows(s, 0, rows)
	}
	out, err := room(f.Params, rows, cols)
	if err != nil {
		return nil, fmt.Errorf("variant: %s: tensor %q: %w", k.recipe, s.Name, err)
	}
	starts := RowChunks(rows, cols)
	threads := 1
	if split {
		threads = runtime.GOMAXPROCS(0)
	}
	err = inParallel(threads, len(starts)-1, func(i int) error { return k.quantize(out, 0, s, starts[i], starts[i+1]) })
	if err != nil {
		return nil, err
	}
	return out.Tensor(s.Name), nil
}

// chunkWeights is how many weights are worth a goroutine of their own.
const chunkWeights = 1 << 18

// RowChunks cuts the rows of a matrix into runs that are worth a goroutine
// each: run i is rows [out[i], out[i+1]). All but the last are multiples of
// 128 rows, the rows of a block of FP8.
func RowChunks(rows, cols int) []int {
	size := max(chunkWeights/cols/tensor.FP8Block, 1) * tensor.FP8Block
	out := []int{0}
	for at := size; at < rows; at += size {
		out = append(out, at)
	}
	return append(out, rows)
}

// Rows returns the rows [from, to) of a matrix as a matrix of their own. from
// is a multiple of 128.
func (k *Maker) Rows(name string, from, to int) (*tensor.Matrix, error) {
	s, err := k.step(name)
	if err != nil {
		return nil, err
	}
	if from < 0 || from >= to || to > s.Shape[0] || from%tensor.FP8Block != 0 {
		return nil, fmt.Errorf("variant: %s: tensor %q: no rows %d to %d of %d", k.recipe, name, from, to, s.Shape[0])
	}
	return k.rows(s, from, to)
}

func (k *Maker) rows(s *Step, from, to int) (*tensor.Matrix, error) {
	cols := s.Shape[1]
	switch f := s.Format.(type) {
	case affine.Format:
		out, err := affine.NewMatrix(f.Params, to-from, cols)
		if err == nil {
			err = k.quantize(out, from, s, from, to)
		}
		if err != nil {
			return nil, err
		}
		return out.Tensor(s.Name), nil
	case mx.Format:
		weight, scale, err := k.ref.StoredRows(s.Name, from, to)
		if err != nil {
			return nil, err
		}
		return mx.Repack(f, s.Name, to-from, cols, weight, scale)
	}
	t, err := k.ref.TensorRows(s.Name, from, to)
	if err != nil {
		return nil, err
	}
	return &tensor.Matrix{Name: s.Name, Rows: to - from, Cols: cols, Format: s.Format, Codes: t.Data}, nil
}

// quantize makes the rows [from, to) of a matrix in m, whose first row is row
// first.
func (k *Maker) quantize(m *affine.Matrix, first int, s *Step, from, to int) error {
	room, _ := k.rooms.Get().(*[]float32)
	if room == nil {
		room = new([]float32)
	}
	defer k.rooms.Put(room)
	w, err := k.ref.Float32Rows(s.Name, from, to, *room)
	if err != nil {
		return err
	}
	*room = w
	if err := m.QuantizeRows(s.Encoder, from-first, w); err != nil {
		if from > 0 && first > 0 {
			return fmt.Errorf("variant: %s: tensor %q, from row %d on: %w", k.recipe, s.Name, from, err)
		}
		return fmt.Errorf("variant: %s: tensor %q: %w", k.recipe, s.Name, err)
	}
	return nil
}
