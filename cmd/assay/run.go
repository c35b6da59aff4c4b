package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"assay/bench"
	"assay/datasets"
	"assay/engine/checkpoint"
	"assay/engine/cpu"
	"assay/engine/dsv4"
	"assay/engine/variant"
	"assay/eval"
	"assay/eval/sweep"
	"assay/results"
)

// runOptions are the flags that sweep, eval and bench share.
type runOptions struct {
	model    string
	texts    []string
	corpus   string
	variants string
	protocol datasets.Protocol
	named    string // --protocol
	kvSim    bool
	engine   engineOptions
	memory   byteSize
	out      string
	json     bool
	speed    *bench.Plan // nil where nothing is timed
	// onlyNamed leaves bf16 out of the timings where --variants does not name it.
	onlyNamed bool
}

// flags declares the shared flags.
func (o *runOptions) flags(c *cobra.Command, variants string) {
	f := c.Flags()
	f.StringVar(&o.model, "model", referenceModel, modelHelp)
	f.StringArrayVar(&o.texts, "text", nil, "UTF-8 file to score; repeatable (default: the corpus)")
	f.StringVar(&o.corpus, "corpus", datasets.HeldoutCorpus, "corpus by name, see assay datasets list")
	f.StringVar(&o.variants, "variants", variants, variantsHelp)
	f.BoolVar(&o.kvSim, "kv-sim", false, "round cached keys to FP8 and the indexer to FP4, as the release does")
	o.engine.flags(f)
	f.Var(&o.memory, "memory", "most memory that the process may take, such as 8GB (default: nine tenths of what is free)")
	f.StringVar(&o.out, "out", "", "folder of the ledger; a run that was interrupted goes on there")
	f.BoolVar(&o.json, "json", false, "print JSON")
}

// protocolFlags declares how text is scored.
func (o *runOptions) protocolFlags(c *cobra.Command, windows int) {
	f := c.Flags()
	f.IntVar(&o.protocol.Window, "window", 1024, "tokens fed at once, from position 0")
	f.IntVar(&o.protocol.Windows, "windows", windows, "at most this many windows of each text; 0 is all")
	f.IntVar(&o.protocol.ScoreFrom, "score-from", 0, "leave out the first K targets of each window")
	f.BoolVar(&o.protocol.BOS, "bos", false, "feed id 0 before each window, unscored")
	f.StringVar(&o.named, "protocol", "assay", "assay, or llama.cpp: score the second half of each window only")
}

// speedFlags declares how speed is measured.
func speedFlags(c *cobra.Command, p *bench.Plan) {
	f := c.Flags()
	f.IntVar(&p.PrefillTokens, "prefill", p.PrefillTokens, "tokens of prefill that are timed")
	f.IntVar(&p.DecodeTokens, "decode", p.DecodeTokens, "tokens decoded after it, one by one")
	f.IntVar(&p.Repetitions, "repetitions", p.Repetitions, "repetitions that count, after one that does not")
	f.Uint64Var(&p.Seed, "seed", p.Seed, "seed of the order of variants")
}

func (o *runOptions) check() error {
	switch o.named {
	case "assay", "":
	case "llama.cpp":
		o.protocol.LlamaCPP = true
	default:
		return usage("protocol %q, want assay or llama.cpp", o.named)
	}
	if err := o.protocol.Check(); err != nil {
		return codedError{exitUsage, err}
	}
	if o.speed != nil {
		if err := o.speed.Check(); err != nil {
			return codedError{exitUsage, err}
		}
	}
	if err := o.engine.check(); err != nil {
		return err
	}
	if len(o.texts) > 0 && o.corpus != datasets.HeldoutCorpus {
		return usage("--text and --corpus together: name one of them")
	}
	return nil
}

// timed says whether a variant is timed.
func (o *runOptions) timed(name string) bool {
	return !o.onlyNamed || name != variant.BF16 || slices.Contains(items(o.variants), name)
}

// limit returns the memory that the process may take: what --memory says, or
// nine tenths of what is free, or 0 where the system does not say.
func (o *runOptions) limit() int64 {
	if o.memory != 0 {
		return int64(o.memory)
	}
	return cpu.FreeMemory() / 10 * 9
}

// session is a run that is ready to go.
type session struct {
	opt     *runOptions
	model   *model
	backend backend
	job     sweep.Job
	record  results.Run
	ledger  *results.Ledger
	temp    string // folder to remove at the end, or ""
}

func (s *session) close() {
	if s.ledger != nil {
		s.ledger.Close()
	}
	if s.backend != nil {
		s.backend.Close()
	}
	if s.model != nil {
		s.model.close()
	}
	if s.temp != "" {
		os.RemoveAll(s.temp)
	}
}

