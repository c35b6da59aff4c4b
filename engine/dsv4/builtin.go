package dsv4

import _ "embed"

//go:embed flash.json
var flashConfig string

// FlashConfig returns the config.json of DeepSeek-V4-Flash, by which plans are
// made without its weights.
// Source: the release's config.json, field by field as in the DeepSeek-V4
// specification, tables 1.1 and 1.3.
func FlashConfig() []byte { return []byte(flashConfig) }
