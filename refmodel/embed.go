//go:build !noembed

// Package refmodel is the model that assay carries: a small model of the
// DeepSeek-V4 architecture, in the files of a checkpoint folder. README.md is
// its model card. It opens nothing; engine/checkpoint does.
package refmodel

import _ "embed"

var (
	//go:embed config.json
	config []byte
	//go:embed tokenizer.json
	tokenizer []byte
	//go:embed tokenizer_config.json
	tokenizerConfig []byte
	//go:embed model.safetensors.index.json
	index []byte
	//go:embed model-00001-of-00003.safetensors
	shard1 []byte
	//go:embed model-00002-of-00003.safetensors
	shard2 []byte
	//go:embed model-00003-of-00003.safetensors
	shard3 []byte
)

// Files returns the model's files by name, for checkpoint.New. Their bytes are
// the program's own: nothing is copied, and the caller must not change them.
// In a program built with the tag noembed it returns nil.
func Files() map[string][]byte {
	return map[string][]byte{
		"config.json":                      config,
		"tokenizer.json":                   tokenizer,
		"tokenizer_config.json":            tokenizerConfig,
		"model.safetensors.index.json":     index,
		"model-00001-of-00003.safetensors": shard1,
		"model-00002-of-00003.safetensors": shard2,
		"model-00003-of-00003.safetensors": shard3,
	}
}
