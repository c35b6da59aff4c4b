package apple

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"assay/metal/host"
	"assay/metal/msl"
)

var systems = []version{macOS14, macOS15}

// with runs a test on a device of each system, and wants nothing left of it.
func with(t *testing.T, o Options, run func(t *testing.T, f *fake, d *Device)) {
	for _, v := range systems {
		t.Run(fmt.Sprintf("macOS %d", v/100), func(t *testing.T) {
			f := newFake(t, v)
			d, err := open(f, o)
			if err != nil {
				t.Fatal(err)
			}
			run(t, f, d)
			if err := d.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			if left := f.leaks(); len(left) > 0 {
				t.Errorf("not released: %v", left)
			}
		})
	}
}

// add is a kernel: y[i] += x[i] + args.
func add(grid, threads [3]uint64, bound map[int]any) {
	x, y, n := bound[0].([]byte), bound[1].([]byte), binary.LittleEndian.Uint32(bound[2].([]byte))
	for i := range grid[0] * threads[0] {
		at := y[4*i:]
		binary.LittleEndian.PutUint32(at, binary.LittleEndian.Uint32(at)+binary.LittleEndian.Uint32(x[4*i:])+n)
	}
}

// program is kernels of some names, with what their bodies hold.
func program(body string, names ...string) host.Program {
	p := host.Program{Source: msl.Head, Kernels: names}
	for _, n := range names {
		p.Source += fmt.Sprintf(`kernel void %s(device const uint* x [[buffer(0)]], device uint* y [[buffer(1)]], uint3 at [[thread_position_in_grid]]) {
  %s
}
`, n, body)
	}
	return p
}

func compiled(t *testing.T, f *fake, d *Device) {
	t.Helper()
	f.kernels["add"] = add
	if err := d.Compile(t.Context(), program("y[at.x] += x[at.x];", "add")); err != nil {
		t.Fatal(err)
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
	}
	return out
}

func adding(x, y host.Buffer, n uint32, barrier bool) host.Dispatch {
	return host.Dispatch{
		Kernel: "add", Label: fmt.Sprintf("add %d", n), Grid: [3]int{2, 1, 1}, Threads: 32, Barrier: barrier,
		Args: []host.Arg{{Buffer: x, At: 4}, {Buffer: y}, {Bytes: binary.LittleEndian.AppendUint32(nil, n)}},
	}
}

func TestRun(t *testing.T) {
	with(t, Options{}, func(t *testing.T, f *fake, d *Device) {
		compiled(t, f, d)
		b := buffers(t, d, 1024, 2)
		if err := b[0].Write(8, []byte{5, 0, 0, 0}); err != nil {
			t.Fatal(err)
		}
		if err := d.Submit([]host.Dispatch{adding(b[0], b[1], 1, false), adding(b[0], b[1], 10, true)}); err != nil {
			t.Fatal(err)
		}
		if err := d.Submit([]host.Dispatch{adding(b[0], b[1], 100, true)}); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 8)
		if err := b[1].Read(0, got); err != nil {
			t.Fatal(err)
		}
		// Element 1 of x at an offset of one element is the 5.
		if x, y := binary.LittleEndian.Uint32(got), binary.LittleEndian.Uint32(got[4:]); x != 111 || y != 126 {
			t.Errorf("elements %d and %d, want 111 and 126", x, y)
		}
		if f.barrier != 1 {
			t.Errorf("%d barriers, want the one inside a submission", f.barrier)
		}
		if want := []string{"update", "wait", "update"}; !slices.Equal(f.fences, want) {
			t.Errorf("fence: %v, want %v", f.fences, want)
		}
		if len(d.flight) != 0 {
			t.Errorf("%d submissions on their way after a read", len(d.flight))
		}
		for _, b := range b {
			b.Free()
			b.Free() // again changes nothing
		}
	})
}

