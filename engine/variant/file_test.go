package variant

import (
	"reflect"
	"strings"
	"testing"

	"assay/engine/affine"
	"assay/engine/mx"
	"assay/engine/tensor"
)

const sample = `
name: bookends
rules:
- {format: affine, bits: 8, group_size: 32}
- {class: routed-expert, format: affine, bits: 3, group_size: 32, encoder: recode}
- {class: routed-expert, layers: "0, 2-3", format: native}
- {class: indexer, format: bf16}
`

func TestParseFile(t *testing.T) {
	got, err := ParseFile([]byte(sample))
	want := Recipe{Name: "bookends", Strict: true, Rules: []Rule{
		{Choice: Choice{Affine: affine.Params{Bits: 8, GroupSize: 32}}},
		{Class: tensor.RoutedExpert, Choice: Choice{Affine: affine.Params{Bits: 3, GroupSize: 32}, Encoder: affine.Recode}},
		{Class: tensor.RoutedExpert, Layers: Layers{{0, 0}, {2, 3}}, Choice: Choice{Native: true}},
		{Class: tensor.Indexer},
	}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v (%v), want %+v", got, err, want)
	}
	if _, err := ParseFile([]byte(RecipeFile[:strings.Index(RecipeFile, "format: affine (bits")])); err != nil {
		t.Errorf("the sample of the help does not parse: %v", err)
	}
}

// The last rule that names a matrix wins, and a rule for layers takes nothing
// outside them.
func TestRules(t *testing.T) {
	r, err := ParseFile([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	expert := func(layer int) tensor.Param {
		return tensor.Param{Info: tensor.Info{Name: "e", DType: tensor.BF16, Shape: []int{128, 128}}, Class: tensor.RoutedExpert, Native: tensor.FP4, Layer: layer, Reads: [2]int64{1, 1}}
	}
	head := expert(-1)
	head.Class, head.Native = tensor.Head, tensor.Plain
	indexer := expert(2)
	indexer.Class = tensor.Indexer
	steps, err := r.Plan([]tensor.Param{expert(0), expert(1), expert(2), expert(3), head, indexer})
	if err != nil {
		t.Fatal(err)
	}
	three := affine.Format{Params: affine.Params{Bits: 3, GroupSize: 32}}
	for i, want := range []tensor.Format{mx.FP4, three, mx.FP4, mx.FP4, affine.Format{Params: affine.Params{Bits: 8, GroupSize: 32}}, tensor.PlainFormat(tensor.BF16)} {
		if steps[i].Format != want {
			t.Errorf("step %d is %v, want %v", i, steps[i].Format, want)
		}
	}
	if sum := Sum(steps); sum.GroupSize != 0 || sum.Encoder != "mlx-gpu+recode" {
		t.Errorf("a mixed plan sums to group size %d and encoder %s", sum.GroupSize, sum.Encoder)
	}
	if _, err := r.Plan([]tensor.Param{expert(0), head}); err == nil || !strings.Contains(err.Error(), "rule 4 names no matrix of this model: {class: indexer, format: bf16}") {
		t.Errorf("a rule for nothing: %v", err)
	}
	again, err := ParseFile([]byte(r.Text()))
	if err != nil || !reflect.DeepEqual(again, r) {
		t.Errorf("%s\nreads as %+v: %v", r.Text(), again, err)
	}
	lattice := Recipe{Name: "x", Rules: []Rule{{Choice: Choice{Affine: affine.Params{Bits: 5, GroupSize: 32}, Encoder: affine.Lattice}}}}
	if _, err := lattice.Plan([]tensor.Param{expert(0), head}); err == nil || !strings.Contains(err.Error(), "encoder lattice is for routed experts in FP4, this is head") {
		t.Errorf("a lattice for the head: %v", err)
	}
}

func TestRefusedFiles(t *testing.T) {
	rule := func(text string) string { return "name: x\nrules:\n- " + text + "\n" }
	for text, want := range map[string]string{
		"":                                                "needs a name and rules",
		"name: x":                                         "has no rules",
		"name: g32-n8-e4\nrules: []":                      "no variant's own name",
		"name: a/b\nrules: []":                            "no variant's own name",
		sample + "---\nname: y\n":                         "one recipe a file",
		rule("{format: affine}"):                          "needs bits and group_size",
		rule("{format: mxfp4}"):                           `format "mxfp4", want affine, native or bf16`,
		rule("{format: bf16, bits: 4}"):                   "takes no bits",
		rule("{class: norm, format: bf16}"):               `class "norm" is none that can be quantized`,
		rule("{format: bf16, colour: red}"):               "field colour is no key here",
		rule("{layers: 3-1, format: bf16}"):               `layers "3-1"`,
		rule("{layers: -1, format: bf16}"):                `layers "-1"`,
		rule("{format: affine, bits: 7, group_size: 32}"): "7 bits",
		rule("{format: affine, bits: 4, group_size: 32, encoder: magic}"):   `encoder "magic"`,
		rule("{format: affine, bits: 4, group_size: 32, encoder: lattice}"): "5, 6 or 8 bits",
		"name: x\nrules: {a: b}\n":                           "cannot unmarshal !!map",
		rule("{format: affine, bits: four, group_size: 32}"): "four",
	} {
		if _, err := ParseFile([]byte(text)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
