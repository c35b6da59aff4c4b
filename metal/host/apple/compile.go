package apple

import (
	"context"
	"crypto/sha256"
	"fmt"
	goruntime "runtime"
	"sync"

	"assay/metal/host"
	"assay/metal/msl"
)

// kernel is a compiled kernel.
type kernel struct {
	pipeline id
	threads  int // of a threadgroup, at most
	memory   int // bytes of threadgroup memory that it declares
	digest   [32]byte
}

// simdWidth is what every kernel is written for.
const simdWidth = 32

// Compile compiles what a program's kernels need of it, and makes a pipeline of
// each, several at once. It leaves those alone that are compiled from the same
// text already; others of the same name it replaces. An error has all that the
// compiler says.
func (d *Device) Compile(ctx context.Context, p host.Program) error {
	if d.lost != nil {
		return d.lost
	}
	source, err := msl.Parse(p.Source)
	if err != nil {
		return err
	}
	var wanted []string
	var digests [][32]byte
	for _, name := range p.Kernels {
		text, err := source.Extract(name)
		if err != nil {
			return err
		}
		if digest := sha256.Sum256([]byte(text)); d.kernels[name].digest != digest {
			wanted, digests = append(wanted, name), append(digests, digest)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	text, err := source.Extract(wanted...)
	if err != nil {
		return err
	}
	defer d.scope()()
	made, err := d.pipelines(ctx, text, wanted)
	if err != nil {
		return err
	}
	d.retire(0) // a pipeline that is replaced may be in use
	for i, name := range wanted {
		made[i].digest = digests[i]
		d.free(d.kernels[name].pipeline)
		d.kernels[name] = made[i]
	}
	return nil
}

// pipelines compiles a text and makes a pipeline of each of its kernels: the
// system compiles a kernel for the GPU then, which takes longer than all before.
func (d *Device) pipelines(ctx context.Context, text string, names []string) ([]kernel, error) {
	library, err := d.library(text)
	if err != nil {
		return nil, err
	}
	defer d.free(library)
	made, errs := make([]kernel, len(names)), make([]error, len(names))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(len(names), goruntime.NumCPU(), 8) {
		workers.Go(func() {
			defer d.scope()()
			for i := range next {
				made[i], errs[i] = d.pipeline(library, names[i])
			}
		})
	}
	for i := range names {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	workers.Wait()
	for _, err := range append(errs, ctx.Err()) {
		if err != nil {
			for _, k := range made {
				d.free(k.pipeline)
			}
			return nil, err
		}
	}
	return made, nil
}

// library compiles source. Fast math is the default, so it is switched off by
// whichever name the system has for it; the kernels name their precise
// functions, and a system that can is told so as well.
func (d *Device) library(source string) (id, error) {
	rt := d.objc
	options := d.create(classOptions)
	defer d.free(options)
	rt.send(options, setLanguageVersion, args{languageVersion3_1})
	if d.responds(options, setMathMode) {
		rt.send(options, setMathMode, args{mathModeSafe})
	} else {
		rt.send(options, setFastMathEnabled, args{0})
	}
	if d.responds(options, setMathFunctions) {
		rt.send(options, setMathFunctions, args{mathFunctionsPrecise})
	}
	text := d.str(source)
	defer d.free(text)
	if text == 0 {
		return 0, fmt.Errorf("apple: the source is not UTF-8")
	}
	// Warnings come as an error beside a library: only its absence counts.
	failure := new(id)
	library := id(rt.send(d.device, newLibraryWithSource, args{uintptr(text), uintptr(options), address(failure)}))
	if library == 0 {
		return 0, fmt.Errorf("apple: compile: %s", d.failure(*failure))
	}
	return library, nil
}

func (d *Device) pipeline(library id, name string) (kernel, error) {
	rt := d.objc
	text := d.str(name)
	defer d.free(text)
	function := id(rt.send(library, newFunctionWithName, args{uintptr(text)}))
	if function == 0 {
		return kernel{}, fmt.Errorf("apple: kernel %q is not in the program", name)
	}
	defer d.free(function)
	failure := new(id)
	p := id(rt.send(d.device, newPipeline, args{uintptr(function), address(failure)}))
	if p == 0 {
		return kernel{}, fmt.Errorf("apple: kernel %q: %s", name, d.failure(*failure))
	}
	k := kernel{
		pipeline: p,
		threads:  int(rt.send(p, maxThreads, args{})),
		memory:   int(rt.send(p, staticThreadgroup, args{})),
	}
	if w := rt.send(p, threadExecutionWidth, args{}); w != simdWidth {
		d.free(p)
		return kernel{}, fmt.Errorf("apple: kernel %q: simdgroups of %d threads, want %d", name, w, simdWidth)
	}
	if k.memory > d.info.Limits.Threadgroup {
		d.free(p)
		return kernel{}, fmt.Errorf("apple: kernel %q: %d bytes of threadgroup memory, the device has %d", name, k.memory, d.info.Limits.Threadgroup)
	}
	return k, nil
}

// Kernel returns how many threads a threadgroup of a compiled kernel may have,
// and how many bytes of threadgroup memory it declares: both 0 where no kernel
// has that name.
func (d *Device) Kernel(name string) (threads, memory int) {
	k := d.kernels[name]
	return k.threads, k.memory
}
