package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"assay/engine/bundle"
	"assay/engine/dsv4"
	"assay/engine/variant"
)

const variantsHelp = "names, recipe files (.yaml) and bundle folders with commas between: " + variant.Grammar

// variants makes the reference and the variants of a list, which may name the
// reference too: recipes by name or from a file, and bundles by folder.
func (m *model) variants(list string) (reference *variant.Variant, others []*variant.Variant, err error) {
	if reference, err = variant.New(m.source, variant.Recipe{Name: variant.BF16}); err != nil {
		return nil, nil, err
	}
	seen := map[string]bool{}
	for _, item := range items(list) {
		v := reference
		if item != variant.BF16 {
			if v, err = m.variant(item); err != nil {
				return nil, nil, err
			}
			others = append(others, v)
		}
		if seen[v.Name()] {
			return nil, nil, usage("variant: %s is named twice", v.Name())
		}
		seen[v.Name()] = true
	}
	return reference, others, nil
}

// items cuts a list at its commas, but for the name of one folder that has some.
func items(list string) []string {
	if isDir(list) {
		return []string{list}
	}
	var out []string
	for _, item := range strings.Split(list, ",") {
		out = append(out, strings.TrimSpace(item))
	}
	return out
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// variant makes the variant of one item of a list. What is a recipe's name is
// that recipe, whatever folders there are; ./NAME is the folder.
func (m *model) variant(item string) (*variant.Variant, error) {
	if _, err := variant.Parse(item); err != nil && isDir(item) {
		return m.bundle(item)
	}
	r, err := recipeOf(item)
	if err != nil {
		return nil, err
	}
	return variant.New(m.source, r)
}

// recipeOf returns a recipe by name or from a file.
func recipeOf(item string) (variant.Recipe, error) {
	if ext := filepath.Ext(item); ext != ".yaml" && ext != ".yml" {
		r, err := variant.Parse(item)
		switch {
		case err != nil && strings.ContainsRune(item, filepath.Separator):
			return r, usage("%s: no such folder, and no recipe file (.yaml)", item)
		case err != nil:
			return r, codedError{exitUsage, err}
		}
		return r, nil
	}
	data, err := os.ReadFile(item)
	if err != nil {
		return variant.Recipe{}, codedError{exitUsage, err}
	}
	r, err := variant.ParseFile(data)
	if err != nil {
		return r, codedError{exitUsage, fmt.Errorf("%s: %w", item, err)}
	}
	return r, nil
}

// recipesOf returns the recipes of a list without bundles.
func recipesOf(list string) ([]variant.Recipe, error) {
	var out []variant.Recipe
	seen := map[string]bool{}
	for _, item := range items(list) {
		r, err := recipeOf(item)
		if err != nil {
			return nil, err
		}
		if seen[r.Name] {
			return nil, usage("variant: %s is named twice", r.Name)
		}
		seen[r.Name] = true
		out = append(out, r)
	}
	return out, nil
}

// bundle opens a folder as a variant of m, whose config and tokenizer it must
// have.
func (m *model) bundle(dir string) (*variant.Variant, error) {
	fail := func(err error) (*variant.Variant, error) {
		return nil, fmt.Errorf("%s: not a bundle of model %s: %w", dir, m.name, err)
	}
	data, err := configOf(dir)
	if err != nil {
		return fail(err)
	}
	c, err := dsv4.ParseConfig(data)
	if err == nil {
		err = m.config.SameModel(c)
	}
	if err != nil {
		return fail(err)
	}
	b, err := bundle.Open(dir, m.params)
	if err != nil {
		return fail(err)
	}
	m.bundles = append(m.bundles, b)
	if err := errors.Join(m.sameTokenizer(b), m.sameSource(b)); err != nil {
		return fail(err)
	}
	return b.Variant(bundleName(dir), m.source.Config)
}

// bundleName is what a folder is called as a variant: never as a recipe is.
func bundleName(dir string) string {
	name := baseName(dir)
	if _, err := variant.Parse(name); err == nil {
		return "bundle:" + name
	}
	return name
}

// baseName returns the last part of a folder's path, also of one that is given
// as . or ..
func baseName(dir string) string {
	if full, err := filepath.Abs(dir); err == nil {
		dir = full
	}
	return filepath.Base(dir)
}

// sameSource errs if assay built b from another checkpoint.
func (m *model) sameSource(b *bundle.Bundle) error {
	if b.Manifest() == nil {
		return nil
	}
	ours, err := m.checkpoint.Fingerprint()
	if err != nil {
		return err
	}
	if from := b.Manifest().Source; from.Fingerprint != ours {
		return fmt.Errorf("%s says that it was made from %s, whose weights are others (fingerprint %.12s, want %.12s)",
			bundle.ManifestName, from.Name, from.Fingerprint, ours)
	}
	return nil
}

// sameTokenizer errs unless b's tokenizer gives the same tokens as m's: the
// same file, or one that differs only in what does not encode.
func (m *model) sameTokenizer(b *bundle.Bundle) error {
	const name = "tokenizer.json"
	ours, err := m.checkpoint.File(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // then nothing can be scored, which says so itself
	}
	if err != nil {
		return err
	}
	theirs, err := b.File(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing", name)
	}
	if err != nil || bytes.Equal(ours, theirs) {
		return err
	}
	x, err := encoding(ours)
	if err != nil {
		return fmt.Errorf("the model's %s: %w", name, err)
	}
	y, err := encoding(theirs)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, part := range []string{"normalizer", "pre_tokenizer", "model", "added_tokens", "post_processor"} {
		if !bytes.Equal(x[part], y[part]) {
			return fmt.Errorf("%s: %s is not the model's", name, part)
		}
	}
	return nil
}

// encoding returns the parts of a tokenizer.json, each in one spelling.
func encoding(data []byte) (map[string][]byte, error) {
	var parts map[string]any
	if err := json.Unmarshal(data, &parts); err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for name, part := range parts {
		text, err := json.Marshal(part) // of maps: keys are sorted
		if err != nil {
			return nil, err
		}
		out[name] = text
	}
	return out, nil
}
