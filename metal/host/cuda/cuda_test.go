package cuda

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assay/metal/host"
)

// add is the kernel of program: y[i] += x[i] + n.
func add(f *fake) func(grid [3]int, threads int, params []byte) {
	return func(grid [3]int, threads int, params []byte) {
		if len(params) != 32 {
			f.t.Errorf("%d bytes of parameters, want two pointers and 16 bytes", len(params))
			return
		}
		le := binary.LittleEndian
		n := uintptr(grid[0] * threads * 4)
		x, y := f.bytes(uintptr(le.Uint64(params)), n), f.bytes(uintptr(le.Uint64(params[8:])), n)
		for i := 0; i < len(x); i += 4 {
			le.PutUint32(y[i:], le.Uint32(y[i:])+le.Uint32(x[i:])+le.Uint32(params[16:]))
		}
	}
}

func buffers(t *testing.T, d *Device, n int64, count int) []host.Buffer {
	t.Helper()
	out := make([]host.Buffer, count)
	for i := range out {
		b, err := d.NewBuffer(n)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = b
		t.Cleanup(b.Free)
	}
	return out
}

func adding(x, y host.Buffer, n uint32) host.Dispatch {
	args := binary.LittleEndian.AppendUint32(nil, n)
	return host.Dispatch{
		Kernel: "add", Label: "a sum", Grid: [3]int{2, 1, 1}, Threads: 32,
		Args: []host.Arg{{Buffer: x, At: 4}, {Buffer: y}, {Bytes: append(args, make([]byte, 12)...)}},
	}
}

func ready(t *testing.T, o Options) (*fake, *Device, []host.Buffer) {
	t.Helper()
	f, _, d := device(t, o)
	f.kernels["add"] = add(f)
	if err := d.Compile(t.Context(), host.Program{Source: program("add"), Kernels: []string{"add"}}); err != nil {
		t.Fatal(err)
	}
	return f, d, buffers(t, d, 1024, 2)
}

