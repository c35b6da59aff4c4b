package bundle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime"

	"assay/engine/shard"
	"assay/engine/tensor"
	"assay/engine/variant"
)

// ShardBytes is the tensor bytes at which a shard closes, as mlx-lm has it.
const ShardBytes = 5 << 30

// Weights is where a build takes its weights from: *variant.Maker.
type Weights interface {
	// Rows returns rows of a matrix in the format of its step.
	Rows(name string, from, to int) (*tensor.Matrix, error)
	Tensor(name string) (tensor.Tensor, error)
	// Prefetch says that a parameter is needed soon, Release that it is not
	// needed again.
	Prefetch(name string)
	Release(name string)
}

// File is a small file of a bundle.
type File struct {
	Name string
	Data []byte
}

// Job is a bundle to be written.
type Job struct {
	Dir        string
	Layout     *Layout
	Weights    Weights
	Key        string // digest of all that determines the weights' bytes, beside Layout and ShardBytes
	ShardBytes int64  // 0 is ShardBytes
	// Files makes the small files when the shards are done, whose digests it
	// is given; the last of them is written last.
	Files    func(shards map[string]string) ([]File, error)
	Progress func(Progress) // may be nil
}

// Progress is how far a build is.
type Progress struct {
	Stage       string // "verify" finished shards of an earlier run, or "write"
	Done, Total int64  // tensor bytes
	Weights     int64  // encoded by this run
}

// Files returns the shards of a layout. Tensors of one module share a shard.
func (l *Layout) Files(limit int64) []shard.File {
	if limit == 0 {
		limit = ShardBytes
	}
	var groups [][]tensor.Info
	for _, m := range l.Modules {
		groups = append(groups, m.Tensors())
	}
	return shard.Cut(groups, limit)
}

// Index returns the index of the shards.
func (l *Layout) Index(files []shard.File) File {
	return File{tensor.IndexFile, shard.Index(files, l.TotalParameters())}
}

// key identifies the bytes of all shards.
func (j *Job) key() string {
	l := j.Layout
	sum := sha256.Sum256(fmt.Appendf(nil, "assay bundle 1\n%s\n%s %v %v\n%d\n", j.Key, l.Runtime.Name, l.PerExpert, l.MTP, j.ShardBytes))
	return hex.EncodeToString(sum[:])
}

// Metadata returns what every shard's header says.
func (j *Job) Metadata() map[string]string {
	return map[string]string{"format": "mlx", "assay": j.key()[:16]}
}

// Build writes a bundle shard by shard, matrices in parallel and never a whole
// shard in memory. A build that was stopped goes on with the first shard that
// is not finished. It errs with shard.ErrFinished where the bundle is there.
func (j *Job) Build(ctx context.Context) error {
	files := j.Layout.Files(j.ShardBytes)
	b, err := shard.Open(j.Dir, j.key(), files, j.Metadata())
	if err != nil {
		return err
	}
	defer b.Close()
	w := &writing{job: j, build: b, files: files, at: moduleIndex(j.Layout)}
	if err := w.shards(ctx); err != nil {
		return err
	}
	small, err := j.Files(b.Digests())
	if err != nil {
		return err
	}
	for _, f := range small {
		if err := b.Put(f.Name, f.Data); err != nil {
			return err
		}
	}
	return b.Finish()
}

// moduleIndex finds a module by its first tensor.
func moduleIndex(l *Layout) map[string]*Module {
	out := map[string]*Module{}
	for i := range l.Modules {
		out[l.Modules[i].Tensors()[0].Name] = &l.Modules[i]
	}
	return out
}

// writing is a build under way.
type writing struct {
	job   *Job
	build *shard.Build
	files []shard.File
	at    map[string]*Module
	held  int64 // bytes made since the source was last told to let go
	p     Progress
}

// releaseBytes is how much is made of one parameter before its source lets the
// memory of what was read go.
const releaseBytes = 32 << 20

func (w *writing) report() {
	if w.job.Progress != nil {
		w.job.Progress(w.p)
	}
}

