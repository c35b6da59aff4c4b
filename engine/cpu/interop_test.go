package cpu

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"assay/engine/bundle"
	"assay/engine/checkpoint/checkpointtest"
	"assay/engine/cpu/kernel"
	"assay/engine/dsv4"
	"assay/engine/tensor"
	"assay/engine/token"
	"assay/engine/variant"
)

// How many rows of x an interop product has: of a matrix, and of the experts
// of a layer, of whom each row picks num_experts_per_tok.
const (
	interopRows   = 5
	interopTokens = 16
)

// TestInterop multiplies seeded x with every quantized module of MLX bundles and
// writes operands and products for MLX to compare: bundle DIR/NAME gives
// DIR/NAME.products.safetensors, which holds for a module P
//
//	P.x [n, in]; P.matmul, P.matvec [n, out]                      of a matrix
//	P.x [n, in]; P.picks [n, k]; P.matmul, P.matvec [n, k, out]   of stacked experts
//
// matmul as prefill computes it, matvec as decode does. It runs where
// ASSAY_INTEROP names DIR; make interop reads what it writes.
func TestInterop(t *testing.T) {
	dir := os.Getenv("ASSAY_INTEROP")
	if dir == "" {
		t.Skip("ASSAY_INTEROP names no folder of bundles; make interop does")
	}
	configs, err := filepath.Glob(filepath.Join(dir, "*", "config.json"))
	if err != nil || len(configs) == 0 {
		t.Fatalf("%s holds no bundles (%v)", dir, err)
	}
	b := newBackend(t, Options{})
	for _, config := range configs {
		folder := filepath.Dir(config)
		t.Run(filepath.Base(folder), func(t *testing.T) {
			file, err := checkpointtest.File(interopProducts(t, b, folder))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(folder+".products.safetensors", file, 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// interopProducts returns the operands and products of all modules of a bundle.
func interopProducts(t *testing.T, b *Backend, dir string) (out []tensor.Tensor) {
	t.Helper()
	src := source(t)
	folder, err := bundle.Open(dir, src.Params)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	c, err := dsv4.ParseConfig(src.Config)
	if err != nil {
		t.Fatal(err)
	}
	o := newOps(b, c)
	for _, module := range interopModules(t, o, folder, src.Params) {
		seed := fnv.New64a()
		seed.Write([]byte(module.path))
		rng := rand.New(rand.NewPCG(seed.Sum64(), 0))
		if len(module.all) == 1 {
			out = append(out, interopLinear(rng, o, module.path, module.all[0])...)
		} else {
			out = append(out, interopExperts(rng, o, module.path, module.all)...)
		}
	}
	return out
}

// interopModule is a module of the runtime: a matrix, or one for each expert.
type interopModule struct {
	path string
	all  []*matrix
}

// interopModules loads the quantized modules of a bundle, in the model's order.
func interopModules(t *testing.T, o *ops, folder *bundle.Bundle, params []tensor.Param) (out []interopModule) {
	t.Helper()
	at := map[string]int{}
	for _, p := range params {
		if !variant.IsMatrix(p) {
			continue
		}
		m, err := folder.Matrix(p.Name)
		if err != nil {
			t.Fatal(err)
		}
		place, err := folder.Runtime().Place(p.Name)
		if err != nil {
			t.Fatal(err)
		}
		if _, plain := m.Format.(tensor.PlainFormat); plain {
			continue
		}
		w, err := o.Load(m)
		if err != nil {
			t.Fatal(err)
		}
		i, ok := at[place.Module()]
		if !ok {
			i = len(out)
			at[place.Module()] = i
			out = append(out, interopModule{path: place.Module()})
		}
		out[i].all = append(out[i].all, w.(*matrix))
	}
	return out
}

// interopLinear multiplies as Linear does for a prompt and for one token.
func interopLinear(rng *rand.Rand, o *ops, module string, w *matrix) []tensor.Tensor {
	const n = interopRows
	x := floats(noise(rng, n*w.Cols))
	matmul, matvec := floats(poison(n*w.Rows)), floats(poison(n*w.Rows))
	o.Linear(&dsv4.Batch{Tokens: make([]token.ID, n)}, x, dsv4.Product{W: w, Y: matmul})
	for i := range n {
		one := &dsv4.Batch{Tokens: make([]token.ID, 1), Decode: true}
		o.Linear(one, x[i*w.Cols:][:w.Cols], dsv4.Product{W: w, Y: matvec[i*w.Rows:][:w.Rows]})
	}
	return []tensor.Tensor{
		interopFloats(module+".x", x, n, w.Cols),
		interopFloats(module+".matmul", matmul, n, w.Rows),
		interopFloats(module+".matvec", matvec, n, w.Rows),
	}
}

// interopExperts multiplies as Experts does: each expert with the rows of x that
// picked it, out of order.
func interopExperts(rng *rand.Rand, o *ops, module string, all []*matrix) []tensor.Tensor {
	const n = interopTokens
	k, rows, cols := o.c.NumExpertsPerTok, all[0].Rows, all[0].Cols
	x := noise(rng, n*cols)
	picks := make([]int32, 0, n*k)
	for range n {
		for _, e := range rng.Perm(len(all))[:k] {
			picks = append(picks, int32(e))
		}
	}
	f := feed{o: o, routed: make(experts, len(all))}
	f.sort(picks)
	matmul, matvec := poison(n*k*rows), poison(n*k*rows)
	for _, l := range f.lists {
		w := all[l.expert]
		o.k.MatMul(&kernel.MatMul{W: &w.Matrix, To: rows, X: x, LdX: cols, XIdx: l.tokens,
			Y: matmul, LdY: rows, YIdx: l.out, N: len(l.tokens), Panel: o.scratch(0, cols*kernel.Panel)})
		for i, at := range l.out {
			o.matvec(&w.Matrix, x[int(l.tokens[i])*cols:][:cols], matvec[int(at)*rows:][:rows])
		}
	}
	stored := tensor.Tensor{Info: tensor.Info{Name: module + ".picks", DType: tensor.I32, Shape: []int{n, k}}}
	for _, e := range picks {
		stored.Data = binary.LittleEndian.AppendUint32(stored.Data, uint32(e))
	}
	return []tensor.Tensor{
		stored,
		interopFloats(module+".x", x, n, cols),
		interopFloats(module+".matmul", matmul, n, k, rows),
		interopFloats(module+".matvec", matvec, n, k, rows),
	}
}

// interopFloats returns v as a stored tensor.
func interopFloats(name string, v []float32, shape ...int) tensor.Tensor {
	data := slices.Grow([]byte(nil), 4*len(v))
	for _, x := range v {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
	}
	return tensor.Tensor{Info: tensor.Info{Name: name, DType: tensor.F32, Shape: shape}, Data: data}
}
