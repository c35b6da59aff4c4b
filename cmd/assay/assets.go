package main

import (
	"path"
	"slices"

	"assay/engine/bundle"
	"assay/engine/checkpoint"
)

// assets are the small files that a bundle takes over from its source.
var assets = []string{"tokenizer*", "special_tokens_map.json", "added_tokens.json", "generation_config.json", "chat_template*",
	"*.jinja", "vocab.json", "merges.txt", "*.tiktoken", "LICENSE*"}

// isAsset says whether a file is one of them.
func isAsset(name string) bool {
	return slices.ContainsFunc(assets, func(pattern string) bool {
		ok, _ := path.Match(pattern, name)
		return ok
	})
}

// assetsOf reads the small files of a checkpoint that a bundle takes over.
func assetsOf(ck *checkpoint.Checkpoint) ([]bundle.File, error) {
	names, err := ck.List()
	if err != nil {
		return nil, err
	}
	var out []bundle.File
	for _, name := range names {
		if !isAsset(name) {
			continue
		}
		data, err := ck.File(name)
		if err != nil {
			return nil, err
		}
		out = append(out, bundle.File{Name: name, Data: data})
	}
	return out, nil
}
