package suite

import (
	"runtime"
	"strings"
	"testing"

	"assay/engine/cpu"
	"assay/metal"
	"assay/metal/host/emu"
)

// TestProducts runs the cases of matrix products: all of them fast, and in the
// other builds those of which the build or the activations' type decides something.
func TestProducts(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("emu runs on Linux")
	}
	for _, x := range builds {
		t.Run(x.name, func(t *testing.T) {
			dev, err := emu.New(x.emu)
			if err != nil {
				t.Fatal(err)
			}
			m, err := metal.New(dev, x.mode)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			plain, err := cpu.New(cpu.Options{Kernels: "plain", Model: x.mode.Model})
			if err != nil {
				t.Fatal(err)
			}
			defer plain.Close()
			cases := ProductCases()
			if x.name != "fast" {
				cases = fewCases()
			}
			p, err := Program(cases, x.mode)
			if err != nil {
				t.Fatal(err)
			}
			if err := dev.Compile(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			for _, c := range cases {
				t.Run(c.Name, func(t *testing.T) {
					if err := Run(c, m, plain); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

// fewCases are every kernel in a few formats, and every format in one kernel.
func fewCases() []Case {
	var all []Case
	for _, c := range ProductCases() {
		some := strings.Contains(c.Name, "/mxfp8") || strings.Contains(c.Name, "/affine 3-bit g64 f16") || strings.Contains(c.Name, "/affine 4-bit g128/")
		if some || strings.HasPrefix(c.Name, "embed/") || strings.HasPrefix(c.Name, "experts/") && !strings.HasSuffix(c.Name, "/tokens") {
			all = append(all, c)
		}
	}
	return all
}
