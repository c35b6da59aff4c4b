// Package synth writes checkpoints of seeded weights: true names, shapes and
// formats, statistics like those of a trained model, and no training. What a
// model's parameters are the caller says; synth knows their classes only.
package synth

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"assay/engine/shard"
	"assay/engine/tensor"
)

const configName = "config.json"

// Spec says what to write. All of it determines the bytes.
type Spec struct {
	Config     []byte         // config.json
	Params     []tensor.Param // in the order in which shards are to hold them
	Seed       uint64
	ShardBytes int64             // of tensors in one file
	Files      map[string][]byte // others, by name, such as tokenizer.json
}

// Plan is a Spec thought through: what will be written, to the byte.
type Plan struct {
	spec  Spec
	files []shard.File
	jobs  [][]job // of each file, the largest first
	key   string
}

// job is a parameter to be drawn: the tensors of its file that it fills.
type job struct {
	tensor.Param
	law         law
	experts     int // of a table
	codes, grid int // grid is -1 where there are no scales
}

// New plans a Spec and draws nothing. It errs on a parameter of which it
// doesn't know how weights are distributed or stored.
func New(s Spec) (*Plan, error) {
	if s.ShardBytes <= 0 {
		return nil, fmt.Errorf("synth: shards of %d bytes, want at least 1", s.ShardBytes)
	}
	for _, name := range []string{configName, tensor.IndexFile} {
		if _, ok := s.Files[name]; ok {
			return nil, fmt.Errorf("synth: %s is no other file", name)
		}
	}
	p := &Plan{spec: s, key: s.key()}
	jobs := map[string]job{} // by the tensor of the codes
	var groups [][]tensor.Info
	experts := tableSizes(s.Params)
	for _, param := range s.Params {
		j, err := newJob(param, experts)
		if err != nil {
			return nil, err
		}
		jobs[param.Name] = j
		groups = append(groups, param.Stored())
	}
	p.files = shard.Cut(groups, s.ShardBytes)
	for _, f := range p.files {
		p.jobs = append(p.jobs, arrange(f, jobs))
	}
	return p, nil
}

// arrange sorts a file's tensors so that each is aligned to its elements, as
// the safetensors library does, and returns what is to be drawn.
func arrange(f shard.File, jobs map[string]job) []job {
	order := slices.Clone(f.Tensors)
	slices.SortStableFunc(f.Tensors, func(a, b tensor.Info) int { return cmp.Compare(b.DType.Size(), a.DType.Size()) })
	place := map[string]int{}
	for k, t := range f.Tensors {
		place[t.Name] = k
	}
	var out []job
	for i, t := range order {
		j, ok := jobs[t.Name]
		if !ok {
			continue // scales, which follow their codes
		}
		j.codes, j.grid = place[t.Name], -1
		if j.Native != tensor.Plain {
			j.grid = place[order[i+1].Name]
		}
		out = append(out, j)
	}
	slices.SortStableFunc(out, func(a, b job) int { return cmp.Compare(b.StoredBytes(), a.StoredBytes()) })
	return out
}

// tableSizes returns how many experts each router has, by its prefix.
func tableSizes(params []tensor.Param) map[string]int {
	out := map[string]int{}
	for _, p := range params {
		if p.Class == tensor.Router && p.DType != tensor.I64 && len(p.Shape) == 2 {
			out[prefix(p.Name)] = p.Shape[0]
		}
	}
	return out
}

// prefix returns a name up to its last dot.
func prefix(name string) string { return name[:strings.LastIndexByte(name, '.')+1] }

func newJob(p tensor.Param, experts map[string]int) (job, error) {
	j := job{Param: p}
	if slices.ContainsFunc(p.Shape, func(n int) bool { return n <= 0 }) {
		return j, fmt.Errorf("synth: %s: an empty parameter", p.Info)
	}
	if p.DType == tensor.I64 {
		j.experts = experts[prefix(p.Name)]
		if len(p.Shape) != 2 || p.Shape[1] > j.experts || p.Native != tensor.Plain {
			return j, fmt.Errorf("synth: %s: a table of distinct experts, of which the router has %d", p.Info, j.experts)
		}
		return j, nil
	}
	var err error
	if j.law, err = lawOf(p); err != nil {
		return j, err
	}
	switch {
	case p.Native == tensor.FP4 && (len(p.Shape) != 2 || p.Shape[1]%tensor.FP4Group != 0):
		return j, fmt.Errorf("synth: %s: FP4 needs rows of a multiple of %d", p.Info, tensor.FP4Group)
	case p.Native == tensor.FP8 && len(p.Shape) != 2:
		return j, fmt.Errorf("synth: %s: FP8 needs a matrix", p.Info)
	case p.Native == tensor.Plain && p.DType != tensor.BF16 && p.DType != tensor.F32:
		return j, fmt.Errorf("synth: %s: want BF16 or F32", p.Info)
	case !slices.Contains([]tensor.Native{tensor.Plain, tensor.FP4, tensor.FP8}, p.Native):
		return j, fmt.Errorf("synth: %s: stored as %q, want FP4, FP8 or its own dtype", p.Info, p.Native)
	}
	return j, nil
}

// key returns the digest of all that determines the bytes, with the version of
// the draws.
func (s Spec) key() string {
	h := sha256.New()
	sized := func(b []byte) {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	io.WriteString(h, version)
	fmt.Fprintf(h, "%d %d %d\n", s.Seed, s.ShardBytes, len(s.Params))
	for _, p := range s.Params {
		fmt.Fprintf(h, "%q %s %d %s %s\n", p.Name, p.DType, p.Shape, p.Class, p.Native)
	}
	sized(s.Config)
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		sized([]byte(name))
		sized(s.Files[name])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// metadata marks every file as one of this build.
func (p *Plan) metadata() map[string]string {
	return map[string]string{"format": "pt", "assay_synth": p.key}
}

// TensorBytes returns the bytes of all tensors, which is the index's total_size.
func (p *Plan) TensorBytes() int64 {
	n := int64(0)
	for _, f := range p.files {
		n += f.Bytes()
	}
	return n
}

// FileBytes returns the bytes of all files of the folder, headers, index,
// config.json and the others counted.
func (p *Plan) FileBytes() int64 {
	n := p.TensorBytes() + int64(len(shard.Index(p.files, 0))) + int64(len(p.spec.Config))
	for _, f := range p.files {
		n += int64(len(f.Header(p.metadata())))
	}
	for _, data := range p.spec.Files {
		n += int64(len(data))
	}
	return n
}

// Shards returns the number of safetensors files.
func (p *Plan) Shards() int { return len(p.files) }
