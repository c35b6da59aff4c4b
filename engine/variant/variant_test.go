package variant

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"assay/engine/affine"
	"assay/engine/checkpoint/checkpointtest"
	"assay/engine/mx"
	"assay/engine/reference"
	"assay/engine/tensor"
)

func TestParse(t *testing.T) {
	four, eight := affine.Params{Bits: 4, GroupSize: 32}, affine.Params{Bits: 8, GroupSize: 32}
	two := func(name string, other, expert Choice) Recipe {
		return Recipe{Name: name, Rules: []Rule{{Choice: other}, {Class: tensor.RoutedExpert, Choice: expert}}}
	}
	for _, want := range []Recipe{
		{Name: "bf16"},
		{Name: "native", Rules: []Rule{{Choice: Choice{Native: true}}}},
		two("g32-n8-e4", Choice{Affine: eight}, Choice{Affine: four}),
		two("cpu-g32-n8-e4", Choice{Affine: eight, Encoder: affine.CPU}, Choice{Affine: four, Encoder: affine.CPU}),
		two("search-g32-n8-e4", Choice{Affine: eight, Encoder: affine.Search}, Choice{Affine: four, Encoder: affine.Search}),
		two("lattice-g32-n8-e5", Choice{Affine: eight}, Choice{Affine: affine.Params{Bits: 5, GroupSize: 32}, Encoder: affine.Lattice}),
		two("g32-n16-e4", Choice{}, Choice{Affine: four}),
		two("g32-n8-e16", Choice{Affine: eight}, Choice{}),
	} {
		if got, err := Parse(want.Name); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %+v (%v), want %+v", want.Name, got, err, want)
		}
	}
	for _, name := range []string{"lattice-g32-n8-e4", "lattice-g64-n8-e5", "lattice-g32-n8-e16"} {
		if _, err := Parse(name); err == nil || !strings.Contains(err.Error(), "lattice holds FP4 experts exactly") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "BF16", "g32", "g32-n8", "g48-n8-e4", "g32-n7-e4", "g32-n8-e1", "g32-n16-e16",
		"gpu-g32-n8-e4", "lattice", "g32-n8-e4 ", "xg32-n8-e4", "g032-n8-e4", "g32-n8-e4-x"} {
		if _, err := Parse(name); err == nil || !strings.Contains(err.Error(), "[ENCODER-]gG-nN-eE") {
			t.Errorf("%q: %v, want the grammar", name, err)
		}
	}
}

func TestGrid(t *testing.T) {
	names := Grid()
	if len(names) != 18 || names[0] != "g32-n8-e4" || names[17] != "g128-n4-e3" {
		t.Errorf("the grid is %v", names)
	}
	for _, n := range names {
		r, err := Parse(n)
		if err != nil {
			t.Fatal(err)
		}
		steps, err := r.Plan(params)
		if err != nil {
			t.Fatal(err)
		}
		sum := Sum(steps)
		if got := fmt.Sprintf("g%d-n%d-e%d", sum.GroupSize, sum.OtherBits, sum.ExpertBits); got != n || sum.Encoder != "mlx-gpu" {
			t.Errorf("%s plans as %s by %s", n, got, sum.Encoder)
		}
	}
}

// params is a model of one tensor of each kind.
var params = []tensor.Param{
	{Info: tensor.Info{Name: "expert.weight", DType: tensor.BF16, Shape: []int{64, 128}}, Class: tensor.RoutedExpert, Native: tensor.FP4, Layer: 1, Reads: [2]int64{1, 4}},
	{Info: tensor.Info{Name: "wide.weight", DType: tensor.BF16, Shape: []int{256, 128}}, Class: tensor.Attention, Native: tensor.FP8, Reads: [2]int64{1, 1}},
	{Info: tensor.Info{Name: "plain.weight", DType: tensor.BF16, Shape: []int{8, 128}}, Class: tensor.Indexer, Reads: [2]int64{1, 1}},
	{Info: tensor.Info{Name: "ffn.gate.weight", DType: tensor.BF16, Shape: []int{4, 128}}, Class: tensor.Router, Reads: [2]int64{1, 1}},
	{Info: tensor.Info{Name: "norm.weight", DType: tensor.BF16, Shape: []int{128}}, Class: tensor.Norm, Reads: [2]int64{1, 1}},
	{Info: tensor.Info{Name: "ape", DType: tensor.F32, Shape: []int{4, 128}}, Class: tensor.Control, Reads: [2]int64{1, 1}},
	{Info: tensor.Info{Name: "ffn.gate.tid2eid", DType: tensor.I64, Shape: []int{16, 2}}, Class: tensor.Router, Reads: [2]int64{1, 16}},
	{Info: tensor.Info{Name: "mtp.weight", DType: tensor.BF16, Shape: []int{128, 128}}, Class: tensor.NextToken, Native: tensor.FP8, MTP: true, Reads: [2]int64{1, 1}},
}

