package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"assay/engine/bundle"
	"assay/engine/checkpoint"
	"assay/engine/shard"
	"assay/engine/tensor"
	"assay/engine/variant"
)

// buildOptions are the flags of assay build.
type buildOptions struct {
	source, recipe, out string
	runtime, layout     string
	results             string
	mtp, dryRun, json   bool
	shardBytes          int64
	threads             int
}

func buildCommand() *cobra.Command {
	o := &buildOptions{}
	c := &cobra.Command{
		Use:   "build --source DIR --recipe NAME --out DIR",
		Short: "Write a variant as a folder that MLX loads",
		Long: `build reads an upstream FP4/FP8 or bf16 checkpoint tensor by tensor and writes an
MLX bundle: safetensors shards, index, config.json with the format of every
module, tokenizer and chat files, a model card, and assay.json, which says how
it was made. Memory stays small whatever the model's size. A build that was
stopped goes on with the same command; finished shards are held against their
digests and kept.

A recipe is a name as --variants takes it, such as g64-n8-e4 or search-g32-n8-e4
(see assay eval --help), or a file:

` + indent(variant.RecipeFile),
		Example: `  assay build --source DeepSeek-V4-Flash --recipe g64-n8-e4 --out Flash-g64-n8-e4
  assay build --source DeepSeek-V4-Flash --recipe native --runtime vmlx --out Flash-native --dry-run
  assay build --source reference --recipe mine.yaml --out mine
  assay eval --model DeepSeek-V4-Flash --variants g64-n8-e4,Flash-g64-n8-e4`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return runBuild(c, o) },
	}
	f := c.Flags()
	f.StringVar(&o.source, "source", "", modelHelp)
	f.StringVar(&o.recipe, "recipe", "", "variant by name, or recipe file (.yaml)")
	f.StringVar(&o.out, "out", "", "folder to write; a build that was interrupted goes on there")
	f.StringVar(&o.runtime, "runtime", bundle.DefaultRuntime, "whose names the tensors get: "+strings.Join(runtimeNames(), ", "))
	f.StringVar(&o.layout, "layout", layoutStacked, "stacked: the runtime's names, a layer's experts in one tensor; per-expert: upstream's names, each expert apart")
	f.BoolVar(&o.mtp, "mtp", false, "keep the multi-token-prediction block, which the runtimes drop when they load")
	f.Int64Var(&o.shardBytes, "shard-bytes", bundle.ShardBytes, "tensor bytes at which a shard closes")
	f.StringVar(&o.results, "results", "", "folder of a sweep or eval whose figures for this recipe go into the model card")
	f.IntVar(&o.threads, "threads", 0, "threads; 0 is all cores")
	f.BoolVar(&o.dryRun, "dry-run", false, "print what would be written, and write nothing")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return c
}

func runtimeNames() []string {
	var out []string
	for _, r := range bundle.Runtimes() {
		out = append(out, r.Name)
	}
	return out
}

func indent(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }

// The layouts by name.
const (
	layoutStacked   = "stacked"
	layoutPerExpert = "per-expert"
)

func (o *buildOptions) check() (bundle.Options, error) {
	out := bundle.Options{PerExpert: o.layout == layoutPerExpert, MTP: o.mtp}
	for _, f := range []struct{ name, value string }{{"--source", o.source}, {"--recipe", o.recipe}, {"--out", o.out}} {
		if f.value == "" {
			return out, usage("build needs %s; see assay build --help", f.name)
		}
	}
	if o.layout != layoutStacked && o.layout != layoutPerExpert {
		return out, usage("layout %q, want %s or %s", o.layout, layoutStacked, layoutPerExpert)
	}
	if o.shardBytes < 1 {
		return out, usage("shard-bytes is %d, want at least 1", o.shardBytes)
	}
	if o.threads < 0 {
		return out, usage("threads is %d, want 1 or more, or 0 for all cores", o.threads)
	}
	var err error
	if out.Runtime, err = bundle.RuntimeOf(o.runtime); err != nil {
		return out, codedError{exitUsage, err}
	}
	return out, nil
}

func runBuild(c *cobra.Command, o *buildOptions) error {
	options, err := o.check()
	if err != nil {
		return err
	}
	r, err := recipeOf(o.recipe)
	if err != nil {
		return err
	}
	if o.threads > 0 {
		runtime.GOMAXPROCS(o.threads)
	}
	if o.dryRun {
		return dryRun(c.OutOrStdout(), o, options, r)
	}
	m, err := openModel(o.source, (*checkpoint.Checkpoint).Fingerprint)
	if err != nil {
		return err
	}
	defer m.close()
	steps, err := r.Plan(m.source.Present())
	if err != nil {
		return err
	}
	b := &building{opt: o, model: m, recipe: r, steps: steps}
	if b.assets, err = assetsOf(m.checkpoint); err != nil {
		return err
	}
	if b.layout, err = newLayout(o, steps, options); err != nil {
		return err
	}
	if o.results != "" {
		if b.measured, err = measuredOf(o.results, m, r); err != nil {
			return err
		}
	}
	return b.run(c)
}

