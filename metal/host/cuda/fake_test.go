package cuda

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"assay/metal/msl"
)

// fake stands in for the driver. Its memory is Go's; kernels are Go functions of
// their packed parameters.
type fake struct {
	t       testing.TB
	fail    map[function]int32 // functions that fail, and how
	memory  map[uintptr][]byte
	alive   map[string]int // objects made and not yet destroyed
	kernels map[string]func(grid [3]int, threads int, params []byte)
	names   []string // of loaded kernels, by handle less 1
	sizes   []int    // of a kernel's parameters
	after   int32    // what the next synchronization returns
	current bool     // a context is current
	log     []function
	arch    int32
	shared  int32
	text    map[string][]byte

	captured *[]func() // by the stream, while it captures
	graphs   map[uintptr][]func()
	handle   uintptr
	launches int // outside of graphs
}

func newFake(t testing.TB) *fake {
	return &fake{
		t: t, fail: map[function]int32{}, memory: map[uintptr][]byte{}, alive: map[string]int{},
		kernels: map[string]func([3]int, int, []byte){}, sizes: []int{8, 8, 16}, arch: 90, shared: 1 << 10,
		graphs: map[uintptr][]func(){}, text: map[string][]byte{"name": []byte("NVIDIA H9\x00"), "error": []byte("an illegal memory access\x00"), "code": []byte("CUDA_ERROR_ILLEGAL_ADDRESS\x00")},
	}
}

func put[T any](p uintptr, v T) { *(*T)(pointer(p)) = v }

func (f *fake) bytes(at, n uintptr) []byte {
	for p, m := range f.memory {
		if at >= p && at+n <= p+uintptr(len(m)) {
			return m[at-p : at-p+n]
		}
	}
	f.t.Errorf("no memory of %d bytes at %#x", n, at)
	return make([]byte, n)
}

func (f *fake) call(fn function, a ...uintptr) int32 {
	f.log = append(f.log, fn)
	if r := f.fail[fn]; r != 0 {
		return r
	}
	if fn >= cuStreamCreate && fn < cuGetErrorName && !f.current {
		f.t.Errorf("%s without a context", functions[fn])
	}
	switch fn {
	case cuInit, cuEventRecord, cuFuncLoad:
	case cuCtxSetCurrent:
		f.current = a[0] != 0
	case cuStreamSynchronize:
		return f.after
	case cuFuncGetParamInfo:
		return f.param(int(a[1]), a[2], a[3])
	case cuFuncGetAttribute:
		put(a[0], map[uintptr]int32{kernelThreads: 256, kernelShared: f.shared, kernelRegs: 40, kernelLocal: 0}[a[1]])
	case cuModuleGetFunction:
		return f.function(a)
	case cuMemAlloc, cuMemFree, cuMemsetD8Async, cuMemcpyHtoDAsync, cuMemcpyDtoH, cuMemcpyDtoDAsync:
		f.move(fn, a)
	case cuStreamBeginCapture, cuStreamEndCapture, cuGraphInstantiateWithFlags, cuGraphExecUpdate, cuGraphLaunch, cuGraphDestroy, cuGraphExecDestroy:
		return f.graph(fn, a)
	default:
		if !f.query(fn, a) {
			f.object(fn, a)
		}
	}
	return 0
}

// param answers for parameters that are packed as C++ packs them.
func (f *fake) param(i int, at, size uintptr) int32 {
	if i >= len(f.sizes) {
		f.t.Errorf("parameter %d of %d is asked for", i, len(f.sizes))
		return 1 // CUDA_ERROR_INVALID_VALUE
	}
	next := 0
	for _, n := range f.sizes[:i] {
		next = (next + n + 7) &^ 7
	}
	put(at, uint64(next))
	put(size, uint64(f.sizes[i]))
	return 0
}

func (f *fake) function(a []uintptr) int32 {
	name := strings.TrimPrefix(cString(a[2]), msl.Export(""))
	if f.kernels[name] == nil {
		return notThere
	}
	f.names = append(f.names, name)
	put(a[0], uintptr(len(f.names)))
	return 0
}

func (f *fake) query(fn function, a []uintptr) bool {
	switch fn {
	case cuDriverGetVersion:
		put(a[0], int32(13010))
	case cuDeviceGetCount:
		put(a[0], int32(2))
	case cuDeviceGet:
		put(a[0], int32(a[1]))
	case cuDeviceGetName:
		copy(unsafe.Slice((*byte)(pointer(a[0])), a[1]), f.text["name"])
	case cuDeviceTotalMem:
		put(a[0], uint64(1<<20))
	case cuDeviceGetAttribute:
		put(a[0], map[uintptr]int32{capabilityMajor: f.arch / 10, capabilityMinor: f.arch % 10, maxThreadsPerBlock: 1024}[a[1]])
	case cuEventElapsedTime:
		put(a[0], float32(2.5))
	case cuGetErrorString:
		put(a[1], address(&f.text["error"][0]))
	case cuGetErrorName:
		put(a[1], address(&f.text["code"][0]))
	default:
		return false
	}
	return true
}

