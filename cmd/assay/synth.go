package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"assay/engine/bundle"
	"assay/engine/dsv4"
	"assay/engine/shard"
	"assay/engine/synth"
	"assay/engine/tensor"
)

// synthOptions are the flags of assay synth.
type synthOptions struct {
	model, layers, out string
	seed               uint64
	shardBytes         int64
	dryRun, json       bool
}

func synthCommand() *cobra.Command {
	o := &synthOptions{}
	c := &cobra.Command{
		Use:   "synth --layers LIST --out DIR",
		Short: "Write a checkpoint of a model's true shapes with synthetic weights",
		Long: `synth writes a checkpoint folder in the upstream layout, of some of a model's
layers with embedding and head: true names, shapes and formats (FP4 and FP8 with
their scales, BF16, F32), and seeded random weights distributed like trained
ones. Builds, checks and speed are tried on it at true size without the model;
its text is noise, and its README.md says so. The layers are renumbered from 0
and config.json says so, so that every command takes the folder as a model.

The same seed gives the same bytes on any machine. A run that was stopped goes
on with the same command.`,
		Example: `  assay synth --model deepseek-v4-flash --layers 0,2,3,42 --out flash-4
  assay synth --model deepseek-v4-flash --layers 2 --out flash-1 --dry-run
  assay synth --model reference --out noise --seed 1
  assay build --source flash-4 --recipe g64-n8-e4 --out flash-4-mlx`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return runSynth(c, o) },
	}
	f := c.Flags()
	f.StringVar(&o.model, "model", flashModel, modelHelp+"; weights are not read")
	f.StringVar(&o.layers, "layers", "", "main layers to write, ascending, with commas between; all without it")
	f.StringVar(&o.out, "out", "", "folder to write; a run that was interrupted goes on there")
	f.Uint64Var(&o.seed, "seed", 0, "what the weights are drawn from")
	f.Int64Var(&o.shardBytes, "shard-bytes", bundle.ShardBytes, "tensor bytes at which a shard closes")
	f.BoolVar(&o.dryRun, "dry-run", false, "print what would be written, and write nothing")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return c
}

func (o *synthOptions) check() error {
	if o.out == "" {
		return usage("synth needs --out; see assay synth --help")
	}
	if o.shardBytes < 1 {
		return usage("shard-bytes is %d, want at least 1", o.shardBytes)
	}
	return nil
}

// layerList reads --layers for a model of n main layers.
func layerList(text string, n int) ([]int, error) {
	var out []int
	if text == "" {
		for l := range n {
			out = append(out, l)
		}
		return out, nil
	}
	for field := range strings.SplitSeq(text, ",") {
		l, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil {
			return nil, usage("layers %q: %q is no layer, want numbers with commas between, such as 0,2,3,42", text, field)
		}
		out = append(out, l)
	}
	return out, nil
}

// synthetic is a checkpoint that is planned.
type synthetic struct {
	opt    *synthOptions
	model  string
	config *dsv4.Config
	layers []int // of the model
	params []tensor.Param
	assets map[string][]byte
	plan   *synth.Plan
}

func planSynth(o *synthOptions) (*synthetic, error) {
	m, err := openConfig(o.model)
	if err != nil {
		return nil, err
	}
	defer m.close()
	s := &synthetic{opt: o, model: m.name}
	if s.layers, err = layerList(o.layers, m.config.NumHiddenLayers); err != nil {
		return nil, err
	}
	text, err := configOf(o.model)
	if err != nil {
		return nil, err
	}
	config, err := dsv4.Select(text, s.layers)
	if err != nil {
		return nil, codedError{exitUsage, err}
	}
	if s.config, err = dsv4.ParseConfig(config); err != nil {
		return nil, err
	}
	s.params = renumbered(dsv4.Params(s.config), m.params, s.layers)
	if s.assets, err = smallFiles(o.model); err != nil {
		return nil, err
	}
	files := map[string][]byte{"README.md": s.card()}
	for name, data := range s.assets {
		files[name] = data
	}
	s.plan, err = synth.New(synth.Spec{Config: config, Params: s.params, Seed: o.seed, ShardBytes: o.shardBytes, Files: files})
	return s, err
}