// shards writes all that are pending.
func (w *writing) shards(ctx context.Context) error {
	pending, err := w.build.Pending(ctx, func(done, total int64) {
		w.p = Progress{Stage: "verify", Done: done, Total: total}
		w.report()
	})
	if err != nil {
		return err
	}
	w.p = Progress{Stage: "write", Total: w.job.Layout.Bytes(), Done: w.job.Layout.Bytes()}
	for _, i := range pending {
		w.p.Done -= w.files[i].Bytes()
	}
	return w.build.Fill(pending, func(i int, out *shard.Writer) error { return w.fill(ctx, out, w.files[i]) })
}

// prefetchPieces is how many pieces ahead the source is read, about 128 MB of
// FP4: a thread that waits for a page of the disk does nothing else.
const prefetchPieces = 512

// piece is some rows of one parameter, or all of one that is no matrix.
type piece struct {
	tensor   int // of the shard: the weight; scales and biases follow
	step     *variant.Step
	from, to int
	last     bool // of its parameter
}

// fill writes the tensors of one shard.
func (w *writing) fill(ctx context.Context, out *shard.Writer, f shard.File) error {
	var pieces []piece
	for k, t := range f.Tensors {
		m := w.at[t.Name]
		if m == nil {
			continue // scales or biases
		}
		for i := range m.Steps {
			pieces = appendPieces(pieces, k, &m.Steps[i])
		}
	}
	return inOrder(ctx, len(pieces), func(i int) (*tensor.Matrix, error) {
		if next := i + prefetchPieces; next < len(pieces) && pieces[next].from == 0 {
			w.job.Weights.Prefetch(pieces[next].step.Name)
		}
		return w.make(pieces[i])
	}, func(i int, m *tensor.Matrix) error {
		return w.take(out, pieces[i], m)
	})
}

func appendPieces(pieces []piece, k int, s *variant.Step) []piece {
	if s.Format == nil {
		return append(pieces, piece{tensor: k, step: s, last: true})
	}
	rows := variant.RowChunks(s.Shape[0], s.Shape[1])
	for i, from := range rows[:len(rows)-1] {
		pieces = append(pieces, piece{tensor: k, step: s, from: from, to: rows[i+1], last: i == len(rows)-2})
	}
	return pieces
}

// make encodes a piece.
func (w *writing) make(p piece) (*tensor.Matrix, error) {
	if p.step.Format != nil {
		return w.job.Weights.Rows(p.step.Name, p.from, p.to)
	}
	t, err := w.job.Weights.Tensor(p.step.Name)
	return &tensor.Matrix{Name: p.step.Name, Codes: t.Data}, err
}

// take writes a piece.
func (w *writing) take(out *shard.Writer, p piece, m *tensor.Matrix) error {
	for i, part := range [][]byte{m.Codes, m.Scales, m.Biases} {
		if len(part) == 0 {
			continue
		}
		if err := out.Append(p.tensor+i, part); err != nil {
			return err
		}
	}
	if w.held += m.Bytes(); p.last || w.held > releaseBytes {
		w.job.Weights.Release(p.step.Name)
		w.held = 0
	}
	w.p.Done += m.Bytes()
	w.p.Weights += int64(m.Rows) * int64(m.Cols)
	w.report()
	return nil
}

// inOrder calls produce with 0 to n-1 on twice as many goroutines as there are
// cores, and take with each result in that order on this one. The first error ends it,
// after the calls under way.
func inOrder[T any](ctx context.Context, n int, produce func(int) (T, error), take func(int, T) error) error {
	ctx, cancel := context.WithCancel(ctx)
	type result struct {
		value T
		err   error
	}
	waiting := make(chan chan result, 2*runtime.GOMAXPROCS(0)-1)
	go func() {
		defer close(waiting)
		for i := range n {
			one := make(chan result, 1)
			select {
			case <-ctx.Done():
				return
			case waiting <- one:
			}
			go func() {
				v, err := produce(i)
				one <- result{v, err}
			}()
		}
	}()
	defer func() {
		cancel()
		for one := range waiting {
			<-one
		}
	}()
	for i := range n {
		one, ok := <-waiting
		if !ok {
			return ctx.Err()
		}
		r := <-one
		if r.err != nil {
			return r.err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := take(i, r.value); err != nil {
			return err
		}
	}
	return nil
}
