// Package variant says which parameter takes which format and makes the
// weights so: a Recipe is the rule, a Plan its outcome for one model as data,
// a Variant the weights themselves, made on demand. It knows formats and
// classes, and no model.
package variant

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"assay/engine/affine"
	"assay/engine/tensor"
)

// Choice is what a recipe does with a matrix. The zero Choice leaves it as BF16.
type Choice struct {
	Native  bool           // as the checkpoint stores it: mxfp4, mxfp8, or BF16
	Affine  affine.Params  // used if Bits is not 0
	Encoder affine.Encoder // how affine scales, biases and codes are chosen
}

// Rule gives some of a model's matrices a choice.
type Rule struct {
	Class  tensor.Class // "" is every quantizable class
	Layers Layers       // nil is everywhere; a matrix outside the layers has none of them
	Choice Choice
}

// Recipe gives each matrix of a quantizable class the choice of the last rule
// that names it, and BF16 where none does. Classes that are not Quantizable
// stay as they are under every recipe.
type Recipe struct {
	Name   string
	Rules  []Rule
	Strict bool // a rule that names no matrix is an error: whoever wrote it meant one
}

// BF16 is the name of the reference: every matrix decoded to BF16.
const BF16 = "bf16"

// Native is the name of the lossless repack of what the checkpoint stores:
// FP4 as mxfp4, FP8 as mxfp8, BF16 as it is.
const Native = "native"

// Grammar says which names Parse takes, for error messages and help.
const Grammar = `bf16, native, or [ENCODER-]gG-nN-eE with group size G (32, 64, 128), ` +
	`bits N of all but the routed experts and E of those (2, 3, 4, 5, 6, 8, or 16 for bf16), such as g32-n8-e4; ` +
	`ENCODER is cpu, recode, search, or lattice (for the experts, 5 bits or more, group 32)`

var recipeName = regexp.MustCompile(`^(?:(cpu|recode|search|lattice)-)?g(32|64|128)-n(2|3|4|5|6|8|16)-e(2|3|4|5|6|8|16)$`)

// encoders are the encoders by how names of recipes spell them.
var encoders = map[string]affine.Encoder{"": affine.GPU, "cpu": affine.CPU, "recode": affine.Recode, "search": affine.Search, "lattice": affine.Lattice}

// Parse returns the recipe of a variant's name. It errs, with the grammar, on
// any other name.
//
// Under lattice- the routed experts take affine.Lattice, which is exact or
// refuses, and everything else MLX's GPU encoder.
func Parse(name string) (Recipe, error) {
	switch name {
	case BF16:
		return Recipe{Name: name}, nil
	case Native:
		return Recipe{Name: name, Rules: []Rule{{Choice: Choice{Native: true}}}}, nil
	}
	m := recipeName.FindStringSubmatch(name)
	if m == nil || m[3] == "16" && m[4] == "16" {
		return Recipe{}, fmt.Errorf("variant: no variant is named %q: want %s", name, Grammar)
	}
	other, expert := choice(m[2], m[3], encoders[m[1]]), choice(m[2], m[4], encoders[m[1]])
	if m[1] == "lattice" {
		other.Encoder, expert.Encoder = affine.GPU, affine.Lattice
	}
	if err := expert.check(); err != nil {
		return Recipe{}, fmt.Errorf("variant: %s: %w", name, err)
	}
	return Recipe{Name: name, Rules: []Rule{{Choice: other}, {Class: tensor.RoutedExpert, Choice: expert}}}, nil
}

// choice takes digits that recipeName has matched.
func choice(group, bits string, e affine.Encoder) Choice {
	g, _ := strconv.Atoi(group)
	b, _ := strconv.Atoi(bits)
	if b == 16 {
		return Choice{}
	}
	return Choice{Affine: affine.Params{Bits: b, GroupSize: g}, Encoder: e}
}

// check errs on a choice that holds no weights.
func (c Choice) check() error {
	switch {
	case c.Encoder == affine.Lattice && (c.Affine.Bits < 5 || c.Affine.GroupSize != 32):
		return errLattice
	case c.Affine.Bits == 0:
		return nil
	}
	return c.Affine.Validate()
}

var errLattice = errors.New("lattice holds FP4 experts exactly, for which it needs 5, 6 or 8 bits and group size 32")

// Grid returns the names of the 18 variants: group size 32, 64, 128, other
// bits 8, 6, 4, expert bits 4, 3.
func Grid() []string {
	var out []string
	for _, g := range []int{32, 64, 128} {
		for _, n := range []int{8, 6, 4} {
			for _, e := range []int{4, 3} {
				out = append(out, fmt.Sprintf("g%d-n%d-e%d", g, n, e))
			}
		}
	}
	return out
}

// choice returns what the recipe does with a matrix. It marks in seen the rules
// that name it.
func (r Recipe) choice(p tensor.Param, seen []bool) Choice {
	var c Choice
	if !p.Class.Quantizable() {
		return c
	}
	for i, rule := range r.Rules {
		if (rule.Class == "" || rule.Class == p.Class) && (rule.Layers == nil || rule.Layers.Has(p.Layer)) {
			c, seen[i] = rule.Choice, true
		}
	}
	return c
}
