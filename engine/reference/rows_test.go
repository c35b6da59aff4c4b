package reference_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"assay/engine/checkpoint/checkpointtest"
	"assay/engine/tensor"
)

// Rows are those of the whole matrix, wherever the cut; an error in them names
// the row of the whole.
func TestRows(t *testing.T) {
	for _, native := range []tensor.Native{tensor.FP8, tensor.FP4, tensor.Plain} {
		p := tensor.Param{Info: tensor.Info{Name: "w.weight", DType: tensor.BF16, Shape: []int{300, 160}}, Native: native}
		tensors, err := checkpointtest.Tensors([]tensor.Param{p}, 3)
		if err != nil {
			t.Fatal(err)
		}
		r := mustOf(t, tensors...)
		whole, err := r.Float32(p.Name)
		if err != nil {
			t.Fatal(err)
		}
		bf16, err := r.Tensor(p.Name)
		if err != nil {
			t.Fatal(err)
		}
		for _, cut := range [][2]int{{0, 300}, {0, 1}, {128, 128}, {128, 300}, {256, 300}} {
			from, to := cut[0]*160, cut[1]*160
			got, err := r.Float32Rows(p.Name, cut[0], cut[1], nil)
			if err != nil || !slices.Equal(got, whole[from:to]) {
				t.Errorf("%q: rows %v as float32 differ: %v", native, cut, err)
			}
			part, err := r.TensorRows(p.Name, cut[0], cut[1])
			if err != nil || !bytes.Equal(part.Data, bf16.Data[2*from:2*to]) || !slices.Equal(part.Shape, []int{cut[1] - cut[0], 160}) {
				t.Errorf("%q: rows %v as BF16 differ: %v", native, cut, err)
			}
		}
		for _, cut := range [][2]int{{1, 2}, {128, 301}, {-128, 0}, {256, 128}} {
			if _, err := r.Float32Rows(p.Name, cut[0], cut[1], nil); err == nil {
				t.Errorf("%q: rows %v are there", native, cut)
			}
		}
		data := slices.Clone(tensors[0].Data)
		if native == tensor.FP4 {
			continue // every code of FP4 is a number
		}
		at := 299*160 + 7
		if native == tensor.FP8 {
			data[at] = 0x7f
		} else {
			data[2*at], data[2*at+1] = 0x80, 0x7f
		}
		tensors[0].Data = data
		r = mustOf(t, tensors...)
		if _, err := r.Float32Rows(p.Name, 256, 300, nil); err == nil || !strings.Contains(err.Error(), "row 299, column 7") {
			t.Errorf("%q: error %v", native, err)
		}
		if _, err := r.Float32Rows(p.Name, 128, 256, nil); err != nil {
			t.Errorf("%q: rows before a bad one: %v", native, err)
		}
	}
}
