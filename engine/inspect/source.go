package inspect

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"assay/engine/checkpoint"
	"assay/engine/reference"
	"assay/engine/tensor"
)

// Source is the checkpoint that a folder was made from, decoded.
type Source struct {
	ck     *checkpoint.Checkpoint
	ref    *reference.Reference
	assets assets
}

// NewSource returns the source in a checkpoint, which stays open as long as it.
// It errs on weights that are quantized themselves.
func NewSource(ck *checkpoint.Checkpoint) (*Source, error) {
	for _, name := range ck.Names() {
		if strings.HasSuffix(name, scalesSuffix) {
			return nil, fmt.Errorf("inspect: the source has %q: it is a bundle itself, want the checkpoint that bundles are made from", name)
		}
	}
	ref, err := reference.New(ck)
	if err != nil {
		return nil, err
	}
	var config map[string]json.RawMessage
	if err := json.Unmarshal(ck.Config(), &config); err != nil {
		return nil, fmt.Errorf("inspect: the source's config.json: %w", err)
	}
	return &Source{ck: ck, ref: ref, assets: readAssets(config, ck.File)}, nil
}

// row returns a row of a parameter, whose last dimension is cols, and false
// where the source has none of that shape or it cannot be decoded.
func (s *Source) row(p *tensor.Param, row int) ([]float32, bool) {
	info, err := s.ref.Info(p.Name)
	if err != nil || !slices.Equal(info.Shape, p.Shape) {
		return nil, false
	}
	if len(p.Shape) != 2 {
		out, err := s.ref.Float32(p.Name)
		return out, err == nil
	}
	first := row / tensor.FP8Block * tensor.FP8Block
	out, err := s.ref.Float32Rows(p.Name, first, row+1, nil)
	if err != nil {
		return nil, false
	}
	return out[(row-first)*p.Shape[1]:], true
}

// integers is row for a table of whole numbers.
func (s *Source) integers(p *tensor.Param, row int) ([]int64, bool) {
	t, err := s.ck.Tensor(p.Name)
	if err != nil || !slices.Equal(t.Shape, p.Shape) {
		return nil, false
	}
	_, cols := rowsOf(p)
	width := cols * t.DType.Size()
	if len(t.Data) < (row+1)*width {
		return nil, false
	}
	out, err := integers(t.Data[row*width:][:width], t.DType)
	return out, err == nil
}

// native says how the source stores a parameter.
func (s *Source) native(p *tensor.Param) tensor.Native { return s.ref.Native(p.Name) }