// prepare opens everything and plans; it scores nothing.
func prepare(o *runOptions) (_ *session, err error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	s := &session{opt: o}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.model, err = openModel(o.model, (*checkpoint.Checkpoint).Identity); err != nil {
		return nil, err
	}
	if s.backend, err = o.engine.open(dsv4.Options{KVSim: o.kvSim}, o.limit()); err != nil {
		return nil, codedError{exitUsage, err}
	}
	if o.kvSim {
		if err := s.model.config.CheckKVSim(); err != nil {
			return nil, codedError{exitUsage, err}
		}
	}
	texts, err := openTexts(o.texts, o.corpus)
	if err != nil {
		return nil, err
	}
	c, err := cutTexts(s.model, texts, o.protocol)
	if err != nil {
		return nil, err
	}
	if o.speed != nil && len(c.first) < o.speed.Tokens() {
		return nil, usage("%s has %d tokens, timing takes the first %d of the first text: put a longer text first, ask for less with --prefill and --decode, or leave timing out (sweep --no-speed)",
			c.texts[0].Name, len(c.first), o.speed.Tokens())
	}
	ref, others, err := s.model.variants(o.variants)
	if err != nil {
		return nil, err
	}
	if err := timeable(o, append([]*variant.Variant{ref}, others...)); err != nil {
		return nil, err
	}
	s.record = s.describe(c, ref, others)
	s.job = sweep.Job{
		Backend: s.backend, Reference: ref, Variants: others, Windows: c.windows,
		Speed: o.speed, SpeedTokens: c.first,
		StateKey:     sweep.StateKey{Model: s.model.source.Digest, Windows: c.digest, Engine: engineKey(s.record)},
		OnlyVariants: !o.timed(variant.BF16),
	}
	return s, s.openLedger()
}

// timeable errs before anything is scored where a variant is too large to be
// timed: it must be in memory as a whole.
func timeable(o *runOptions, all []*variant.Variant) error {
	if o.speed == nil || o.limit() == 0 {
		return nil
	}
	for _, v := range all {
		if n := variant.Sum(v.Plan()).BytesMain; n > o.limit() && o.timed(v.Name()) {
			return usage("%s takes %s, and there are %s of memory to time it in: leave timing out (sweep --no-speed), or name what fits to assay bench",
				v.Name(), size(n), size(o.limit()))
		}
	}
	return nil
}

// openLedger opens the ledger in the run's folder, or in one that is removed.
func (s *session) openLedger() (err error) {
	dir := s.opt.out
	if dir == "" {
		if dir, err = os.MkdirTemp("", "assay-"); err != nil {
			return err
		}
		s.temp = dir
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if s.ledger, err = results.Open(filepath.Join(dir, "ledger.jsonl"), s.record); err != nil {
		return err
	}
	s.job.SpillDir = dir
	if s.temp == "" {
		s.job.StatePath = filepath.Join(dir, "state")
	}
	s.job.Recorder = recorder{s.ledger}
	return nil
}

// run does the job with progress on w.
func (s *session) run(ctx context.Context, w io.Writer) error {
	p := newProgress(w)
	p.started = time.Now()
	s.job.Progress = p.step
	plan, err := s.job.Plan()
	if err != nil {
		return err
	}
	if limit := s.backend.Device().Memory; limit > 0 { // streams and mapped files are not on Go's heap
		debug.SetMemoryLimit(limit - plan.Memory.Streams - plan.Memory.Mapped)
		s.job.BeforeSpeed = func() { debug.SetMemoryLimit(limit) }
	}
	err = s.job.Run(ctx)
	p.end()
	switch {
	case err == nil || ctx.Err() == nil:
		return err
	case s.temp != "":
		return codedError{exitInterrupt, errors.New("interrupted; nothing is kept without --out")}
	}
	return codedError{exitInterrupt, fmt.Errorf("interrupted; the same command goes on from %s", s.opt.out)}
}

// table prepares a run, does it, and makes its table. The session is the
// caller's to close where there is no error.
func table(c *cobra.Command, o *runOptions) (*session, []results.Row, error) {
	s, err := prepare(o)
	if err != nil {
		return nil, nil, err
	}
	err = s.run(c.Context(), c.ErrOrStderr())
	var rows []results.Row
	if err == nil {
		rows, err = results.Table(s.ledger.Contents())
	}
	if err != nil {
		s.close()
		return nil, nil, err
	}
	for _, t := range s.record.Texts {
		c.PrintErrf("%s: %d tokens, %d windows, %d tokens at the end unused\n", t.Name, t.Tokens, t.Count, t.Unused)
	}
	return s, rows, nil
}

// print prints a table for people or as JSON; the error says if a token had no
// finite score.
func (s *session) print(w io.Writer, rows []results.Row) error {
	show := printTable
	if s.opt.json {
		show = printTableJSON
	}
	if err := show(w, s.ledger.Contents(), rows); err != nil {
		return err
	}
	return nonFinite(rows)
}

// recorder hands results to the ledger.
type recorder struct{ *results.Ledger }

func (r recorder) AppendScore(w eval.WindowScore) error {
	return r.Ledger.AppendScore(results.ScoreOf(w, time.Now().UTC()))
}

func (r recorder) AppendTiming(s bench.Sample) error {
	t := results.Timing{Variant: s.Variant, Repetition: s.Repetition, Order: s.Order,
		PrefillSeconds: s.Prefill.Seconds(), Made: time.Now().UTC()}
	for _, d := range s.Decode {
		t.DecodeSeconds = append(t.DecodeSeconds, d.Seconds())
	}
	return r.Ledger.AppendTiming(t)
}