func TestPlan(t *testing.T) {
	r, err := Parse("g64-n6-e3")
	if err != nil {
		t.Fatal(err)
	}
	steps, err := r.Plan(params)
	if err != nil {
		t.Fatal(err)
	}
	// By hand: P·bits/8 + P/64·4, or P·2 where BF16 stays.
	want := []int64{64*128*3/8 + 128*4, 256*128*6/8 + 512*4, 8*128*6/8 + 16*4, 4 * 128 * 2, 128 * 2, 4 * 128 * 4, 16 * 2 * 8, 128*128*6/8 + 256*4}
	for i, s := range steps {
		if s.Bytes != want[i] {
			t.Errorf("%s: %d bytes, want %d", s.Name, s.Bytes, want[i])
		}
	}
	got := Sum(steps)
	var main int64
	for _, w := range want[:7] {
		main += w
	}
	if got.BytesMain != main || got.BytesTotal != main+want[7] {
		t.Errorf("%d and %d bytes, want %d and %d", got.BytesMain, got.BytesTotal, main, main+want[7])
	}
	if perToken := main - want[0]*3/4 - want[6]*15/16; got.BytesPerToken != perToken {
		t.Errorf("%d bytes a token, want %d", got.BytesPerToken, perToken)
	}
	if n := int64(64*128 + 256*128 + 8*128 + 4*128 + 128 + 4*128); got.Parameters != n {
		t.Errorf("%d parameters, want %d", got.Parameters, n)
	}
	if got.Classes[tensor.Attention] != want[1] {
		t.Errorf("attention takes %d bytes, want %d", got.Classes[tensor.Attention], want[1])
	}
	bad := []tensor.Param{{Info: tensor.Info{Name: "odd.weight", DType: tensor.BF16, Shape: []int{4, 96}}, Class: tensor.Head, Reads: [2]int64{1, 1}}}
	if _, err := r.Plan(bad); err == nil || !strings.Contains(err.Error(), `tensor "odd.weight"`) || !strings.Contains(err.Error(), "96 columns") {
		t.Errorf("a matrix that no group divides: %v", err)
	}
}

// made writes params as a checkpoint in memory and returns its source.
func made(t *testing.T) Source {
	t.Helper()
	tensors, err := checkpointtest.Tensors(params, 7)
	if err != nil {
		t.Fatal(err)
	}
	ck, err := checkpointtest.Checkpoint([]byte("{}"), tensors)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := reference.New(ck)
	if err != nil {
		t.Fatal(err)
	}
	return Source{Reference: ref, Config: []byte("{}"), Digest: "d", Params: params}
}

func TestVariant(t *testing.T) {
	src := made(t)
	for _, name := range []string{"bf16", "native", "g32-n8-e4", "cpu-g64-n4-e3", "g128-n16-e5"} {
		r, err := Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		v, err := New(src, r)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range v.Plan() {
			if s.Format == nil {
				if _, err := v.Matrix(s.Name); err == nil {
					t.Errorf("%s: %s is a matrix", name, s.Name)
				}
				continue
			}
			m, err := v.Matrix(s.Name)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Check(); err != nil || m.Bytes() != s.Bytes || m.Format != s.Format {
				t.Errorf("%s: %s has %d bytes of %v, want %d of %v: %v", name, s.Name, m.Bytes(), m.Format, s.Bytes, s.Format, err)
			}
			checkWeights(t, src, s.Encoder, m)
		}
	}
}

// checkWeights holds a matrix against the reference: exact where the format is
// plain or native, the quantizer's own bytes where it is affine.
func checkWeights(t *testing.T, src Source, encoder affine.Encoder, m *tensor.Matrix) {
	t.Helper()
	w, err := src.Reference.Float32(m.Name)
	if err != nil {
		t.Fatal(err)
	}
	f, ok := m.Format.(affine.Format)
	if !ok {
		if !slices.Equal(m.Decode(), w) {
			t.Errorf("%s as %v is not exact", m.Name, m.Format)
		}
		return
	}
	want, err := affine.Quantize(f.Params, encoder, w, m.Rows, m.Cols)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.Codes, want.Codes) || !slices.Equal(tensor.Uint16s(m.Scales), want.Scales) || !slices.Equal(tensor.Uint16s(m.Biases), want.Biases) {
		t.Errorf("%s is not what the quantizer gives", m.Name)
	}
}

func TestDigest(t *testing.T) {
	src := made(t)
	seen := map[string]string{}
	for _, name := range append(Grid(), "bf16", "native", "cpu-g32-n8-e4") {
		r, _ := Parse(name)
		v, err := New(src, r)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[v.Digest()]; ok || len(v.Digest()) != 64 {
			t.Errorf("%s and %s share the digest %s", name, other, v.Digest())
		}
		seen[v.Digest()] = name
	}
}

func TestNativeFormats(t *testing.T) {
	r, _ := Parse("native")
	v, err := New(made(t), r)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]tensor.Format{"expert.weight": mx.FP4, "wide.weight": mx.FP8, "plain.weight": tensor.PlainFormat(tensor.BF16)} {
		m, err := v.Matrix(name)
		if err != nil || m.Format != want {
			t.Errorf("%s is %v (%v), want %v", name, m.Format, err, want)
		}
	}
}
