package variant

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime"
	"sync"

	"assay/engine/affine"
	"assay/engine/mx"
	"assay/engine/reference"
	"assay/engine/tensor"
)

// Variant is a model's weights under a recipe. Matrices are made each time
// they are asked for and not kept. It serves many goroutines.
type Variant struct {
	recipe Recipe
	ref    *reference.Reference
	config []byte
	steps  []Step
	byName map[string]*Step
	digest string
}

// Source is what variants are made from: the decoded checkpoint, its
// config.json, its identity, and its parameters by class.
type Source struct {
	Reference *reference.Reference
	Config    []byte
	Digest    string // SHA-256 of tensors and config
	Params    []tensor.Param
}

// New plans a variant. It reads no weight.
func New(src Source, r Recipe) (*Variant, error) {
	var params []tensor.Param
	for _, p := range src.Params {
		p.Native = src.Reference.Native(p.Name)
		if _, err := src.Reference.Info(p.Name); err != nil && p.MTP {
			continue // a checkpoint may come without its MTP block
		}
		params = append(params, p)
	}
	steps, err := r.Plan(params)
	if err != nil {
		return nil, err
	}
	v := &Variant{recipe: r, ref: src.Reference, config: src.Config, steps: steps, byName: map[string]*Step{}}
	for i := range steps {
		v.byName[steps[i].Name] = &steps[i]
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n", src.Digest, r.Name, r.EncoderName()))
	v.digest = hex.EncodeToString(sum[:])
	return v, nil
}

// Name returns the recipe's name.
func (v *Variant) Name() string { return v.recipe.Name }

// Recipe returns the recipe.
func (v *Variant) Recipe() Recipe { return v.recipe }

// Config returns the model's config.json.
func (v *Variant) Config() []byte { return v.config }

// Digest identifies the variant: SHA-256, in hex, of its source's digest, its
// recipe and its quantizer rule.
func (v *Variant) Digest() string { return v.digest }

// Plan returns what the recipe does with each parameter. The caller must not
// change it.
func (v *Variant) Plan() []Step { return v.steps }

// Tensor returns a parameter that no recipe changes.
func (v *Variant) Tensor(name string) (tensor.Tensor, error) { return v.ref.Tensor(name) }

// Matrix returns a weight matrix in the variant's format. It errs on a name
// that is no matrix of the model and on weights that cannot be quantized.
func (v *Variant) Matrix(name string) (*tensor.Matrix, error) {
	s := v.byName[name]
	if s == nil || s.Format == nil {
		return nil, fmt.Errorf("variant: %s: no matrix is named %q", v.recipe.Name, name)
	}
	rows, cols := s.Shape[0], s.Shape[1]
	switch f := s.Format.(type) {
	case affine.Format:
		return v.quantize(s, f.Params)
	case mx.Format:
		weight, scale, err := v.ref.Stored(name)
		if err != nil {
			return nil, err
		}
		return mx.Repack(f, name, rows, cols, weight.Data, scale.Data)
	}
	t, err := v.ref.Tensor(name)
	if err != nil {
		return nil, err
	}
	return &tensor.Matrix{Name: name, Rows: rows, Cols: cols, Format: s.Format, Codes: t.Data}, nil
}

// quantizeChunk is how many weights are worth a goroutine of their own.
const quantizeChunk = 1 << 18

// quantize makes one affine matrix, rows in parallel.
func (v *Variant) quantize(s *Step, p affine.Params) (*tensor.Matrix, error) {
	w, err := v.ref.Float32(s.Name)
	if err != nil {
		return nil, err
	}
	rows, cols := s.Shape[0], s.Shape[1]
	m, err := affine.NewMatrix(p, rows, cols)
	if err != nil {
		return nil, fmt.Errorf("variant: tensor %q: %w", s.Name, err)
	}
	workers := min(runtime.GOMAXPROCS(0), max(rows*cols/quantizeChunk, 1))
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for i := range workers {
		from, to := rows*i/workers, rows*(i+1)/workers
		wg.Go(func() { errs[i] = m.QuantizeRows(v.recipe.Encoder, from, w[from*cols:to*cols]) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("variant: %s: tensor %q: %w", v.recipe.Name, s.Name, err)
		}
	}
	return m.Tensor(s.Name), nil
}
