package msl_test

import (
	"testing"

	"assay/metal/kernels"
	"assay/metal/msl"
)

// TestKernelsKeepTheRules holds the model's kernels to the dialect.
func TestKernelsKeepTheRules(t *testing.T) {
	for _, p := range msl.Lint(kernels.Source()) {
		t.Error(p)
	}
}

// TestKernelsKeepAddressSpaces has clang check the kernels with Metal's address
// spaces.
func TestKernelsKeepAddressSpaces(t *testing.T) {
	if what := strict(t, clang(t), kernels.Source()); what != "" {
		t.Error(what)
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
