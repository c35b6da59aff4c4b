package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"assay/engine/shard"
)

// Recheck holds a finished bundle of this job against what the job would write:
// every shard against its digest in the manifest, which reads all of them, and
// every small file byte for byte. A small file that is missing or differs, such
// as a model card that has figures now, is written again; a shard that differs
// is an error.
func (j *Job) Recheck(ctx context.Context) error {
	data, err := os.ReadFile(filepath.Join(j.Dir, ManifestName))
	var m Manifest
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		return fmt.Errorf("bundle: %s: the shards are there, but nothing to hold them against: %w; remove the folder to build it again", j.Dir, err)
	}
	p := Progress{Stage: "verify", Total: j.Layout.Bytes()}
	for _, f := range j.Layout.Files(j.ShardBytes) {
		got, err := shard.Digest(ctx, filepath.Join(j.Dir, f.Name))
		if err != nil {
			return err
		}
		if want := m.Shards[f.Name]; got != want {
			return fmt.Errorf("bundle: %s: the digest of %s is %.16s, %s has %.16s: it is not what was written; remove the folder to build it again",
				j.Dir, f.Name, got, ManifestName, want)
		}
		if p.Done += f.Bytes(); j.Progress != nil {
			j.Progress(p)
		}
	}
	small, err := j.Files(m.Shards)
	if err != nil {
		return err
	}
	for _, f := range small {
		if there, err := os.ReadFile(filepath.Join(j.Dir, f.Name)); err == nil && bytes.Equal(there, f.Data) {
			continue
		}
		if err := shard.Replace(j.Dir, f.Name, f.Data); err != nil {
			return err
		}
	}
	return nil
}
