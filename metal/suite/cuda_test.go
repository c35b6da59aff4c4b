package suite

import (
	"os"
	"testing"

	"assay/engine/cpu"
	"assay/engine/dsv4"
	"assay/metal"
	"assay/metal/host/cuda"
)

// TestCUDA runs all cases on a GPU, in each type of activations, with kv_sim too.
// With ASSAY_CUDA=each it waits after every dispatch.
func TestCUDA(t *testing.T) {
	for _, mode := range []metal.Options{
		{Activations: "f32"}, {Activations: "f16"}, {Activations: "bf16"}, {Activations: "f32", Model: dsv4.Options{KVSim: true}},
	} {
		name := mode.Activations
		if mode.Model.KVSim {
			name += "-kvsim"
		}
		t.Run(name, func(t *testing.T) {
			d, err := cuda.Open(cuda.Options{Each: os.Getenv("ASSAY_CUDA") == "each"})
			if err != nil && os.Getenv("ASSAY_NEEDS_CUDA") == "" {
				t.Skip(err)
			} else if err != nil {
				t.Fatal(err)
			}
			m, err := metal.New(d, mode)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			plain, err := cpu.New(cpu.Options{Kernels: "plain", Model: mode.Model})
			if err != nil {
				t.Fatal(err)
			}
			defer plain.Close()
			p, err := Program(Cases(), mode)
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Compile(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			for _, c := range Cases() {
				if !c.Defined(m) {
					continue
				}
				t.Run(c.Name, func(t *testing.T) {
					if err := Run(c, m, plain); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}
