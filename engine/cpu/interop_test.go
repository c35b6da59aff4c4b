package cpu

import (
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"assay/engine/affine"
	"assay/engine/checkpoint"
	"assay/engine/checkpoint/checkpointtest"
	"assay/engine/cpu/kernel"
	"assay/engine/dsv4"
	"assay/engine/mx"
	"assay/engine/tensor"
	"assay/engine/token"
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
		bundle := filepath.Dir(config)
		t.Run(filepath.Base(bundle), func(t *testing.T) {
			file, err := checkpointtest.File(interopProducts(t, b, bundle))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(bundle+".products.safetensors", file, 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// interopProducts returns the operands and products of all modules of a bundle.
func interopProducts(t *testing.T, b *Backend, bundle string) (out []tensor.Tensor) {
	t.Helper()
	ck, err := checkpoint.Open(bundle)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	picks, formats := interopConfig(t, ck.Config())
	o := newOps(b, &dsv4.Config{NumExpertsPerTok: picks})
	for _, name := range ck.Names() {
		module, ok := strings.CutSuffix(name, ".scales")
		if !ok {
			continue
		}
		all := interopMatrices(t, o, ck, module, formats[module])
		seed := fnv.New64a()
		seed.Write([]byte(module))
		rng := rand.New(rand.NewPCG(seed.Sum64(), 0))
		if len(all) == 1 {
			out = append(out, interopLinear(rng, o, module, all[0])...)
		} else {
			out = append(out, interopExperts(rng, o, module, all)...)
		}
	}
	return out
}

// interopConfig returns how many experts a token picks, and the formats that
// config.json declares by module.
func interopConfig(t *testing.T, config []byte) (picks int, formats map[string]tensor.Format) {
	t.Helper()
	var file struct {
		Picks        int                        `json:"num_experts_per_tok"`
		Quantization map[string]json.RawMessage `json:"quantization"`
	}
	if err := json.Unmarshal(config, &file); err != nil {
		t.Fatal(err)
	}
	formats = map[string]tensor.Format{}
	for module, raw := range file.Quantization {
		var q struct {
			Mode  string `json:"mode"`
			Bits  int    `json:"bits"`
			Group int    `json:"group_size"`
		}
		if json.Unmarshal(raw, &q) != nil {
			continue // one of the globals
		}
		if q.Mode == "affine" {
			formats[module] = affine.Format{Params: affine.Params{Bits: q.Bits, GroupSize: q.Group}}
			continue
		}
		f, err := mx.Parse(q.Mode)
		if err != nil {
			t.Fatalf("%s: %v", module, err)
		}
		formats[module] = f
	}
	return file.Picks, formats
}

// interopMatrices loads a module: one matrix, or one for each expert.
func interopMatrices(t *testing.T, o *ops, ck *checkpoint.Checkpoint, module string, f tensor.Format) (out []*matrix) {
	t.Helper()
	if f == nil {
		t.Fatalf("config.json declares no format of %s", module)
	}
	weight := interopTensor(t, ck, module+".weight")
	scales := interopTensor(t, ck, module+".scales").Data
	var biases []byte
	bits := 0
	switch f := f.(type) {
	case affine.Format:
		bits, biases = f.Bits, interopTensor(t, ck, module+".biases").Data
	case mx.Format:
		bits = f.Bits()
	}
	n, rank := 1, len(weight.Shape)
	if rank == 3 {
		n = weight.Shape[0]
	}
	part := func(all []byte, i int) []byte { return all[len(all)/n*i : len(all)/n*(i+1)] }
	for i := range n {
		w, err := o.Load(&tensor.Matrix{
			Name: module, Rows: weight.Shape[rank-2], Cols: weight.Shape[rank-1] * 32 / bits, Format: f,
			Codes: part(weight.Data, i), Scales: part(scales, i), Biases: part(biases, i),
		})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, w.(*matrix))
	}
	return out
}

func interopTensor(t *testing.T, ck *checkpoint.Checkpoint, name string) tensor.Tensor {
	t.Helper()
	w, err := ck.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// interopLinear multiplies as Linear does for a prompt and for one token.
func interopLinear(rng *rand.Rand, o *ops, module string, w *matrix) []tensor.Tensor {
	const n = interopRows
	x := floats(noise(rng, n*w.Cols))
	matmul, matvec := floats(poison(n*w.Rows)), floats(poison(n*w.Rows))
	o.Linear(&dsv4.Batch{Tokens: make([]token.ID, n)}, w, x, matmul)
	for i := range n {
		one := &dsv4.Batch{Tokens: make([]token.ID, 1), Decode: true}
		o.Linear(one, w, x[i*w.Cols:][:w.Cols], matvec[i*w.Rows:][:w.Rows])
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
