// Package suite holds every operation of the Metal backend against its plain
// twin in engine/cpu: the same calls on the same inputs, over a grid of edges. It
// is what tests run on emulated devices, and what assay engines --self-test runs
// on a real one.
package suite

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"assay/engine/cpu"
	"assay/engine/dsv4"
	"assay/engine/tensor"
	"assay/metal"
)

// Case is one comparison.
type Case struct {
	Name   string // such as "linear/affine4g32/rows=1"
	Config *dsv4.Config
	Run    func(*Bench) error
}

// Cases are all comparisons.
func Cases() []Case {
	return slices.Concat(ProductCases(), hyperCases(), latentsCases(), attendCases(), compressCases(), selectCases(), routeCases(), nonFiniteCases(), roundingCases())
}

// Bench is what a case runs on: the operations of both engines for one config.
type Bench struct {
	Config *dsv4.Config
	Metal  dsv4.Ops
	CPU    dsv4.Ops
	Rand   *rand.Rand // the case's own
	// Activations and KVSim are the Metal backend's mode.
	Activations string
	KVSim       bool
	// Unit is the relative rounding of the activations' type: 2^-24 for f32,
	// where inputs are not rounded, 2^-11 for f16, 2^-8 for bf16.
	Unit float64
}

// units are the relative roundings of activations by name.
var units = map[string]float64{"f32": 0x1p-24, "f16": 0x1p-11, "bf16": 0x1p-8}

// Defined says whether a case's shapes are, in a backend's mode.
func (c Case) Defined(m *metal.Backend) bool {
	return !m.Options().Model.KVSim || c.Config.CheckKVSim() == nil
}

// Run runs a case on a backend. cpu's kernels should be the plain ones.
func Run(c Case, m *metal.Backend, plain *cpu.Backend) error {
	mode := m.Options()
	b := &Bench{
		Config: c.Config, Rand: rand.New(rand.NewPCG(hash(c.Name), 7)),
		Activations: mode.Activations, KVSim: mode.Model.KVSim, Unit: units[mode.Activations],
	}
	var err error
	if b.Metal, err = m.Ops(c.Config); err != nil {
		return err
	}
	defer m.Release(b.Metal)
	if b.CPU, err = plain.Ops(c.Config); err != nil {
		return err
	}
	if err := c.Run(b); err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	return nil
}

func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range []byte(s) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// Pair is the same array on both sides.
type Pair struct {
	Metal, CPU dsv4.Array
	n          int
}

// Floats puts v on both sides.
func (b *Bench) Floats(v []float32) (Pair, error) {
	p := Pair{n: len(v)}
	var err error
	if p.Metal, err = b.Metal.Wrap(append([]float32(nil), v...)); err != nil {
		return p, err
	}
	p.CPU, err = b.CPU.Wrap(append([]float32(nil), v...))
	return p, err
}

// Poison makes an array of n NaN on both sides: what must be written.
func (b *Bench) Poison(n int) (Pair, error) {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(math.NaN())
	}
	return b.Floats(v)
}

// Draw puts n normal numbers of the given spread on both sides.
func (b *Bench) Draw(n int, spread float64) (Pair, error) {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(b.Rand.NormFloat64() * spread)
	}
	return b.Floats(v)
}

// setInts is what both engines' operations have for tests of one operation.
type setInts interface {
	SetInts(a dsv4.Array, v []int32) error
}

// Ints puts v on both sides.
func (b *Bench) Ints(v []int32) (Pair, error) {
	p := Pair{n: len(v)}
	var err error
	if p.Metal, err = b.Metal.NewInts(len(v)); err != nil {
		return p, err
	}
	if p.CPU, err = b.CPU.NewInts(len(v)); err != nil {
		return p, err
	}
	return p, errors.Join(b.Metal.(setInts).SetInts(p.Metal, v), b.CPU.(setInts).SetInts(p.CPU, v))
}

// Weights is the same weight on both sides.
type Weights struct{ Metal, CPU dsv4.Weight }

// Load loads a matrix on both sides.
func (b *Bench) Load(m *tensor.Matrix) (w Weights, err error) {
	return b.both(func(o dsv4.Ops) (dsv4.Weight, error) { return o.Load(m) })
}

// Vector loads a vector on both sides.
func (b *Bench) Vector(v []float32) (Weights, error) {
	return b.both(func(o dsv4.Ops) (dsv4.Weight, error) { return o.LoadVector("v", v) })
}

// Rope loads rotary tables of n positions on both sides.
func (b *Bench) Rope(ratio, n int) (Weights, error) {
	return b.both(func(o dsv4.Ops) (dsv4.Weight, error) { return o.LoadRope(b.Config.Frequencies(ratio), n) })
}

func (b *Bench) both(load func(dsv4.Ops) (dsv4.Weight, error)) (w Weights, err error) {
	if w.Metal, err = load(b.Metal); err != nil {
		return w, err
	}
	w.CPU, err = load(b.CPU)
	return w, err
}

// Read returns what p holds on both sides.
func (b *Bench) Read(p Pair) (got, want []float32, err error) {
	got, want = make([]float32, p.n), make([]float32, p.n)
	if err = b.Metal.Read(got, p.Metal, 0); err == nil {
		err = b.CPU.Read(want, p.CPU, 0)
	}
	return got, want, err
}

// Same errs unless each element of p is within bound(i) of the twin's; a NaN is
// within nothing.
func (b *Bench) Same(what string, p Pair, bound func(i int) float64) error {
	got, want, err := b.Read(p)
	if err != nil {
		return err
	}
	worst, at := -1.0, 0
	for i := range got {
		d := math.Abs(float64(got[i]) - float64(want[i]))
		if over := d / bound(i); !(over <= worst) {
			worst, at = over, i
			if over != over {
				break
			}
		}
	}
	if !(worst <= 1) {
		return fmt.Errorf("%s[%d] is %g, want %g within %.3g", what, at, got[at], want[at], bound(at))
	}
	return nil
}

// SameInts errs unless p is equal on both sides.
func (b *Bench) SameInts(what string, p Pair) error {
	got, want := make([]int32, p.n), make([]int32, p.n)
	if err := errors.Join(b.Metal.ReadInts(got, p.Metal, 0), b.CPU.ReadInts(want, p.CPU, 0)); err != nil {
		return err
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Errorf("%s[%d] is %d, want %d", what, i, got[i], want[i])
		}
	}
	return nil
}
