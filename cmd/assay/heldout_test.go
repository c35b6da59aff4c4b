package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assay/results"
)

// TestHeldoutNLL holds the table in the held-out text's README to what the
// reference measures on it.
func TestHeldoutNLL(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: this scores all of the held-out text")
	}
	dir := t.TempDir()
	if err := run(io.Discard, io.Discard, []string{"eval", "--variants", "bf16", "--out", dir, "--json"}); err != nil {
		t.Fatal(err)
	}
	contents, err := results.Read(filepath.Join(dir, "ledger.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := results.Table(contents)
	if err != nil {
		t.Fatal(err)
	}
	want := "| stratum | windows | NLL, nats/token | 95 % interval | perplexity |\n|---|---:|---:|---|---:|\n"
	for _, s := range append(rows[0].Summary.Strata, rows[0].Summary) {
		name := s.Text
		if name == "" {
			name = "all"
		}
		want += fmt.Sprintf("| %s | %d | %.3f | %.2f to %.2f | %.1f |\n", name, s.Windows, s.NLL.Value, s.NLL.Lo, s.NLL.Hi, s.Perplexity.Value)
	}
	readme, err := os.ReadFile(filepath.Join("..", "..", "datasets", "heldout", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "<!-- nll:begin -->\n")
	got, _, _ := strings.Cut(rest, "<!-- nll:end -->")
	if got != want {
		t.Errorf("datasets/heldout/README.md says\n%swant\n%s", got, want)
	}
}
