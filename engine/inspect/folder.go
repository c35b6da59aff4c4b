// Package inspect says what a folder of weights is and what is wrong with it,
// from its headers, its config and a bounded sample of its weights, without
// loading it. It knows the formats, the names that runtimes use and what their
// loaders do; the model's own parameters are a function of its config, which
// the caller gives. Whatever is broken in a folder is a finding, never a failure
// of the tool.
//
// Source of the checks and of what loaders do: the MLX format specification,
// sections 3, 4 and 1.7.
package inspect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"assay/engine/checkpoint"
	"assay/engine/tensor"
)

const (
	configName    = "config.json"
	indexName     = "model.safetensors.index.json"
	shardPattern  = "model*.safetensors" // what mlx-lm loads
	smallFile     = 256 << 20            // bytes of a JSON file, at most
	headersBudget = 1 << 30              // bytes of all headers, at most
)

// Params returns the parameters of the model that a config.json describes.
type Params func(config []byte) ([]tensor.Param, error)

// ErrNoWeights is what Open returns for a folder without safetensors files.
var ErrNoWeights = errors.New("no safetensors file")

// Folder is a folder of weights, as far as it can be read. It is not safe for
// use by several goroutines.
type Folder struct {
	fsys     fs.FS
	files    []string // all of the folder, sorted
	shards   []*shardFile
	entries  map[string]*entry // by tensor name; of two, the one that is loaded last
	names    []string          // of the tensors, sorted
	index    *index            // nil where there is none that can be read
	config   map[string]json.RawMessage
	raw      []byte   // config.json itself
	problems findings // from reading
}

// shardFile is one safetensors file.
type shardFile struct {
	name     string
	size     int64
	metadata map[string]string
	broken   bool // its header was not read to the end
}

// entry is one tensor as stored.
type entry struct {
	tensor.Info
	shard  *shardFile
	offset int64 // in the file
	bad    bool  // the header says something impossible of it
	twice  bool  // another file, or the same, has one of this name
}

// index is model.safetensors.index.json.
type index struct {
	metadata  map[string]json.RawMessage
	weightMap map[string]string
	files     map[string]bool // that weightMap names; made when needed
}

// Open reads headers, index and config of a folder. It errs if the folder
// cannot be listed or holds no safetensors file, with a hint where it holds
// GGUF; all else that is wrong becomes findings.
func Open(fsys fs.FS) (*Folder, error) {
	list, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("inspect: %w", err)
	}
	f := &Folder{fsys: fsys, entries: map[string]*entry{}}
	for _, e := range list {
		f.files = append(f.files, e.Name())
	}
	slices.Sort(f.files)
	if err := f.checkKind(); err != nil {
		return nil, fmt.Errorf("inspect: %w", err)
	}
	f.readConfig()
	f.readIndex()
	f.readShards()
	f.names = slices.Sorted(maps.Keys(f.entries))
	return f, nil
}

// GGUFHint says what to do with a GGUF file.
const GGUFHint = "GGUF is llama.cpp's format, which MLX does not load and assay does not read; " +
	"build a bundle from the checkpoint that it was made from"

// checkKind errs on a folder that is not one of safetensors.
func (f *Folder) checkKind() error {
	has := func(suffix string) bool {
		return slices.ContainsFunc(f.files, func(n string) bool { return strings.HasSuffix(strings.ToLower(n), suffix) })
	}
	switch {
	case has(".safetensors"):
		return nil
	case has(".gguf"):
		return fmt.Errorf("a folder of GGUF files: %s", GGUFHint)
	case has(".bin") || has(".pt") || has(".pth"):
		return fmt.Errorf("%w, but PyTorch files, which assay does not read", ErrNoWeights)
	case has(".npz"):
		return fmt.Errorf("%w, but .npz files, which mlx-lm no longer loads", ErrNoWeights)
	case f.hasFile(configName):
		return fmt.Errorf("%w: a config without weights, see assay plan", ErrNoWeights)
	}
	return ErrNoWeights
}

func (f *Folder) hasFile(name string) bool {
	_, ok := slices.BinarySearch(f.files, name)
	return ok
}

// open opens a file that is one: opening a pipe would wait for ever.
func (f *Folder) open(name string) (fs.File, int64, error) {
	info, err := fs.Stat(f.fsys, name)
	if err != nil {
		return nil, 0, cause(err)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, errors.New("not a regular file")
	}
	file, err := f.fsys.Open(name)
	if err != nil {
		return nil, 0, cause(err)
	}
	return file, info.Size(), nil
}

// cause returns an error without the path that the caller prints.
func cause(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	return err
}

// read returns a small file.
func (f *Folder) read(name string) ([]byte, error) {
	file, size, err := f.open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if size > smallFile {
		return nil, fmt.Errorf("%d bytes, want at most %d", size, smallFile)
	}
	var b bytes.Buffer
	b.Grow(int(size) + bytes.MinRead)
	if _, err := b.ReadFrom(io.LimitReader(file, smallFile)); err != nil {
		return nil, cause(err)
	}
	return b.Bytes(), nil
}

// readPresent is read for files that the folder need not have.
func (f *Folder) readPresent(name string) ([]byte, error) {
	if !f.hasFile(name) {
		return nil, fs.ErrNotExist
	}
	return f.read(name)
}

// readObject reads a JSON file into v, and says whether it is there. Values of a
// wrong type are left out.
func readObject(read func(string) ([]byte, error), name string, v any) (ok bool) {
	data, err := read(name)
	if err != nil {
		return false
	}
	wrong := (*json.UnmarshalTypeError)(nil)
	err = json.Unmarshal(data, v)
	return err == nil || errors.As(err, &wrong)
}

