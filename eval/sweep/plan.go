package sweep

import (
	"fmt"
	"math"
	"slices"

	"assay/engine/affine"
	"assay/engine/variant"
)

// Plan is how a job's windows are scored: decided from configs and lengths
// alone, before a weight is read.
type Plan struct {
	Batches []*Batch
	// Resident says that all variants' weights stay in memory from batch to
	// batch. Otherwise there is one batch, and each part's weights are dropped
	// when all variants have passed it.
	Resident bool
	Totals
	Memory Memory
}

// Totals is what a plan does.
type Totals struct {
	Tokens  int64 // through the model, of all variants
	Scored  int64 // positions, of all variants
	FLOPs   int64 // useful floating-point operations; what variants share is counted once
	Alone   int64 // the same if every variant ran alone
	Weights int64 // quantized, each distinct matrix once
	Source  int64 // bytes of the checkpoint that are read
	Written int64 // bytes of streams that go through a file at most
}

// Memory is the most bytes that a plan holds at once, by what for.
type Memory struct {
	Limit   int64 // what the process may take
	Process int64 // the program, its buffers and the blocks of distributions
	Scratch int64 // between operations
	Weights int64 // of one part where they are streamed, or of all
	Mapped  int64 // the checkpoint's bytes that they are made of
	Streams int64 // in memory
	Spilled int64 // streams in a file
}

// Total returns the sum of what is held in memory.
func (m Memory) Total() int64 { return m.Process + m.Scratch + m.Weights + m.Mapped + m.Streams }

// process is about what the program takes beside what Memory counts: itself, the
// embedded model, rooms for decoding, distributions of a block, records.
const process = 192 << 20

// Plan decides how the windows that are not recorded are scored. It errs, with
// the sums, where the memory is too small for any way.
func (j *Job) Plan() (*Plan, error) {
	p := &Plan{}
	p.Memory = Memory{Limit: j.Backend.Device().Memory, Process: process}
	if p.Memory.Limit == 0 {
		p.Memory.Limit = math.MaxInt64
	}
	pending := j.pending(j.Windows)
	if len(pending) == 0 {
		return p, nil
	}
	whole, err := j.batch(j.Windows)
	if err != nil {
		return nil, err
	}
	distinct, source := whole.distinct(j.Reference, j.all()) // of all: a run that goes on cuts as the first did
	p.Source = source
	for _, n := range distinct {
		p.Weights += n.elements
		p.Memory.Weights += n.bytes
	}
	p.Resident = p.Memory.Weights+source <= p.Memory.Limit/4
	if p.Resident {
		p.Memory.Mapped = source
		err = j.cut(p, whole)
	} else {
		p.Memory.Weights, p.Memory.Mapped = whole.weightsAtOnce(j.Reference)
		p.Batches = []*Batch{whole}
	}
	if err != nil {
		return nil, err
	}
	return p, p.finish(j)
}

// cut makes a batch of each group of windows that run together, or of fewer
// windows where their streams would not fit.
func (j *Job) cut(p *Plan, whole *Batch) error {
	room := p.Memory.Limit - p.Memory.Process - p.Memory.Weights - p.Memory.Mapped - whole.Layout.Scratch
	for _, g := range whole.Layout.Groups {
		windows := j.Windows[g.From:g.To]
		for len(windows) > 0 {
			n := len(windows)
			for n > 1 && whole.leaves()*slabBytes(tokens(windows[:n])*whole.Layout.Width) > room {
				n--
			}
			if len(j.pending(windows[:n])) > 0 {
				b, err := j.batch(windows[:n])
				if err != nil {
					return err
				}
				p.Batches = append(p.Batches, b)
			}
			windows = windows[n:]
		}
	}
	return nil
}

// leaves returns how many streams there are at the end, when most variants differ.
func (b *Batch) leaves() int64 { return int64(len(b.levels[len(b.levels)-1])) }

