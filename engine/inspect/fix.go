package inspect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"time"

	"assay/engine/affine"
	"assay/engine/bundle"
	"assay/engine/tensor"
	"assay/engine/variant"
)

// FixedSuffix ends the names of repaired files. No loader's pattern and no
// hub's ends so, so they change nothing until they are moved.
const FixedSuffix = ".fixed"

// Fixed is a repaired file, to stand beside the one that it repairs.
type Fixed struct {
	Name string // of the file that it is to replace
	Data []byte
}

// Fix returns anew what metadata alone can repair: the index, and what
// config.json says of formats. A file that is as it should be is left out. The
// names in config.json are those of the loader, or of the runtime whose names
// the tensors have. It errs where a file cannot say what is stored, or would
// hide what is missing, and returns what else it can repair.
func Fix(f *Folder, o Options) ([]Fixed, error) {
	c := &check{f: f, o: o, jang: f.isJANG()}
	c.bindModel()
	o.Sample.Bytes = 0
	before := Verify(f, o)
	var out []Fixed
	var errs []error
	if hasAny(before, "S03", "X01") || f.index == nil && hasAny(before, "S02") {
		data, err := c.fixedIndex()
		if err == nil {
			out = append(out, Fixed{indexName, data})
		}
		errs = append(errs, err)
	}
	foreign := c.b != nil && o.Loader != nil && !o.Loader.reads(c.b.spelling)
	if foreign || c.b != nil && hasAny(before, "S06", "S07", "S08", "S09", "S15") {
		data, err := c.fixedConfig()
		switch {
		case err == nil && !sameText(data, f.raw):
			out = append(out, Fixed{configName, data})
		case err == nil && before.Worst() > Note:
			err = fmt.Errorf("inspect: %s gives the right formats already, and the rest is not for a tool to decide", configName)
		}
		errs = append(errs, err)
	}
	return out, errors.Join(errs...)
}

// sameText says whether two values are the same to the digit, but for order and
// spaces.
func sameText(a, b []byte) bool {
	var x, y any
	for _, v := range []struct {
		raw []byte
		to  *any
	}{{a, &x}, {b, &y}} {
		d := json.NewDecoder(bytes.NewReader(v.raw))
		d.UseNumber()
		if d.Decode(v.to) != nil {
			return false
		}
	}
	return reflect.DeepEqual(x, y)
}

// hasAny says whether a check that a fixed file may satisfy found anything.
func hasAny(r Result, ids ...string) bool {
	for _, x := range r.Findings {
		for _, id := range ids {
			if x.ID == id {
				return true
			}
		}
	}
	return false
}

// fixedIndex writes the index from the headers.
func (c *check) fixedIndex() ([]byte, error) {
	var x struct {
		Metadata  map[string]json.RawMessage `json:"metadata"`
		WeightMap map[string]string          `json:"weight_map"`
	}
	x.Metadata, x.WeightMap = map[string]json.RawMessage{}, map[string]string{}
	if c.f.index != nil {
		for k, v := range c.f.index.metadata {
			x.Metadata[k] = v
		}
		for _, name := range sortedKeys(c.f.index.weightMap) {
			if file := c.f.index.weightMap[name]; !c.f.hasFile(file) && c.f.entries[name] == nil {
				return nil, fmt.Errorf("inspect: no index can be made: %s is missing, where tensor %q should be", clip(file), clip(name))
			}
		}
	}
	total := int64(0)
	for _, s := range c.f.shards {
		if s.broken {
			return nil, fmt.Errorf("inspect: no index can be made: the header of %s is broken", s.name)
		}
	}
	if len(c.f.entries) == 0 {
		return nil, fmt.Errorf("inspect: no index can be made: there is no tensor")
	}
	for name, e := range c.f.entries {
		if e.bad || e.twice {
			return nil, fmt.Errorf("inspect: no index can be made: tensor %q of %s is broken or there twice", clip(name), e.shard.name)
		}
		total += e.Bytes()
		x.WeightMap[name] = e.shard.name
	}
	x.Metadata["total_size"] = json.RawMessage(fmt.Sprint(total))
	data, err := json.MarshalIndent(x, "", "  ")
	return append(data, '\n'), err
}

// fixedConfig writes config.json with an entry for every quantized module, and
// without what says that the weights are upstream's.
func (c *check) fixedConfig() ([]byte, error) {
	l := c.loaderOf()
	if c.o.Loader != nil {
		l = *c.o.Loader
	}
	if !l.reads(c.b.spelling) {
		return nil, fmt.Errorf("inspect: the tensors have the names of %s, which %s does not read: no config can repair that", c.b.spelling, l.Name)
	}
	if c.upstream {
		return nil, fmt.Errorf("inspect: an upstream checkpoint has no entries that could be repaired")
	}
	var steps []variant.Step
	apart := false
	for _, m := range c.b.modules {
		for _, p := range m.params {
			s := variant.Step{Param: *p}
			if m.broken {
				return nil, fmt.Errorf("inspect: %s is broken, and no config can repair it", m.stem)
			}
			if m.found.quantized() {
				f, ok := m.found.format()
				if !ok {
					return nil, fmt.Errorf("inspect: %s is %s, which assay does not write", m.stem, m.found.Format)
				}
				if a, ok := f.(affine.Format); ok {
					a.F16 = false // one entry, whatever the scales
					f = a
				}
				s.Format = f
			}
			steps = append(steps, s)
			apart = apart || p.Class == tensor.RoutedExpert && !m.stacked
		}
	}
	layout, err := bundle.NewLayout(steps, bundle.Options{Runtime: c.namesOf(l), PerExpert: apart})
	if err != nil {
		return nil, err
	}
	return layout.Config(c.f.raw)
}

// Overlay returns a folder in which fixed files stand in place of those that
// they repair.
func Overlay(fsys fs.FS, files []Fixed) fs.FS {
	o := overlay{fsys, map[string][]byte{}}
	for _, f := range files {
		o.files[f.Name] = f.Data
	}
	return o
}

type overlay struct {
	fs.FS
	files map[string][]byte
}

func (o overlay) Open(name string) (fs.File, error) {
	if data, ok := o.files[name]; ok {
		return &memoryFile{bytes.NewReader(data), name, int64(len(data))}, nil
	}
	return o.FS.Open(name)
}

// ReadDir lists the folder with the fixed files in it.
func (o overlay) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := fs.ReadDir(o.FS, name)
	there := map[string]bool{}
	for _, e := range list {
		there[e.Name()] = true
	}
	for _, n := range sortedKeys(o.files) {
		if name == "." && !there[n] {
			list = append(list, fs.FileInfoToDirEntry(&memoryFile{name: n, size: int64(len(o.files[n]))}))
		}
	}
	return list, err
}

// memoryFile is a file and what is known of it.
type memoryFile struct {
	*bytes.Reader
	name string
	size int64
}

func (m *memoryFile) Stat() (fs.FileInfo, error) { return m, nil }
func (m *memoryFile) Close() error               { return nil }
func (m *memoryFile) Name() string               { return strings.TrimPrefix(m.name, "./") }
func (m *memoryFile) Size() int64                { return m.size }
func (m *memoryFile) Mode() fs.FileMode          { return 0o444 }
func (m *memoryFile) ModTime() time.Time         { return time.Time{} }
func (m *memoryFile) IsDir() bool                { return false }
func (m *memoryFile) Sys() any                   { return nil }
