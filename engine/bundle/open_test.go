package bundle

import (
	"bytes"
	"encoding/binary"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"assay/engine/affine"
	"assay/engine/checkpoint"
	"assay/engine/checkpoint/checkpointtest"
	"assay/engine/mx"
	"assay/engine/tensor"
	"assay/engine/variant"
)

// Bits and group size follow from the shapes where the columns are known, and
// nothing else passes.
func TestFormatOf(t *testing.T) {
	info := func(d tensor.DType, shape ...int) tensor.Info { return tensor.Info{DType: d, Shape: shape} }
	for _, bits := range []int{2, 3, 4, 5, 6, 8} {
		for _, group := range []int{32, 64, 128} {
			s := info(tensor.BF16, 3, 8, 256/group)
			got, err := FormatOf(info(tensor.U32, 3, 8, 256*bits/32), s, &s, 256)
			if want := (affine.Format{Params: affine.Params{Bits: bits, GroupSize: group}}); err != nil || got != want {
				t.Errorf("%d bits, group %d: %v, %v", bits, group, got, err)
			}
		}
	}
	half := info(tensor.F16, 8, 8)
	if got, err := FormatOf(info(tensor.U32, 8, 32), half, &half, 256); err != nil || got != (affine.Format{Params: affine.Params{Bits: 4, GroupSize: 32}, F16: true}) {
		t.Errorf("F16 scales: %v, %v", got, err)
	}
	for f, words := range map[mx.Format]int{mx.FP4: 32, mx.FP8: 64} {
		if got, err := FormatOf(info(tensor.U32, 8, words), info(tensor.U8, 8, 8), nil, 256); err != nil || got != f {
			t.Errorf("%v: %v, %v", f, got, err)
		}
	}
	bf16, u8 := info(tensor.BF16, 8, 8), info(tensor.U8, 8, 8)
	short := info(tensor.BF16, 8, 4)
	for _, c := range []struct {
		weight, scales tensor.Info
		biases         *tensor.Info
		cols           int
		want           string
	}{
		{info(tensor.U8, 8, 128), bf16, &bf16, 256, "want packed codes as U32"},
		{info(tensor.U32, 256), bf16, &bf16, 256, "want packed codes as U32"},
		{info(tensor.U32, 9, 32), bf16, &bf16, 256, "scales [8 8] for a weight of [9 32]"},
		{info(tensor.U32, 8, 32), bf16, &short, 256, "biases [8 4] for"},
		{info(tensor.U32, 8, 32), bf16, nil, 256, "without biases"},
		{info(tensor.U32, 8, 32), u8, &u8, 256, "U8 scales and biases"},
		{info(tensor.U32, 8, 48), u8, nil, 256, "4/32 (mxfp4)"},
		{info(tensor.U32, 8, 33), bf16, &bf16, 256, "no whole bits"},
		{info(tensor.U32, 8, 56), bf16, &bf16, 256, "7 bits"},
		{info(tensor.U32, 8, 32), info(tensor.BF16, 8, 16), &tensor.Info{DType: tensor.BF16, Shape: []int{8, 16}}, 256, "group size 16"},
		{info(tensor.U32, 8, 32), bf16, &half, 256, "biases are F16, scales BF16"},
		{info(tensor.U32, 8, 32), info(tensor.U8, 8, 16), nil, 256, "nvfp4, which assay does not decode"},
		{info(tensor.U32, 8, 32), info(tensor.F8E8M0, 8, 8), nil, 256, "want BF16, F16 or U8"},
		{info(tensor.U32, 8, 32), info(tensor.I8, 8, 8), nil, 256, "scales I8"},
		{info(tensor.U32, 8, 32), bf16, &bf16, 0, "no whole bits"},
		{info(tensor.U32, 8, 32), info(tensor.F32, 8, 8), &tensor.Info{DType: tensor.F32, Shape: []int{8, 8}}, 256, "want BF16, F16 or U8"},
	} {
		if _, err := FormatOf(c.weight, c.scales, c.biases, c.cols); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, %v: %v, want %q", c.weight, c.scales, err, c.want)
		}
	}
}

// stored returns the tensors of a tiny bundle, for tests to bend.
func stored(t *testing.T, recipe string, o Options) ([]tensor.Tensor, variant.Source, []byte) {
	t.Helper()
	_, src := tiny(t)
	job := jobOf(t, src, filepath.Join(t.TempDir(), "b"), recipe, o)
	if err := job.Build(t.Context()); err != nil {
		t.Fatal(err)
	}
	ck, err := checkpoint.Open(job.Dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ck.Close() })
	var out []tensor.Tensor
	for _, n := range ck.Names() {
		x, err := ck.Tensor(n)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, x)
	}
	return out, src, ck.Config()
}