func (f *fake) object(fn function, a []uintptr) {
	switch fn {
	case cuDevicePrimaryCtxRetain, cuStreamCreate, cuEventCreate, cuModuleLoadData:
		f.alive[kind(fn)]++
		put(a[0], uintptr(0x77))
	case cuDevicePrimaryCtxRelease, cuStreamDestroy, cuEventDestroy, cuModuleUnload:
		if f.alive[kind(fn)]--; f.alive[kind(fn)] == 0 {
			delete(f.alive, kind(fn))
		}
	default:
		f.t.Errorf("%s: no answer", functions[fn])
	}
}

func kind(fn function) string { return functions[fn][:7] }

func (f *fake) move(fn function, a []uintptr) {
	switch fn {
	case cuMemAlloc:
		m := make([]byte, a[1])
		f.memory[address(&m[0])] = m
		put(a[0], address(&m[0]))
	case cuMemFree:
		if f.memory[a[0]] == nil {
			f.t.Error("free of what is no memory")
		}
		delete(f.memory, a[0])
	case cuMemsetD8Async:
		for i, b := range f.bytes(a[0], a[2]) {
			f.bytes(a[0], a[2])[i] = b*0 + byte(a[1])
		}
	case cuMemcpyHtoDAsync:
		copy(f.bytes(a[0], a[2]), unsafe.Slice((*byte)(pointer(a[1])), a[2]))
	case cuMemcpyDtoH:
		copy(unsafe.Slice((*byte)(pointer(a[0])), a[2]), f.bytes(a[1], a[2]))
	case cuMemcpyDtoDAsync:
		copy(f.bytes(a[0], a[2]), f.bytes(a[1], a[2]))
	}
}

// graph keeps graphs and executable graphs as lists of launches.
func (f *fake) graph(fn function, a []uintptr) int32 {
	make := func(p uintptr, g []func()) {
		f.handle += 8
		f.graphs[f.handle] = g
		put(p, f.handle)
	}
	switch fn {
	case cuStreamBeginCapture:
		f.captured = new([]func())
	case cuStreamEndCapture:
		make(a[1], *f.captured)
		f.captured = nil
	case cuGraphInstantiateWithFlags:
		make(a[0], f.graphs[a[1]])
	case cuGraphExecUpdate:
		if len(f.graphs[a[0]]) != len(f.graphs[a[1]]) {
			return 910
		}
		f.graphs[a[0]] = f.graphs[a[1]]
	case cuGraphLaunch:
		for _, run := range f.graphs[a[0]] {
			run()
		}
	case cuGraphDestroy, cuGraphExecDestroy:
		if f.graphs[a[0]] == nil {
			f.t.Errorf("%s of what is none", functions[fn])
		}
		delete(f.graphs, a[0])
	}
	return 0
}

func (f *fake) launch(kernel uintptr, grid *[3]int, threads int, _ uintptr, extra *[5]uintptr) int32 {
	if r := f.fail[cuLaunchKernel]; r != 0 {
		return r
	}
	if extra[0] != launchBuffer || extra[2] != launchSize || extra[4] != launchEnd {
		f.t.Errorf("extra %v", extra)
	}
	params := slices.Clone(unsafe.Slice((*byte)(pointer(extra[1])), *(*uint64)(pointer(extra[3]))))
	run, g := f.kernels[f.names[kernel-1]], *grid
	if f.captured != nil {
		*f.captured = append(*f.captured, func() { run(g, threads, params) })
		return 0
	}
	f.launches++
	run(g, threads, params)
	return 0
}

// fakeCompiler returns the text as code, or fails on a word.
type fakeCompiler struct {
	runs    chan string
	options []string
}

func (c *fakeCompiler) name() string { return "fakecc 1.2" }

func (c *fakeCompiler) compile(_ context.Context, text string, options []string) ([]byte, error) {
	c.options = options
	c.runs <- text
	if strings.Contains(text, "syntax_error") {
		return nil, errors.New("line 1: a\nline 2: b")
	}
	return []byte(text), nil
}

func device(t *testing.T, o Options) (*fake, *fakeCompiler, *Device) {
	t.Helper()
	f, c := newFake(t), &fakeCompiler{runs: make(chan string, 100)}
	d, err := open(f, c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Close()
		if len(f.alive)+len(f.memory)+len(f.graphs) > 0 {
			t.Errorf("left: %v, %d buffers, %d graphs", f.alive, len(f.memory), len(f.graphs))
		}
	})
	return f, c, d
}

// program is a source with some plain kernels.
func program(names ...string) string {
	var b strings.Builder
	b.WriteString(msl.Head + "struct AddArgs { uint n; uint m; ulong k; };\n")
	for _, n := range names {
		fmt.Fprintf(&b, `kernel void %s(device const uint* x [[buffer(0)]], device uint* y [[buffer(1)]], constant AddArgs& p [[buffer(2)]],
    uint3 at [[thread_position_in_grid]]) {
  y[at.x] += x[at.x] + p.n;
}
`, n)
	}
	return b.String()
}
