package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes the test binary serve as assay too: scripts and the kill test
// run it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"assay": func() {
		if err := run(os.Stdout, os.Stderr, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "assay:", err)
			os.Exit(exitCode(err))
		}
	}})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true})
}
