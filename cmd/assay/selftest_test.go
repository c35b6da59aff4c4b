package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assay/engine/checkpoint"
	"assay/engine/cpu"
	"assay/engine/variant"
	"assay/metal/suite"
)

// TestStored holds the stored log-probabilities against the CPU engine; with
// ASSAY_UPDATE=1 it stores them anew.
func TestStored(t *testing.T) {
	m, err := openModel(referenceModel, (*checkpoint.Checkpoint).Identity)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	toks, err := testTokens(m)
	if err != nil {
		t.Fatal(err)
	}
	b, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ref, others, err := m.variants(testVariants)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]float64{}
	for _, v := range append([]*variant.Variant{ref}, others...) {
		p, err := logProbs(t.Context(), b, v, toks)
		if err != nil {
			t.Fatal(err)
		}
		all[v.Name()] = suite.NLL(toks, p)
		if os.Getenv("ASSAY_UPDATE") == "" {
			if err := suite.CheckStored(v.Name(), toks, p); err != nil {
				t.Error(err)
			}
			p[100][toks[101]] += 1e-2
			if err := suite.CheckStored(v.Name(), toks, p); err == nil {
				t.Errorf("%s: a log-probability that is off by 0.01 is not noticed", v.Name())
			}
		}
	}
	if err := suite.CheckStored("g32-n4-e3", toks, nil); err == nil || !strings.Contains(err.Error(), "nothing is stored") {
		t.Errorf("a variant that is not stored: %v", err)
	}
	if os.Getenv("ASSAY_UPDATE") == "" {
		return
	}
	data, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("..", "..", "metal", "suite", "stored.json"), data, 0o644); err != nil {
		t.Fatal(err)
	}
}
