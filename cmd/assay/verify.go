package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"assay/engine/bundle"
	"assay/engine/inspect"
	"assay/engine/shard"
)

// verifyOptions are the flags of assay verify.
type verifyOptions struct {
	source, runtime    string
	fix, json, digests bool
	sample             inspect.Sample
}

func verifyCommand() *cobra.Command {
	o := &verifyOptions{}
	c := &cobra.Command{
		Use:   "verify DIR",
		Short: "What is wrong with a folder of weights, and what each runtime makes of it",
		Long: `verify checks headers, index and config.json first, without reading a weight, then
a sample of weights: against themselves, and with --source against the checkpoint
that the folder was made from. Each finding says what was found, what is wanted,
what comes of it and what to do; without --runtime it says so of every runtime
that the folder's names are for.

` + runtimesHelp() + `

Exit codes: 0 nothing wrong (notes do not count); 4 warnings: it loads, but is
slower or worse, or fails in some runtimes; 5 errors: it does not load, or loads
wrong. They tell of the folder as it is, with --fix too.

--digests reads every byte too, and holds each file of a folder that assay build
made against the digest in its assay.json.

--fix repairs what metadata alone can: the index, and what config.json says of
formats. It writes config.json.fixed and model.safetensors.index.json.fixed
beside the old files, never over a file. No runtime loads a name that ends so;
the commands that put them in place are printed.`,
		Example: `  assay verify Flash-g64-n8-e4
  assay verify Flash-g64-n8-e4 --source DeepSeek-V4-Flash
  assay verify Flash-g64-n8-e4 --digests
  assay verify download --runtime mlx-lm-0.31.3 --fix`,
		Args: oneFolder,
		RunE: func(c *cobra.Command, args []string) error { return runVerify(c, args[0], o) },
	}
	f := c.Flags()
	f.StringVar(&o.source, "source", "", "checkpoint that the folder was made from, to compare sampled weights with")
	f.StringVar(&o.runtime, "runtime", "", "ask about this runtime only: "+strings.Join(loaderNames(), ", "))
	f.BoolVar(&o.fix, "fix", false, "write repaired metadata beside the old")
	f.BoolVar(&o.digests, "digests", false, "read every byte, and compare with the digests that the build wrote down")
	f.BoolVar(&o.json, "json", false, "print JSON")
	sampleFlags(c, &o.sample)
	return c
}

func loaderNames() []string {
	var out []string
	for _, l := range inspect.Loaders {
		out = append(out, l.Name)
	}
	return out
}

// runtimesHelp lists the runtimes.
func runtimesHelp() string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, l := range inspect.Loaders {
		fmt.Fprintf(t, "  --runtime %s\t%s\n", l.Name, l.About)
	}
	t.Flush() // to memory: no error
	return strings.TrimRight(b.String(), "\n")
}

// verifyJSON is what verify --json prints.
type verifyJSON struct {
	Folder string `json:"folder"`
	inspect.Result
	Fixed    []string        `json:"fixed,omitempty"`     // files written
	NotFixed string          `json:"not_fixed,omitempty"` // why another was not
	After    *inspect.Result `json:"after,omitempty"`     // with them in place
}

func runVerify(c *cobra.Command, dir string, o *verifyOptions) error {
	options := inspect.Options{Params: modelParams, Sample: o.sample}
	if o.runtime != "" {
		l, err := inspect.LoaderOf(o.runtime)
		if err != nil {
			return codedError{exitUsage, err}
		}
		options.Loader = &l
	}
	if o.source != "" {
		ck, err := openCheckpoint(o.source)
		if err != nil {
			return err
		}
		defer ck.Close()
		if options.Source, err = inspect.NewSource(ck); err != nil {
			return err
		}
	}
	f, err := openInspected(dir)
	if err != nil {
		return err
	}
	end := func() {}
	if o.digests {
		options.Digest, end = digests(c, dir)
	}
	out := verifyJSON{Folder: dir, Result: inspect.Verify(f, options)}
	end()
	if err := c.Context().Err(); err != nil {
		return err
	}
	options.Digest = nil // once is enough
	var unfixed error
	if o.fix {
		unfixed = out.fix(dir, f, options)
	}
	if o.json {
		err = printJSON(c.OutOrStdout(), out)
	} else {
		err = out.print(c.OutOrStdout())
	}
	if err != nil {
		return err
	}
	if unfixed != nil {
		return unfixed
	}
	return out.failure()
}

// digests computes those of a folder's files, and tells how far it is. Once the
// command is interrupted it reads no more. end clears what it told.
func digests(c *cobra.Command, dir string) (digest inspect.Digest, end func()) {
	p := newProgress(c.ErrOrStderr())
	done, total := int64(0), int64(0)
	files, _ := filepath.Glob(filepath.Join(dir, "*.safetensors")) // for the total only
	for _, name := range files {
		if info, err := os.Stat(name); err == nil {
			total += info.Size()
		}
	}
	return func(name string) (string, error) {
		path := filepath.Join(dir, name)
		p.build(bundle.Progress{Stage: "digests", Done: done, Total: total})
		if info, err := os.Stat(path); err == nil {
			done += info.Size()
		}
		return shard.Digest(c.Context(), path)
	}, p.end
}

