package suite

import (
	"runtime"
	"strings"
	"testing"

	"assay/engine/cpu"
	"assay/metal"
	"assay/metal/host/emu"
)

// onEmu runs cases on an emulated device.
func onEmu(t *testing.T, cases []Case, activations string, opt emu.Options) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the emulated device runs on Linux")
	}
	d, err := emu.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	m, err := metal.New(d, metal.Options{Activations: activations})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	plain, err := cpu.New(cpu.Options{Kernels: "plain"})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if err := Run(c, m, plain); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestProducts runs all cases as fast as it goes, and what differs by the
// activations' type in each of the others.
func TestProducts(t *testing.T) {
	t.Run("f32", func(t *testing.T) { onEmu(t, ProductCases(), "f32", emu.Options{}) })
	for _, a := range []string{"f16", "bf16"} {
		t.Run(a, func(t *testing.T) { onEmu(t, typedCases(), a, emu.Options{}) })
	}
}

// TestProductsChecked runs on the checked device.
func TestProductsChecked(t *testing.T) {
	onEmu(t, ProductCases(), "f32", emu.Options{Checked: true, Seed: 1})
}

// typedCases are those in which activations are rounded, of a few formats.
func typedCases() []Case {
	var all []Case
	for _, c := range ProductCases() {
		for _, f := range []string{"mxfp4", "mxfp8", "affine 3-bit g64 f16", "affine 4-bit g128", "affine 8-bit"} {
			if strings.HasPrefix(c.Name, "linear/"+f+"/") && !strings.HasSuffix(c.Name, "/decode") || strings.HasPrefix(c.Name, "experts/"+f) {
				all = append(all, c)
			}
		}
	}
	return all
}
