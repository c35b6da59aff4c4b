// Package checkpoint reads a folder of safetensors files as stored: names,
// types, shapes and bytes, with FP8 and FP4 blocks and their scales side by
// side. It decodes nothing and knows no model; that is left to the stages
// that wrap a Checkpoint.
package checkpoint

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"assay/engine/tensor"
)

const (
	configName = "config.json"
)

// Checkpoint is a folder of safetensors files, as stored. It is a
// tensor.Source and serves many goroutines.
type Checkpoint struct {
	from    folder
	config  []byte
	names   []string
	tensors map[string]tensor.Tensor
	bytes   int64
	digest  func() (string, error)
	print   func() (string, error) // fingerprint
	closed  atomic.Bool
}

// Open opens the checkpoint in a folder: config.json, and the shards that
// model.safetensors.index.json names or, without an index, the only file
// called model*.safetensors. Safetensors files that the index does not name
// are left alone.
//
// It reads every header and no weight: the files are mapped into memory read
// only, and the system reads a page when it is first touched. They must stay
// as they are until Close; a file that is cut short under its mapping ends the
// process when a lost page is touched.
//
// It errs on whatever does not hold together: see ParseHeader for one file;
// beyond it every tensor must lie in the shard that the index says, and there
// only.
func Open(dir string) (*Checkpoint, error) {
	from, err := openFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return open(from)
}

// New returns the checkpoint whose files are in memory already, by their names
// in the folder, config.json among them. It holds them to the same rules as
// Open, copies nothing, and keeps files: the caller must not change them.
func New(files map[string][]byte) (*Checkpoint, error) { return open(memory(files)) }

func open(from folder) (*Checkpoint, error) {
	c := &Checkpoint{from: from, tensors: map[string]tensor.Tensor{}}
	c.digest, c.print = sync.OnceValues(c.sum), sync.OnceValues(c.sample)
	if err := c.load(); err != nil {
		from.close()
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return c, nil
}

func (c *Checkpoint) load() error {
	present, err := c.from.list()
	if err != nil {
		return err
	}
	if c.config, err = c.from.read(configName); err != nil {
		return err
	}
	want, err := readIndex(c.from, present)
	if err != nil {
		return err
	}
	for _, shard := range want.shards {
		if err := c.add(shard, want); err != nil {
			return fmt.Errorf("%s: %w", c.from.path(shard), err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want.shardOf)) {
		if _, ok := c.tensors[name]; !ok {
			return fmt.Errorf("%s: no tensor %q, which %s places there", c.from.path(want.shardOf[name]), name, tensor.IndexFile)
		}
	}
	if want.size >= 0 && want.size != c.bytes {
		return fmt.Errorf("%s: total_size %d, but the tensors have %d bytes", c.from.path(tensor.IndexFile), want.size, c.bytes)
	}
	slices.Sort(c.names)
	return nil
}

// add takes in one shard.
func (c *Checkpoint) add(shard string, want index) error {
	file, err := c.from.open(shard)
	if err != nil {
		return err
	}
	header, err := ParseHeader(file)
	if err != nil {
		return err
	}
	if err := secondReader(file, header); err != nil {
		return err
	}
	for _, e := range header.Entries {
		if claim, ok := want.shardOf[e.Name]; want.shardOf != nil && claim != shard {
			if !ok {
				return fmt.Errorf("tensor %q is not in %s", e.Name, tensor.IndexFile)
			}
			return fmt.Errorf("tensor %q, which %s places in %s", e.Name, tensor.IndexFile, claim)
		}
		c.tensors[e.Name] = tensor.Tensor{Info: e.Info, Data: header.Data(file, e)}
		c.names = append(c.names, e.Name)
		c.bytes += e.End - e.Begin
	}
	return nil
}

// Names returns the names of all tensors, sorted. The caller must not change it.
func (c *Checkpoint) Names() []string { return c.names }

// Info describes a tensor without touching its bytes.
func (c *Checkpoint) Info(name string) (tensor.Info, error) {
	t, ok := c.tensors[name]
	if !ok {
		return tensor.Info{}, fmt.Errorf("checkpoint: no tensor %q", name)
	}
	return t.Info, nil
}

// Tensor returns a tensor whose Data is a view of the file: not copied, not
// necessarily aligned, read only, valid until Close.
func (c *Checkpoint) Tensor(name string) (tensor.Tensor, error) {
	t, ok := c.tensors[name]
	switch {
	case !ok:
		return tensor.Tensor{}, fmt.Errorf("checkpoint: no tensor %q", name)
	case c.closed.Load():
		return tensor.Tensor{}, fmt.Errorf("checkpoint: tensor %q of a closed checkpoint", name)
	}
	return t, nil
}

// Prefetch says that a tensor's bytes are needed soon: the system begins to read
// them where they are not in memory.
func (c *Checkpoint) Prefetch(name string) {
	if t, ok := c.tensors[name]; ok && !c.closed.Load() {
		c.from.prefetch(t.Data)
	}
}

// Release says that a tensor's bytes are not needed soon: the pages of its file
// that only it lies on leave the process's memory. They come back when touched.
func (c *Checkpoint) Release(name string) {
	if t, ok := c.tensors[name]; ok && !c.closed.Load() {
		c.from.release(t.Data)
	}
}

// Config returns the bytes of config.json. The caller must not change them.
func (c *Checkpoint) Config() []byte { return c.config }

// File returns the bytes of another small file of the folder, such as
// tokenizer.json, read when asked for. The caller must not change them. A file
// that is not there is fs.ErrNotExist; one of more than 256 MB is refused.
func (c *Checkpoint) File(name string) ([]byte, error) {
	if !plainName(name) {
		return nil, fmt.Errorf("checkpoint: %q is not a plain file name", name)
	}
	data, err := c.from.read(name)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return data, nil
}

// List returns the names of all regular files of the folder, sorted.
func (c *Checkpoint) List() ([]string, error) {
	names, err := c.from.list()
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !c.from.regular(n) })
	slices.Sort(names)
	return names, nil
}

// TotalBytes returns the bytes of all tensors as stored, headers not counted.
func (c *Checkpoint) TotalBytes() int64 { return c.bytes }

// Close gives back the mappings. Every view that Tensor returned is invalid
// from then on; touching one ends the process.
func (c *Checkpoint) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	if err := c.from.close(); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// plainName says whether name is a file of the folder itself.
func plainName(name string) bool {
	return filepath.IsLocal(name) && name != "." && !strings.ContainsAny(name, `/\:`) && !strings.ContainsRune(name, 0)
}
