// Package variant says which parameter takes which format and makes the
// weights so: a Recipe is the rule, a Plan its outcome for one model as data,
// a Variant the weights themselves, made on demand. It knows formats and
// classes, and no model.
package variant

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"assay/engine/affine"
	"assay/engine/tensor"
)

// Choice is what a recipe does with the matrices of one class. The zero Choice
// leaves them as BF16.
type Choice struct {
	Native bool          // as the checkpoint stores them: mxfp4, mxfp8, or BF16
	Affine affine.Params // used if Bits is not 0
}

// Recipe gives each class of matrices a format. Classes that are not
// Quantizable stay as they are under every recipe.
type Recipe struct {
	Name    string
	Encoder affine.Encoder // how affine scales, biases and codes are chosen
	Expert  Choice         // routed experts
	Other   Choice         // every other quantizable class
}

// BF16 is the name of the reference: every matrix decoded to BF16.
const BF16 = "bf16"

// Native is the name of the lossless repack of what the checkpoint stores:
// FP4 as mxfp4, FP8 as mxfp8, BF16 as it is.
const Native = "native"

// Grammar says which names Parse takes, for error messages and help.
const Grammar = `bf16, native, or [cpu-]gG-nN-eE with group size G (32, 64, 128), ` +
	`bits N of all but the routed experts and E of those (2, 3, 4, 5, 6, 8, or 16 for bf16), such as g32-n8-e4`

var recipeName = regexp.MustCompile(`^(?:(cpu)-)?g(32|64|128)-n(2|3|4|5|6|8|16)-e(2|3|4|5|6|8|16)$`)

// Parse returns the recipe of a variant's name. It errs, with the grammar, on
// any other name.
func Parse(name string) (Recipe, error) {
	switch name {
	case BF16:
		return Recipe{Name: name}, nil
	case Native:
		return Recipe{Name: name, Expert: Choice{Native: true}, Other: Choice{Native: true}}, nil
	}
	m := recipeName.FindStringSubmatch(name)
	if m == nil || m[3] == "16" && m[4] == "16" {
		return Recipe{}, fmt.Errorf("variant: no variant is named %q: want %s", name, Grammar)
	}
	r := Recipe{Name: name, Expert: choice(m[2], m[4]), Other: choice(m[2], m[3])}
	if m[1] == "cpu" {
		r.Encoder = affine.CPU
	}
	return r, nil
}

// choice takes digits that recipeName has matched.
func choice(group, bits string) Choice {
	g, _ := strconv.Atoi(group)
	b, _ := strconv.Atoi(bits)
	if b == 16 {
		return Choice{}
	}
	return Choice{Affine: affine.Params{Bits: b, GroupSize: g}}
}

// ParseList returns the recipes of names with commas between them, in order.
// It errs on an unknown name and on one named twice.
func ParseList(names string) ([]Recipe, error) {
	var out []Recipe
	seen := map[string]bool{}
	for _, n := range strings.Split(names, ",") {
		r, err := Parse(strings.TrimSpace(n))
		if err != nil {
			return nil, err
		}
		if seen[r.Name] {
			return nil, fmt.Errorf("variant: %s is named twice", r.Name)
		}
		seen[r.Name] = true
		out = append(out, r)
	}
	return out, nil
}

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

// Encoder returns the name of the quantizer rule for records, or "" where the
// recipe quantizes nothing.
func (r Recipe) EncoderName() string {
	if r.Expert.Affine.Bits == 0 && r.Other.Affine.Bits == 0 {
		return ""
	}
	return r.Encoder.String()
}

// GroupSize returns the group size, or 0 where the recipe quantizes nothing.
func (r Recipe) GroupSize() int { return max(r.Expert.Affine.GroupSize, r.Other.Affine.GroupSize) }

// Bits returns the code bits of a choice: 16 where it leaves BF16, 0 where the
// format is the checkpoint's own.
func (c Choice) Bits() int {
	switch {
	case c.Native:
		return 0
	case c.Affine.Bits == 0:
		return 16
	}
	return c.Affine.Bits
}

// choice returns what the recipe does with a class.
func (r Recipe) choice(c tensor.Class) Choice {
	switch {
	case !c.Quantizable():
		return Choice{}
	case c == tensor.RoutedExpert:
		return r.Expert
	}
	return r.Other
}
