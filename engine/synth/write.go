package synth

import (
	"context"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"assay/engine/shard"
	"assay/engine/tensor"
)

// chunkWeights is about how many weights are drawn at once.
const chunkWeights = 1 << 18

// Progress is how far Write is, in bytes of a stage.
type Progress struct {
	Stage       string // "verify", what an earlier run wrote, or "write"
	Done, Total int64  // with what an earlier run wrote
}

// Write writes the checkpoint to a folder, on all cores; what it keeps in
// memory does not grow with the model. A folder that is missing is made. One
// in which an earlier Write of the same plan was cut off is finished: the bytes
// are the same however often that happens, and whatever the number of cores.
// The folders that it refuses, and the finished one's error, are shard.Open's.
// progress, which may be nil, is called from one goroutine at a time.
func (p *Plan) Write(ctx context.Context, dir string, progress func(Progress)) error {
	if progress == nil {
		progress = func(Progress) {}
	}
	b, err := shard.Open(dir, p.key, p.files, p.metadata())
	if err != nil {
		return err
	}
	defer b.Close()
	pending, err := b.Pending(ctx, func(done, total int64) { progress(Progress{"verify", done, total}) })
	if err != nil {
		return err
	}
	if err := p.writeShards(ctx, b, pending, progress); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(p.spec.Files)) {
		if err := b.Put(name, p.spec.Files[name]); err != nil {
			return err
		}
	}
	if err := b.Put(tensor.IndexFile, shard.Index(p.files, 0)); err != nil {
		return err
	}
	if err := b.Put(configName, p.spec.Config); err != nil {
		return err
	}
	return b.Finish()
}

// writeShards draws the pending files.
func (p *Plan) writeShards(ctx context.Context, b *shard.Build, pending []int, progress func(Progress)) error {
	state := Progress{Stage: "write", Total: p.TensorBytes(), Done: p.TensorBytes()}
	for _, i := range pending {
		state.Done -= p.files[i].Bytes()
	}
	var mu sync.Mutex
	wrote := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		state.Done += int64(n)
		progress(state)
	}
	return b.Fill(pending, func(i int, w *shard.Writer) error { return p.draw(ctx, w, p.jobs[i], wrote) })
}

// draw fills a file, each parameter by one core.
func (p *Plan) draw(ctx context.Context, w *shard.Writer, jobs []job, wrote func(int)) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(jobs)) {
		wg.Go(func() {
			m := maker{seed: p.spec.Seed, band: make([]float32, tensor.FP8Block*tensor.FP8Block)}
			for {
				i := int(next.Add(1) - 1)
				if i >= len(jobs) {
					return
				}
				if err := m.fill(ctx, w, jobs[i], wrote); err != nil {
					stop(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// maker draws parameters, one after the other, chunk by chunk.
type maker struct {
	seed          uint64
	codes, scales []byte
	band          []float32
}

// fill draws a whole parameter. A chunk is a number of rows that the shape
// alone determines, a multiple of 128 so that no FP8 block is cut; a vector is
// one chunk.
func (m *maker) fill(ctx context.Context, w *shard.Writer, j job, wrote func(int)) error {
	rows, cols := 1, j.Shape[0]
	if len(j.Shape) == 2 {
		rows, cols = j.Shape[0], j.Shape[1]
	}
	high := tensor.FP8Block * max(1, chunkWeights/(tensor.FP8Block*cols))
	rowSpread, blockSpread := newSpread(j.law.rows), newSpread(j.law.blocks)
	for top, chunk := 0, 0; top < rows; top, chunk = top+high, chunk+1 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		m.chunk(newDraw(m.seed, j.Name, chunk), j, min(high, rows-top), cols, rowSpread, blockSpread)
		if err := w.Append(j.codes, m.codes); err != nil {
			return err
		}
		if j.grid >= 0 {
			if err := w.Append(j.grid, m.scales); err != nil {
				return err
			}
		}
		wrote(len(m.codes) + len(m.scales))
	}
	return nil
}

// chunk draws rows of a parameter into codes and scales.
func (m *maker) chunk(d *draw, j job, rows, cols int, rowSpread, blockSpread *spread) {
	n := rows * cols
	m.scales = m.scales[:0]
	base := j.law.base(cols)
	switch {
	case j.Native == tensor.FP4:
		m.codes, m.scales = sized(m.codes, n/2), sized(m.scales, n/tensor.FP4Group)
		d.fp4(m.codes, m.scales, cols, base, rowSpread, blockSpread)
	case j.Native == tensor.FP8:
		blocks := func(n int) int { return (n + tensor.FP8Block - 1) / tensor.FP8Block }
		m.codes, m.scales = sized(m.codes, n), sized(m.scales, blocks(rows)*blocks(cols))
		d.fp8(m.codes, m.scales, cols, base, rowSpread, blockSpread, m.band)
	case j.DType == tensor.I64:
		m.codes = sized(m.codes, 8*n)
		d.table(m.codes, cols, j.experts)
	case j.law.matrix:
		m.codes = sized(m.codes, n*j.DType.Size())
		d.plain(m.codes, j.DType, cols, base, rowSpread, blockSpread)
	default:
		m.codes = sized(m.codes, n*j.DType.Size())
		d.vector(m.codes, j.DType, j.law)
	}
}

// sized returns b with n bytes, of any content.
func sized(b []byte, n int) []byte { return slices.Grow(b[:0], n)[:n] }