func reopened(t *testing.T, config []byte, tensors []tensor.Tensor, src variant.Source) (*Bundle, error) {
	t.Helper()
	ck, err := checkpointtest.Checkpoint(config, tensors)
	if err != nil {
		t.Fatal(err)
	}
	return open(ck, src.Params)
}

func find(t *testing.T, tensors []tensor.Tensor, name string) *tensor.Tensor {
	t.Helper()
	i := slices.IndexFunc(tensors, func(x tensor.Tensor) bool { return x.Name == name })
	if i < 0 {
		t.Fatalf("no tensor %q", name)
	}
	return &tensors[i]
}

// Bundles of others: without the prefix, F16 side data and norms, wo_a by group,
// an I32 table. Values stay what they are.
func TestOthersBundles(t *testing.T) {
	tensors, src, config := stored(t, "g32-n8-e4", Options{Runtime: runtimeNamed(t, "mlx-lm")})
	for i := range tensors {
		x := &tensors[i]
		x.Name = strings.TrimPrefix(x.Name, "model.")
		switch {
		case strings.HasSuffix(x.Name, "ffn.gate.weight"), strings.HasSuffix(x.Name, "_norm.weight"):
			*x = toF16(t, *x)
		case strings.Contains(x.Name, "attn.wo_a."):
			x.Shape = []int{2, x.Shape[0] / 2, x.Shape[1]}
		case strings.HasSuffix(x.Name, "tid2eid"):
			*x = toI32(t, *x)
		}
	}
	b, err := reopened(t, config, tensors, src)
	if err != nil {
		t.Fatal(err)
	}
	want, err := variant.New(src, recipe(t, "g32-n8-e4"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range want.Plan() {
		switch {
		case s.MTP:
		case s.Format != nil:
			x, errX := b.Matrix(s.Name)
			y, errY := want.Matrix(s.Name)
			if errX != nil || errY != nil {
				t.Fatal(errX, errY)
			}
			tolerance := 0.0
			if s.Class == tensor.Router {
				tolerance = 0x1p-11 // F16 keeps eleven bits
			}
			sameValues(t, s.Name, x.Decode(), y.Decode(), tolerance)
		case s.DType == tensor.I64:
			x, errX := b.Tensor(s.Name)
			y, errY := want.Tensor(s.Name)
			p, errP := x.Int64s()
			q, errQ := y.Int64s()
			if errX != nil || errY != nil || errP != nil || errQ != nil || !slices.Equal(p, q) {
				t.Errorf("%s differs", s.Name)
			}
		}
	}
}

func sameValues(t *testing.T, name string, got, want []float32, tolerance float64) {
	t.Helper()
	for i := range want {
		limit := tolerance * math.Abs(float64(want[i]))
		if tolerance > 0 {
			limit += 0x1p-14 // toF16 flushes what is smaller
		}
		if d := math.Abs(float64(got[i] - want[i])); !(d <= limit) {
			t.Fatalf("%s: value %d is %v, want %v", name, i, got[i], want[i])
		}
	}
}

// toF16 rounds towards zero, which is near enough for a test of the reader.
func toF16(t *testing.T, x tensor.Tensor) tensor.Tensor {
	t.Helper()
	f, err := x.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	x.DType, x.Data = tensor.F16, nil
	for _, v := range f {
		u := math.Float32bits(v)
		sign, e, m := uint16(u>>16&0x8000), int(u>>23&255)-127+15, uint16(u>>13&0x3ff)
		if e <= 0 {
			e, m = 0, 0
		}
		x.Data = binary.LittleEndian.AppendUint16(x.Data, sign|uint16(e)<<10|m)
	}
	return x
}

func toI32(t *testing.T, x tensor.Tensor) tensor.Tensor {
	t.Helper()
	v, err := x.Int64s()
	if err != nil {
		t.Fatal(err)
	}
	x.DType, x.Data = tensor.I32, nil
	for _, n := range v {
		x.Data = binary.LittleEndian.AppendUint32(x.Data, uint32(n))
	}
	return x
}

// What is missing, of another shape, or twice there is refused by name.
func TestRefusedBundles(t *testing.T) {
	tensors, src, config := stored(t, "g32-n8-e4", Options{Runtime: runtimeNamed(t, "mlx-lm")})
	const up = "model.layers.3.ffn.switch_mlp.up_proj"
	for _, c := range []struct {
		what string
		bend func([]tensor.Tensor) []tensor.Tensor
		want string
	}{
		{"no biases", func(x []tensor.Tensor) []tensor.Tensor {
			return slices.DeleteFunc(x, func(x tensor.Tensor) bool { return x.Name == up+".biases" })
		}, `tensor "` + up + `.weight": BF16 scales without biases`},
		{"no scales", func(x []tensor.Tensor) []tensor.Tensor {
			return slices.DeleteFunc(x, func(x tensor.Tensor) bool { return x.Name == up+".scales" })
		}, up + ".weight"},
		{"a missing norm", func(x []tensor.Tensor) []tensor.Tensor {
			return slices.DeleteFunc(x, func(x tensor.Tensor) bool { return x.Name == "model.norm.weight" })
		}, `no tensor "model.norm.weight"`},
		{"an expert too few", func(x []tensor.Tensor) []tensor.Tensor {
			for _, suffix := range []string{".weight", ".scales", ".biases"} {
				f := find(t, x, up+suffix)
				n := len(f.Data) / f.Shape[0]
				f.Shape, f.Data = []int{f.Shape[0] - 1, f.Shape[1], f.Shape[2]}, f.Data[:len(f.Data)-n]
			}
			return x
		}, "want a stack of 8 experts"},
		{"an expert too many", func(x []tensor.Tensor) []tensor.Tensor {
			for _, suffix := range []string{".weight", ".scales", ".biases"} {
				f := find(t, x, up+suffix)
				n := len(f.Data) / f.Shape[0]
				f.Shape, f.Data = []int{f.Shape[0] + 1, f.Shape[1], f.Shape[2]}, append(slices.Clone(f.Data), f.Data[:n]...)
			}
			return x
		}, "want a stack of 8 experts"},
		{"a bias that the model has not", func(x []tensor.Tensor) []tensor.Tensor {
			f := *find(t, x, "model.norm.weight")
			f.Name = "model.layers.0.attn.wq_a.bias"
			return append(x, f)
		}, `tensor "model.layers.0.attn.wq_a.bias" is no part of this model`},
		{"rows too few", func(x []tensor.Tensor) []tensor.Tensor {
			for _, suffix := range []string{".weight", ".scales", ".biases"} {
				f := find(t, x, "lm_head"+suffix)
				n := len(f.Data) / f.Shape[0]
				f.Shape, f.Data = []int{f.Shape[0] - 1, f.Shape[1]}, f.Data[:len(f.Data)-n]
			}
			return x
		}, `tensor "lm_head.weight": 511 rows`},
		{"a norm as I32", func(x []tensor.Tensor) []tensor.Tensor {
			f := find(t, x, "model.layers.0.attn_hc.base")
			f.DType = tensor.I32
			return x
		}, `tensor "model.layers.0.attn_hc.base": I32`},
		{"two spellings", func(x []tensor.Tensor) []tensor.Tensor {
			f := *find(t, x, "model.norm.weight")
			f.Name = "norm.weight"
			return append(x, f)
		}, "two spellings"},
		{"no name of the model", func(x []tensor.Tensor) []tensor.Tensor {
			for i := range x {
				x[i].Name = "other." + x[i].Name
			}
			return x
		}, "no tensor has the name"},
	} {
		bent := c.bend(slices.Clone(tensors))
		if _, err := reopened(t, config, bent, src); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
	ck, src := tiny(t)
	if _, err := open(ck, src.Params); err == nil || !strings.Contains(err.Error(), "upstream's format") {
		t.Errorf("the upstream checkpoint: %v", err)
	}
}

// An expert of a stack is its own slice, and lies where the stack says.
func TestExpertOfAStack(t *testing.T) {
	tensors, src, config := stored(t, "g32-n8-e4", Options{Runtime: runtimeNamed(t, "vmlx")})
	b, err := reopened(t, config, tensors, src)
	if err != nil {
		t.Fatal(err)
	}
	stack := find(t, tensors, "model.layers.5.mlp.switch_mlp.down_proj.weight")
	for e := range stack.Shape[0] {
		m, err := b.Matrix("layers.5.ffn.experts." + string(rune('0'+e)) + ".w2.weight")
		if err != nil {
			t.Fatal(err)
		}
		n := len(stack.Data) / stack.Shape[0]
		if !bytes.Equal(m.Codes, stack.Data[e*n:(e+1)*n]) {
			t.Errorf("expert %d is not its slice", e)
		}
	}
	if _, err := b.Matrix("norm.weight"); err == nil {
		t.Error("a norm is a matrix")
	}
	if _, err := b.Tensor("nothing"); err == nil {
		t.Error("nothing is a tensor")
	}
}
