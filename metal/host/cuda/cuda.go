// Package cuda runs the Metal kernels on an NVIDIA GPU: host.Device over CUDA's
// driver, called through ebitengine/purego without cgo, and over its compiler,
// libnvrtc or nvcc, found at run time. Nothing of CUDA is needed to build it.
//
// It verifies the kernels and the Go code that encodes them, where no Mac is at
// hand. What it says of speed is CUDA's: a simdgroup is a warp here, and its
// matrices are tensor cores' by a detour.
package cuda

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"assay/metal/host"
)

// Options are how a Device is driven. The zero value runs the first GPU with
// the compiler that is found first.
type Options struct {
	// Ordinal is which GPU, from 0.
	Ordinal int
	// Compiler is "nvrtc" or "nvcc"; empty takes nvrtc, else nvcc.
	Compiler string
	// Dirs are searched for the compiler before the usual places.
	Dirs []string
	// Cache is a folder for compiled programs; "" stands for the user's cache
	// folder.
	Cache string
	// Each waits after every dispatch, so that an error names the one at fault.
	Each bool
}

// Device is an NVIDIA GPU.
type Device struct {
	cu       api
	compiler compiler
	options  Options
	device   int32
	context  uintptr
	stream   uintptr
	start    uintptr // events that Time uses
	stop     uintptr
	arch     int // compute capability, 90 for 9.0
	info     host.Info
	kernels  map[string]kernel
	modules  []uintptr
	graphs   map[int]uintptr // executable graphs, by how many kernels they run
	flight   []sent          // since the last wait, for messages
	failed   error           // once set, the answer to everything: CUDA's errors stay
	closed   bool
	pack     *packed
}

var _ host.Device = (*Device)(nil)

// Open opens a GPU, and finds a compiler for it.
func Open(o Options) (*Device, error) {
	cu, err := load()
	if err != nil {
		return nil, err
	}
	c, err := find(o)
	if err != nil {
		return nil, err
	}
	if o.Cache == "" {
		folder, err := os.UserCacheDir()
		if err != nil {
			folder = filepath.Join(os.TempDir(), fmt.Sprint("assay-", os.Getuid()))
		}
		o.Cache = filepath.Join(folder, "assay", "cuda")
	}
	return open(cu, c, o)
}

// open makes a Device of a driver and a compiler. Without a cache nothing is kept.

func open(cu api, c compiler, o Options) (*Device, error) {
	d := &Device{cu: cu, compiler: c, options: o, kernels: map[string]kernel{}, graphs: map[int]uintptr{}, pack: new(packed)}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := d.describe(); err != nil {
		return nil, err
	}
	context := new(uintptr)
	if err := d.call("context", cuDevicePrimaryCtxRetain, address(context), uintptr(d.device)); err != nil {
		return nil, err
	}
	d.context = *context
	made := new([3]uintptr)
	for _, step := range []func() error{
		func() error { return d.call("context", cuCtxSetCurrent, d.context) },
		func() error { return d.call("stream", cuStreamCreate, address(&made[0]), streamNonBlocking) },
		func() error { return d.call("event", cuEventCreate, address(&made[1]), 0) },
		func() error { return d.call("event", cuEventCreate, address(&made[2]), 0) },
	} {
		if err := step(); err != nil {
			d.call("context", cuDevicePrimaryCtxRelease, uintptr(d.device))
			return nil, err
		}
	}
	d.stream, d.start, d.stop = made[0], made[1], made[2]
	return d, nil
}

