package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"assay/engine/checkpoint"
)

// ManifestName is the file in which assay says how it made a bundle.
const ManifestName = "assay.json"

// ManifestSchema is the version of Manifest that this code writes.
//
//	1  first version
const ManifestSchema = 1

// Manifest is how a bundle was made.
type Manifest struct {
	Schema  int    `json:"schema"`
	Tool    string `json:"tool"`   // version and commit of assay
	Recipe  string `json:"recipe"` // name
	Rules   string `json:"rules"`  // the recipe as a file, see engine/variant, ParseFile
	Encoder string `json:"encoder"`
	Runtime string `json:"runtime"`
	Layout  string `json:"layout"` // "stacked" or "per-expert"
	MTP     bool   `json:"mtp"`
	Source  struct {
		Name        string `json:"name"`
		Fingerprint string `json:"fingerprint"`
	} `json:"source"`
	Bytes  int64             `json:"bytes"`  // of tensors
	Shards map[string]string `json:"shards"` // digest by file: see engine/shard, Digest
}

// Marshal returns the file.
func (m Manifest) Marshal() ([]byte, error) {
	m.Schema = ManifestSchema
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("bundle: %s: %w", ManifestName, err)
	}
	return append(data, '\n'), nil
}

// readManifest returns a folder's manifest, or nil where it has none.
func readManifest(ck *checkpoint.Checkpoint) (*Manifest, error) {
	data, err := ck.File(ManifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := &Manifest{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("%s: %w", ManifestName, err)
	}
	if m.Schema < 1 || m.Schema > ManifestSchema {
		return nil, fmt.Errorf("%s: schema %d, this assay reads 1 to %d", ManifestName, m.Schema, ManifestSchema)
	}
	return m, nil
}
