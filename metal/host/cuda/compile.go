package cuda

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"assay/metal/host"
	"assay/metal/msl"
)

// The shim: what stands before a program's own text, around the types that it
// shares with the CPU's.
var (
	//go:embed shim/before.h
	shimBefore string
	//go:embed shim/after.h
	shimAfter string
	//go:embed shim/matrix.h
	shimMatrix string
)

// Text is a program as CUDA C++.
func Text(source string) (string, error) {
	program, err := msl.CUDA(source)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, part := range []struct{ name, text string }{
		{"before.h", shimBefore}, {"types.h", strings.Replace(msl.Types, "#pragma once", "", 1)}, {"after.h", shimAfter}, {"matrix.h", shimMatrix},
	} {
		fmt.Fprintf(&b, "#line 1 %q\n%s", part.name, part.text)
	}
	b.WriteString(program)
	return b.String(), nil
}

// compiler makes machine code for one GPU.
type compiler interface {
	name() string
	compile(ctx context.Context, text string, options []string) ([]byte, error)
}

// kernel is a loaded kernel.
type kernel struct {
	function uintptr
	threads  int   // of a block, at most
	shared   int   // bytes of shared memory
	sizes    []int // of its parameters, nil where the driver does not say
	digest   [32]byte
}

// compileOptions round like Metal's precise functions, flush subnormals as
// Apple's GPUs do, and leave contraction to the compiler as theirs does.
func compileOptions(arch int) []string {
	return []string{fmt.Sprintf("-arch=sm_%d", arch), "-std=c++17", "-ftz=true", "-prec-div=true", "-prec-sqrt=true"}
}

// share is how many kernels are compiled as one program. Each program repeats
// the shim, a tenth of a second.
const share = 6

// Compile compiles a program in pieces, side by side, and loads its kernels. It
// leaves those alone that are compiled from the same text already. An error has
// all that the compiler says.
func (d *Device) Compile(ctx context.Context, p host.Program) error {
	if d.failed != nil {
		return d.failed
	}
	source, err := msl.Parse(p.Source)
	if err != nil {
		return err
	}
	var wanted []string
	digests := map[string][32]byte{}
	for _, name := range p.Kernels {
		text, err := source.Extract(name)
		if err != nil {
			return err
		}
		digests[name] = sha256.Sum256([]byte(text))
		if d.kernels[name].digest != digests[name] {
			wanted = append(wanted, name)
		}
	}
	pieces := slices.Collect(slices.Chunk(wanted, share))
	code, errs := make([][]byte, len(pieces)), make([]error, len(pieces))
	slots := make(chan struct{}, runtime.NumCPU())
	var work sync.WaitGroup
	for i, names := range pieces {
		work.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if errs[i] = ctx.Err(); errs[i] == nil {
				code[i], errs[i] = d.piece(ctx, source, names)
			}
		})
	}
	work.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	leave := d.enter()
	defer leave()
	for i, names := range pieces {
		if err := d.module(source, code[i], names); err != nil {
			return err
		}
		for _, name := range names {
			k := d.kernels[name]
			k.digest = digests[name]
			d.kernels[name] = k
		}
	}
	return nil
}

// piece compiles the kernels of these names, or finds them compiled.
func (d *Device) piece(ctx context.Context, source *msl.Source, names []string) ([]byte, error) {
	part, err := source.Extract(names...)
	if err != nil {
		return nil, err
	}
	program, err := Text(part)
	if err != nil {
		return nil, err
	}
	options := compileOptions(d.arch)
	if d.options.Cache == "" {
		return d.compiler.compile(ctx, program, options)
	}
	key := sha256.Sum256([]byte(d.compiler.name() + "\n" + strings.Join(options, " ") + "\n" + program))
	file := filepath.Join(d.options.Cache, fmt.Sprintf("%x.cubin", key[:12]))
	if code, err := os.ReadFile(file); err == nil && len(code) > 0 {
		return code, nil
	}
	code, err := d.compiler.compile(ctx, program, options)
	if err != nil {
		return nil, err
	}
	return code, keep(file, code)
}

// keep writes a file whole or not at all.
func keep(file string, code []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		return fmt.Errorf("cuda: cache: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(file), "*.part")
	if err != nil {
		return fmt.Errorf("cuda: cache: %w", err)
	}
	_, err = f.Write(code)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("cuda: cache: %w", err)
	}
	return nil
}

// module loads machine code and finds its kernels.
func (d *Device) module(source *msl.Source, code []byte, names []string) error {
	m := new(uintptr)
	if err := d.call("module", cuModuleLoadData, address(m), address(&code[0])); err != nil {
		return err
	}
	d.modules = append(d.modules, *m)
	for _, name := range names {
		symbol := append([]byte(msl.Export(name)), 0)
		f, number := new(uintptr), new(int32)
		if err := d.call("kernel "+name, cuModuleGetFunction, address(f), *m, address(&symbol[0])); err != nil {
			return err
		}
		// Loaded now: while a graph is captured, nothing may be.
		if r := d.cu.call(cuFuncLoad, *f); r != 0 && r != notThere {
			return fmt.Errorf("cuda: kernel %q: %s", name, d.explain(r))
		}
		k := kernel{function: *f}
		for _, a := range []struct {
			of   uintptr
			into *int
		}{{kernelThreads, &k.threads}, {kernelShared, &k.shared}} {
			if err := d.call("kernel "+name, cuFuncGetAttribute, address(number), a.of, *f); err != nil {
				return err
			}
			*a.into = int(*number)
		}
		if k.shared > threadgroupMemory {
			return fmt.Errorf("cuda: kernel %q: %d bytes of threadgroup memory, Metal has %d", name, k.shared, threadgroupMemory)
		}
		instance, _ := source.Instance(name) // there: its code was extracted
		if err := d.parameters(name, &k, len(source.Kernel(instance.Kernel).Buffers())); err != nil {
			return err
		}
		d.kernels[name] = k
	}
	return nil
}

// parameters asks for the sizes of a kernel's n parameters, and wants each at
// the place where Submit puts it.
func (d *Device) parameters(name string, k *kernel, n int) error {
	at, size := new(uint64), new(uint64)
	next := 0
	for i := range n {
		r := d.cu.call(cuFuncGetParamInfo, k.function, uintptr(i), address(at), address(size))
		if r == notThere { // an old driver
			return nil
		}
		if r != 0 {
			return fmt.Errorf("cuda: kernel %q: parameter %d: %s", name, i, d.explain(r))
		}
		if int(*at) != next {
			return fmt.Errorf("cuda: kernel %q: parameter %d is at %d, want %d", name, i, *at, next)
		}
		k.sizes = append(k.sizes, int(*size))
		next = (next + int(*size) + 7) &^ 7
	}
	return nil
}

// Resources is what a compiled kernel takes: registers of a thread, bytes of
// shared memory of a block, bytes of local memory of a thread.
type Resources struct{ Registers, Shared, Local int }

// Resources returns what a compiled kernel takes.
func (d *Device) Resources(name string) (Resources, error) {
	k, ok := d.kernels[name]
	if !ok {
		return Resources{}, fmt.Errorf("cuda: %s: not compiled", name)
	}
	leave := d.enter()
	defer leave()
	r := Resources{Shared: k.shared}
	number := new(int32)
	if err := d.call(name, cuFuncGetAttribute, address(number), kernelRegs, k.function); err != nil {
		return r, err
	}
	r.Registers = int(*number)
	if err := d.call(name, cuFuncGetAttribute, address(number), kernelLocal, k.function); err != nil {
		return r, err
	}
	r.Local = int(*number)
	return r, nil
}
