package dsv4

import (
	"assay/engine/checkpoint"
	"assay/engine/reference"
	"assay/engine/variant"
)

// Source decodes a checkpoint and holds it against its config: what variants
// are made from. digest gives the checkpoint's identity: its Digest, which reads
// all weights once, or its Fingerprint.
func Source(ck *checkpoint.Checkpoint, digest func() (string, error)) (variant.Source, error) {
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
	id, err := digest()
	return variant.Source{Reference: ref, Config: ck.Config(), Digest: id, Params: Params(c)}, err
}
