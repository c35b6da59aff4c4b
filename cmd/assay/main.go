// Command assay compares quantizations of a mixture-of-experts model: it makes
// them from the checkpoint, scores them against bf16 on held-out text, times
// them, and says which one to take. Run it without arguments for help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes, which `assay --help` documents.
const (
	exitError     = 1   // something failed; the message says what
	exitUsage     = 2   // a flag or argument is wrong
	exitNonFinite = 3   // done and printed, but a token had no finite score
	exitWarned    = 4   // verify: warnings
	exitBroken    = 5   // verify: errors
	exitInterrupt = 130 // stopped by Ctrl-C; what was done is kept
)

func main() {
	err := run(os.Stdout, os.Stderr, os.Args[1:])
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "assay:", err)
	os.Exit(exitCode(err))
}

// codedError is an error with an exit code of its own.
type codedError struct {
	code int
	err  error
}

func (e codedError) Error() string { return e.err.Error() }
func (e codedError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return codedError{exitUsage, fmt.Errorf(format, args...)}
}

func exitCode(err error) int {
	var coded codedError
	switch {
	case errors.As(err, &coded):
		return coded.code
	case errors.Is(err, context.Canceled):
		return exitInterrupt
	}
	return exitError
}

// run is the program: tests call it.
func run(stdout, stderr io.Writer, args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	root := newRoot(stdout, stderr)
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "assay",
		Short: "Which quantization of a mixture-of-experts model to run, with evidence",
		Long: `assay makes quantized variants of a DeepSeek-V4-shaped model from its FP4/FP8
checkpoint, scores them against bf16 on held-out text, times prefill and decode,
and renders one offline HTML report.

  assay sweep --out DIR     the whole comparison on the built-in reference model
  assay plan --model deepseek-v4-flash   what every variant costs, from a config alone

Exit codes: 0 done; 1 failed; 2 wrong flag or argument; 3 done, but a token had
no finite score; 4 and 5 verify found warnings, or errors; 130 interrupted, what
was done is kept.`,
		Args:          subcommand,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage("%w; see assay %s --help", err, c.Name())
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(sweepCommand(), planCommand(), buildCommand(), synthCommand(), inspectCommand(), verifyCommand(), evalCommand(), benchCommand(),
		reportCommand(), datasetsCommand(), enginesCommand(), versionCommand())
	return root
}

// subcommand refuses an argument where a subcommand belongs.
func subcommand(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("unknown command %q for %q; see %s --help", args[0], c.CommandPath(), c.CommandPath())
	}
	return nil
}

// noArgs refuses arguments, saying which flag is meant.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("%s takes no argument, got %q; see assay %s --help", c.Name(), args[0], c.Name())
	}
	return nil
}
