package dsv4

import (
	"assay/engine/checkpoint"
	"assay/engine/reference"
	"assay/engine/variant"
)

// Source decodes a checkpoint and holds it against its config: what variants
// are made from. It reads all weights once, for their digest.
func Source(ck *checkpoint.Checkpoint) (variant.Source, error) {
	c, err := ParseConfig(ck.Config())
	if err != nil {
		return variant.Source{}, err
	}
	ref, err := reference.New(ck)
	if err != nil {
		return variant.Source{}, err
	}
	if err := Check(c, ref); err != nil {
		return variant.Source{}, err
	}
	digest, err := ck.Digest()
	return variant.Source{Reference: ref, Config: ck.Config(), Digest: digest, Params: Params(c)}, err
}
