package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"

	"assay/engine/dsv4"
	"assay/engine/inspect"
	"assay/engine/tensor"
)

func inspectCommand() *cobra.Command {
	var asJSON bool
	var sample inspect.Sample
	c := &cobra.Command{
		Use:   "inspect DIR",
		Short: "What a folder of weights is",
		Long: `inspect says what a folder is (upstream checkpoint, plain bf16, MLX affine, mxfp4,
mxfp8, mixed), whose names its tensors have, tensors and bytes by class, the
formats that shapes mean beside those that config.json declares, bits per
weight, and how large the scales are. It reads headers, and a sample of weights
for the scales; any folder of safetensors will do, however broken. What is wrong
with it is assay verify's.`,
		Example: "  assay inspect Flash-g64-n8-e4\n  assay inspect Flash-g64-n8-e4 --json",
		Args:    oneFolder,
		RunE: func(c *cobra.Command, args []string) error {
			f, err := openInspected(args[0])
			if err != nil {
				return err
			}
			r := f.Report(modelParams, sample)
			if asJSON {
				return printJSON(c.OutOrStdout(), r)
			}
			return printInspected(c.OutOrStdout(), args[0], r)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	sampleFlags(c, &sample)
	return c
}

// sampleFlags are those of commands that read some weights.
func sampleFlags(c *cobra.Command, s *inspect.Sample) {
	c.Flags().Int64Var(&s.Bytes, "sample-bytes", inspect.DefaultSample, "weights to read at most, in bytes; 0 reads headers only")
	c.Flags().Uint64Var(&s.Seed, "seed", 1, "which weights are read")
}

func oneFolder(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("%s takes one folder, got %d arguments; see assay %s --help", c.Name(), len(args), c.Name())
	}
	return nil
}

// modelParams are the parameters of the model of a config.json.
func modelParams(config []byte) ([]tensor.Param, error) {
	c, err := dsv4.ParseConfig(config)
	if err != nil {
		return nil, err
	}
	return dsv4.Params(c), nil
}

func openInspected(dir string) (*inspect.Folder, error) {
	if strings.EqualFold(filepath.Ext(dir), ".gguf") {
		return nil, fmt.Errorf("%s: %s", dir, inspect.GGUFHint)
	}
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, fmt.Errorf("%s is a file, want the folder of a model", dir)
	}
	return openFS(dir, os.DirFS(dir))
}

func openFS(dir string, fsys fs.FS) (*inspect.Folder, error) {
	f, err := inspect.Open(fsys)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return f, nil
}

// plainText leaves out of a file's names what could move a terminal's cursor.
func plainText(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

func printInspected(w io.Writer, dir string, r inspect.Report) error {
	fmt.Fprintf(w, "%s: %s", dir, r.Kind)
	if r.Names != "" {
		fmt.Fprintf(w, "; names: %s", r.Names)
	}
	fmt.Fprintf(w, "\n%d tensors, %d bytes (%s, %s) in %d files", r.Tensors, r.Bytes, size(r.Bytes), gibibytes(r.Bytes), r.Shards)
	if r.BitsPerWeight > 0 {
		fmt.Fprintf(w, "; %.3f bits per weight", r.BitsPerWeight)
	}
	fmt.Fprintln(w)
	if r.Unknown != "" {
		fmt.Fprintf(w, "The model is not known: %s\n", plainText(r.Unknown))
	}
	for _, print := range []func(io.Writer, inspect.Report) error{printTypes, printClasses, printFormats, printScales} {
		if err := print(w, r); err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "\ntokenizer: %s; chat template: %s; end of sequence: %s\n", yes(r.Tokenizer), yes(r.Template), either(plainText(strings.Join(r.Ends, ", ")), "not said"))
	fmt.Fprintf(w, "other files: %s\n", either(plainText(strings.Join(r.Files, ", ")), "none"))
	if r.Findings > 0 {
		fmt.Fprintf(w, "Headers and config have %s: see assay verify %s\n", count(r.Findings, "finding"), dir)
	}
	return nil
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func either(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// count says "1 finding" or "2 findings".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func printTypes(w io.Writer, r inspect.Report) error {
	if r.Unknown == "" {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\ntype\ttensors\tbytes\t")
	for _, d := range r.DTypes {
		fmt.Fprintf(t, "%s\t%d\t%d\t\n", plainText(string(d.DType)), d.Tensors, d.Bytes)
	}
	return t.Flush()
}

func printClasses(w io.Writer, r inspect.Report) error {
	if len(r.Classes) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nclass\ttensors\tbytes\tsize\tbits/weight\tformats\t")
	for _, k := range r.Classes {
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%.3f\t%s\t\n", k.Class, k.Tensors, k.Bytes, size(k.Bytes), k.BitsPerWeight, strings.Join(k.Formats, ", "))
	}
	return t.Flush()
}

func printFormats(w io.Writer, r inspect.Report) error {
	if len(r.Formats) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nformat found\ttensors\tweights\tbytes\tin config.json\t")
	for _, u := range r.Formats {
		var declared []string
		for _, d := range []struct {
			n    int
			text string
		}{{u.Override, "by entries"}, {u.Globals, "by the globals"}, {u.Wrong, "WRONG"}} {
			if d.n > 0 {
				declared = append(declared, fmt.Sprintf("%d %s", d.n, d.text))
			}
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\t\n", u.Format, u.Modules, u.Weights, u.Bytes, strings.Join(declared, ", "))
	}
	if err := t.Flush(); err != nil || r.Globals == "" {
		return err
	}
	_, err := fmt.Fprintf(w, "config.json: globals %s, %s\n", plainText(r.Globals), count(r.Overrides, "other setting"))
	return err
}

// printScales draws a histogram for each format.
func printScales(w io.Writer, r inspect.Report) error {
	for _, h := range r.Scales {
		fmt.Fprintf(w, "\nscales of %s by power of two, %d sampled", h.Format, h.Scales)
		if h.Negative > 0 || h.Zero > 0 {
			fmt.Fprintf(w, ", %d negative, %d zero", h.Negative, h.Zero)
		}
		fmt.Fprintln(w)
		most := 1
		var powers []int
		for p, n := range h.Counts {
			powers = append(powers, p)
			most = max(most, n)
		}
		slices.Sort(powers)
		t := tabwriter.NewWriter(w, 0, 0, 1, ' ', tabwriter.AlignRight)
		for _, p := range powers {
			fmt.Fprintf(t, "2^%d\t%d\t %s\n", p, h.Counts[p], strings.Repeat("#", (40*h.Counts[p]+most-1)/most))
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if r.Sampled.Rows == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "\nSampled: %d rows of %d matrices, %s read.\n", r.Sampled.Rows, r.Sampled.Matrices, size(r.Sampled.Bytes))
	return err
}
