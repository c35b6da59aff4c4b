package suite

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"assay/engine/cpu"
	"assay/engine/dsv4"
	"assay/engine/dsv4/dsv4test"
	"assay/engine/token"
	"assay/metal"
	"assay/metal/host/emu"
)

// build is a way to compile kernels and a mode of the backend.
type build struct {
	name string
	emu  emu.Options
	mode metal.Options
}

// builds together run every type of cached elements, with and without kv_sim, and
// all that Metal leaves open.
var builds = []build{
	{"fast", emu.Options{}, metal.Options{}},
	{"checked-f16", emu.Options{Checked: true, Seed: 1}, metal.Options{Activations: "f16"}},
	{"checked-bf16-kvsim", emu.Options{Checked: true, Seed: 2}, metal.Options{Activations: "bf16", Model: dsv4.Options{KVSim: true}}},
	{"perturbed", emu.Options{Perturb: true, Seed: 3}, metal.Options{}},
	{"perturbed-fused-kvsim", emu.Options{Perturb: true, Seed: 4}, metal.Options{Model: dsv4.Options{KVSim: true}}},
}

// modelCases are the cases of the operations that are no matrix products.
func modelCases() []Case {
	return slices.Concat(hyperCases(), exampleCases(), latentsCases(), attendCases(), compressCases(), selectCases(), routeCases(), nonFiniteCases(), roundingCases())
}

func TestModel(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("emu runs on Linux")
	}
	for _, x := range builds {
		t.Run(x.name, func(t *testing.T) {
			dev, err := emu.New(x.emu)
			if err != nil {
				t.Fatal(err)
			}
			m, err := metal.New(dev, x.mode)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			plain, err := cpu.New(cpu.Options{Kernels: "plain", Model: x.mode.Model})
			if err != nil {
				t.Fatal(err)
			}
			defer plain.Close()
			p, err := Program(modelCases(), x.mode)
			if err != nil {
				t.Fatal(err)
			}
			if err := dev.Compile(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			for _, c := range modelCases() {
				if !c.Defined(m) {
					continue
				}
				t.Run(c.Name, func(t *testing.T) {
					if err := Run(c, m, plain); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

// exampleCases are the specification's example of an mHC step, by iterations.
func exampleCases() (all []Case) {
	for _, iters := range dsv4test.HyperIterations {
		e := dsv4test.NewHyperExample(iters)
		all = append(all, Case{fmt.Sprintf("hyper/example/iterations=%d", iters), e.C, func(b *Bench) error { return hyperExample(b, e) }})
	}
	return all
}

// hyperExample holds both halves of a step against the specification's numbers:
// seven decimals, and some ten roundings of figures up to 2.
func hyperExample(b *Bench, e dsv4test.HyperExample) error {
	fn, err1 := b.Load(e.Fn)
	norm, err2 := b.Vector(e.Norm)
	x, err3 := b.Floats(e.X)
	y, err4 := b.Floats(e.Y)
	uu, err5 := b.Poison(2 * 4)
	mix, err6 := b.Poison(2 * 20)
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		return err
	}
	batch := &dsv4.Batch{Tokens: make([]token.ID, 2)}
	b.Metal.HyperIn(batch, &dsv4.Hyper{Fn: fn.Metal, Base: e.Base, Scale: e.Scale, Norm: norm.Metal}, x.Metal, uu.Metal, mix.Metal)
	b.Metal.HyperOut(batch, mix.Metal, y.Metal, x.Metal)
	gotU, gotX := make([]float32, 8), make([]float32, 32)
	if err := errors.Join(b.Metal.Read(gotU, uu.Metal, 0), b.Metal.Read(gotX, x.Metal, 0)); err != nil {
		return err
	}
	return e.Check(gotU, gotX, 2e-6)
}
