package variant

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"assay/engine/affine"
	"assay/engine/tensor"
)

// RecipeFile is what a recipe file holds, for help.
const RecipeFile = `name: bookends            # letters, digits, dot, dash; no name of the grid
rules:                    # the last rule that names a matrix wins; others stay bf16
- {format: affine, bits: 8, group_size: 32}
- {class: routed-expert, format: affine, bits: 3, group_size: 32, encoder: search}
- {class: routed-expert, layers: "0-2,42", format: native}
format: affine (bits, group_size, encoder: mlx-gpu, mlx-cpu, recode, search, lattice), native (mxfp4 or mxfp8 as stored), bf16
class: embedding, head, attention, compressor, indexer, shared-expert, routed-expert, mtp`

// Layers is a set of main layers.
type Layers []LayerRange

// LayerRange is the layers First to Last.
type LayerRange struct{ First, Last int }

// Has says whether a layer is in the set.
func (l Layers) Has(layer int) bool {
	return slices.ContainsFunc(l, func(r LayerRange) bool { return r.First <= layer && layer <= r.Last })
}

// fileRule is a rule as a file spells it. Pointers tell what is left out.
type fileRule struct {
	Class     string  `yaml:"class"`
	Layers    *string `yaml:"layers"`
	Format    string  `yaml:"format"`
	Bits      *int    `yaml:"bits"`
	GroupSize *int    `yaml:"group_size"`
	Encoder   *string `yaml:"encoder"`
}

var fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// ParseFile reads a recipe in YAML, see RecipeFile. It errs on unknown keys,
// on values out of range, and on a name that Parse would take. The recipe is
// Strict.
func ParseFile(data []byte) (Recipe, error) {
	var file struct {
		Name  string     `yaml:"name"`
		Rules []fileRule `yaml:"rules"`
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&file); errors.Is(err, io.EOF) {
		return Recipe{}, fmt.Errorf("variant: a recipe needs a name and rules")
	} else if err != nil {
		return Recipe{}, fmt.Errorf("variant: %s", plainYAML(err))
	}
	if d.Decode(new(any)) != io.EOF {
		return Recipe{}, fmt.Errorf("variant: one recipe a file, found more")
	}
	if _, err := Parse(file.Name); err == nil || !fileName.MatchString(file.Name) {
		return Recipe{}, fmt.Errorf("variant: recipe name %q: want up to 64 letters, digits, dots and dashes, and no variant's own name", file.Name)
	}
	r := Recipe{Name: file.Name, Strict: true}
	for i, f := range file.Rules {
		rule, err := f.rule()
		if err != nil {
			return Recipe{}, fmt.Errorf("variant: recipe %s: rule %d: %w", file.Name, i+1, err)
		}
		r.Rules = append(r.Rules, rule)
	}
	if len(r.Rules) == 0 {
		return Recipe{}, fmt.Errorf("variant: recipe %s has no rules", file.Name)
	}
	return r, nil
}

// plainYAML says what is wrong with a file without naming types of this program.
func plainYAML(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", "")
	text = regexp.MustCompile(` into [^ ]*variant\.[^ ]*| into [a-z]+( \{.*\})?$`).ReplaceAllString(text, "")
	return regexp.MustCompile(` not found in type .*`).ReplaceAllString(text, " is no key here")
}

func (f fileRule) rule() (Rule, error) {
	r := Rule{Class: tensor.Class(f.Class)}
	if r.Class != "" && !r.Class.Quantizable() {
		return r, fmt.Errorf("class %q is none that can be quantized", f.Class)
	}
	if f.Layers != nil {
		var err error
		if r.Layers, err = parseLayers(*f.Layers); err != nil {
			return r, err
		}
	}
	switch f.Format {
	case "affine":
		return r, f.affine(&r.Choice)
	case "native", "bf16":
		if f.Bits != nil || f.GroupSize != nil || f.Encoder != nil {
			return r, fmt.Errorf("format %s takes no bits, group_size or encoder", f.Format)
		}
		r.Choice.Native = f.Format == "native"
		return r, nil
	}
	return r, fmt.Errorf("format %q, want affine, native or bf16", f.Format)
}

func (f fileRule) affine(c *Choice) (err error) {
	if f.Bits == nil || f.GroupSize == nil {
		return fmt.Errorf("format affine needs bits and group_size")
	}
	c.Affine = affine.Params{Bits: *f.Bits, GroupSize: *f.GroupSize}
	if f.Encoder != nil {
		if c.Encoder, err = affine.ParseEncoder(*f.Encoder); err != nil {
			return err
		}
	}
	return c.check()
}

// String returns the rule as a recipe file has it, every field named.
func (r Rule) String() string {
	var b strings.Builder
	b.WriteByte('{')
	if r.Class != "" {
		fmt.Fprintf(&b, "class: %s, ", r.Class)
	}
	if r.Layers != nil {
		fmt.Fprintf(&b, "layers: %q, ", r.Layers.String())
	}
	switch c := r.Choice; {
	case c.Native:
		b.WriteString("format: native}")
	case c.Affine.Bits == 0:
		b.WriteString("format: bf16}")
	default:
		fmt.Fprintf(&b, "format: affine, bits: %d, group_size: %d, encoder: %s}", c.Affine.Bits, c.Affine.GroupSize, c.Encoder)
	}
	return b.String()
}

// String returns the set as a recipe file has it.
func (l Layers) String() string {
	var parts []string
	for _, r := range l {
		if r.First == r.Last {
			parts = append(parts, strconv.Itoa(r.First))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", r.First, r.Last))
		}
	}
	return strings.Join(parts, ",")
}

// Text returns the recipe as a file that ParseFile reads back, in one spelling:
// two recipes that do the same under one name have the same text.
func (r Recipe) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "name: %s\nrules:\n", r.Name)
	for _, rule := range r.Rules {
		fmt.Fprintf(&b, "- %s\n", rule)
	}
	return b.String()
}

// parseLayers reads "0-2,42".
func parseLayers(text string) (Layers, error) {
	var out Layers
	for _, part := range strings.Split(text, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 16)
		b, errB := strconv.ParseUint(last, 10, 16)
		if errA != nil || errB != nil || a > b {
			return nil, fmt.Errorf("layers %q, want layers and ranges such as 0-2,42", text)
		}
		out = append(out, LayerRange{int(a), int(b)})
	}
	return out, nil
}
