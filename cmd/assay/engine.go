package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"assay/engine"
	"assay/engine/cpu"
	"assay/engine/dsv4"
	"assay/metal"
	"assay/metal/host"
	"assay/metal/host/apple"
	"assay/metal/host/cuda"
	"assay/metal/host/emu"
)

// engines are the names that --engine takes. auto is metal on a Mac whose
// self-test has passed, else cpu; cuda and emu, which are there to verify the
// Metal kernels, run by name only.
var engines = []string{"auto", "cpu", "metal", "cuda", "emu"}

// engineOptions are the flags that choose an engine and tune it.
type engineOptions struct {
	name        string
	activations string
	threads     int
	kernels     string
}

// cpuEngine is the CPU engine as it is by default.
var cpuEngine = engineOptions{name: "cpu", activations: "f32"}

// flags declares them.
func (o *engineOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.name, "engine", "auto", strings.Join(engines, ", ")+": what runs the model; see assay engines")
	f.StringVar(&o.activations, "activations", "f32", "f32, f16 or bf16: what inputs of quantized products are rounded to (cpu: f32)")
	f.IntVar(&o.threads, "threads", 0, "threads of the CPU engine, and of emu; 0 is all cores")
	f.StringVar(&o.kernels, "kernels", "", "kernels of the CPU engine: avx512, avx2, neon, base, plain (default: the best there is)")
}

func (o *engineOptions) check() error {
	switch {
	case !slices.Contains(engines, o.name):
		return usage("engine %q, want one of %s", o.name, strings.Join(engines, ", "))
	case !slices.Contains(metal.Activations, o.activations):
		return usage("activations %q, want one of %s", o.activations, strings.Join(metal.Activations, ", "))
	case o.threads < 0 || o.threads > cpu.MaxThreads:
		return usage("threads is %d, want 1 to %d, or 0 for all cores", o.threads, cpu.MaxThreads)
	}
	name, _ := o.chosen()
	switch {
	case name == "cpu" && o.activations != "f32":
		return usage("activations %s: the CPU engine has f32 only", o.activations)
	case name != "cpu" && o.kernels != "":
		return usage("--kernels names kernels of the CPU engine, and the engine is %s", name)
	}
	return nil
}

// chosen resolves auto and says why.
func (o *engineOptions) chosen() (name, why string) {
	switch {
	case o.name != "auto":
		return o.name, "named"
	case runtime.GOOS != "darwin" || runtime.GOARCH != "arm64":
		return "cpu", "this is no Mac with Apple silicon"
	}
	if err := selfTested(); err != nil {
		return "cpu", err.Error()
	}
	return "metal", "its self-test passed"
}

// backend is an engine that must be closed.
type backend interface {
	engine.Backend
	Close() error
}

// open opens the engine. memory is the bytes of the host that the process may
// take.
func (o *engineOptions) open(model dsv4.Options, memory int64) (backend, error) {
	if o.threads > 0 {
		runtime.GOMAXPROCS(o.threads)
	}
	name, _ := o.chosen()
	if name == "cpu" {
		b, err := cpu.New(cpu.Options{Threads: o.threads, Kernels: o.kernels, Model: model, Memory: memory})
		if err != nil {
			return nil, err
		}
		return b, nil
	}
	dev, err := openDevice(name, o.threads)
	if err != nil {
		return nil, err
	}
	m, err := metal.New(dev, metal.Options{Activations: o.activations, Model: model, Memory: memory})
	if err != nil {
		dev.Close()
		return nil, err
	}
	return m, nil
}

// openDevice opens the device of an engine that runs the Metal kernels.
func openDevice(name string, threads int) (host.Device, error) {
	switch name {
	case "metal":
		return apple.Open(apple.Options{})
	case "cuda":
		return cuda.Open(cuda.Options{})
	case "emu":
		return emu.New(emu.Options{Workers: threads})
	}
	return nil, fmt.Errorf("%s runs no Metal kernels", name)
}

// speedOf says in a table what an engine's speeds are speeds of.
func speedOf(name string) string {
	switch name {
	case "metal":
		return "on this Mac's GPU."
	case "cuda":
		return "of the Metal kernels through a CUDA shim, which verifies them: not those of Apple silicon, nor what this GPU can do."
	case "emu":
		return "of the Metal kernels emulated on a CPU, which verifies them: not those of anything else."
	}
	return "on this CPU engine, not those of Apple silicon."
}
