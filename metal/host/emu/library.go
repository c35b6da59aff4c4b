package emu

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"assay/metal/msl"

	"github.com/ebitengine/purego"
)

// runtimeLibrary is the shim's runtime, loaded: job.cpp says what its functions do.
type runtimeLibrary struct {
	find, describe                                            uintptr
	memory, memoryFree, memoryCount, memoryReads, memoryReset uintptr
	job, add, start, run, jobError, jobFree                   uintptr
}

// openRuntime compiles the runtime where it is not yet, and loads it. Each build
// has its own: what is instrumented and what is not do not share a runtime.
func openRuntime(b *builder) (*runtimeLibrary, error) {
	sources := shimFiles(".cpp")
	flags := []string{"-std=c++17", "-O2", "-fPIC", "-fno-exceptions", "-fno-rtti", "-pthread", "-w"}
	parts := []string{fmt.Sprint("checked: ", b.checked)}
	for _, f := range sources {
		parts = append(parts, f.Name, f.Text)
	}
	b.runtime = "r-" + b.digest(flags, parts...) + ".so"
	if err := b.build(context.Background(), b.runtime, flags, sources); err != nil {
		return nil, err
	}
	if err := b.touch(b.runtime, time.Now()); err != nil {
		return nil, fmt.Errorf("emu: %w", err)
	}
	lib, err := loadRuntime(b.path(b.runtime), b.runtime)
	if err != nil {
		return nil, fmt.Errorf("emu: %w", err)
	}
	r := &runtimeLibrary{}
	for name, p := range map[string]*uintptr{
		"msl_find": &r.find, "msl_describe": &r.describe,
		"msl_memory": &r.memory, "msl_memory_free": &r.memoryFree, "msl_memory_count": &r.memoryCount,
		"msl_memory_reads": &r.memoryReads, "msl_memory_reset": &r.memoryReset,
		"msl_job": &r.job, "msl_add": &r.add, "msl_start": &r.start, "msl_run": &r.run,
		"msl_error": &r.jobError, "msl_job_free": &r.jobFree,
	} {
		if *p, err = purego.Dlsym(lib, name); err != nil {
			return nil, fmt.Errorf("emu: %w", err)
		}
	}
	return r, nil
}

// loaded is the runtimes of this process by name. Kernels find theirs by that
// name, whichever folder they are in: so there is one of each.
var loaded struct {
	sync.Mutex
	handles map[string]uintptr
}

func loadRuntime(path, name string) (uintptr, error) {
	loaded.Lock()
	defer loaded.Unlock()
	if h, ok := loaded.handles[name]; ok {
		return h, nil
	}
	h, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return 0, err
	}
	if loaded.handles == nil {
		loaded.handles = map[string]uintptr{}
	}
	loaded.handles[name] = h
	return h, nil
}

// call calls a C function of integers and pointers. What pointers made of Go's
// point to stays until it returns.
//
//go:uintptrescapes
func call(f uintptr, args ...uintptr) uintptr {
	r, _, _ := purego.SyscallN(f, args...)
	return r
}

// kernel is a loaded kernel and what its library says of it.
type kernel struct {
	info     uintptr // msl_rt::KernelInfo
	function string
	file     string // of the kernel's source
	threads  int    // most in a threadgroup
	args     []argument
	fields   []Field // of the argument struct
}

type argument struct {
	name string
	kind msl.Kind
	size int64 // of an element, or of the struct
}

// Field is a member of an argument struct as the compiler lays it out.
type Field struct {
	Name, Type string
	At, Size   int
}

// kernel loads a library and finds a kernel in it.
func (r *runtimeLibrary) kernel(path, name string) (*kernel, error) {
	lib, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("emu: %w", err)
	}
	table, err := purego.Dlsym(lib, "msl_table")
	if err != nil {
		return nil, fmt.Errorf("emu: %w", err)
	}
	cname := append([]byte(name), 0)
	k := &kernel{info: call(r.find, table, uintptr(unsafe.Pointer(&cname[0])))}
	if k.info == 0 {
		return nil, fmt.Errorf("emu: %s has no kernel %s", path, name)
	}
	text := make([]byte, 16<<10)
	n := int(call(r.describe, k.info, uintptr(unsafe.Pointer(&text[0])), uintptr(len(text))))
	if n >= len(text) {
		return nil, fmt.Errorf("emu: %s: a description of %d bytes", name, n)
	}
	return k, k.parse(string(text[:n]))
}

// parse reads what msl_describe wrote.
func (k *kernel) parse(text string) error {
	head, fields, _ := strings.Cut(text, "\n\n")
	if strings.HasPrefix(text, "\n") {
		return fmt.Errorf("emu: a kernel's description is %q", text)
	}
	for i, line := range strings.Split(head, "\n") {
		f := strings.Fields(line)
		switch {
		case i == 0 && len(f) == 2:
			k.function = f[0]
			k.threads, _ = strconv.Atoi(f[1])
		case len(f) == 3:
			kind, _ := strconv.Atoi(f[1])
			size, _ := strconv.ParseInt(f[2], 10, 64)
			k.args = append(k.args, argument{f[0], msl.Kind(kind), size})
		}
	}
	for line := range strings.Lines(fields) {
		f := strings.Fields(line)
		if len(f) != 4 {
			return fmt.Errorf("emu: a field's description is %q", line)
		}
		at, _ := strconv.Atoi(f[2])
		size, _ := strconv.Atoi(f[3])
		k.fields = append(k.fields, Field{f[0], f[1], at, size})
	}
	return nil
}

// hostArg and hostUse are msl_add's HostArg and HostUse.
type hostArg struct {
	p      unsafe.Pointer
	n      uint64
	memory uintptr
}

type hostUse struct{ arg, from, to, access uint64 }
