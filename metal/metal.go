// Package metal is the backend that runs the model's kernels in Metal Shading
// Language: on Apple's GPUs, and for verification the same kernels on a CPU or on
// CUDA through shims. It encodes each operation of the model as dispatches for a
// metal/host device; kernels and their arguments are metal/kernels'.
package metal

import (
	"context"
	"fmt"

	"assay/engine"
	"assay/engine/dsv4"
	"assay/engine/token"
	"assay/engine/variant"
	"assay/metal/host"
	"assay/metal/kernels"
)

// Activations are the types that inputs of quantized products and cached keys
// are rounded to.
var Activations = []string{"f32", "f16", "bf16"}

// Options say how the backend runs.
type Options struct {
	Activations string // one of Activations; "" is f32
	Model       dsv4.Options
	// Memory is the bytes of the host that the process may take, 0 if unknown: a
	// bound on buffers too where the device shares the host's memory.
	Memory int64
}

// Backend runs models on a device.
type Backend struct {
	dev host.Device
	opt Options
}

// New makes a backend on a device, which it closes with itself.
func New(dev host.Device, opt Options) (*Backend, error) {
	if opt.Activations == "" {
		opt.Activations = Activations[0]
	}
	if _, ok := activationTypes[opt.Activations]; !ok {
		return nil, fmt.Errorf("metal: activations %q, want one of %v", opt.Activations, Activations)
	}
	return &Backend{dev, opt}, nil
}

// Options are what the backend was made with.
func (b *Backend) Options() Options { return b.opt }

// activationTypes are the kernels' types by the names of Activations.
var activationTypes = map[string]string{"f32": "float", "f16": "half", "bf16": "bfloat"}

// Close ends the use of the device.
func (b *Backend) Close() error { return b.dev.Close() }

// Device describes the device and the mode.
func (b *Backend) Device() engine.Device {
	i := b.dev.Info()
	return engine.Device{
		Engine: i.Driver, Name: i.Name, Kernels: "msl", Activations: b.opt.Activations,
		System: i.System, Source: kernels.Digest(), Threads: 1, Memory: b.opt.Memory,
	}
}

// memory is the bytes that buffers may take together.
func (b *Backend) memory() int64 {
	i := b.dev.Info()
	most := i.Memory
	if i.Limits.WorkingSet > 0 {
		most = min(most, i.Limits.WorkingSet)
	}
	if i.Shared && b.opt.Memory > 0 {
		most = min(most, b.opt.Memory)
	}
	return most
}

// ops makes the operations for one model.
func (b *Backend) ops(v *variant.Variant) (*ops, error) {
	c, err := dsv4.ParseConfig(v.Config())
	if err != nil {
		return nil, err
	}
	return b.newOps(c)
}

func (b *Backend) newOps(c *dsv4.Config) (*ops, error) {
	if err := checkShapes(c); err != nil {
		return nil, err
	}
	if b.opt.Model.KVSim {
		if err := c.CheckKVSim(); err != nil {
			return nil, err
		}
	}
	return &ops{
		c: c, opt: b.opt, dev: b.dev, enc: host.NewEncoder(b.dev),
		heap: &heap{dev: b.dev, limit: b.memory()}, compiled: map[string]kernels.Instance{},
	}, nil
}

// Ops makes the operations of a config, for tests of one of them; Release ends
// their use.
func (b *Backend) Ops(c *dsv4.Config) (dsv4.Ops, error) { return b.newOps(c) }

// Release gives back all device memory of operations that Ops made.
func (b *Backend) Release(o dsv4.Ops) {
	x := o.(*ops)
	x.enc.Wait() // an error is of no more interest
	x.heap.close()
}

// prefillTokens is how many tokens of a prompt run at once. Their experts' weights
// are read once: 2,048 tokens give each of 256 experts 48.
const prefillTokens = 2048

// PrefillTokens is what dsv4 asks of operations.
func (o *ops) PrefillTokens() int { return prefillTokens }

// Load makes all weights of v resident.
func (b *Backend) Load(ctx context.Context, v *variant.Variant, tokens int) (engine.Model, error) {
	o, err := b.ops(v)
	if err != nil {
		return nil, err
	}
	if err := b.fits(v.Name(), variant.Sum(v.Plan()).BytesMain, dsv4.SessionBytes(o.c, tokens, prefillTokens)+b.scratchBytes(o.c, dsv4.SessionTokens(tokens, prefillTokens), tokens)); err != nil {
		return nil, err
	}
	m, err := dsv4.Load(ctx, o, o.c, v, tokens)
	if err != nil {
		o.heap.close()
		return nil, err
	}
	return model{m, o}, nil
}

// model closes the device memory of its operations with itself.
type model struct {
	*dsv4.Model
	ops *ops
}

func (m model) Close() error {
	err := m.Model.Close()
	m.ops.heap.close()
	return err
}

// Layout says how windows of those lengths would go through v's model.
func (b *Backend) Layout(v *variant.Variant, lengths []int) (engine.Layout, error) {
	c, err := dsv4.ParseConfig(v.Config())
	if err != nil {
		return engine.Layout{}, err
	}
	return b.layout(c, lengths), nil
}

func (b *Backend) layout(c *dsv4.Config, lengths []int) engine.Layout {
	l := dsv4.PassLayout(c, lengths)
	at, longest := 0, 0
	for _, g := range l.Groups {
		at = max(at, g.Tokens)
	}
	for _, n := range lengths {
		longest = max(longest, n)
	}
	l.Scratch += b.scratchBytes(c, min(dsv4.PassTokens(c), at), longest) + 4*int64(at)*int64(l.Width) // streams are copied to the device
	return l
}

// Pass prepares a pass over windows.
func (b *Backend) Pass(_ context.Context, v *variant.Variant, windows [][]token.ID) (engine.Pass, error) {
	o, err := b.ops(v)
	if err != nil {
		return nil, err
	}
	lengths := make([]int, len(windows))
	for i, w := range windows {
		lengths[i] = len(w)
	}
	l := b.layout(o.c, lengths)
	if err := b.fits(v.Name(), 0, l.Scratch); err != nil {
		return nil, err
	}
	p, err := dsv4.NewPass(o, o.c, windows)
	if err != nil {
		o.heap.close()
		return nil, err
	}
	return pass{p, l, o}, nil
}

// pass is a pass whose scratch includes that of the kernels.
type pass struct {
	*dsv4.Pass
	layout engine.Layout
	ops    *ops
}

func (p pass) Layout() engine.Layout { return p.layout }

func (p pass) Close() error {
	err := p.Pass.Close()
	p.ops.heap.close()
	return err
}

// Head loads v's output projection.
func (b *Backend) Head(_ context.Context, v *variant.Variant) (engine.Head, error) {
	o, err := b.ops(v)
	if err != nil {
		return nil, err
	}
	h, err := dsv4.NewHead(o, o.c, v)
	if err != nil {
		o.heap.close()
		return nil, err
	}
	return head{h, o}, nil
}

type head struct {
	*dsv4.Head
	ops *ops
}

func (h head) Close() error {
	err := h.Head.Close()
	h.ops.heap.close()
	return err
}

var _ engine.Backend = (*Backend)(nil)