// renumbered gives the parameters of a selection of layers the formats in which
// the model stores them.
func renumbered(params, of []tensor.Param, layers []int) []tensor.Param {
	native := map[string]tensor.Native{}
	for _, p := range of {
		native[p.Name] = p.Native
	}
	for i, p := range params {
		name := p.Name
		if p.Layer >= 0 {
			name = strings.Replace(name, fmt.Sprintf("layers.%d.", p.Layer), fmt.Sprintf("layers.%d.", layers[p.Layer]), 1)
		}
		if n, ok := native[name]; ok {
			params[i].Native = n
		}
	}
	return params
}

// smallFiles returns the tokenizer and other small files of a model, of those
// that a bundle would take over. A folder may have a config and no weights.
func smallFiles(name string) (map[string][]byte, error) {
	out := map[string][]byte{}
	if name == flashModel {
		return out, nil
	}
	if name == referenceModel {
		ck, err := openCheckpoint(name)
		if err != nil {
			return nil, err
		}
		defer ck.Close()
		files, err := assetsOf(ck)
		for _, f := range files {
			out[f.Name] = f.Data
		}
		return out, err
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(name, e.Name())); err != nil || !info.Mode().IsRegular() || !isAsset(e.Name()) {
			continue
		}
		if out[e.Name()], err = os.ReadFile(filepath.Join(name, e.Name())); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func runSynth(c *cobra.Command, o *synthOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	s, err := planSynth(o)
	if err != nil {
		return err
	}
	if o.dryRun {
		return s.dryRun(c.OutOrStdout())
	}
	p := newProgress(c.ErrOrStderr())
	started := time.Now()
	err = s.plan.Write(c.Context(), o.out, func(step synth.Progress) {
		p.build(bundle.Progress{Stage: step.Stage, Done: step.Done, Total: step.Total})
	})
	p.end()
	switch {
	case errors.Is(err, shard.ErrFinished):
		return s.print(c.OutOrStdout(), "is there already", 0)
	case errors.Is(err, context.Canceled):
		return codedError{exitInterrupt, fmt.Errorf("interrupted; the same command goes on from %s", o.out)}
	case err != nil:
		return err
	}
	return s.print(c.OutOrStdout(), "is written", time.Since(started))
}

// synthJSON is what assay synth --json prints.
type synthJSON struct {
	Model      string           `json:"model"`
	Seed       uint64           `json:"seed"`
	Layers     []synthLayer     `json:"layers"`
	OtherBytes int64            `json:"bytes_outside_layers"`
	Bytes      int64            `json:"bytes"`      // of tensors
	FileBytes  int64            `json:"file_bytes"` // of all files
	FreeBytes  int64            `json:"free_bytes,omitempty"`
	Shards     int              `json:"shards"`
	Parameters int64            `json:"parameters"`
	Classes    map[string]int64 `json:"bytes_by_class"`
	Tokenizer  bool             `json:"tokenizer"`
	Seconds    float64          `json:"seconds,omitempty"`
}

// synthLayer is one layer of the new model.
type synthLayer struct {
	Layer  int    `json:"layer"`
	Of     int    `json:"of"` // its number in the model
	Ratio  int    `json:"compress_ratio"`
	Routes string `json:"routes_by"`
	Bytes  int64  `json:"bytes"`
}

func (s *synthetic) summary() synthJSON {
	out := synthJSON{Model: s.model, Seed: s.opt.seed, Classes: map[string]int64{}}
	for i, of := range s.layers {
		l := synthLayer{Layer: i, Of: of, Ratio: s.config.Ratio(i), Routes: "score"}
		if s.config.Hash(i) {
			l.Routes = "token id"
		}
		out.Layers = append(out.Layers, l)
	}
	for _, p := range s.params {
		n := p.StoredBytes()
		out.Bytes += n
		out.Classes[string(p.Class)] += n
		out.Parameters += p.Elements()
		if p.Layer < 0 {
			out.OtherBytes += n
		} else {
			out.Layers[p.Layer].Bytes += n
		}
	}
	_, out.Tokenizer = s.assets["tokenizer.json"]
	if s.plan != nil {
		out.FileBytes, out.Shards = s.plan.FileBytes(), s.plan.Shards()
	}
	return out
}

func (s *synthetic) print(w io.Writer, what string, took time.Duration) error {
	sum := s.summary()
	sum.Seconds = took.Seconds()
	if s.opt.json {
		return printJSON(w, sum)
	}
	rate := ""
	if took > time.Second {
		rate = fmt.Sprintf(", %s", took.Round(time.Second))
	}
	fmt.Fprintf(w, "%s %s: %d layers of %s with synthetic weights, %d bytes of tensors (%s) in %d shards%s\n",
		s.opt.out, what, len(sum.Layers), sum.Model, sum.Bytes, size(sum.Bytes), sum.Shards, rate)
	return noTokenizer(w, sum)
}

func noTokenizer(w io.Writer, s synthJSON) error {
	if s.Tokenizer {
		return nil
	}
	_, err := fmt.Fprintf(w, "The folder has no tokenizer, for %s has none here: put a tokenizer.json there to score text.\n", s.Model)
	return err
}

func (s *synthetic) dryRun(w io.Writer) error {
	sum := s.summary()
	var err error
	if sum.FreeBytes, err = shard.Free(s.opt.out); err != nil {
		return err
	}
	if s.opt.json {
		return printJSON(w, sum)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "layer\tof the model\tcompression\troutes by\tbytes\tsize\t")
	for _, l := range sum.Layers {
		fmt.Fprintf(t, "%d\t%d\t%d\t%s\t%d\t%s\t\n", l.Layer, l.Of, l.Ratio, l.Routes, l.Bytes, size(l.Bytes))
	}
	for _, row := range []struct {
		what  string
		bytes int64
	}{{"embedding, head, last norm", sum.OtherBytes}, {"all tensors", sum.Bytes}, {"all files", sum.FileBytes}, {"free at " + s.opt.out, sum.FreeBytes}} {
		fmt.Fprintf(t, "\t\t\t%s\t%d\t%s\t\n", row.what, row.bytes, size(row.bytes))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "%d shards, %d parameters; nothing was written.\n", sum.Shards, sum.Parameters)
	if sum.FileBytes > sum.FreeBytes {
		fmt.Fprintf(w, "There is not enough space: %s more is needed.\n", size(sum.FileBytes-sum.FreeBytes))
	}
	return noTokenizer(w, sum)
}

// card is the folder's README.md.
func (s *synthetic) card() []byte {
	var w bytes.Buffer
	sum := s.summary()
	fmt.Fprintf(&w, "---\ntags: [synthetic, assay]\n---\n\n# Synthetic weights in the shape of %s\n\n", sum.Model)
	fmt.Fprintf(&w, "**These weights are synthetic.** Names, shapes and formats are those of %s; the numbers were drawn at random and\n"+
		"nobody trained them. What this model writes is noise, and no figure of its quality says anything of %s.\n"+
		"It is for trying builds, checks and speed at true size.\n\n", sum.Model, sum.Model)
	fmt.Fprintf(&w, "| layer | of %s | compression | routes by | bytes |\n|---:|---:|---:|---|---:|\n", sum.Model)
	for _, l := range sum.Layers {
		fmt.Fprintf(&w, "| %d | %d | %d | %s | %d |\n", l.Layer, l.Of, l.Ratio, l.Routes, l.Bytes)
	}
	fmt.Fprintf(&w, "| embedding, head, last norm | | | | %d |\n| **all tensors** | | | | **%d** |\n\n", sum.OtherBytes, sum.Bytes)
	fmt.Fprintf(&w, "%d parameters. Without a multi-token-prediction block. Statistics by class of tensor are those of assay's trained\n"+
		"reference model: size, tails, and how scales vary.\n\n", sum.Parameters)
	var layers []string
	for _, l := range s.layers {
		layers = append(layers, strconv.Itoa(l))
	}
	fmt.Fprintf(&w, "    assay synth --model %s --layers %s --seed %d --shard-bytes %d\n\nmakes the same bytes on any machine.\n",
		sum.Model, strings.Join(layers, ","), s.opt.seed, s.opt.shardBytes)
	if !sum.Tokenizer {
		fmt.Fprintf(&w, "\nThere is no tokenizer in this folder.\n")
	}
	return w.Bytes()
}
