package checkpoint

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"assay/engine/tensor"
)

// index says which shards there are and which tensor each holds.
type index struct {
	shards  []string          // sorted
	shardOf map[string]string // nil where there is no index
	size    int64             // of all tensors in bytes, or -1 if not said
}

// readIndex finds the shards of a folder, of which present are the files.
func readIndex(from folder, present []string) (index, error) {
	if !slices.Contains(present, tensor.IndexFile) {
		return soleFile(from, present)
	}
	data, err := from.read(tensor.IndexFile)
	if err != nil {
		return index{}, err
	}
	x, err := parseIndex(data)
	if err != nil {
		return index{}, fmt.Errorf("%s: %w", from.path(tensor.IndexFile), err)
	}
	return x, x.checkPresent(from, present)
}

// soleFile is the index of a folder without one.
func soleFile(from folder, present []string) (index, error) {
	var found []string
	for _, name := range present {
		if ok, _ := path.Match("model*.safetensors", name); ok {
			found = append(found, name)
		}
	}
	if len(found) != 1 {
		return index{}, fmt.Errorf("%s is missing, and %d files are called model*.safetensors, want 1", from.path(tensor.IndexFile), len(found))
	}
	return index{shards: found, size: -1}, nil
}

func (x index) checkPresent(from folder, present []string) error {
	there := map[string]bool{}
	for _, name := range present {
		there[name] = true
	}
	var missing []string
	for _, shard := range x.shards {
		if !there[shard] {
			missing = append(missing, shard)
		}
	}
	const show = 3
	switch n := len(missing); {
	case n == 0:
		return nil
	case n > show:
		return fmt.Errorf("%s: %d shards are missing: %s and %d more", from.path(tensor.IndexFile), n, strings.Join(missing[:show], ", "), n-show)
	default:
		return fmt.Errorf("%s: %d of %d shards are missing: %s", from.path(tensor.IndexFile), n, len(x.shards), strings.Join(missing, ", "))
	}
}

func parseIndex(data []byte) (index, error) {
	x := index{size: -1}
	p := parser{jsontext.NewDecoder(bytes.NewBuffer(data))}
	err := p.object(func(key string) error {
		switch key {
		case "metadata":
			return p.indexMetadata(&x)
		case "weight_map":
			return p.weightMap(&x)
		}
		return p.dec.SkipValue()
	})
	switch {
	case err != nil:
		return x, plainError(err)
	case len(bytes.TrimSpace(data[p.dec.InputOffset():])) != 0:
		return x, fmt.Errorf("more than spaces after the closing }")
	case len(x.shardOf) == 0:
		return x, fmt.Errorf("weight_map names no tensor")
	}
	return x, nil
}

func (p parser) indexMetadata(x *index) error {
	return p.object(func(key string) (err error) {
		if key != "total_size" {
			return p.dec.SkipValue()
		}
		if x.size, err = p.number(); err != nil {
			return fmt.Errorf("total_size: %w", err)
		}
		return nil
	})
}

func (p parser) weightMap(x *index) error {
	x.shardOf = map[string]string{}
	shards := map[string]string{} // one string for all tensors of a shard
	err := p.object(func(name string) error {
		shard, err := p.text()
		if err != nil {
			return fmt.Errorf("weight_map: %q: %w", name, err)
		}
		if _, ok := shards[shard]; !ok {
			if !plainName(shard) || !strings.HasSuffix(shard, ".safetensors") {
				return fmt.Errorf("weight_map: %q is in %.100q, want a file name that ends with .safetensors", name, shard)
			}
			shards[shard] = shard
			x.shards = append(x.shards, shard)
		}
		x.shardOf[name] = shards[shard]
		return nil
	})
	slices.Sort(x.shards)
	return err
}