// fix writes repaired files, and verifies the folder as it would be with them.
func (v *verifyJSON) fix(dir string, f *inspect.Folder, o inspect.Options) error {
	fixed, refused := inspect.Fix(f, o)
	if refused != nil {
		v.NotFixed = refused.Error()
	}
	for _, x := range fixed {
		path := filepath.Join(dir, x.Name+inspect.FixedSuffix)
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s is there already: put it in place or remove it first", path)
		}
		v.Fixed = append(v.Fixed, path)
	}
	for i, x := range fixed {
		if err := writeNew(v.Fixed[i], x.Data); err != nil {
			return err
		}
	}
	if len(fixed) == 0 {
		return nil
	}
	after, err := openFS(dir, inspect.Overlay(os.DirFS(dir), fixed))
	if err != nil {
		return err
	}
	r := inspect.Verify(after, o)
	v.After = &r
	return nil
}

// writeNew writes a file that is not there yet.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

// failure is the error that carries the exit code.
func (v *verifyJSON) failure() error {
	n := map[inspect.Severity]int{}
	for _, x := range v.Findings {
		n[x.Severity]++
	}
	text := fmt.Errorf("%s: %s, %s", v.Folder, count(n[inspect.Error], "error"), count(n[inspect.Warning], "warning"))
	switch v.Worst() {
	case inspect.Error:
		return codedError{exitBroken, text}
	case inspect.Warning:
		return codedError{exitWarned, text}
	}
	return nil
}

func (v *verifyJSON) print(w io.Writer) error {
	fmt.Fprintf(w, "%s: %s", v.Folder, either(v.Kind, "safetensors of a model that assay does not know"))
	if v.Spelling != "" {
		fmt.Fprintf(w, "; names: %s", v.Spelling)
	}
	fmt.Fprintf(w, "; %s\n", count(v.Tensors, "tensor"))
	if err := printFindings(w, v.Findings); err != nil {
		return err
	}
	if err := printSampled(w, v.Sampled); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := printVerdicts(w, v.Verdicts); err != nil {
		return err
	}
	if v.NotFixed != "" {
		fmt.Fprintf(w, "\nNot repaired: %s\n", plainText(strings.ReplaceAll(v.NotFixed, "\n", "; ")))
	}
	if v.After == nil {
		return nil
	}
	fmt.Fprintln(w, "\nRepaired files stand beside the old ones. To put them in place:")
	for _, path := range v.Fixed {
		old := strings.TrimSuffix(path, inspect.FixedSuffix)
		if _, err := os.Lstat(old); err == nil {
			fmt.Fprintf(w, "  mv %s %s\n", quoteArg(old), quoteArg(old+".old"))
		}
		fmt.Fprintf(w, "  mv %s %s\n", quoteArg(path), quoteArg(old))
	}
	fmt.Fprintln(w, "With them the folder would have:")
	if err := printFindings(w, v.After.Findings); err != nil {
		return err
	}
	return printVerdicts(w, v.After.Verdicts)
}

// quoteArg quotes a path for a shell where it must.
func quoteArg(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

func printFindings(w io.Writer, list []inspect.Finding) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "no findings")
		return err
	}
	titles := map[string]string{}
	for _, c := range inspect.Checks {
		titles[c.ID] = c.Title
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nseverity\tcheck\tplaces\twhat is checked\t")
	for _, x := range list {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t\n", x.Severity, x.ID, x.Count, titles[x.ID])
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, x := range list {
		who := ""
		if len(x.Runtimes) > 0 {
			who = " (" + strings.Join(x.Runtimes, ", ") + ")"
		}
		fmt.Fprintln(w, plainText(fmt.Sprintf("%s %s%s: %s: %s; want %s. %s. Fix: %s.",
			x.Severity, x.ID, who, x.Subject(), x.Found, x.Wanted, capital(x.Consequence), x.Fix)))
	}
	return nil
}

// capital begins a sentence, unless with a name that has none.
func capital(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' || strings.HasPrefix(s, "mlx") {
		return s
	}
	return string(s[0]-'a'+'A') + s[1:]
}

func printSampled(w io.Writer, s inspect.Sampled) error {
	if s.Rows == 0 {
		return nil
	}
	fmt.Fprintf(w, "\nSampled: %d rows of %d matrices, %s read.\n", s.Rows, s.Matrices, size(s.Bytes))
	if len(s.Errors) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "class\tformat\terror to the source, relative RMS\t")
	for _, e := range s.Errors {
		fmt.Fprintf(t, "%s\t%s\t%.3f %%\t\n", e.Class, e.Format, 100*e.Relative)
	}
	return t.Flush()
}

func printVerdicts(w io.Writer, list []inspect.Verdict) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range list {
		fmt.Fprintf(t, "%s\t%s\n", v.Runtime, plainText(v.Text))
	}
	return t.Flush()
}