func (f *Folder) readConfig() {
	raw, err := f.read(configName)
	if err == nil {
		f.raw = raw
		err = json.Unmarshal(raw, &f.config)
	}
	if err != nil {
		f.problems.add(Finding{ID: "S15", Severity: Error, Found: errorText(err), Wanted: "a JSON object that describes the model",
			Consequence: "no runtime loads the folder, and nothing can be checked against the model",
			Fix:         "copy config.json from the source"}, configName)
	}
}

func errorText(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "missing"
	}
	return err.Error()
}

func (f *Folder) readIndex() {
	if !f.hasFile(indexName) {
		return
	}
	var x struct {
		Metadata  map[string]json.RawMessage `json:"metadata"`
		WeightMap map[string]string          `json:"weight_map"`
	}
	data, err := f.read(indexName)
	if err == nil {
		err = json.Unmarshal(data, &x)
	}
	if err == nil && len(x.WeightMap) == 0 {
		err = errors.New("weight_map names no tensor")
	}
	if err != nil {
		f.problems.add(Finding{ID: "S03", Severity: Warning, Found: err.Error(), Wanted: "metadata, and weight_map from tensors to files",
			Consequence: "mlx-lm does not read the index, but sharded loading and other tools do",
			Fix:         "assay verify --fix writes it anew"}, indexName)
	}
	if len(x.WeightMap) > 0 {
		f.index = &index{metadata: x.Metadata, weightMap: x.WeightMap}
	}
}

// shardNames returns the safetensors files that belong to the model: those that
// mlx-lm loads, and any other that the index names or, where there is none of
// either, all.
func (f *Folder) shardNames() []string {
	var out, others []string
	for _, n := range f.files {
		if ok, _ := path.Match(shardPattern, n); ok {
			out = append(out, n)
		} else if strings.HasSuffix(n, ".safetensors") {
			others = append(others, n)
		}
	}
	named := map[string]bool{}
	if f.index != nil {
		for _, n := range f.index.weightMap {
			named[n] = true
		}
	}
	for _, n := range others {
		if len(out) == 0 || named[n] {
			f.problems.add(Finding{ID: "S02", Severity: Error, Found: "a name that does not match " + shardPattern, Wanted: "model-00001-of-000NN.safetensors",
				Consequence: "mlx-lm does not see the file, and its tensors are missing", Fix: "rename it, and in the index too"}, n)
			named[n] = true
		}
	}
	for _, n := range others {
		if named[n] {
			out = append(out, n)
		}
	}
	return out
}

func (f *Folder) readShards() {
	budget := int64(headersBudget)
	for _, name := range f.shardNames() {
		s := &shardFile{name: name}
		f.shards = append(f.shards, s)
		if budget <= 0 {
			s.broken = true
			f.unreadable(name, "", fmt.Errorf("left unread: the headers before it have over %d bytes", headersBudget))
			continue
		}
		budget -= f.readShard(s)
	}
}

// readShard reads one header and returns its bytes.
func (f *Folder) readShard(s *shardFile) int64 {
	file, size, err := f.open(s.name)
	if err != nil {
		s.broken = true
		f.unreadable(s.name, "", err)
		return 0
	}
	defer file.Close()
	s.size = size
	at, ok := file.(io.ReaderAt)
	if !ok {
		at = sequential{f, s.name}
	}
	header, problems := checkpoint.ScanHeader(at, size)
	s.metadata = header.Metadata
	bad := map[string]bool{}
	for _, p := range problems {
		if p.Kind == checkpoint.Unreadable {
			s.broken = true
			f.unreadable(s.name, "", p.Err)
			return header.Bytes() // of what was read before it nothing is sure
		}
	}
	for _, p := range problems {
		f.headerProblem(s, p)
		if p.Kind == checkpoint.BadEntry || p.Kind == checkpoint.Beyond {
			bad[p.Tensor] = true
		}
	}
	for _, e := range header.Entries {
		old, twice := f.entries[e.Name]
		if twice {
			f.problems.add(Finding{ID: "S02", Severity: Error, Found: fmt.Sprintf("in %s and in %s", old.shard.name, s.name), Wanted: "one place",
				Consequence: "which of the two is loaded depends on the order of the files",
				Fix:         "remove the file that is stale"}, e.Name)
		}
		f.entries[e.Name] = &entry{Info: e.Info, shard: s, offset: header.Offset(e), bad: bad[e.Name], twice: twice}
	}
	return header.Bytes()
}

func (f *Folder) headerProblem(s *shardFile, p checkpoint.Problem) {
	switch p.Kind {
	case checkpoint.Layout:
		where := p.Tensor
		if where == "" {
			where = s.name
		}
		f.problems.add(Finding{ID: "S01", Severity: Warning, Found: p.Err.Error(), Wanted: "tensors side by side",
			Consequence: "MLX loads it, but stricter readers, assay's own among them, refuse the file",
			Fix:         "write the file anew"}, where)
	case checkpoint.BadMetadata:
		f.unreadable(s.name, "__metadata__", p.Err)
	default:
		f.unreadable(s.name, p.Tensor, p.Err)
	}
}

func (f *Folder) unreadable(file, name string, err error) {
	where, found := file, errorText(err)
	if name != "" {
		where, found = name, file+": "+found
	}
	f.problems.add(Finding{ID: "S01", Severity: Error, Found: found, Wanted: "a header as safetensors has it",
		Consequence: "MLX refuses the file", Fix: "copy or download it again, or build the bundle again"}, where)
}

// sequential reads a file that has no ReadAt from its start.
type sequential struct {
	f    *Folder
	name string
}

func (s sequential) ReadAt(p []byte, off int64) (int, error) {
	file, _, err := s.f.open(s.name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	if _, err := io.CopyN(io.Discard, file, off); err != nil {
		return 0, err
	}
	return io.ReadFull(file, p)
}
