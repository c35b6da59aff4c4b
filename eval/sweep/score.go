package sweep

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"assay/engine"
	"assay/engine/token"
	"assay/engine/variant"
)

// scorer is a job's scoring under way.
type scorer struct {
	job    *Job
	plan   *Plan
	shared *variant.Shared
	pace   savePace

	unsaved     bool  // a state could not be written
	batchNumber int   // from 1
	done        int64 // of plan.FLOPs
	skip        int64 // of done, what an earlier run had made
}

// score takes the windows that are not recorded through the reference and all
// variants, part by part, and records what comes out.
func (j *Job) score(ctx context.Context) error {
	plan, err := j.Plan()
	if err != nil {
		return err
	}
	return newScorer(j, plan).run(ctx)
}

// newScorer announces what the plan will use.
func newScorer(j *Job, plan *Plan) *scorer {
	s := &scorer{job: j, plan: plan, shared: variant.NewShared(), pace: savePace{speed: 200e6}}
	for _, b := range plan.Batches {
		for i, level := range b.levels {
			for _, n := range level {
				s.shared.Want(n.variants[0], b.Layout.Parts[i].Params, 1)
			}
		}
		for _, r := range b.rows {
			s.shared.Want(r.variants[0], b.Layout.Head.Params, 1)
		}
	}
	return s
}

func (s *scorer) run(ctx context.Context) error {
	for i, b := range s.plan.Batches {
		s.batchNumber = i + 1
		if err := s.batch(ctx, b); err != nil {
			return err
		}
	}
	if s.job.StatePath != "" {
		os.Remove(s.job.StatePath)
		os.Remove(s.job.StatePath + ".tmp") // of a run that was killed while it wrote
	}
	return nil
}

// batch takes a batch's windows through all parts and compares what comes out.
func (s *scorer) batch(ctx context.Context, b *Batch) error {
	toks := make([][]token.ID, len(b.Windows))
	for i, w := range b.Windows {
		toks[i] = w.Tokens
	}
	pass, err := s.job.Backend.Pass(ctx, s.job.Reference, toks)
	if err != nil {
		return err
	}
	defer pass.Close()
	run := &batchRun{scorer: s, b: b, pass: pass, store: &store{room: s.plan.Memory.Streams, dir: s.job.SpillDir}}
	defer run.store.close()
	s.pace.last = time.Now()
	first := run.restore()
	for part := first; part < len(b.levels); part++ {
		next := map[*node][]*slab{}
		for _, n := range b.levels[part] {
			if next[n], err = run.node(ctx, part, n); err != nil {
				return err
			}
		}
		run.live = next
		run.save(part + 1)
		if !s.plan.Resident {
			s.shared.Trim()
		}
	}
	return run.compare(ctx)
}

// batchRun is one batch under way.
type batchRun struct {
	*scorer
	b     *Batch
	pass  engine.Pass
	store *store
	live  map[*node][]*slab // the streams of the nodes of the last part, by group
}

// node takes the streams of n's parent through a part.
func (r *batchRun) node(ctx context.Context, part int, n *node) ([]*slab, error) {
	v, info := n.variants[0], r.b.Layout.Parts[part]
	r.report(n.variants, info.Name)
	if err := r.shared.Make(ctx, v, info.Params); err != nil {
		return nil, err
	}
	weights, err := r.pass.Load(ctx, r.shared.Variant(v), part)
	if err != nil {
		return nil, err
	}
	defer weights.Close()
	var out []*slab
	for g := range r.b.Layout.Groups {
		x, err := r.streams(n, g)
		if err != nil {
			return nil, err
		}
		if err := weights.Run(ctx, g, x.x); err != nil {
			return nil, err
		}
		x.block.Rest()
		out = append(out, x)
		r.done += info.FLOPs[g]
		r.report(n.variants, info.Name)
	}
	r.shared.Done(v, info.Params)
	return out, nil
}

// streams returns the slab that n's group goes on in: its parent's, where no
// other child needs it any more, or a copy.
func (r *batchRun) streams(n *node, group int) (*slab, error) {
	size := r.b.Layout.Groups[group].Tokens * r.b.Layout.Width
	from := r.live[n.parent]
	if from != nil && n.last {
		return from[group], nil
	}
	out, err := r.store.take(size)
	if err == nil && from != nil {
		copy(out.x, from[group].x)
		from[group].block.Rest()
	}
	return out, err
}

func (s *scorer) report(variants []*variant.Variant, detail string) {
	name := variants[0].Name()
	if n := len(variants) - 1; n > 0 {
		name += fmt.Sprintf(" and %d more", n)
	}
	if n := len(s.plan.Batches); n > 1 {
		detail += fmt.Sprintf(", batch %d of %d", s.batchNumber, n)
	}
	s.job.report(Step{Stage: "score", Variant: name, Detail: detail,
		Done: s.done, Total: s.plan.FLOPs, Skipped: s.skip, Tokens: s.plan.Tokens})
}

// key names what made the streams.
func (r *batchRun) key() StateKey {
	k := r.job.StateKey
	first, last := r.b.Windows[0], r.b.Windows[len(r.b.Windows)-1]
	k.Batch = fmt.Sprintf("%s %d to %s %d", first.Text, first.Index, last.Text, last.Index)
	return k
}

// floats returns the float32 of each group's streams.
func (r *batchRun) floats() []int {
	var out []int
	for _, g := range r.b.Layout.Groups {
		out = append(out, g.Tokens*r.b.Layout.Width)
	}
	return out
}

// restore takes up where a killed run left the batch, and returns the part to
// go on with.
func (r *batchRun) restore() int {
	r.live = map[*node][]*slab{}
	if r.job.StatePath == "" {
		return 0
	}
	before := func(part int) []*node {
		if part < 1 || part > len(r.b.levels) {
			return nil
		}
		return r.b.levels[part-1]
	}
	part, streams, ok := readState(r.job.StatePath, r.key(), r.floats(), func(part int) []string { return paths(before(part)) }, r.store)
	if !ok || len(streams) == 0 {
		r.store.give(slices.Concat(streams...)...)
		return 0
	}
	for i, n := range before(part) {
		r.live[n] = streams[i]
	}
	for i, level := range r.b.levels[:part] {
		for _, n := range level {
			r.shared.Done(n.variants[0], r.b.Layout.Parts[i].Params)
			for _, f := range r.b.Layout.Parts[i].FLOPs {
				r.done += f
				r.skip += f
			}
		}
	}
	return part
}

func paths(nodes []*node) []string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.path)
	}
	return out
}

// save writes the state before a part, where it is due. A state is insurance: one
// that cannot be written is told of and costs no more.
func (r *batchRun) save(part int) {
	nodes := r.b.levels[part-1]
	var bytes int64
	for _, n := range r.floats() {
		bytes += 4 * int64(n) * int64(len(nodes))
	}
	start := time.Now()
	if r.job.StatePath == "" || r.unsaved || !r.pace.due(start, bytes) && !r.job.saveAlways {
		return
	}
	var streams [][]*slab
	for _, n := range nodes {
		streams = append(streams, r.live[n])
	}
	if err := writeState(r.job.StatePath, stateHead{Key: r.key(), Part: part, Nodes: paths(nodes), Floats: r.floats()}, streams); err != nil {
		r.unsaved = true
		r.job.report(Step{Stage: "score", Done: r.done, Total: r.plan.FLOPs, Skipped: r.skip, Tokens: r.plan.Tokens,
			Warning: fmt.Sprintf("a run that is killed will begin this batch again: %v", err)})
		return
	}
	r.pace.wrote(start, time.Now(), bytes)
}
