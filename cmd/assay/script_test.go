package main

import (
	"fmt"
	"os"
	"strconv"
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
	}, "overwrite": overwrite})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true})
}

// overwrite is a command for scripts: it turns a byte of a file over, in place.
func overwrite() {
	at, err := strconv.ParseInt(os.Args[2], 10, 64)
	var f *os.File
	if err == nil {
		f, err = os.OpenFile(os.Args[1], os.O_RDWR, 0)
	}
	b := make([]byte, 1)
	if err == nil {
		_, err = f.ReadAt(b, at)
	}
	if err == nil {
		b[0] ^= 0xff
		_, err = f.WriteAt(b, at)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "overwrite:", err)
		os.Exit(1)
	}
}
