package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"assay/bench"
	"assay/bench/scaling"
	"assay/datasets"
	"assay/engine/variant"
)

// scalingOptions are the flags of assay bench scaling.
type scalingOptions struct {
	run         runOptions // model, variants, protocol, threads, kernels, memory
	axes        []string
	repetitions int
	whole       string // the model that --model has layers of
	out         string
	json        bool
	grid        *scaling.Grid // nil is the default; tests have a small one
}

func scalingCommand() *cobra.Command {
	o := &scalingOptions{run: runOptions{corpus: datasets.HeldoutCorpus}}
	c := &cobra.Command{
		Use:   "scaling",
		Short: "Measure how a sweep's time and memory grow",
		Long: `scaling times the quality part of small sweeps along five axes, one varied at a
time: tokens, variants, layers, routed experts, threads. Each point is measured
several times, in a new order each time, and each axis gets its growth: an
exponent with its standard error, and a straight line with its R². Layers and
experts that the reference model does not have are drawn, in a temporary folder.

With --model, a folder that has a few layers of a larger model, it times a sweep
of that folder instead and says what one of the whole model would take.`,
		Example: `  assay bench scaling --out scaling.json
  assay bench scaling --axis tokens,threads --repetitions 1
  assay synth --model deepseek-v4-flash --layers 2,3 --out flash-2
  cp tokenizer.json flash-2
  assay bench scaling --model flash-2 --variants native,g32-n8-e4,g64-n4-e3 --windows 1 --window 256 --memory 12GB`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.check(c); err != nil {
				return err
			}
			if o.run.model != "" {
				return runExtrapolation(c, o)
			}
			return runScaling(c, o)
		},
	}
	o.run.engine = cpuEngine
	f := c.Flags()
	f.StringSliceVar(&o.axes, "axis", nil, "axes to measure: "+strings.Join(scaling.AxisNames(), ", ")+" (default: all)")
	f.IntVar(&o.repetitions, "repetitions", 3, "measurements of each point; with --model 1 where it is left out")
	f.StringVar(&o.run.model, "model", "", "folder of a checkpoint with a few layers of a larger model")
	f.StringVar(&o.whole, "of", flashModel, "with --model: the larger model, built-in or a folder with its config")
	f.StringVar(&o.run.variants, "variants", "native,g32-n8-e4,g64-n4-e3", "with --model: "+variantsHelp)
	f.IntVar(&o.run.protocol.Window, "window", 256, "with --model: tokens fed at once")
	f.IntVar(&o.run.protocol.Windows, "windows", 1, "with --model: windows of each text")
	f.IntVar(&o.run.engine.threads, "threads", 0, "threads of the CPU engine; 0 is all cores")
	f.StringVar(&o.run.engine.kernels, "kernels", "", "kernels of the CPU engine: avx512, avx2, neon, base, plain (default: the best there is)")
	f.Var(&o.run.memory, "memory", "most memory that the process may take, such as 8GB (default: nine tenths of what is free)")
	f.StringVar(&o.out, "out", "", "file to write the record to")
	f.BoolVar(&o.json, "json", false, "print the record")
	return c
}

// check refuses flags of the other mode: they would change nothing.
func (o *scalingOptions) check(c *cobra.Command) error {
	other, mode := []string{"of", "variants", "window", "windows"}, "goes with --model"
	if o.run.model != "" {
		other, mode = []string{"axis"}, "does not go with --model"
		if !c.Flags().Changed("repetitions") {
			o.repetitions = 1
		}
	}
	for _, name := range other {
		if c.Flags().Changed(name) {
			return usage("--%s %s", name, mode)
		}
	}
	const most = 1000
	if o.repetitions < 1 || o.repetitions > most {
		return usage("repetitions is %d, want 1 to %d", o.repetitions, most)
	}
	if o.out != "" { // not after minutes of work
		if info, err := os.Stat(filepath.Dir(o.out)); err != nil || !info.IsDir() {
			return usage("--out %s: its folder is not there", o.out)
		}
	}
	return o.run.check()
}

// threads returns the threads of the engine.
func (o *scalingOptions) threads() int {
	if o.run.engine.threads > 0 {
		return o.run.engine.threads
	}
	return runtime.NumCPU()
}

func runScaling(c *cobra.Command, o *scalingOptions) error {
	axes, err := o.plan()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "assay-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	m := &measurement{opt: o, run: scaling.NewRun(axes), models: map[string]string{}, dir: dir, progress: newProgress(c.ErrOrStderr())}
	err = m.measure(c.Context())
	m.progress.end()
	if err != nil {
		return interrupted(err)
	}
	m.made.Engine.Threads = o.threads() // a point's own are in its setup
	r, err := m.run.Record(m.made)
	if err != nil {
		return err
	}
	return o.finish(c.OutOrStdout(), r, func(w io.Writer) error { return printScaling(w, r) })
}

// interrupted says that nothing is kept.
func interrupted(err error) error {
	if errors.Is(err, context.Canceled) {
		return codedError{exitInterrupt, errors.New("interrupted; nothing is kept")}
	}
	return err
}

// finish writes the record where it is asked for, and prints.
func (o *scalingOptions) finish(w io.Writer, record any, table func(io.Writer) error) error {
	if o.out != "" {
		f, err := os.Create(o.out)
		if err != nil {
			return err
		}
		if err := errors.Join(printJSON(f, record), f.Close()); err != nil {
			return err
		}
	}
	if o.json {
		return printJSON(w, record)
	}
	if err := table(w); err != nil || o.out == "" {
		return err
	}
	_, err := fmt.Fprintf(w, "record: %s\n", o.out)
	return err
}

