package sweep

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"assay/datasets"
	"assay/engine"
	"assay/eval"
)

// blockBytes is about how much the distributions of a block of positions take.
const blockBytes = 16 << 20

// compare scores the final hidden states of a batch: the reference's
// distributions are made once for all variants whose heads are held together.
func (r *batchRun) compare(ctx context.Context) error {
	reference, others := r.b.rows[0], r.b.rows[1:]
	for again := false; len(others) > 0 || !again; again = true {
		n := r.headsThatFit(reference, others)
		c := comparison{batchRun: r, again: again, rows: append([]*row{reference}, others[:n]...)}
		if err := c.run(ctx); err != nil {
			return err
		}
		for _, o := range others[:n] {
			r.shared.Done(o.variants[0], r.b.Layout.Head.Params)
		}
		others = others[n:]
	}
	r.shared.Done(reference.variants[0], r.b.Layout.Head.Params)
	return nil
}

// headsThatFit returns how many of the rows can hold their heads at once, at
// least one.
func (r *batchRun) headsThatFit(reference *row, others []*row) int {
	if r.plan.Resident {
		return len(others)
	}
	n := 1
	for n < len(others) {
		nodes := []*node{{variants: reference.variants}}
		for _, o := range others[:n+1] {
			nodes = append(nodes, &node{variants: o.variants})
		}
		if together(r.b.Layout.Head.Params, nodes) > r.plan.Memory.Weights {
			break
		}
		n++
	}
	return min(n, len(others))
}

// together returns the bytes of the distinct matrices of nodes.
func together(params []string, nodes []*node) int64 {
	seen := map[valuesKey]bool{}
	var sum int64
	for _, n := range nodes {
		v := n.variants[0]
		for _, name := range params {
			if k := (valuesKey{name, v.Values(name)}); !seen[k] {
				seen[k] = true
				sum += v.HeldBytes(name)
			}
		}
	}
	return sum
}

// comparison is rows whose heads are held together, the reference's first.
type comparison struct {
	*batchRun
	again bool // the reference has been scored with other rows
	rows  []*row
	heads []engine.Head
	refs  []eval.Reference // of a block's positions
	p, q  []float32        // distributions of a block, [positions, vocab]
}

// run scores every window.
func (c *comparison) run(ctx context.Context) error {
	defer func() {
		for _, h := range c.heads {
			h.Close()
		}
	}()
	for _, r := range c.rows {
		v := r.variants[0]
		if err := c.shared.Make(ctx, v, c.b.Layout.Head.Params); err != nil {
			return err
		}
		h, err := c.job.Backend.Head(ctx, c.shared.Variant(v))
		if err != nil {
			return err
		}
		c.heads = append(c.heads, h)
	}
	for g, group := range c.b.Layout.Groups {
		at := 0
		for _, w := range c.b.Windows[group.From:group.To] {
			if len(c.job.pending([]datasets.Window{w})) == 0 {
				c.leaveOut(w)
			} else if err := c.window(ctx, w, g, at); err != nil {
				return err
			}
			at += len(w.Tokens)
		}
	}
	return nil
}

// leaveOut counts a window that an earlier run has recorded.
func (c *comparison) leaveOut(w datasets.Window) {
	rows := int64(len(c.rows))
	if c.again {
		rows--
	}
	n := rows * int64(w.To-w.From) * c.b.Layout.Head.FLOPs[0]
	c.done += n
	c.skip += n
}

// window scores one window, whose tokens begin at one of the group's.
func (c *comparison) window(ctx context.Context, w datasets.Window, group, at int) error {
	n, d, vocab := w.To-w.From, c.b.Layout.Hidden, c.b.Layout.Vocab
	scores := make([]eval.WindowScore, len(c.rows))
	for i := range scores {
		scores[i] = eval.WindowScore{Text: w.Text, Window: w.Index, NLL: make([]float32, n), KL: make([]float32, n), Top1: make([]bool, n)}
	}
	most := max(blockBytes/(4*vocab), 1)
	for from := 0; from < n; from += most {
		to := min(from+most, n)
		for i, r := range c.rows {
			hidden := c.live[r.leaf][group].x[(at+w.From+from)*d : (at+w.From+to)*d]
			dst := &c.q
			if i == 0 {
				dst = &c.p
			}
			*dst = grow(*dst, (to-from)*vocab)
			if err := c.heads[i].LogProbs(ctx, hidden, *dst); err != nil {
				return err
			}
			if i > 0 || !c.again {
				c.done += int64(to-from) * c.b.Layout.Head.FLOPs[0]
			}
			if err := c.block(&scores[i], w, from, i == 0, *dst); err != nil {
				return fmt.Errorf("sweep: %s, %s window %d: %w", r.variants[0].Name(), w.Text, w.Index, err)
			}
			c.report(r.variants, "distributions")
		}
	}
	return c.record(scores)
}

// record hands the scores of a window over, of each variant that has none.
func (c *comparison) record(scores []eval.WindowScore) error {
	for i, r := range c.rows {
		for _, v := range r.variants {
			s := scores[i]
			s.Variant = v.Name()
			if c.job.Recorder.HasScore(s.Variant, s.Text, s.Window) {
				continue
			}
			if err := c.job.Recorder.AppendScore(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// block scores positions from one on, by their distributions dst, on all
// threads; of the reference it first keeps them.
func (c *comparison) block(score *eval.WindowScore, w datasets.Window, from int, reference bool, dst []float32) error {
	vocab := c.b.Layout.Vocab
	n := len(dst) / vocab
	for len(c.refs) < n {
		c.refs = append(c.refs, eval.Reference{})
	}
	workers := min(runtime.GOMAXPROCS(0), n)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for k := range workers {
		wg.Go(func() {
			for i := n * k / workers; i < n*(k+1)/workers && errs[k] == nil; i++ {
				got := dst[i*vocab:][:vocab]
				if reference {
					errs[k] = c.refs[i].Reset(got)
				}
				if errs[k] == nil {
					errs[k] = scoreToken(score, &c.refs[i], from+i, got, w)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// scoreToken scores scored position i of a window.
func scoreToken(score *eval.WindowScore, ref *eval.Reference, i int, got []float32, w datasets.Window) error {
	nll, kl, top1, err := ref.Score(got, int(w.Targets[w.From+i]))
	score.NLL[i], score.KL[i], score.Top1[i] = float32(nll), float32(kl), top1
	return err
}

// grow returns n float32, of room where it is long enough.
func grow(room []float32, n int) []float32 {
	if cap(room) < n {
		return make([]float32, n)
	}
	return room[:n]
}
