// Package emu is a device that runs the Metal kernels on the CPU: it compiles
// their source as C++ against a shim, with the compiler at hand, and calls it.
// It is there to test kernels, and what encodes them, on any Linux machine. As
// they are compiled, kernels can also be checked (every access to memory, every
// barrier), or perturbed by what Metal leaves to the device. What kernels exist
// it does not know, nor any model.
package emu

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"assay/metal/host"
)

// Options say how kernels are compiled and run. The zero value is the fast build
// on all of the machine's processors.
type Options struct {
	// Checked instruments the kernels and runs them on one processor. An access
	// that a dispatch does not declare, one outside of memory, a race, or a barrier
	// that some threads do not reach is an error. Dispatches between two barriers
	// and the threadgroups of each run in an order that Seed shuffles, and Seed
	// permutes which lane holds what of a matrix. Compiled by clang, it misses
	// loads of misaligned vectors; by g++ it does not.
	Checked bool
	// Perturb moves the results of functions that Metal may round differently, by
	// up to as much as it may, and the order of SIMD-group sums, by Seed. Whether
	// products and sums are fused without being asked is Seed's first bit.
	Perturb bool
	Seed    uint32
	Workers int         // threads that run threadgroups; 0 stands for all processors
	Limits  host.Limits // where a limit is not 0, it holds instead of the machine's
	Memory  int64       // bytes that buffers may have together; 0 stands for what is free
	// Ignore drops declared uses before they are checked. Who tests the tests sets it.
	Ignore []Ignored
	Cache  string // folder of compiled kernels; "" stands for the user's cache folder
}

// Ignored is one use of one argument of all dispatches of a kernel.
type Ignored struct {
	Kernel   string // the function, not its instances
	Argument string
	Access   host.Access
}

// Device is an emulated GPU.
type Device struct {
	opt     Options
	info    host.Info
	builder *builder
	rt      *runtimeLibrary

	mu      sync.Mutex // guards what follows
	kernels map[string]*kernel
	linted  [sha256.Size]byte // digest of the last program that kept the rules
	used    int64             // bytes of buffers
	counted []*Buffer
}

// New opens a device. It errs where there is no C++ compiler.
func New(opt Options) (*Device, error) {
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("emu: runs on Linux, not on %s", runtime.GOOS)
	}
	b, err := newBuilder(opt)
	if err != nil {
		return nil, err
	}
	rt, err := openRuntime(b)
	if err != nil {
		return nil, err
	}
	if opt.Workers == 0 {
		opt.Workers = runtime.NumCPU()
	}
	if opt.Checked {
		opt.Workers = 1
	}
	d := &Device{opt: opt, builder: b, rt: rt, kernels: map[string]*kernel{}}
	d.info = host.Info{Driver: "emu", Name: cpuName(), System: b.version, Memory: opt.Memory, Limits: opt.Limits, Shared: true}
	if d.info.Memory == 0 {
		d.info.Memory = freeMemory()
	}
	setDefault(&d.info.Limits.MaxBuffer, d.info.Memory)
	setDefault(&d.info.Limits.Threadgroup, 32<<10)
	setDefault(&d.info.Limits.MaxThreads, 1024)
	setDefault(&d.info.Limits.WorkingSet, d.info.Memory)
	return d, nil
}

func setDefault[T int | int64](p *T, v T) {
	if *p == 0 {
		*p = v
	}
}

// Info describes the device.
func (d *Device) Info() host.Info { return d.info }

// Wait returns nil: Submit returns when all is done.
func (d *Device) Wait() error { return nil }

// Close does nothing that ends: kernels stay loaded with the process.
func (d *Device) Close() error { return nil }

// freeMemory is what the machine could give to a process without paging.
func freeMemory() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err == nil {
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "MemAvailable:" {
				if kb, err := strconv.ParseInt(f[1], 10, 64); err == nil {
					return kb << 10
				}
			}
		}
	}
	return math.MaxInt64
}

// cpuName is the processor's own name.
func cpuName() string { return cpuField("model name", runtime.GOARCH) }

// cpuField reads a line of /proc/cpuinfo.
func cpuField(name, otherwise string) string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(text)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
				return strings.TrimSpace(v)
			}
		}
	}
	return otherwise
}

var errNoBytes = errors.New("emu: a buffer of no bytes")

var _ host.Device = (*Device)(nil)