func TestInfo(t *testing.T) {
	with(t, Options{}, func(t *testing.T, f *fake, d *Device) {
		want := host.Info{
			Driver: "metal", Name: "Apple M9", System: fmt.Sprintf("macOS %d.0 (Build 1A2)", f.macOS/100), Memory: 128 << 30, Shared: true,
			Limits: host.Limits{MaxBuffer: 1 << 20, Threadgroup: 32 << 10, MaxThreads: 1024, WorkingSet: 3 << 20},
		}
		if got := d.Info(); got != want {
			t.Errorf("info %+v, want %+v", got, want)
		}
	})
}

// TestCompileOptions wants the language version and precise math set by the
// names that each system has.
func TestCompileOptions(t *testing.T) {
	with(t, Options{}, func(t *testing.T, f *fake, d *Device) {
		compiled(t, f, d)
		want := map[string]uintptr{"errors": 1, "language": 0x30001, "fast": 0}
		if f.macOS >= macOS15 {
			want = map[string]uintptr{"errors": 1, "language": 0x30001, "mode": 0, "functions": 1}
		}
		if len(f.options) != len(want) {
			t.Errorf("options %v, want %v", f.options, want)
		}
		for k, v := range want {
			if got, ok := f.options[k]; !ok || got != v {
				t.Errorf("option %s is %d (set: %v), want %d", k, got, ok, v)
			}
		}
		if threads, memory := d.Kernel("add"); threads != 256 || memory != 4096 {
			t.Errorf("kernel of %d threads and %d bytes", threads, memory)
		}
		f.source = ""
		compiled(t, f, d)
		if f.source != "" {
			t.Error("a kernel that is there is compiled again")
		}
		if err := d.Compile(t.Context(), program("y[at.x] -= x[at.x];", "sub", "add")); err != nil { // replaces, and leaks nothing
			t.Fatal(err)
		}
		if !strings.Contains(f.source, "-= x") || !strings.Contains(f.source, "#include <metal_stdlib>") {
			t.Errorf("source: %s", f.source)
		}
	})
}

func TestCompileErrors(t *testing.T) {
	with(t, Options{}, func(t *testing.T, f *fake, d *Device) {
		fails := func(p host.Program, want string) {
			t.Helper()
			if err := d.Compile(t.Context(), p); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q", err, want)
			}
		}
		fails(program("syntax error", "add"), "program_source:1:1: error: a\nprogram_source:2:1: error: b (MTLLibraryErrorDomain 3)")
		p := program("", "add")
		fails(host.Program{Source: p.Source, Kernels: []string{"add", "sub"}}, `no kernel is instantiated as "sub"`)
		fails(host.Program{Source: p.Source + "}"}, "msl:")
		fails(program("", "add", "greedy"), "33792 bytes of threadgroup memory, the device has 32768")
		f.refuse[newFunctionWithName] = true
		fails(p, `kernel "add" is not in the program`)
		f.refuse[newFunctionWithName] = false
		f.width = 64
		fails(p, "simdgroups of 64 threads, want 32")
		f.refuse[newPipeline] = true
		fails(p, `kernel "add": refused by the test (AGXMetal 3)`)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := d.Compile(ctx, p); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v after cancel", err)
		}
	})
}

func TestOpenErrors(t *testing.T) {
	for _, c := range []struct {
		name, want string
		set        func(f *fake)
	}{
		{"old system", "apple: macOS 13.0 (Build 1A2): Metal Shading Language 3.1 needs macOS 14", func(f *fake) { f.macOS = 1300 }},
		{"old GPU", "apple: Apple M9: not of GPU family Apple7", func(f *fake) { f.family = 1006 }},
		{"own memory", "apple: Apple M9: its memory is not the host's", func(f *fake) { f.unified = false }},
		{"queue", "apple: Apple M9: no command queue", func(f *fake) { f.refuse[newCommandQueue] = true }},
		{"fence", "apple: Apple M9: no fence", func(f *fake) { f.refuse[newFence] = true }},
		{"residency", "apple: Apple M9: residency set: refused by the test (AGXMetal 3)", func(f *fake) { f.refuse[newResidencySet] = true }},
	} {
		f := newFake(t, macOS15)
		c.set(f)
		if _, err := open(f, Options{}); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
		if left := f.leaks(); len(left) > 0 {
			t.Errorf("%s: not released: %v", c.name, left)
		}
	}
}

