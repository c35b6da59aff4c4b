package variant

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"assay/engine/reference"
	"assay/engine/tensor"
)

// Weights is where a variant's weights come from: made from a reference, or
// stored in a bundle. It serves many goroutines.
type Weights interface {
	// Matrix returns a weight matrix in the format of its step.
	Matrix(name string) (*tensor.Matrix, error)
	// Tensor returns a parameter that is no matrix.
	Tensor(name string) (tensor.Tensor, error)
}

// Variant is a model's weights in the formats of a plan. It keeps none of
// them. It serves many goroutines.
type Variant struct {
	Weights
	name    string
	config  []byte
	steps   []Step
	digest  string
	encoder string
	made    bool             // the steps say what the weights are
	maker   *Maker           // who makes them
	byName  map[string]*Step // of steps
}

// Source is what variants are made from: the decoded checkpoint, its
// config.json, its identity, and its parameters by class.
type Source struct {
	Reference *reference.Reference
	Config    []byte
	Digest    string // of tensors and config
	Params    []tensor.Param
}

// Present returns the parameters that the checkpoint has, each with how it
// stores it: a checkpoint may come without its MTP block.
func (s Source) Present() []tensor.Param {
	var out []tensor.Param
	for _, p := range s.Params {
		if _, err := s.Reference.Info(p.Name); err != nil && p.MTP {
			continue
		}
		p.Native = s.Reference.Native(p.Name)
		out = append(out, p)
	}
	return out
}

// New plans a variant, whose weights are made each time they are asked for. It
// reads no weight.
func New(src Source, r Recipe) (*Variant, error) {
	steps, err := r.Plan(src.Present())
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s", src.Digest, r.Text()))
	maker := NewMaker(src.Reference, steps, r.Name)
	return &Variant{
		Weights: maker, name: r.Name, config: src.Config, steps: steps, byName: maker.byName,
		digest: hex.EncodeToString(sum[:]), encoder: Sum(steps).Encoder, made: true, maker: maker,
	}, nil
}

// Planned returns a variant of a config alone, which has no weights: for plans.
func Planned(config []byte, r Recipe, params []tensor.Param) (*Variant, error) {
	steps, err := r.Plan(params)
	if err != nil {
		return nil, err
	}
	return &Variant{name: r.Name, config: config, steps: steps, encoder: Sum(steps).Encoder, made: true, byName: stepsByName(steps)}, nil
}

// Stored is a variant whose weights exist already.
type Stored struct {
	Name    string
	Config  []byte // the model's config.json
	Digest  string // identity of the weights
	Steps   []Step // the formats as found
	Encoder string // who chose scales, biases and codes, as far as known
	Weights Weights
}

// NewStored returns a variant with the weights of s.
func NewStored(s Stored) *Variant {
	return &Variant{Weights: s.Weights, name: s.Name, config: s.Config, steps: s.Steps, digest: s.Digest, encoder: s.Encoder,
		byName: stepsByName(s.Steps)}
}

// Name returns the recipe's name.
func (v *Variant) Name() string { return v.name }

// Config returns the model's config.json.
func (v *Variant) Config() []byte { return v.config }

// Digest identifies the variant: SHA-256, in hex, of its source's digest and
// its recipe, or of the weights where they are stored.
func (v *Variant) Digest() string { return v.digest }

// Encoder returns the names of the affine encoders for records, or "" where
// nothing is quantized or nobody knows.
func (v *Variant) Encoder() string { return v.encoder }

// Plan returns what becomes of each parameter. The caller must not change it.
func (v *Variant) Plan() []Step { return v.steps }

// Step returns what becomes of one parameter, or nil where the model has none of
// that name. The caller must not change it.
func (v *Variant) Step(name string) *Step { return v.byName[name] }
