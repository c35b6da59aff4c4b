package sweep

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"assay/datasets"
	"assay/engine"
	"assay/engine/token"
	"assay/engine/variant"
	"assay/eval"
	"assay/eval/rows"
)

// passTokens is about how many tokens go through the model together, which
// bounds the states in memory.
const passTokens = 16384

// blockBytes is about how much the distributions of a block of positions take.
const blockBytes = 16 << 20

// score runs the reference and every variant on what is not recorded.
func (j *Job) score(ctx context.Context) error {
	if !slices.ContainsFunc(j.all(), func(v *variant.Variant) bool { return !j.scored(v.Name()) }) {
		return nil
	}
	head, err := j.Backend.Head(ctx, j.Reference)
	if err != nil {
		return err
	}
	defer head.Close()
	each := int64(tokens(j.Windows))
	s := &scorer{job: j, head: head, total: each * int64(len(j.all()))}
	batches := batches(j.Windows)
	ref := make([][]float32, len(batches))
	for i, b := range batches {
		if ref[i], err = s.reference(ctx, b, i); err != nil {
			return err
		}
	}
	for _, v := range j.Variants {
		if j.scored(v.Name()) {
			s.leaveOut(each)
			continue
		}
		for i, b := range batches {
			if err := s.variant(ctx, v, b, ref[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// batches cuts windows into runs of about passTokens.
func batches(windows []datasets.Window) [][]datasets.Window {
	var out [][]datasets.Window
	for len(windows) > 0 {
		n := 1
		for n < len(windows) && tokens(windows[:n+1]) <= passTokens {
			n++
		}
		out = append(out, windows[:n])
		windows = windows[n:]
	}
	return out
}

// tokens returns the tokens that windows feed.
func tokens(windows []datasets.Window) int {
	n := 0
	for _, w := range windows {
		n += len(w.Tokens)
	}
	return n
}

// scorer is a job's scoring under way.
type scorer struct {
	job         *Job
	head        engine.Head // the reference's
	done, total int64       // tokens through all layers, of all variants
	skip        int64       // of done, what an earlier run had made
}

// leaveOut counts tokens that need no work.
func (s *scorer) leaveOut(tokens int64) {
	s.done += tokens
	s.skip += tokens
}

// reference returns the reference's hidden states [tokens, hidden] of a batch,
// kept or made, and records its own scores.
func (s *scorer) reference(ctx context.Context, batch []datasets.Window, index int) ([]float32, error) {
	ref, err := s.referenceRows(ctx, batch, index)
	if err != nil {
		return nil, err
	}
	d, at := s.head.Hidden(), 0
	for _, w := range batch {
		if !s.job.Recorder.HasScore(s.job.Reference.Name(), w.Text, w.Index) {
			h := ref[at*d : (at+len(w.Tokens))*d]
			if err := s.record(ctx, s.job.Reference.Name(), nil, w, h, h); err != nil {
				return nil, err
			}
		}
		at += len(w.Tokens)
	}
	return ref, nil
}

func (s *scorer) referenceRows(ctx context.Context, batch []datasets.Window, index int) ([]float32, error) {
	j := s.job
	key := j.RowsKey
	key.Batch, key.Tokens, key.Hidden = index, tokens(batch), s.head.Hidden()
	path := fmt.Sprintf("%s.%d", j.RowsPath, index)
	if j.RowsPath != "" {
		if kept, ok, err := rows.Read(path, key); err == nil && ok { // a damaged file is made again
			s.leaveOut(int64(key.Tokens))
			return kept, nil
		}
	}
	ref, err := s.pass(ctx, j.Reference, batch)
	if err != nil || j.RowsPath == "" {
		return ref, err
	}
	return ref, rows.Write(path, key, ref)
}

// variant scores one variant on a batch whose reference states are ref.
func (s *scorer) variant(ctx context.Context, v *variant.Variant, batch []datasets.Window, ref []float32) error {
	hidden, err := s.pass(ctx, v, batch)
	if err != nil {
		return err
	}
	head, err := s.job.Backend.Head(ctx, v)
	if err != nil {
		return err
	}
	defer head.Close()
	if head.Vocab() != s.head.Vocab() || head.Hidden() != s.head.Hidden() {
		return fmt.Errorf("sweep: %s has a vocabulary of %d and hidden states of %d, the reference %d and %d",
			v.Name(), head.Vocab(), head.Hidden(), s.head.Vocab(), s.head.Hidden())
	}
	d := head.Hidden()
	at := 0
	for _, w := range batch {
		n := len(w.Tokens) * d
		if !s.job.Recorder.HasScore(v.Name(), w.Text, w.Index) {
			if err := s.record(ctx, v.Name(), head, w, ref[at:at+n], hidden[at:at+n]); err != nil {
				return err
			}
		}
		at += n
	}
	return nil
}

// pass takes a batch through a variant and returns its final hidden states.
func (s *scorer) pass(ctx context.Context, v *variant.Variant, batch []datasets.Window) ([]float32, error) {
	toks := make([][]token.ID, len(batch))
	for i, w := range batch {
		toks[i] = w.Tokens
	}
	p, err := s.job.Backend.Pass(ctx, v, toks)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	start, n := s.done, int64(tokens(batch))
	for i := range p.Layers() {
		if err := p.Layer(ctx); err != nil {
			return nil, err
		}
		s.done = start + n*int64(i+1)/int64(p.Layers())
		s.job.report(Step{Stage: "score", Variant: v.Name(), Detail: fmt.Sprintf("layer %d of %d", i+1, p.Layers()),
			Done: s.done, Total: s.total, Skipped: s.skip})
	}
	return p.Hidden(ctx)
}

// record compares a window position by position and hands the score over. A
// nil head says that the states are the reference's own.
func (s *scorer) record(ctx context.Context, name string, head engine.Head, w datasets.Window, ref, got []float32) error {
	n := w.To - w.From
	score := eval.WindowScore{Variant: name, Text: w.Text, Window: w.Index,
		NLL: make([]float32, n), KL: make([]float32, n), Top1: make([]bool, n)}
	vocab, d := s.head.Vocab(), s.head.Hidden()
	most := max(blockBytes/(4*vocab), 1)
	p := make([]float32, min(most, n)*vocab)
	q := p
	if head != nil {
		q = make([]float32, len(p))
	}
	for from := 0; from < n; from += most {
		to := min(from+most, n)
		cut := func(h []float32) []float32 { return h[(w.From+from)*d : (w.From+to)*d] }
		if err := s.head.LogProbs(ctx, cut(ref), p[:(to-from)*vocab]); err != nil {
			return err
		}
		if head != nil {
			if err := head.LogProbs(ctx, cut(got), q[:(to-from)*vocab]); err != nil {
				return err
			}
		}
		if err := compare(&score, w, from, to, p[:(to-from)*vocab], q[:(to-from)*vocab]); err != nil {
			return fmt.Errorf("sweep: %s, %s window %d: %w", name, w.Text, w.Index, err)
		}
	}
	return s.job.Recorder.AppendScore(score)
}

// compare scores positions from..to-1 of a window from their distributions p
// and q [to-from, vocab], on all cores.
func compare(score *eval.WindowScore, w datasets.Window, from, to int, p, q []float32) error {
	workers := min(runtime.GOMAXPROCS(0), to-from)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for k := range workers {
		wg.Go(func() {
			var ref eval.Reference
			vocab := len(p) / (to - from)
			for i := (to - from) * k / workers; i < (to-from)*(k+1)/workers && errs[k] == nil; i++ {
				errs[k] = scoreToken(score, &ref, from+i, p[i*vocab:][:vocab], q[i*vocab:][:vocab], w)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// scoreToken scores scored position i of a window.
func scoreToken(score *eval.WindowScore, ref *eval.Reference, i int, p, q []float32, w datasets.Window) error {
	if err := ref.Reset(p); err != nil {
		return err
	}
	nll, kl, top1, err := ref.Score(q, int(w.Targets[w.From+i]))
	score.NLL[i], score.KL[i], score.Top1[i] = float32(nll), float32(kl), top1
	return err
}
