package inspect

import (
	"errors"
	"fmt"
	"testing"

	"assay/engine/bundle"
)

// A file is as it was built, or it is told.
func TestDigests(t *testing.T) {
	f := healthy(t, grid)
	n := f.shards()
	m := bundle.Manifest{Shards: map[string]string{}}
	of := func(name string) (string, error) {
		if f[name] == nil {
			return "", errors.New("unread")
		}
		return fmt.Sprintf("%x", f[name][len(f[name])-4:]), nil
	}
	for _, name := range n {
		m.Shards[name], _ = of(name)
	}
	put := func() {
		data, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		f[bundle.ManifestName] = data
	}
	put()
	o := Options{Digest: of, Sample: Sample{Seed: 1}}
	checkFindings(t, verify(t, f, o), nil)
	f[n[0]][len(f[n[0]])-1] ^= 1
	r := verify(t, f, o)
	checkFindings(t, r, one("X10", Error, n[0], "another digest"))
	if r.Verdicts[0].Loads {
		t.Error("a loader takes it")
	}
	o.Digest = nil
	checkFindings(t, verify(t, f, o), nil)
	o.Digest = func(string) (string, error) { return "", errors.New("unread") }
	checkFindings(t, verify(t, f, o), one("X10", Error, n[0], "unread"))
	o.Digest = of
	delete(m.Shards, n[0])
	m.Shards["x.safetensors"] = "0"
	put()
	checkFindings(t, verify(t, f, o), []wanted{{"X10", Error, "x.safetensors", "missing"}, {"X10", Warning, n[0], "does not name"}})
	for _, text := range []string{"{}", "{"} {
		f[bundle.ManifestName] = []byte(text)
		checkFindings(t, verify(t, f, o), one("X10", Warning, bundle.ManifestName, ""))
	}
	delete(f, bundle.ManifestName)
	checkFindings(t, verify(t, f, o), one("X10", Warning, bundle.ManifestName, "missing"))
}