// describe finds the GPU and fills the info.
func (d *Device) describe() error {
	if err := d.call("init", cuInit, 0); err != nil {
		return err
	}
	number := new(int32)
	if err := d.call("device", cuDeviceGetCount, address(number)); err != nil {
		return err
	}
	if d.options.Ordinal < 0 || d.options.Ordinal >= int(*number) {
		return fmt.Errorf("cuda: GPU %d of %d", d.options.Ordinal, *number)
	}
	if err := d.call("device", cuDeviceGet, address(number), uintptr(d.options.Ordinal)); err != nil {
		return err
	}
	d.device = *number
	name, memory := new([256]byte), new(uint64)
	if err := d.call("name", cuDeviceGetName, address(name), uintptr(len(name)), uintptr(d.device)); err != nil {
		return err
	}
	if err := d.call("memory", cuDeviceTotalMem, address(memory), uintptr(d.device)); err != nil {
		return err
	}
	if err := d.call("version", cuDriverGetVersion, address(number)); err != nil {
		return err
	}
	version := *number
	values := map[uintptr]int{}
	for _, a := range []uintptr{capabilityMajor, capabilityMinor, maxThreadsPerBlock} {
		if err := d.call("attribute", cuDeviceGetAttribute, address(number), a, uintptr(d.device)); err != nil {
			return err
		}
		values[a] = int(*number)
	}
	d.arch = 10*values[capabilityMajor] + values[capabilityMinor]
	if d.arch < oldest {
		return fmt.Errorf("cuda: %s: compute capability %d.%d, want 8.0 or later", text(name[:]), d.arch/10, d.arch%10)
	}
	d.info = host.Info{
		Driver: "cuda",
		Name:   text(name[:]),
		System: fmt.Sprintf("CUDA %d.%d, %s", version/1000, version%1000/10, d.compiler.name()),
		Memory: int64(*memory),
		// Metal's limits hold, so that what runs here fits there.
		Limits: host.Limits{MaxBuffer: int64(*memory), Threadgroup: threadgroupMemory, MaxThreads: min(maxThreads, values[maxThreadsPerBlock])},
	}
	return nil
}

const (
	oldest            = 80       // bfloat16 in mma, and movmatrix
	threadgroupMemory = 32 << 10 // bytes, Metal's
	maxThreads        = 1024
)

// Info describes the device.
func (d *Device) Info() host.Info { return d.info }

// Close waits for what was submitted and lets go of the device. Buffers must
// have been freed. It returns the error that Wait would.
func (d *Device) Close() error {
	if d.closed {
		return nil
	}
	err := d.Wait()
	leave := d.enter()
	defer leave()
	for _, g := range d.graphs {
		d.call("graph", cuGraphExecDestroy, g)
	}
	for _, m := range d.modules {
		d.call("module", cuModuleUnload, m)
	}
	d.call("event", cuEventDestroy, d.start)
	d.call("event", cuEventDestroy, d.stop)
	d.call("stream", cuStreamDestroy, d.stream)
	d.call("context", cuDevicePrimaryCtxRelease, uintptr(d.device))
	d.closed = true
	return err
}

// enter makes the context the thread's own, on a thread that is the goroutine's
// until the result is called.
func (d *Device) enter() func() {
	runtime.LockOSThread()
	d.cu.call(cuCtxSetCurrent, d.context)
	return runtime.UnlockOSThread
}

// call calls the driver. The error says what for.
func (d *Device) call(what string, f function, a ...uintptr) error {
	if r := d.cu.call(f, a...); r != 0 {
		return fmt.Errorf("cuda: %s: %s", what, d.explain(r))
	}
	return nil
}

// explain is what the driver says of a result.
func (d *Device) explain(r int32) string {
	said := func(f function) string {
		p := new(uintptr)
		if d.cu.call(f, uintptr(uint32(r)), address(p)) != 0 || *p == 0 {
			return ""
		}
		return cString(*p)
	}
	return fmt.Sprintf("%s (%s, %d)", said(cuGetErrorString), said(cuGetErrorName), r)
}

// Time runs what submits work, waits for it, and returns how long the GPU took
// from its start to its end, in seconds.
func (d *Device) Time(run func() error) (float64, error) {
	if d.failed != nil {
		return 0, d.failed
	}
	leave := d.enter()
	defer leave()
	if err := d.call("event", cuEventRecord, d.start, d.stream); err != nil {
		return 0, err
	}
	if err := run(); err != nil {
		return 0, err
	}
	if err := d.call("event", cuEventRecord, d.stop, d.stream); err != nil {
		return 0, err
	}
	if err := d.Wait(); err != nil {
		return 0, err
	}
	ms := new(float32)
	if err := d.call("event", cuEventElapsedTime, address(ms), d.start, d.stop); err != nil {
		return 0, err
	}
	return float64(*ms) / 1e3, nil
}

// Copy copies n bytes from the start of one buffer to that of another, on the
// device: what its memory can do at most.
func (d *Device) Copy(to, from host.Buffer, n int64) error {
	dst, err := d.own(to, 0, n)
	if err != nil {
		return err
	}
	src, err := d.own(from, 0, n)
	if err != nil {
		return err
	}
	leave := d.enter()
	defer leave()
	return d.call("copy", cuMemcpyDtoDAsync, dst, src, uintptr(n), d.stream)
}