func TestSubmitErrors(t *testing.T) {
	with(t, Options{}, func(t *testing.T, f *fake, d *Device) {
		compiled(t, f, d)
		b := buffers(t, d, 1024, 2)
		fails := func(change func(x *host.Dispatch), want string) {
			t.Helper()
			x := adding(b[0], b[1], 1, false)
			change(&x)
			if err := d.Submit([]host.Dispatch{x}); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q", err, want)
			}
		}
		fails(func(x *host.Dispatch) { x.Kernel = "sub" }, "sub (add 1): not compiled")
		fails(func(x *host.Dispatch) { x.Threads = 288 }, "288 threads in a threadgroup, its pipeline allows 256")
		fails(func(x *host.Dispatch) { x.Args[1].Buffer = &buffer{} }, "argument 1 is no buffer of this device")
		b[0].Free()
		fails(func(*host.Dispatch) {}, "argument 0 is no buffer of this device")
		fails(func(x *host.Dispatch) { x.Args[0].Buffer = b[1]; f.refuse[computeEncoder] = true }, "no encoder")
		fails(func(x *host.Dispatch) { x.Args[0].Buffer = b[1]; f.refuse[commandBuffer] = true }, "no command buffer")
		b[1].Free()
	})
}

// TestFault wants the whole of a command buffer's error, once.
func TestFault(t *testing.T) {
	with(t, Options{Signposts: true}, func(t *testing.T, f *fake, d *Device) {
		compiled(t, f, d)
		b := buffers(t, d, 1024, 2)
		f.fault = "add 1 to add 2"
		if err := d.Submit([]host.Dispatch{adding(b[0], b[1], 1, false), adding(b[0], b[1], 2, true)}); err != nil {
			t.Fatal(err)
		}
		if err := d.Submit([]host.Dispatch{adding(b[0], b[1], 3, true)}); err != nil {
			t.Fatal(err)
		}
		err := d.Wait()
		want := "apple: add 1 to add 2: Caused GPU Address Fault Error (MTLCommandBufferErrorDomain 3, page fault)\n" +
			"  encoder \"add 1 to add 2\": faulted\n    add add 1\n    add add 2"
		if err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		if err := d.Wait(); err != nil {
			t.Errorf("a second time: %v", err)
		}
		for _, b := range b {
			b.Free()
		}
	})
}

