package inspect

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"

	"assay/engine/tensor"
)

// Sample says how many weights are read, and which.
type Sample struct {
	Bytes int64  // at most; 0 is none
	Seed  uint64 // the same seed reads the same rows
}

// DefaultSample is what the commands take.
const DefaultSample = 64 << 20

// Sampled is what was read.
type Sampled struct {
	Matrices int        `json:"matrices"`
	Rows     int        `json:"rows"`
	Weights  int64      `json:"weights"`
	Bytes    int64      `json:"bytes"`
	Errors   []RowError `json:"errors,omitempty"` // against the source
}

const (
	expertsEach = 6    // experts of a layer and projection that are sampled at least
	expertsAll  = 2000 // experts that are sampled, where there are more
	rowsEach    = 3    // rows of a matrix
	entriesEach = 256  // rows of a token table, which are short
)

// unit is a matrix of which rows are read: a module, or one expert of a stack.
type unit struct {
	m      *module
	expert int // in m.params
	rows   []int
}

func (u unit) param() *tensor.Param { return u.m.params[u.expert] }

// name says which matrix a unit is, for a finding.
func (u unit) name() string {
	if u.m.stacked {
		return fmt.Sprintf("%s[%d]", u.m.stem, u.expert)
	}
	return u.m.stem
}

// rowsOf returns the rows of a parameter: all dimensions but the last.
func rowsOf(p *tensor.Param) (rows, cols int) {
	cols = p.Shape[len(p.Shape)-1]
	rows = 1
	for _, d := range p.Shape[:len(p.Shape)-1] {
		rows *= d
	}
	return rows, cols
}

// sampleUnits chooses matrices and rows: every module, but of the experts of a
// layer a few, in an order in which any beginning is a fair sample.
func sampleUnits(modules []*module, seed uint64) []unit {
	r := rand.New(rand.NewPCG(seed, 1))
	experts := map[string][]unit{}
	var out []unit
	for _, m := range modules {
		if m.broken || m.weight == nil || len(m.param().Shape) == 0 || m.param().Elements() == 0 {
			continue
		}
		for e, p := range m.params {
			u := unit{m: m, expert: e}
			if p.Class != tensor.RoutedExpert {
				out = append(out, u)
				continue
			}
			k := stackOf(p)
			experts[k] = append(experts[k], u)
		}
	}
	each := max(expertsEach, expertsAll/max(1, len(experts)))
	for _, k := range sortedKeys(experts) {
		all := experts[k]
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		out = append(out, all[:min(each, len(all))]...)
	}
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	for i := range out {
		out[i].rows = sampleRows(r, out[i].param())
	}
	return out
}

// sampleRows chooses rows, each as likely as any other.
func sampleRows(r *rand.Rand, p *tensor.Param) []int {
	rows, _ := rowsOf(p)
	n := rowsEach
	if p.DType == tensor.I64 {
		n = entriesEach
	}
	chosen := map[int]bool{}
	for range n {
		chosen[r.IntN(rows)] = true
	}
	return sortedKeys(chosen)
}

// stackOf names the experts that a runtime stacks with this one.
func stackOf(p *tensor.Param) string { return fmt.Sprint(p.Layer, " ", p.MTP, " ", projection(p.Name)) }

// projection is the last part of an expert's name, such as w1.weight.
func projection(name string) string {
	name = strings.TrimSuffix(name, weightSuffix)
	return name[strings.LastIndexByte(name, '.')+1:]
}

// row is one row of a matrix as stored. Slices of what the module has not are nil.
type row struct {
	unit
	index                 int
	cols                  int
	codes, scales, biases []byte
	block                 []byte // upstream's scales
}

// reader reads rows, within a budget of bytes.
type reader struct {
	f     *Folder
	files map[*shardFile]fs.File
	left  int64
	read  int64
}

// mostOpen bounds the files that a reader keeps open.
const mostOpen = 64

func (r *reader) close() {
	for _, f := range r.files {
		f.Close()
	}
	clear(r.files)
}

// at reads n bytes of an entry.
func (r *reader) at(e *entry, from, n int64) ([]byte, error) {
	file, ok := r.files[e.shard]
	if !ok {
		if len(r.files) >= mostOpen {
			r.close()
		}
		var err error
		if file, _, err = r.f.open(e.shard.name); err != nil {
			return nil, err
		}
		r.files[e.shard] = file
	}
	at, ok := file.(io.ReaderAt)
	if !ok {
		at = sequential{r.f, e.shard.name}
	}
	out := make([]byte, n)
	r.left -= n
	r.read += n
	if _, err := at.ReadAt(out, e.offset+from); err != nil {
		return nil, err
	}
	return out, nil
}

// part reads what a row has of an entry, which has as many rows as the matrix,
// and those of the experts before it.
func (r *reader) part(e *entry, u unit, row int) ([]byte, error) {
	if e == nil {
		return nil, nil
	}
	rows, _ := rowsOf(u.param())
	width := e.Bytes() / int64(rows*len(u.m.params))
	return r.at(e, width*int64(u.expert*rows+row), width)
}

// row reads one row.
func (r *reader) row(u unit, index int) (row, error) {
	_, cols := rowsOf(u.param())
	out := row{unit: u, index: index, cols: cols}
	var err error
	for _, p := range []struct {
		to *[]byte
		e  *entry
	}{{&out.codes, u.m.weight}, {&out.scales, u.m.scales}, {&out.biases, u.m.biases}} {
		if *p.to, err = r.part(p.e, u, index); err != nil {
			return out, err
		}
	}
	if b := u.m.block; b != nil {
		width := int64(last(b))
		at := int64(index)
		if u.m.found.Format == "fp8" {
			at /= tensor.FP8Block
		}
		out.block, err = r.at(b, at*width, width)
	}
	return out, err
}

// forRows reads the sampled rows, in the order of the files, until the budget is
// spent. yield gets each; rows that cannot be read are findings.
func (c *check) forRows(s Sample, out *Sampled, yield func(row)) {
	r := &reader{f: c.f, files: map[*shardFile]fs.File{}, left: s.Bytes}
	defer r.close()
	units := sampleUnits(c.b.modules, s.Seed)
	spent, n := int64(0), 0
	for ; n < len(units) && spent < s.Bytes; n++ {
		spent += units[n].bytes()
	}
	units = units[:n]
	slices.SortStableFunc(units, func(a, b unit) int {
		return cmp.Or(strings.Compare(a.m.weight.shard.name, b.m.weight.shard.name), cmp.Compare(a.m.weight.offset, b.m.weight.offset), cmp.Compare(a.expert, b.expert))
	})
	for _, u := range units {
		if u.bytes() > r.left {
			continue
		}
		out.Matrices++
		for _, index := range u.rows {
			x, err := r.row(u, index)
			if err != nil {
				c.f.unreadableRow(c, u, err)
				break
			}
			out.Rows++
			out.Weights += int64(x.cols)
			yield(x)
		}
	}
	out.Bytes = r.read
}

// bytes returns what the rows of a unit take.
func (u unit) bytes() int64 {
	rows, _ := rowsOf(u.param())
	n := int64(0)
	for _, e := range u.m.entries() {
		n += e.Bytes() / int64(rows*len(u.m.params)) * int64(len(u.rows))
	}
	return n
}

func (f *Folder) unreadableRow(c *check, u unit, err error) {
	c.add(Finding{ID: "S01", Severity: Error, Found: errorText(cause(err)), Wanted: "bytes that can be read",
		Consequence: "MLX fails to load the tensor", Fix: "copy or download the file again"}, u.name())
}
