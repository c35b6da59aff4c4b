package msl_test

import (
	"testing"

	"assay/engine/dsv4"
	"assay/metal"
	"assay/metal/kernels"
	"assay/metal/msl"
	"assay/metal/suite"
)

// TestKernelsKeepTheRules holds the model's kernels to the dialect.
func TestKernelsKeepTheRules(t *testing.T) {
	for _, p := range msl.Lint(kernels.Source()) {
		t.Error(p)
	}
}

// TestKernelsKeepAddressSpaces has clang check the kernels with Metal's address
// spaces: all instances that the suite of operations uses.
func TestKernelsKeepAddressSpaces(t *testing.T) {
	cxx := clang(t)
	for _, a := range []string{"f32", "bf16"} {
		p, err := suite.Program(suite.Cases(), metal.Options{Activations: a, Model: dsv4.Options{KVSim: a == "bf16"}})
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Kernels) < 50 {
			t.Errorf("%s: %d kernels", a, len(p.Kernels))
		}
		if what := strict(t, cxx, p.Source); what != "" {
			t.Errorf("%s: %s", a, what)
		}
	}
}

// TestModelKeepsAddressSpaces does so with templates as they are instantiated.
func TestModelKeepsAddressSpaces(t *testing.T) {
	flash := kernels.Sizes{Streams: 4, Heads: 64, HeadDim: 512, IndexHeads: 64, IndexDim: 128, Experts: 256}
	for _, a := range []string{"float", "half", "bfloat"} {
		if what := strict(t, clang(t), kernels.Program(kernels.Model(flash, a, a == "half")).Source); what != "" {
			t.Errorf("%s: %s", a, what)
		}
	}
}
