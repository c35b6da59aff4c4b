// Command mutate tests the tests of the Metal kernels: it takes each barrier, each
// test of a bound and each clamp out of the kernels, and each range out of what
// dispatches declare, one at a time, and runs the checked suite of operations on
// the kernels that this changes. The suite must fail, or survivors.txt must say why
// nothing is wrong without that check. It is run by make mutate.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	if err := run(os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, args []string) error {
	if len(args) > 0 && args[0] == "child" {
		return child(out, os.Stdin)
	}
	flags := flag.NewFlagSet("mutate", flag.ContinueOnError)
	only := flags.String("only", "", "a regular expression of the checks to take out, as the record names them")
	jobs := flags.Int("j", runtime.NumCPU(), "mutants that are tried at once")
	record := flags.String("record", "", "a file for the verdict on each")
	listed := flags.String("survivors", "metal/mutate/survivors.txt", "the survivors that are known, with reasons")
	if err := flags.Parse(args); err != nil {
		return err
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	reasons, err := readSurvivors(*listed)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	start := time.Now()
	base, err := baseline(ctx)
	if err != nil {
		return err
	}
	folder, err := readyFolder()
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	fmt.Fprintf(out, "the suite as it is: %d runs of cases in %.0f s\n", len(base.Runs), time.Since(start).Seconds())
	var tried []mutant
	for _, m := range all(base) {
		if pattern.MatchString(m.Key) {
			tried = append(tried, m)
		}
	}
	verdicts := tryAll(ctx, folder, base, tried, *jobs, out)
	if err := ctx.Err(); err != nil {
		return err
	}
	text, wrong := report(tried, verdicts, reasons, *only == "")
	fmt.Fprint(out, text)
	if *record != "" {
		if err := os.WriteFile(*record, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%d checks are missed by nobody, or listed and missed", wrong)
	}
	return nil
}

// report lists every mutant with what became of it. What survived without being
// listed is wrong, and so is what is listed and did not, or is not there.
func report(ms []mutant, verdicts []verdict, reasons map[string]string, complete bool) (string, int) {
	var b strings.Builder
	found, equivalent, wrong := 0, 0, 0
	stale := map[string]bool{}
	for key := range reasons {
		stale[key] = complete
	}
	for i, m := range ms {
		v := verdicts[i]
		reason, listed := reasons[m.Key]
		delete(stale, m.Key)
		switch {
		case v.Found != "" && listed:
			wrong++
			fmt.Fprintf(&b, "FOUND    %s\n           %s\n           listed as equivalent: %s\n", m.Key, v.Found, reason)
		case v.Found != "":
			found++
			fmt.Fprintf(&b, "found    %s\n           %s\n", m.Key, v.Found)
		case listed:
			equivalent++
			fmt.Fprintf(&b, "same     %s\n           %s\n", m.Key, reason)
		default:
			wrong++
			fmt.Fprintf(&b, "SURVIVED %s\n           %d runs of cases pass without it\n", m.Key, v.Runs)
		}
	}
	var gone []string
	for key, is := range stale {
		if is {
			gone = append(gone, key)
		}
	}
	slices.Sort(gone)
	for _, key := range gone {
		wrong++
		fmt.Fprintf(&b, "GONE     %s\n           listed, and not in the kernels\n", key)
	}
	fmt.Fprintf(&b, "%d checks taken out: %d found, %d equivalent, %d wrong\n", len(ms), found, equivalent, wrong)
	return b.String(), wrong
}

// readSurvivors reads the list of checks that nothing misses: of each a line with
// its key, then indented lines with the reason.
func readSurvivors(file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	reasons := map[string]string{}
	key := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "":
		case line[0] == ' ' || line[0] == '\t':
			if key == "" {
				return nil, fmt.Errorf("%s: a reason before the first check: %q", file, line)
			}
			reasons[key] = strings.TrimSpace(reasons[key] + " " + strings.TrimSpace(line))
		default:
			key = line
			if _, twice := reasons[key]; twice {
				return nil, fmt.Errorf("%s: listed twice: %s", file, key)
			}
			reasons[key] = ""
		}
	}
	for key, reason := range reasons {
		if reason == "" {
			return nil, fmt.Errorf("%s: no reason for %s", file, key)
		}
	}
	return reasons, nil
}