// newLayout lays a plan out, of which a runtime can load as many shards.
func newLayout(o *buildOptions, steps []variant.Step, options bundle.Options) (*bundle.Layout, error) {
	l, err := bundle.NewLayout(steps, options)
	if err != nil {
		return nil, err
	}
	if options.MTP && !slices.ContainsFunc(steps, func(s variant.Step) bool { return s.MTP }) {
		return nil, usage("--mtp: %s has no multi-token-prediction block", o.source)
	}
	if n := len(l.Files(o.shardBytes)); n > mostShards {
		return nil, usage("shard-bytes %d makes %d shards, want at most %d: mlx-lm opens them all", o.shardBytes, n, mostShards)
	}
	return l, nil
}

// mostShards is how many files mlx-lm can have open, a few left for itself.
// Source: ml-explore/mlx-lm mlx_lm/utils.py, which raises RLIMIT_NOFILE to 2048.
const mostShards = 1999

// building is a build that is planned.
type building struct {
	opt      *buildOptions
	model    *model
	recipe   variant.Recipe
	steps    []variant.Step
	layout   *bundle.Layout
	measured *measured // nil without --results
	assets   []bundle.File
}

func (b *building) run(c *cobra.Command) error {
	p := newProgress(c.ErrOrStderr())
	started := time.Now()
	var last bundle.Progress
	job := bundle.Job{
		Dir: b.opt.out, Layout: b.layout, Weights: variant.NewMaker(b.model.source.Reference, b.steps, b.recipe.Name),
		Key:        b.model.source.Digest + "\n" + b.recipe.Text(),
		ShardBytes: b.opt.shardBytes, Files: b.files,
		Progress: func(s bundle.Progress) { last = s; p.build(s) },
	}
	what := "is built"
	err := job.Build(c.Context())
	if errors.Is(err, shard.ErrFinished) {
		what = "is there already, every shard with its digest"
		err = job.Recheck(c.Context())
	}
	p.end()
	switch {
	case errors.Is(err, context.Canceled):
		return codedError{exitInterrupt, fmt.Errorf("interrupted; the same command goes on from %s", b.opt.out)}
	case err != nil:
		return err
	}
	return b.print(c.OutOrStdout(), what, last, time.Since(started))
}

// buildJSON is what assay build --json prints.
type buildJSON struct {
	Recipe     string           `json:"recipe"`
	Encoder    string           `json:"encoder"`
	Runtime    string           `json:"runtime"`
	Layout     string           `json:"layout"`
	Bytes      int64            `json:"bytes"` // of tensors, as written
	BytesMain  int64            `json:"bytes_mtp_left_out"`
	BytesMTP   int64            `json:"bytes_mtp_kept"`
	FileBytes  int64            `json:"file_bytes"` // shards with their headers
	FreeBytes  int64            `json:"free_bytes,omitempty"`
	Shards     int              `json:"shards"`
	Tensors    int              `json:"tensors"`
	BitsWeight float64          `json:"bits_per_weight"`
	Classes    map[string]int64 `json:"bytes_by_class"`
	Seconds    float64          `json:"seconds,omitempty"`
	Weights    int64            `json:"weights_encoded,omitempty"`
}

// summary adds up what is or would be written.
func summary(o *buildOptions, r variant.Recipe, steps []variant.Step, l *bundle.Layout) buildJSON {
	job := bundle.Job{Layout: l, Key: r.Name, ShardBytes: o.shardBytes}
	totals, files := variant.Sum(steps), l.Files(o.shardBytes)
	out := buildJSON{
		Recipe: r.Name, Encoder: totals.Encoder, Runtime: l.Runtime.Name, Layout: o.layout, Bytes: l.Bytes(),
		BytesMain: totals.BytesMain, BytesMTP: totals.BytesTotal, Shards: len(files), BitsWeight: totals.BitsPerWeight(),
		Classes: map[string]int64{},
	}
	for class, n := range totals.Classes {
		out.Classes[string(class)] = n
	}
	for _, f := range files {
		out.FileBytes += f.Bytes() + int64(len(f.Header(job.Metadata())))
		out.Tensors += len(f.Tensors)
	}
	return out
}