// plan lists the axes with their points.
func (o *scalingOptions) plan() ([]scaling.Axis, error) {
	g := o.grid
	if g == nil {
		m, err := openConfig(referenceModel)
		if err != nil {
			return nil, err
		}
		defer m.close()
		standard := scaling.Default(m.config.NumHiddenLayers, m.config.NRoutedExperts, o.threads())
		g = &standard
	}
	o.run.protocol.Window = g.Window
	axes, err := g.Axes(o.axes)
	if err != nil {
		return nil, codedError{exitUsage, err}
	}
	return axes, nil
}

// measurement is a scaling run under way.
type measurement struct {
	opt      *scalingOptions
	run      *scaling.Run
	made     scaling.Made
	dir      string
	models   map[string]string // folders of drawn checkpoints
	progress *progress
}

// measure takes every point once a repetition, in that repetition's order.
func (m *measurement) measure(ctx context.Context) error {
	order, n := bench.Plan{Seed: 1}, len(m.run.Points)
	for r := range m.opt.repetitions {
		for _, threads := range m.run.Threads() {
			rate, err := measuredRate(threads)
			if err != nil {
				return err
			}
			m.run.AddRate(rate)
		}
		for at, i := range order.Order(r, n) {
			p := m.run.Points[i]
			if now := time.Now(); now.Sub(m.progress.last) >= m.progress.every {
				m.progress.print(now, fmt.Sprintf("repetition %d of %d, point %d of %d: %v", r+1, m.opt.repetitions, at+1, n, p.Setup))
			}
			if err := m.point(ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func measuredRate(threads int) (scaling.Rate, error) {
	r, err := bench.Measure(threads)
	return scaling.Rate{Threads: threads, FLOPs: r.FLOPs, Quantize: r.Quantize}, err
}

// point measures a point once, as sweep --no-speed would score it.
func (m *measurement) point(ctx context.Context, p *scaling.Point) error {
	o := m.opt.run
	var err error
	if o.model, err = m.model(ctx, p.Setup); err != nil {
		return err
	}
	o.protocol.Windows, o.engine.threads = p.Setup.Windows, p.Setup.Threads
	if o.variants, err = gridVariants(p.Setup.Variants); err != nil {
		return err
	}
	s, err := prepare(&o)
	if err != nil {
		return err
	}
	defer s.close()
	plan, err := s.job.Plan()
	if err != nil {
		return err
	}
	p.Work = scaling.WorkOf(plan, s.job.Windows)
	sample, err := scaling.Measure(&s.job, func() error { return s.run(ctx, io.Discard) })
	if err != nil {
		return err
	}
	p.Samples = append(p.Samples, sample)
	if o.model == referenceModel || m.made.Made.IsZero() {
		m.made = s.made(scalingNotes)
	}
	return nil
}

// gridVariants names bf16 and the first of the default grid, n in all.
func gridVariants(n int) (string, error) {
	names := append([]string{variant.BF16}, variant.Grid()...)
	if n < 1 || n > len(names) {
		return "", fmt.Errorf("%d variants, want 1 to %d", n, len(names))
	}
	return strings.Join(names[:n], ","), nil
}

// made describes what made a record's figures.
func (s *session) made(notes []string) scaling.Made {
	r := s.record
	out := scaling.Made{Made: r.Made, Tool: r.Tool, Machine: r.Machine, Engine: r.Engine, Model: r.Model, Window: r.Protocol.Window, Notes: notes}
	for _, t := range r.Texts {
		out.Texts = append(out.Texts, scaling.Text{Name: t.Name, Corpus: t.Corpus, Digest: t.Digest, Tokens: t.Tokens})
	}
	return out
}

// model returns the model of a setup: the reference model, or a folder drawn in
// its shape.
func (m *measurement) model(ctx context.Context, s scaling.Setup) (string, error) {
	if !s.Synthetic {
		return referenceModel, nil
	}
	name := fmt.Sprintf("layers-%d-experts-%d", s.Layers, s.Experts)
	if dir := m.models[name]; dir != "" {
		return dir, nil
	}
	config, err := configOf(referenceModel)
	if err != nil {
		return "", err
	}
	files, err := smallFiles(referenceModel)
	if err != nil {
		return "", err
	}
	if files["config.json"], err = scaling.Shape(config, s.Layers, s.Experts); err != nil {
		return "", err
	}
	shape, out := filepath.Join(m.dir, "shape-"+name), filepath.Join(m.dir, name)
	if err := os.Mkdir(shape, 0o755); err != nil {
		return "", err
	}
	for file, data := range files {
		if err := os.WriteFile(filepath.Join(shape, file), data, 0o644); err != nil {
			return "", err
		}
	}
	p, err := planSynth(&synthOptions{model: shape, out: out, seed: 1, shardBytes: 1 << 30})
	if err != nil {
		return "", err
	}
	if err := p.plan.Write(ctx, out, nil); err != nil {
		return "", err
	}
	m.models[name] = out
	return out, nil
}

var scalingNotes = []string{
	"A point's seconds and split are those of the repetition with the median time; its peak is the most of all repetitions. All samples are kept.",
	"The base point is measured once for all axes that have it. Points of layers and experts have drawn weights in the reference model's shape; compress_ratios repeat.",
	"flop counts useful operations: two for each multiply-add that the model asks for, what variants share once. The share is of a matrix product in float32 on as many threads, measured in the same run.",
	"weights: reading, decoding, quantizing and loading. head: output projection and softmax. scoring: comparing and recording distributions. rest: embedding, final norm, copies of streams, planning.",
	"peak_bytes is what the process had resident at most, the program, its embedded model and mapped files among it; where it is missing, the system does not say. planned_bytes is the plan's bound.",
	"Variants are bf16 and the first of the default grid, in its order.",
}
