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

	"github.com/go-json-experiment/json/jsontext"

	"assay/engine/checkpoint"
	"assay/engine/tensor"
)

const (
	indexName     = tensor.IndexFile
	configName    = "config.json"
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
	shares   bool // another file has a tensor of the same name as one of its
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
		err = f.parseConfig()
	}
	if err != nil {
		f.problems.add(Finding{ID: "S15", Severity: Error, Found: errorText(err), Wanted: "a JSON object that describes the model",
			Consequence: "no runtime loads the folder, and nothing can be checked against the model",
			Fix:         "copy config.json from the source"}, configName)
	}
}

// parseConfig reads config.json as Python does, which takes NaN and Infinity for
// numbers and of two members of one name the last.
func (f *Folder) parseConfig() error {
	if checkpoint.IsPointer(f.raw) {
		return checkpoint.ErrPointer
	}
	err := json.Unmarshal(f.raw, &f.config)
	if err != nil {
		plain, found := withoutNaN(f.raw)
		if !found || json.Unmarshal(plain, &f.config) != nil {
			return err
		}
		f.problems.add(Finding{ID: "S15", Severity: Warning, Found: "NaN or Infinity, which is no JSON", Wanted: "numbers",
			Consequence: "Python reads it, but other readers, assay's own among them, refuse the file", Fix: "write null, or a number, for it"}, configName)
		return nil
	}
	for _, name := range twice(f.raw) {
		f.problems.add(Finding{ID: "S09", Severity: Warning, Found: fmt.Sprintf("%q is there twice", clip(name)), Wanted: "each name once",
			Consequence: "Python takes the last of them, other readers the first or none, assay's own among them", Fix: "remove the one that is wrong"}, configName)
	}
	return nil
}

// notANumber is what Python takes for numbers and JSON does not know.
var notANumber = []string{"NaN", "-Infinity", "Infinity"}

// withoutNaN puts null for every such word that is no text, and says whether
// there is any.
func withoutNaN(raw []byte) (out []byte, found bool) {
	text := false
	for len(raw) > 0 {
		n := 1
		switch {
		case text && raw[0] == '\\':
			n = min(2, len(raw))
		case raw[0] == '"':
			text = !text
		case !text:
			for _, word := range notANumber {
				if bytes.HasPrefix(raw, []byte(word)) {
					n = len(word)
				}
			}
		}
		if n > 2 {
			out, found = append(out, "null"...), true
		} else {
			out = append(out, raw[:n]...)
		}
		raw = raw[n:]
	}
	return out, found
}

// either returns a text, or another where it is empty.
func either(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// twice returns the members of an object that are there more than once.
func twice(raw []byte) []string {
	d := jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	seen := map[string]int{}
	_ = members(d, func(name string) error { // encoding/json has read it
		seen[name]++
		return d.SkipValue()
	})
	maps.DeleteFunc(seen, func(_ string, n int) bool { return n == 1 })
	return sortedKeys(seen)
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
		if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
			err = fmt.Errorf("%s where an object of texts belongs, in %s", wrong.Value, either(wrong.Field, "the file"))
		}
	}
	if checkpoint.IsPointer(data) {
		err = checkpoint.ErrPointer
	}
	if err == nil && len(x.WeightMap) == 0 {
		err = errors.New("weight_map names no tensor")
	}
	if err != nil {
		f.problems.add(Finding{ID: "S03", Severity: Warning, Found: err.Error(), Wanted: "metadata, and weight_map from tensors to files",
			Consequence: "mlx-lm does not read the index, but sharded loading and other tools do",
			Fix:         "assay verify --fix writes it anew"}, indexName)
	}
	if err == nil {
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
	beyond := 0
	for _, p := range problems {
		if p.Kind == checkpoint.Beyond {
			beyond++
		} else {
			f.headerProblem(s, p)
		}
		if p.Kind == checkpoint.BadEntry || p.Kind == checkpoint.Beyond {
			bad[p.Tensor] = true
		}
	}
	if beyond > 0 {
		f.unreadable(s.name, "", fmt.Errorf("%d of %d tensors end after byte %d, the file's last: it is cut short", beyond, len(header.Entries), size))
	}
	for _, e := range header.Entries {
		old, twice := f.entries[e.Name]
		if twice {
			s.shares, old.shard.shares = true, true
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