// TestLost wants a wait to end, and everything after it to say why.
func TestLost(t *testing.T) {
	f := newFake(t, macOS15)
	f.hang = make(chan struct{})
	defer close(f.hang)
	d, err := open(f, Options{Limit: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	compiled(t, f, d)
	b := buffers(t, d, 1024, 2)
	if err := d.Submit([]host.Dispatch{adding(b[0], b[1], 1, false)}); err != nil {
		t.Fatal(err)
	}
	const want = "apple: Apple M9: add 1: not done after 20ms; the device is given up"
	_, buffer := d.NewBuffer(64)
	for i, err := range []error{d.Wait(), d.Wait(), d.Submit([]host.Dispatch{{}}), d.Compile(t.Context(), host.Program{}), b[0].Read(0, make([]byte, 1)), d.Close()} {
		if err == nil || err.Error() != want {
			t.Errorf("%d: error %v, want %q", i, err, want)
		}
	}
	if buffer != nil {
		t.Errorf("before the wait: %v", buffer)
	}
	b[0].Free() // the device may still write it
	if b[0].Bytes() == nil {
		t.Error("memory that a lost device may use is gone")
	}
}

// TestFlight wants no more on its way than a queue makes command buffers.
func TestFlight(t *testing.T) {
	with(t, Options{}, func(t *testing.T, f *fake, d *Device) {
		compiled(t, f, d)
		b := buffers(t, d, 1024, 2)
		for i := range uint32(3 * maxFlight) {
			if err := d.Submit([]host.Dispatch{adding(b[0], b[1], i, true)}); err != nil {
				t.Fatal(err)
			}
			if len(d.flight) > maxFlight {
				t.Fatalf("%d submissions on their way", len(d.flight))
			}
		}
		for _, b := range b {
			b.Free()
		}
		if len(d.flight) != 0 {
			t.Error("memory was freed under submissions on their way")
		}
	})
}

func TestMap(t *testing.T) {
	with(t, Options{}, func(t *testing.T, f *fake, d *Device) {
		data := make([]byte, 3*host.PageSize)
		at := -int(address(&data[0])) & (host.PageSize - 1)
		page := data[at : at+host.PageSize]
		b, err := d.Map(page)
		if err != nil {
			t.Fatal(err)
		}
		if b.Len() != host.PageSize || unsafe.SliceData(b.Bytes()) != &page[0] {
			t.Error("the buffer is not the memory")
		}
		if err := b.Write(0, []byte{1}); err == nil {
			t.Error("a mapped buffer can be written")
		}
		b.Free()
		for _, part := range [][]byte{nil, page[:1000], data[at+16 : at+16+host.PageSize]} {
			if _, err := d.Map(part); err == nil {
				t.Errorf("map of %d bytes at %p: no error", len(part), unsafe.SliceData(part))
			}
		}
		f.refuse[newBufferNoCopy] = true
		if _, err := d.Map(page); err == nil || !strings.Contains(err.Error(), "cannot be mapped") {
			t.Errorf("error %v", err)
		}
	})
}

// TestResidency wants the set to hold what the working set has room for.
func TestResidency(t *testing.T) {
	with(t, Options{}, func(t *testing.T, f *fake, d *Device) {
		b := buffers(t, d, 1<<20, 4)
		want := int64(0)
		if f.macOS >= macOS15 {
			want = 3 << 20
		}
		if d.resident != want {
			t.Errorf("%d bytes in the set, want %d", d.resident, want)
		}
		for _, b := range b {
			b.Free()
		}
		if d.resident != 0 {
			t.Errorf("%d bytes in the set after all were freed", d.resident)
		}
		for _, n := range []int64{-1, 0, 1<<20 + 1} {
			if _, err := d.NewBuffer(n); err == nil {
				t.Errorf("a buffer of %d bytes", n)
			}
		}
		one := buffers(t, d, 16, 1)[0]
		if one.Read(9, make([]byte, 8)) == nil || one.Write(-1, nil) == nil {
			t.Error("bytes outside the buffer")
		}
		one.Free()
		f.refuse[newBufferWithLength] = true
		if _, err := d.NewBuffer(64); err == nil || !strings.Contains(err.Error(), "no memory") {
			t.Errorf("error %v", err)
		}
	})
}

// everything makes the driver send all that it can.
func everything(t *testing.T, f *fake, d *Device) {
	compiled(t, f, d)
	b := buffers(t, d, 1024, 2)
	data := make([]byte, 2*host.PageSize)
	at := -int(address(&data[0])) & (host.PageSize - 1)
	page, err := d.Map(data[at : at+host.PageSize])
	if err != nil {
		t.Fatal(err)
	}
	f.hang, f.fault = make(chan struct{}), "add 1"
	if err := errors.Join(
		d.Submit([]host.Dispatch{adding(b[0], b[1], 1, false)}),
		d.Submit([]host.Dispatch{adding(b[0], b[1], 2, true), adding(b[0], b[1], 3, true)}),
	); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*time.Millisecond, func() { close(f.hang) })
	if d.Wait() == nil {
		t.Error("no error of a submission that failed")
	}
	for _, b := range append(b, page) {
		b.Free()
	}
}