func (b *building) print(w io.Writer, what string, last bundle.Progress, took time.Duration) error {
	s := summary(b.opt, b.recipe, b.steps, b.layout)
	s.Seconds = took.Seconds()
	if b.opt.json {
		return printJSON(w, s)
	}
	rate := ""
	if s.Weights = last.Weights; took > time.Second && last.Weights > 0 {
		rate = fmt.Sprintf(", %s, %.3f G weights/s", took.Round(time.Second), float64(last.Weights)/1e9/took.Seconds())
	}
	_, err := fmt.Fprintf(w, "%s %s: %s, %d bytes of tensors (%s) in %d shards%s\n", b.opt.out, what, s.Recipe, s.Bytes, size(s.Bytes), s.Shards, rate)
	return err
}

// dryRun prints what a build would write.
func dryRun(w io.Writer, o *buildOptions, options bundle.Options, r variant.Recipe) error {
	m, err := openConfig(o.source)
	if err != nil {
		return err
	}
	defer m.close()
	steps, err := r.Plan(m.present())
	if err != nil {
		return err
	}
	l, err := newLayout(o, steps, options)
	if err != nil {
		return err
	}
	s := summary(o, r, steps, l)
	if s.FreeBytes, err = shard.Free(o.out); err != nil {
		return err
	}
	if o.json {
		return printJSON(w, s)
	}
	fmt.Fprintf(w, "%s of %s, names of %s, %s", s.Recipe, m.name, s.Runtime, s.Layout)
	if s.Encoder != "" {
		fmt.Fprintf(w, ", encoder %s", s.Encoder)
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, class := range slices.Sorted(maps.Keys(s.Classes)) {
		fmt.Fprintf(t, "%s\t%d\t%s\t\n", class, s.Classes[class], size(s.Classes[class]))
	}
	fmt.Fprintf(t, "without the MTP block\t%d\t%s\t\n", s.BytesMain, size(s.BytesMain))
	fmt.Fprintf(t, "with the MTP block\t%d\t%s\t\n", s.BytesMTP, size(s.BytesMTP))
	fmt.Fprintf(t, "to be written\t%d\t%s\t\n", s.Bytes, size(s.Bytes))
	fmt.Fprintf(t, "free at %s\t%d\t%s\t\n", o.out, s.FreeBytes, size(s.FreeBytes))
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "%d tensors in %d shards of %d bytes with their headers, %.3f bits per weight; nothing was written.\n",
		s.Tensors, s.Shards, s.FileBytes, s.BitsWeight)
	if entries, _ := os.ReadDir(o.out); len(entries) > 0 {
		fmt.Fprintf(w, "%s is not empty: a build goes on there if this one was interrupted in it, and refuses otherwise.\n", o.out)
	}
	if s.FileBytes > s.FreeBytes {
		_, err = fmt.Fprintf(w, "There is not enough space: %s more is needed.\n", size(s.FileBytes-s.FreeBytes))
	}
	return err
}

// files makes all small files of the bundle, config.json last: a folder without
// it is no bundle yet.
func (b *building) files(shards map[string]string) ([]bundle.File, error) {
	out := slices.Clone(b.assets)
	manifest, err := b.manifest(shards).Marshal()
	if err != nil {
		return nil, err
	}
	config, err := b.layout.Config(b.model.checkpoint.Config())
	if err != nil {
		return nil, err
	}
	return append(out, b.layout.Index(b.layout.Files(b.opt.shardBytes)), bundle.File{Name: "README.md", Data: b.card()},
		bundle.File{Name: bundle.ManifestName, Data: manifest}, bundle.File{Name: "config.json", Data: config}), nil
}

func (b *building) manifest(shards map[string]string) bundle.Manifest {
	t := tool()
	m := bundle.Manifest{
		Tool: "assay " + t.Version + " " + t.Commit + map[bool]string{true: ", changed since"}[t.Dirty], Recipe: b.recipe.Name, Rules: b.recipe.Text(), Encoder: variant.Sum(b.steps).Encoder,
		Runtime: b.layout.Runtime.Name, Layout: b.opt.layout, MTP: b.layout.MTP, Bytes: b.layout.Bytes(), Shards: shards,
	}
	m.Source.Name, m.Source.Fingerprint = b.model.name, b.model.source.Digest
	return m
}

// present returns the parameters that a model's folder has, or all of a config
// without weights.
func (m *model) present() []tensor.Param {
	if m.stored == nil {
		return m.params
	}
	return slices.DeleteFunc(slices.Clone(m.params), func(p tensor.Param) bool { return p.MTP && !m.stored[p.Name] })
}