func TestRun(t *testing.T) {
	f, d, b := ready(t, Options{})
	if err := b[0].Write(8, []byte{5, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	if err := d.Submit([]host.Dispatch{adding(b[0], b[1], 1), adding(b[0], b[1], 10)}); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 8)
	if err := b[1].Read(0, got); err != nil {
		t.Fatal(err)
	}
	if x, y := binary.LittleEndian.Uint32(got), binary.LittleEndian.Uint32(got[4:]); x != 11 || y != 21 {
		t.Errorf("elements %d and %d, want 11 and 21", x, y)
	}
	if err := d.Copy(b[0], b[1], 8); err != nil {
		t.Fatal(err)
	}
	if err := b[0].Read(0, got); err != nil || got[4] != 21 {
		t.Errorf("copied %v, error %v", got, err)
	}
	if s, err := d.Time(func() error { return d.Submit([]host.Dispatch{adding(b[0], b[1], 1)}) }); err != nil || s < 0.0024 || s > 0.0026 {
		t.Errorf("took %v s, error %v", s, err)
	}
	if r, err := d.Resources("add"); err != nil || r != (Resources{40, 1 << 10, 0}) {
		t.Errorf("resources %v, error %v", r, err)
	}
	if b[0].Bytes() != nil || b[0].Len() != 1024 {
		t.Error("the host sees the GPU's memory")
	}
	if _, err := d.Map(nil); !errors.Is(err, host.ErrNoMap) {
		t.Errorf("map: error %v", err)
	}
	for _, fn := range f.log {
		if fn == cuInit && f.log[0] != cuInit {
			t.Error("init does not come first")
		}
	}
}

// TestGraphs wants many dispatches to run in order, once each, as few graphs, and
// a graph that cannot be updated to be made anew.
func TestGraphs(t *testing.T) {
	f, d, b := ready(t, Options{})
	count := func(fn function) (n int) {
		for _, l := range f.log {
			if l == fn {
				n++
			}
		}
		return n
	}
	ds := make([]host.Dispatch, 2*inGraph+fewest-1)
	total := uint32(0)
	for i := range ds {
		ds[i] = adding(b[0], b[1], uint32(i))
		total += uint32(i)
	}
	for round := range 3 {
		f.log = nil
		if round == 2 {
			f.fail[cuGraphExecUpdate] = 910 // CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE
		}
		if err := d.Submit(ds); err != nil {
			t.Fatal(err)
		}
		if n := f.launches; n != fewest-1 {
			t.Errorf("%d launches outside a graph, want %d", n, fewest-1)
		}
		f.launches = 0
		if n, want := count(cuGraphInstantiateWithFlags), []int{1, 0, 2}[round]; n != want {
			t.Errorf("round %d: %d graphs are made, want %d", round, n, want)
		}
	}
	got := make([]byte, 4)
	if err := b[1].Read(0, got); err != nil {
		t.Fatal(err)
	}
	if n := binary.LittleEndian.Uint32(got); n != 3*total {
		t.Errorf("sum %d, want %d", n, 3*total)
	}
	for _, fn := range []function{cuStreamBeginCapture, cuStreamEndCapture, cuGraphInstantiateWithFlags, cuGraphLaunch} {
		f.fail[fn] = 1
		if err := d.Submit(ds); err == nil || !strings.Contains(err.Error(), "cuda: graph: ") {
			t.Errorf("%s: error %v", functions[fn], err)
		}
		delete(f.fail, fn)
	}
}

func TestInfo(t *testing.T) {
	_, _, d := device(t, Options{Ordinal: 1})
	want := host.Info{
		Driver: "cuda", Name: "NVIDIA H9", System: "CUDA 13.1, fakecc 1.2", Memory: 1 << 20,
		Limits: host.Limits{MaxBuffer: 1 << 20, Threadgroup: 32 << 10, MaxThreads: 1024},
	}
	if got := d.Info(); got != want {
		t.Errorf("info %+v, want %+v", got, want)
	}
	if d.device != 1 {
		t.Errorf("GPU %d", d.device)
	}
}

// TestOpenErrors wants each step's failure to be an error that leaves nothing.
func TestOpenErrors(t *testing.T) {
	for _, fn := range []function{cuInit, cuDeviceGetCount, cuDeviceGet, cuDeviceGetName, cuDeviceTotalMem, cuDriverGetVersion,
		cuDeviceGetAttribute, cuDevicePrimaryCtxRetain, cuCtxSetCurrent, cuStreamCreate, cuEventCreate} {
		f := newFake(t)
		f.fail[fn] = 700
		_, err := open(f, &fakeCompiler{}, Options{})
		if err == nil || !strings.Contains(err.Error(), "an illegal memory access (CUDA_ERROR_ILLEGAL_ADDRESS, 700)") {
			t.Errorf("%s: error %v", functions[fn], err)
		}
		if f.alive["cuDevic"] != 0 {
			t.Errorf("%s: the context is kept", functions[fn])
		}
	}
	if _, err := open(newFake(t), &fakeCompiler{}, Options{Ordinal: 2}); err == nil || err.Error() != "cuda: GPU 2 of 2" {
		t.Errorf("error %v", err)
	}
	old := newFake(t)
	old.arch = 75
	if _, err := open(old, &fakeCompiler{}, Options{}); err == nil || !strings.Contains(err.Error(), "compute capability 7.5, want 8.0 or later") {
		t.Errorf("error %v", err)
	}
}

func TestSubmitErrors(t *testing.T) {
	_, d, b := ready(t, Options{})
	for _, c := range []struct {
		want   string
		change func(x *host.Dispatch)
	}{
		{"sub (a sum): not compiled", func(x *host.Dispatch) { x.Kernel = "sub" }},
		{"288 threads in a threadgroup, the kernel allows 256", func(x *host.Dispatch) { x.Threads = 288 }},
		{"want at most 65535", func(x *host.Dispatch) { x.Grid[2] = 1 << 16 }},
		{"2 arguments, the kernel has 3", func(x *host.Dispatch) { x.Args = x.Args[:2] }},
		{"argument 2 has 12 bytes, the kernel's has 16", func(x *host.Dispatch) { x.Args[2].Bytes = x.Args[2].Bytes[:12] }},
		{"argument 0 has 16 bytes, the kernel's has 8", func(x *host.Dispatch) { x.Args[0] = x.Args[2] }},
		{"argument 1 is no buffer of this device", func(x *host.Dispatch) { x.Args[1].Buffer = &buffer{} }},
	} {
		x := adding(b[0], b[1], 1)
		c.change(&x)
		if err := d.Submit([]host.Dispatch{adding(b[0], b[1], 1), x}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	if len(d.flight) != 0 {
		t.Error("something ran beside a dispatch that was refused")
	}
}

// TestFault wants an error of CUDA's to name what was on its way, and to stay.
func TestFault(t *testing.T) {
	for _, each := range []bool{false, true} {
		f, d, b := ready(t, Options{Each: each})
		f.after = 700
		err := d.Submit([]host.Dispatch{adding(b[0], b[1], 1), adding(b[0], b[1], 2)})
		want := "cuda: one of 2 dispatches, add (a sum) to add (a sum): an illegal memory access"
		if each {
			want = "cuda: add (a sum): an illegal memory access"
		} else if err != nil {
			t.Fatal(err)
		} else {
			err = d.Wait()
		}
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		f.after = 0
		_, noBuffer := d.NewBuffer(8)
		for i, again := range []error{d.Wait(), noBuffer, d.Submit(nil), b[0].Read(0, make([]byte, 1)), b[0].Write(0, make([]byte, 1)), d.Compile(t.Context(), host.Program{})} {
			if again == nil || again.Error() != err.Error() {
				t.Errorf("%d: error %v, want the first", i, again)
			}
		}
	}
	f, d, b := ready(t, Options{})
	f.fail[cuLaunchKernel] = 1
	if err := d.Submit([]host.Dispatch{adding(b[0], b[1], 1)}); err == nil || !strings.Contains(err.Error(), "add (a sum): launch:") {
		t.Errorf("error %v", err)
	}
}

func TestBuffers(t *testing.T) {
	f, _, d := device(t, Options{})
	for _, n := range []int64{-1, 0, 1<<20 + 1} {
		if _, err := d.NewBuffer(n); err == nil {
			t.Errorf("a buffer of %d bytes", n)
		}
	}
	b := buffers(t, d, 16, 1)[0]
	if b.Read(9, make([]byte, 8)) == nil || b.Write(-1, make([]byte, 1)) == nil || d.Copy(b, b, 17) == nil {
		t.Error("bytes outside the buffer")
	}
	b.Free()
	if b.Read(0, make([]byte, 1)) == nil {
		t.Error("a buffer is read after it was freed")
	}
	f.fail[cuMemAlloc] = 2
	if _, err := d.NewBuffer(16); err == nil || !strings.HasPrefix(err.Error(), "cuda: 16 bytes of memory:") {
		t.Errorf("error %v", err)
	}
}

func TestCompile(t *testing.T) {
	dir := t.TempDir()
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h"} // more than one piece
	for run, want := range []int{2, 0} {
		f, c, d := device(t, Options{Cache: dir})
		for _, n := range names {
			f.kernels[n] = add(f)
		}
		if err := d.Compile(t.Context(), host.Program{Source: program(names...), Kernels: names}); err != nil {
			t.Fatal(err)
		}
		if len(c.runs) != want {
			t.Errorf("run %d: %d programs compiled, want %d", run, len(c.runs), want)
		}
		if len(d.kernels) != len(names) {
			t.Errorf("run %d: %d kernels", run, len(d.kernels))
		}
		before := len(c.runs)
		if err := d.Compile(t.Context(), host.Program{Source: program(names...), Kernels: names[:3]}); err != nil || len(c.runs) != before {
			t.Errorf("run %d: %d more programs for kernels that are there, error %v", run, len(c.runs)-before, err)
		}
		other := strings.Replace(program(names...), "+ p.n", "+ p.m", 1) // of kernel a
		if err := d.Compile(t.Context(), host.Program{Source: other, Kernels: names}); err != nil || len(c.runs) != before+1 && want > 0 {
			t.Errorf("run %d: %d more programs for one kernel that changed, error %v", run, len(c.runs)-before, err)
		}
		if want > 0 && (len(c.options) == 0 || c.options[0] != "-arch=sm_90" || !strings.Contains(strings.Join(c.options, " "), "-ftz=true")) {
			t.Errorf("options %v", c.options)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.part")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestCompileErrors(t *testing.T) {
	f, _, d := device(t, Options{})
	f.kernels["add"] = add(f)
	fails := func(want, source string, names ...string) {
		t.Helper()
		if err := d.Compile(t.Context(), host.Program{Source: source, Kernels: names}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	fails("line 1: a\nline 2: b", strings.Replace(program("add"), "+ p.n", "+ syntax_error", 1), "add")
	fails(`no kernel is instantiated as "sub"`, program("add"), "sub")
	fails("cuda: kernel sub:", program("sub"), "sub") // the driver finds none
	f.shared = 33 << 10
	fails("33792 bytes of threadgroup memory, Metal has 32768", program("add"), "add")
	f.shared = 0
	f.fail[cuFuncGetParamInfo] = 999
	fails("parameter 0", program("add"), "add")
	f.fail[cuFuncGetParamInfo] = notThere // an old driver
	if err := d.Compile(t.Context(), host.Program{Source: program("add"), Kernels: []string{"add"}}); err != nil {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	d.options.Cache = filepath.Join(file, "below")
	fails("cuda: cache:", strings.Replace(program("add"), "+ p.n", "+ p.m", 1), "add")
}

func TestPack(t *testing.T) {
	l := new(packed)
	x, y := &buffer{at: 0x1000}, &buffer{at: 0x2000}
	if err := l.set([]host.Arg{{Buffer: x, At: 16}, {Buffer: y}, {Bytes: []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}}); err != nil {
		t.Fatal(err)
	}
	want := []byte{0x10, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0, 0, 0}
	if l.size != 32 || string(l.data[:32]) != string(want) {
		t.Errorf("%d bytes: % x", l.size, l.data[:32])
	}
	many := make([]host.Arg, host.MaxArgs)
	for i := range many {
		many[i] = host.Arg{Bytes: make([]byte, host.MaxBytes)}
	}
	if err := l.set(many); err == nil {
		t.Error("31 arguments of 4 KB are packed")
	}
}