// finish adds up what the batches do and decides what is spilled.
func (p *Plan) finish(j *Job) error {
	var most, slab, written int64
	for _, b := range p.Batches {
		p.Memory.Scratch = max(p.Memory.Scratch, b.Layout.Scratch)
		var streams int64
		for _, g := range b.Layout.Groups {
			slab = max(slab, slabBytes(g.Tokens*b.Layout.Width))
			streams += b.leaves() * slabBytes(g.Tokens*b.Layout.Width)
		}
		most = max(most, streams)
		written += streams * int64(len(b.levels))
		for part, level := range b.levels {
			for _, n := range level {
				for _, f := range b.Layout.Parts[part].FLOPs {
					p.FLOPs += f
					p.Alone += f * int64(len(n.variants))
				}
			}
		}
		for _, r := range b.rows {
			for _, w := range b.Windows {
				head := int64(w.To-w.From) * b.Layout.Head.FLOPs[0]
				p.FLOPs += head
				p.Alone += head * int64(len(r.variants))
				p.Scored += int64(w.To-w.From) * int64(len(r.variants))
			}
			p.Tokens += int64(tokens(b.Windows)) * int64(len(r.variants))
		}
	}
	room := p.Memory.Limit - p.Memory.Total()
	p.Memory.Streams = min(most, max(room, 2*slab))
	p.Memory.Spilled = most - p.Memory.Streams
	if most > 0 {
		p.Written = int64(float64(written) * float64(p.Memory.Spilled) / float64(most))
	}
	if p.Memory.Total() > p.Memory.Limit {
		return fmt.Errorf("sweep: %s of memory are too little: %s", gigabytes(p.Memory.Limit), p.Memory)
	}
	return nil
}

// String lists the parts of the sum.
func (m Memory) String() string {
	return fmt.Sprintf("%s are needed (program %s, weights %s, checkpoint %s, scratch %s, streams %s)",
		gigabytes(m.Total()), gigabytes(m.Process), gigabytes(m.Weights), gigabytes(m.Mapped), gigabytes(m.Scratch), gigabytes(m.Streams))
}

func gigabytes(n int64) string { return fmt.Sprintf("%.2f GB", float64(n)/1e9) }

// heavy is a distinct matrix: the bytes that it takes, and the weights that are
// quantized for it.
type heavy struct{ bytes, elements int64 }

type valuesKey struct{ name, values string }

// distinct returns the distinct matrices of all parts and heads, and the bytes
// of the checkpoint that they are made of.
func (b *Batch) distinct(reference *variant.Variant, pending []*variant.Variant) (all map[valuesKey]heavy, source int64) {
	all = map[valuesKey]heavy{}
	for _, part := range append(slices.Clone(b.Layout.Parts), b.Layout.Head) {
		for _, name := range part.Params {
			source += reference.Step(name).StoredBytes()
			for _, v := range pending {
				s := v.Step(name)
				if s.Format == nil {
					continue
				}
				h := heavy{bytes: v.HeldBytes(name)}
				if _, ok := s.Format.(affine.Format); ok {
					h.elements = s.Elements()
				}
				all[valuesKey{name, v.Values(name)}] = h
			}
		}
	}
	return all, source
}

// weightsAtOnce returns the most bytes of weights, and of the checkpoint that
// they are made of, that are held where each part's are dropped after it. The
// memory of one part's stays for the next but one: two parts' count.
func (b *Batch) weightsAtOnce(reference *variant.Variant) (weights, mapped int64) {
	stored := func(params []string) (n int64) {
		for _, name := range params {
			n += reference.Step(name).StoredBytes()
		}
		return n
	}
	var before int64
	for i, level := range b.levels {
		params := b.Layout.Parts[i].Params
		now := heldAtOnce(params, level)
		weights, mapped = max(weights, before+now), max(mapped, stored(params))
		before = now
	}
	var heads []*node
	for _, r := range b.rows {
		heads = append(heads, &node{variants: r.variants})
	}
	params := b.Layout.Head.Params
	return max(weights, before+heldAtOnce(params, heads[:1])+heldAtOnce(params, heads)), max(mapped, stored(params))
}

// heldAtOnce returns the most bytes of matrices that are held while nodes take
// their turns, each distinct matrix from its first use to its last.
func heldAtOnce(params []string, nodes []*node) int64 {
	uses := map[valuesKey]int{}
	for _, n := range nodes {
		for _, name := range params {
			uses[valuesKey{name, n.variants[0].Values(name)}]++
		}
	}
	var now, most int64
	held := map[valuesKey]bool{}
	for _, n := range nodes {
		v := n.variants[0]
		for _, name := range params {
			if k := (valuesKey{name, v.Values(name)}); !held[k] {
				held[k] = true
				now += v.HeldBytes(name)
			}
		}
		most = max(most, now)
		for _, name := range params {
			k := valuesKey{name, v.Values(name)}
			if uses[k]--; uses[k] == 0 {
				now -= v.HeldBytes(name)
			}
		}
	}
	return most
}
