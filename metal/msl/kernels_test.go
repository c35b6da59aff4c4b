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
