package inspect

import (
	"encoding/json"
	"fmt"

	"assay/engine/bundle"
)

// Digest returns the digest of a file of the folder, as engine/shard computes
// it from all its bytes.
type Digest func(name string) (string, error)

// checkDigests reads every file whose digest the build wrote down.
func (c *check) checkDigests(digest Digest) {
	x := Finding{ID: "X10", Severity: Warning, Wanted: "the digests that assay build writes down", Consequence: "nothing was compared",
		Fix: "none needed for a folder that assay has not built"}
	raw, err := c.f.readPresent(bundle.ManifestName)
	var m bundle.Manifest
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	switch {
	case err != nil:
		x.Found = errorText(err)
	case len(m.Shards) == 0:
		x.Found = "no digest in it"
	}
	if x.Found != "" {
		c.add(x, bundle.ManifestName)
		return
	}
	x = Finding{ID: "X10", Severity: Error, Wanted: "the digest in " + bundle.ManifestName, Consequence: "bytes have changed since the build, or the file is another's",
		Fix: "copy or download it again, or build the bundle again"}
	for _, name := range sortedKeys(m.Shards) {
		if !c.f.hasFile(name) {
			y := x
			y.Found, y.Consequence = "missing", "its tensors are missing"
			c.add(y, name)
			continue
		}
		got, err := digest(name)
		switch y := x; {
		case err != nil:
			y.Found = errorText(cause(err))
			c.add(y, name)
		case got != m.Shards[name]:
			y.Found = "another digest"
			c.add(y, name)
		}
	}
	for _, s := range c.f.shards {
		if _, ok := m.Shards[s.name]; !ok {
			c.add(Finding{ID: "X10", Severity: Warning, Found: fmt.Sprintf("a file that %s does not name", bundle.ManifestName), Wanted: "the files of the build",
				Consequence: "it was added after the build, or renamed", Fix: "remove it if it is stale"}, s.name)
		}
	}
}
