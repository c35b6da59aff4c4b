// Package cpu is the backend that runs on any machine: the model's operations
// over vector kernels (engine/cpu/kernel) where the program has them, and over
// plain Go twins, which say what a kernel must compute, where it does not.
// Weights stay in their stored format; activations and sums are float32.
package cpu

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"assay/engine"
	"assay/engine/cpu/kernel"
	"assay/engine/dsv4"
	"assay/engine/token"
	"assay/engine/variant"
)

// Options say how the backend runs.
type Options struct {
	Threads int    // 0 is all cores
	Kernels string // a kernel set by name, "plain" for the Go twins; "" is the best there is
	Model   dsv4.Options
	// Memory is the bytes that weights, states and scratch may take together;
	// 0 is what the machine has free.
	Memory int64
}

// MaxThreads is the most threads that a backend runs.
const MaxThreads = 1024

// Backend runs models on the CPU.
type Backend struct {
	opt     Options
	kernels kernels
	pool    *pool
}

// kernels is what a set of kernels computes: *kernel.Set or the plain twins.
// It is wider than most interfaces since each method is one loop.
type kernels interface {
	Name() string
	MatMul(*kernel.MatMul)
	Prepare(w *kernel.Matrix, x, room []float32) []float32
	MatVec(w *kernel.Matrix, from, to int, x, y []float32)
	Attend(*kernel.Attend)
	IndexScores(q, w []float32, m, heads, d int, keys []float32, n int, out, room []float32)
	AttendAll(*kernel.Attend)
	IndexOne(q, w []float32, heads, d int, keys []float32, n int, out []float32)
	Pool(values, gates []float32, rows []int64, ringValues, ringGates, out []float32)
	Norm(x, w, y []float32, eps float32)
	SumSquares(x []float32) float32
	Mix(a, x, y []float32)
	Remix(post, comb, y, x []float32)
	Sinkhorn(mixes, rho, base []float32, scale [3]float32, m, iters int, eps float32, pre, out []float32)
	SwiGLU(g, u []float32, limit, weight float32)
	LogSoftmax(x []float32)
}

// New makes a backend. It errs on a kernel set that this machine does not run.
// Without cgo the set is "plain".
func New(opt Options) (*Backend, error) {
	if opt.Threads < 0 || opt.Threads > MaxThreads {
		return nil, fmt.Errorf("cpu: %d threads, want 1 to %d, or 0 for all cores", opt.Threads, MaxThreads)
	}
	if opt.Threads == 0 {
		opt.Threads = runtime.NumCPU()
	}
	b := &Backend{opt: opt}
	set, err := kernel.For(opt.Kernels)
	switch {
	case opt.Kernels == "plain" || opt.Kernels == "" && err != nil:
		b.kernels = plain{}
	case err != nil:
		return nil, fmt.Errorf("cpu: %w", err)
	default:
		b.kernels = set
	}
	b.pool = newPool(opt.Threads)
	return b, nil
}

// Close ends the backend's goroutines.
func (b *Backend) Close() error {
	b.pool.close()
	return nil
}

// Device describes the processor and the kernels in use.
func (b *Backend) Device() engine.Device {
	return engine.Device{
		Engine: "cpu", Name: "CPU engine, " + Processor(), Kernels: b.kernels.Name(),
		Activations: "f32", Threads: b.opt.Threads, Memory: b.memory(),
	}
}

// ops makes the operations for one model.
func (b *Backend) ops(v *variant.Variant) (*ops, error) {
	c, err := dsv4.ParseConfig(v.Config())
	if err != nil {
		return nil, err
	}
	if c.HCMult > maxStreams {
		return nil, fmt.Errorf("cpu: hc_mult %d, want at most %d", c.HCMult, maxStreams)
	}
	if err := b.checkHeads(c); err != nil {
		return nil, err
	}
	if b.opt.Model.KVSim {
		if err := c.CheckKVSim(); err != nil {
			return nil, err
		}
	}
	return newOps(b, c), nil
}

// Ops makes the operations of a config, for tests of one of them.
func (b *Backend) Ops(c *dsv4.Config) (dsv4.Ops, error) {
	if c.HCMult > maxStreams {
		return nil, fmt.Errorf("cpu: hc_mult %d, want at most %d", c.HCMult, maxStreams)
	}
	return newOps(b, c), b.checkHeads(c)
}

// checkHeads errs on head sizes that the vector kernels do not take.
func (b *Backend) checkHeads(c *dsv4.Config) error {
	if _, ok := b.kernels.(plain); ok {
		return nil
	}
	for _, x := range []struct {
		name string
		size int
	}{{"head_dim", c.HeadDim}, {"index_head_dim", c.IndexHeadDim}} {
		if x.size%kernel.Lanes != 0 {
			return fmt.Errorf("cpu: %s is %d, the %s kernels want a multiple of %d; the plain kernels take any", x.name, x.size, b.kernels.Name(), kernel.Lanes)
		}
	}
	return nil
}

// Load makes all weights of v resident.
func (b *Backend) Load(ctx context.Context, v *variant.Variant, tokens int) (engine.Model, error) {
	o, err := b.ops(v)
	if err != nil {
		return nil, err
	}
	weights := variant.Sum(v.Plan()).BytesMain
	scratch := dsv4.SessionBytes(o.c, tokens, dsv4.PrefillTokens) + b.scratchBytes(o.c, dsv4.SessionTokens(tokens, dsv4.PrefillTokens), tokens)
	if err := b.fits(v.Name(), need{"weights", weights}, need{"states and scratch", scratch}); err != nil {
		return nil, err
	}
	return dsv4.Load(ctx, o, o.c, v, tokens)
}

// Pass prepares a pass over windows. What it takes beside weights and streams
// must fit.
func (b *Backend) Pass(_ context.Context, v *variant.Variant, windows [][]token.ID) (engine.Pass, error) {
	o, err := b.ops(v)
	if err != nil {
		return nil, err
	}
	lengths := make([]int, len(windows))
	for i, w := range windows {
		lengths[i] = len(w)
	}
	l := b.passLayout(o.c, lengths)
	if err := b.fits(v.Name(), need{"states and scratch", l.Scratch}); err != nil {
		return nil, err
	}
	p, err := dsv4.NewPass(o, o.c, windows)
	return pass{p, l}, err
}

// Layout says how windows of those lengths would go through v's model.
func (b *Backend) Layout(v *variant.Variant, lengths []int) (engine.Layout, error) {
	c, err := dsv4.ParseConfig(v.Config())
	if err != nil {
		return engine.Layout{}, err
	}
	return b.passLayout(c, lengths), nil
}

// pass is a pass whose scratch includes that of the kernels.
type pass struct {
	*dsv4.Pass
	layout engine.Layout
}

func (p pass) Layout() engine.Layout { return p.layout }

// passLayout lays out windows of the given lengths.
func (b *Backend) passLayout(c *dsv4.Config, lengths []int) engine.Layout {
	l := dsv4.PassLayout(c, lengths)
	at := 0
	for _, g := range l.Groups {
		at = max(at, g.Tokens)
	}
	l.Scratch += b.scratchBytes(c, min(dsv4.PassTokens(c), at), slices.Max(lengths))
	return l
}

// Head loads v's output projection.
func (b *Backend) Head(_ context.Context, v *variant.Variant) (engine.Head, error) {
	o, err := b.ops(v)
	if err != nil {
		return nil, err
	}
	return dsv4.NewHead(o, o.c, v)
}

var _ engine.Backend = (*Backend)(nil)
