package sweep

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"

	"assay/datasets"
	"assay/engine"
	"assay/engine/variant"
)

// Batch is windows that go through the parts together.
type Batch struct {
	Windows []datasets.Window
	Layout  engine.Layout
	levels  [][]*node // by part, in the order to run
	rows    []*row    // distinct distributions, the reference's first
}

// node is variants that are one up to a part, and with it.
type node struct {
	variants []*variant.Variant
	parent   *node
	last     bool   // of its parent's children, in the order to run
	path     string // digest of all values up to here
}

// row is variants whose distributions are the same.
type row struct {
	variants []*variant.Variant
	leaf     *node
}

// pending returns the reference and the variants that have windows to score, or
// nothing where none has.
func (j *Job) pending(windows []datasets.Window) []*variant.Variant {
	var out []*variant.Variant
	todo := false
	for i, v := range j.all() {
		left := slices.ContainsFunc(windows, func(w datasets.Window) bool { return !j.Recorder.HasScore(v.Name(), w.Text, w.Index) })
		if left || i == 0 {
			out = append(out, v)
		}
		todo = todo || left
	}
	if !todo {
		return nil
	}
	return out
}

// batch lays out windows and finds which variants are one up to which part.
func (j *Job) batch(windows []datasets.Window) (*Batch, error) {
	lengths := make([]int, len(windows))
	for i, w := range windows {
		lengths[i] = len(w.Tokens)
	}
	l, err := j.Backend.Layout(j.Reference, lengths)
	if err != nil {
		return nil, err
	}
	for _, v := range j.Variants {
		if !bytes.Equal(v.Config(), j.Reference.Config()) {
			return nil, fmt.Errorf("sweep: %s has another config than %s", v.Name(), j.Reference.Name())
		}
	}
	b := &Batch{Windows: windows, Layout: l}
	nodes := []*node{{variants: j.pending(windows)}}
	for _, part := range l.Parts {
		nodes = split(nodes, part.Params)
		b.levels = append(b.levels, nodes)
	}
	for _, n := range split(nodes, l.Head.Params) {
		b.rows = append(b.rows, &row{variants: n.variants, leaf: n.parent})
	}
	slices.SortStableFunc(b.rows, func(x, y *row) int { // the reference's first
		return cmp.Compare(btoi(!slices.Contains(x.variants, j.Reference)), btoi(!slices.Contains(y.variants, j.Reference)))
	})
	return b, nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// split parts each node's variants by their values of some parameters. Nodes
// that share most bytes follow one another, so that these are held once, and the
// largest come first, so that memory can be used again.
func split(nodes []*node, params []string) []*node {
	type child struct {
		*node
		bytes int64
		order string
	}
	var all []child
	for _, parent := range nodes {
		by := map[string]*node{}
		for _, v := range parent.variants {
			path, most, order := describe(parent.path, v, params)
			n := by[path]
			if n == nil {
				n = &node{parent: parent, path: path}
				by[path] = n
				all = append(all, child{n, most, order})
			}
			n.variants = append(n.variants, v)
		}
	}
	slices.SortStableFunc(all, func(x, y child) int {
		return cmp.Or(cmp.Compare(y.bytes, x.bytes), strings.Compare(x.order, y.order))
	})
	seen := map[*node]bool{}
	out := make([]*node, len(all))
	for i := len(all) - 1; i >= 0; i-- {
		n := all[i].node
		n.last = !seen[n.parent]
		seen[n.parent] = true
		out[i] = n
	}
	return out
}

// describe returns a digest of a path and of v's values of params, and what to
// sort by: the values that most bytes have, and these bytes.
func describe(path string, v *variant.Variant, params []string) (digest string, most int64, order string) {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", path)
	held := map[string]int64{}
	for _, name := range params {
		values := v.Values(name)
		io.WriteString(h, name+"\x00"+values+"\n")
		held[values] += v.HeldBytes(name)
	}
	var kinds []string
	for k := range held {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(a, b string) int { return cmp.Or(cmp.Compare(held[b], held[a]), strings.Compare(a, b)) })
	if len(kinds) > 0 {
		most = held[kinds[0]]
	}
	return fmt.Sprintf("%x", h.Sum(nil)), most, strings.Join(kinds, ", ")
}

// tokens returns the tokens that windows feed.
func tokens(windows []datasets.Window) int {
	n := 0
	for _, w := range windows {
		n += len(w.Tokens)
	}
	return n
}
