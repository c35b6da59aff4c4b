package main

import (
	"fmt"
	"os"
	"path/filepath"

	"assay/engine/bundle"
	"assay/engine/checkpoint"
	"assay/engine/dsv4"
	"assay/engine/reference"
	"assay/engine/tensor"
	"assay/engine/token"
	"assay/engine/variant"
	"assay/refmodel"
)

// The built-in models.
const (
	referenceModel = "reference"         // weights in the program
	flashModel     = "deepseek-v4-flash" // config only
)

const modelHelp = "folder of a checkpoint, or built-in: reference (weights inside), deepseek-v4-flash (config only)"

// model is an opened --model.
type model struct {
	name       string
	config     *dsv4.Config
	configJSON []byte
	params     []tensor.Param
	checkpoint *checkpoint.Checkpoint // nil where there is a config only
	stored     map[string]bool        // parameters that the folder has; nil where only its config was read
	source     variant.Source
	bundles    []*bundle.Bundle // opened as variants
}

func (m *model) close() {
	for _, b := range m.bundles {
		b.Close()
	}
	if m.checkpoint != nil {
		m.checkpoint.Close()
	}
}

// openConfig opens a model as far as its config, which is all that a plan needs.
func openConfig(name string) (*model, error) {
	data, err := configOf(name)
	if err != nil {
		return nil, err
	}
	m := &model{name: name}
	if err := m.parse(data); err != nil {
		return nil, err
	}
	if m.config.Bundle {
		return nil, isBundle(name)
	}
	return m, m.native(name)
}

// native takes from a folder's headers, where it has weights, how each
// parameter is stored: a config may say otherwise.
func (m *model) native(dir string) error {
	if shards, _ := filepath.Glob(filepath.Join(dir, "model*.safetensors")); len(shards) == 0 {
		return nil
	}
	ck, err := checkpoint.Open(dir)
	if err != nil {
		return err
	}
	defer ck.Close()
	ref, err := reference.New(ck)
	if err != nil {
		return fmt.Errorf("model %s: %w", dir, err)
	}
	m.stored = map[string]bool{}
	for i, p := range m.params {
		if _, err := ref.Info(p.Name); err == nil {
			m.params[i].Native, m.stored[p.Name] = ref.Native(p.Name), true
		}
	}
	return nil
}

func configOf(name string) ([]byte, error) {
	switch name {
	case flashModel:
		return dsv4.FlashConfig(), nil
	case referenceModel:
		ck, err := openCheckpoint(name)
		if err != nil {
			return nil, err
		}
		defer ck.Close()
		return ck.Config(), nil
	}
	if err := isFolder(name); err != nil {
		return nil, err
	}
	path := filepath.Join(name, "config.json")
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	return os.ReadFile(path)
}

// parse reads the config and makes the name short.
func (m *model) parse(data []byte) error {
	c, err := dsv4.ParseConfig(data)
	if err != nil {
		return fmt.Errorf("model %s: %w", m.name, err)
	}
	m.config, m.configJSON, m.params = c, data, dsv4.Params(c)
	if m.name != referenceModel && m.name != flashModel {
		m.name = baseName(m.name)
	}
	return nil
}

func isFolder(name string) error {
	if info, err := os.Stat(name); err != nil || !info.IsDir() {
		return usage("model %q: want a %s", name, modelHelp)
	}
	return nil
}

func openCheckpoint(name string) (*checkpoint.Checkpoint, error) {
	if name == referenceModel {
		files := refmodel.Files()
		if files == nil {
			return nil, fmt.Errorf("model %q: this assay was built without the reference model's weights", name)
		}
		return checkpoint.New(files)
	}
	if err := isFolder(name); err != nil {
		return nil, err
	}
	return checkpoint.Open(name)
}

// openModel opens a model with its weights. identity says how its digest is
// taken: (*checkpoint.Checkpoint).Digest or Fingerprint.
func openModel(name string, identity func(*checkpoint.Checkpoint) (string, error)) (*model, error) {
	if name == flashModel {
		return nil, usage("model %q is a config without weights: it works with assay plan and assay synth", name)
	}
	ck, err := openCheckpoint(name)
	if err != nil {
		return nil, err
	}
	m := &model{name: name, checkpoint: ck}
	if err := m.parse(ck.Config()); err != nil {
		m.close()
		return nil, err
	}
	if m.config.Bundle {
		m.close()
		return nil, isBundle(name)
	}
	if m.source, err = dsv4.Source(ck, func() (string, error) { return identity(ck) }); err != nil {
		m.close()
		return nil, fmt.Errorf("model %s: %w", name, err)
	}
	return m, nil
}

// isBundle is the error for a bundle where a checkpoint belongs.
func isBundle(name string) error {
	return usage("model %s is an MLX bundle: score it with --variants %s beside the checkpoint that it was made from, or see assay verify", name, name)
}

// tokenizer loads the model's tokenizer.json.
func (m *model) tokenizer() (*token.Tokenizer, error) {
	data, err := m.checkpoint.File("tokenizer.json")
	if err != nil {
		return nil, err
	}
	t, err := token.New(data)
	if err != nil {
		return nil, err
	}
	if t.VocabSize() > m.config.VocabSize {
		t.Close()
		return nil, fmt.Errorf("tokenizer.json has ids up to %d, the model's vocabulary is %d", t.VocabSize()-1, m.config.VocabSize)
	}
	return t, nil
}
