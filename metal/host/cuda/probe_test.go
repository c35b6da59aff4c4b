package cuda

import (
	_ "embed"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"assay/metal/host"
	"assay/metal/msl"
)

//go:embed testdata/probe.metal
var probeMetal string

var probe = host.Program{
	Source:  msl.Program([]msl.File{{Name: "probe.metal", Text: probeMetal}}, nil),
	Kernels: []string{"fields", "chain", "places", "lanes", "turn", "product_f32", "product_f16", "product_bf16", "functions"},
}

// TestText wants a compiler to take the probe as CUDA C++: whichever is here of
// NVRTC, nvcc and clang.
func TestText(t *testing.T) {
	source, err := Text(probe.Source)
	if err != nil {
		t.Fatal(err)
	}
	compiled := false
	if c, err := find(Options{}); err == nil {
		compiled = true
		code, err := c.compile(t.Context(), source, compileOptions(90))
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range probe.Kernels {
			if !strings.Contains(string(code), msl.Export(k)) {
				t.Errorf("%s: no kernel %s in %d bytes of code", c.name(), k, len(code))
			}
		}
		if _, err := c.compile(t.Context(), strings.Replace(source, "precise::tanh(v)", "precise::tan(v)", 1), compileOptions(90)); err == nil || !strings.Contains(err.Error(), "probe.metal") {
			t.Errorf("%s: error %v, want one that names the file", c.name(), err)
		}
	}
	if clang, err := exec.LookPath("clang++"); err == nil {
		compiled = true
		checkClang(t, clang, source)
	}
	if !compiled {
		t.Skip("no compiler of CUDA C++ here")
	}
}

// gpu is the machine's GPU with the probe compiled.
func gpu(t *testing.T) *Device { return gpuBy(t, "") }

func gpuBy(t *testing.T, compiler string) *Device {
	t.Helper()
	d, err := Open(Options{Each: true, Compiler: compiler})
	if err != nil && os.Getenv("ASSAY_NEEDS_CUDA") == "" {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", d.Info())
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := d.Compile(t.Context(), probe); err != nil {
		t.Fatal(err)
	}
	return d
}

// filled makes a buffer of these numbers.
func filled[T any](t *testing.T, d *Device, data []T) host.Buffer {
	t.Helper()
	b, err := binary.Append(nil, binary.LittleEndian, data)
	if err != nil {
		t.Fatal(err)
	}
	buf, err := d.NewBuffer(int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(buf.Free)
	if err := buf.Write(0, b); err != nil {
		t.Fatal(err)
	}
	return buf
}

func read[T any](t *testing.T, b host.Buffer) []T {
	t.Helper()
	raw := make([]byte, b.Len())
	if err := b.Read(0, raw); err != nil {
		t.Fatal(err)
	}
	out := make([]T, len(raw)/4)
	if _, err := binary.Decode(raw, binary.LittleEndian, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// nan is a buffer of n floats that nothing has written.
func nan(t *testing.T, d *Device, n int) host.Buffer {
	t.Helper()
	return filled(t, d, slices.Repeat([]float32{float32(math.NaN())}, n))
}

func submit(t *testing.T, d *Device, kernel string, grid [3]int, threads int, args ...any) {
	t.Helper()
	x := host.Dispatch{Kernel: kernel, Label: "probe", Grid: grid, Threads: threads}
	for _, a := range args {
		switch a := a.(type) {
		case host.Buffer:
			x.Args = append(x.Args, host.Arg{Buffer: a})
		case []byte:
			x.Args = append(x.Args, host.Arg{Bytes: a})
		}
	}
	if err := d.Submit([]host.Dispatch{x}); err != nil {
		t.Fatal(err)
	}
}

func probeArgs(n uint32, sign int32, scale float32, far uint64) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, n)
	b = le.AppendUint32(b, uint32(sign))
	b = le.AppendUint32(b, math.Float32bits(scale))
	b = le.AppendUint32(b, 0)
	return le.AppendUint64(b, far)
}

func TestGPUFields(t *testing.T) { testFields(t, gpu(t)) }

// TestGPUNVCC wants the other compiler to do as well.
func TestGPUNVCC(t *testing.T) { testFields(t, gpuBy(t, "nvcc")) }

func testFields(t *testing.T, d *Device) {
	y := filled(t, d, make([]uint32, 5))
	submit(t, d, "fields", [3]int{1, 1, 1}, 32, y, probeArgs(7, -3, 0.5, 0x123456789abcdef0))
	want := []uint32{7, 0xfffffffd, 0x3f000000, 0x9abcdef0, 0x12345678}
	if got := read[uint32](t, y); !slices.Equal(got, want) {
		t.Errorf("fields %x, want %x", got, want)
	}
	y = filled(t, d, make([]uint32, 2*3*2*64))
	submit(t, d, "places", [3]int{2, 3, 2}, 64, y)
	for i, got := range read[uint32](t, y) {
		tid, group := uint32(i%64), uint32(i/64)
		x, g, z := group%2, group/2%3, group/6
		if want := (x*64 + tid) | g<<8 | z<<12 | tid%32<<16 | tid/32<<24 | 2<<28; got != want {
			t.Fatalf("thread %d: %#x, want %#x", i, got, want)
		}
	}
}

// TestGPUOrder wants dispatches to run in order, as graphs and past them.
func TestGPUOrder(t *testing.T) {
	d := gpu(t)
	d.options.Each = false
	y, want := filled(t, d, make([]uint32, 1)), uint32(0)
	for round := range uint32(3) {
		ds := make([]host.Dispatch, 2*inGraph+fewest-1+int(round))
		for i := range ds {
			n := 1000*round + uint32(i)
			ds[i] = host.Dispatch{Kernel: "chain", Label: "probe", Grid: [3]int{1, 1, 1}, Threads: 32, Args: []host.Arg{{Buffer: y}, {Bytes: probeArgs(n, 0, 0, 0)}}}
			want = want*3 + n
		}
		if err := d.Submit(ds); err != nil {
			t.Fatal(err)
		}
	}
	if got := read[uint32](t, y)[0]; got != want {
		t.Errorf("%d, want %d", got, want)
	}
}

// TestGPULanes works the operations of a simdgroup by hand. The numbers are
// small integers: their sums are exact in any order.
func TestGPULanes(t *testing.T) {
	d := gpu(t)
	x := make([]float32, 32)
	sum, most, least, bits := float32(0), float32(0), float32(100), uint32(0)
	for i := range x {
		x[i] = float32((i*37+11)%64) - 7
		sum, most, least = sum+x[i], max(most, x[i]), min(least, x[i])
		bits |= math.Float32bits(x[i]) >> 12
	}
	y := nan(t, d, 12*32)
	submit(t, d, "lanes", [3]int{1, 1, 1}, 32, filled(t, d, x), y)
	got := read[float32](t, y)
	running := float32(0)
	for i := range x {
		before := running
		running += x[i]
		at := func(j int) float32 {
			if j < 0 || j > 31 {
				return 0
			}
			return x[j]
		}
		want := []float32{sum, most, least, running, before, x[i*7%32], x[i^5], at(i + 3), at(i - 3), x[9] + x[0], float32(bits&0xff) + 768, 496}
		for row, w := range want {
			if g := got[row*32+i]; g != w {
				t.Errorf("row %d, lane %d: %v, want %v", row, i, g, w)
			}
		}
	}
}

func TestGPUTurn(t *testing.T) {
	d := gpu(t)
	x, above := make([]float32, 4*128), uint32(0)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range x {
		if x[i] = r.Float32(); x[i] > 0.5 {
			above++
		}
	}
	y, count := nan(t, d, len(x)), filled(t, d, make([]uint32, 1))
	submit(t, d, "turn", [3]int{4, 1, 1}, 128, filled(t, d, x), y, count)
	for i, got := range read[float32](t, y) {
		if want := x[i/128*128+127-i%128]; got != want {
			t.Fatalf("element %d: %v, want %v", i, got, want)
		}
	}
	if got := read[uint32](t, count)[0]; got != above {
		t.Errorf("%d above a half, want %d", got, above)
	}
}

// TestGPUProduct multiplies matrices of small integers, which all three types
// and every order of the sum have exactly.
func TestGPUProduct(t *testing.T) {
	d := gpu(t)
	r := rand.New(rand.NewPCG(3, 4))
	var a, b, c [64]float32
	for i := range a {
		a[i], b[i], c[i] = float32(r.IntN(17)-8), float32(r.IntN(17)-8), float32(r.IntN(17)-8)
	}
	mul := func(at func(r, k int) float32, b [64]float32, c func(i int) float32) (out [64]float32) {
		for i := range out {
			out[i] = c(i)
			for k := range 8 {
				out[i] += at(i/8, k) * b[k*8+i%8]
			}
		}
		return out
	}
	plain, turned := func(r, k int) float32 { return a[r*8+k] }, func(r, k int) float32 { return a[k*8+r] }
	none := func(int) float32 { return 0 }
	e := mul(turned, b, func(i int) float32 { return c[i] })
	var et [64]float32
	for i := range e {
		et[i%8*8+i/8] = e[i]
	}
	var three [64]float32
	for i := range 8 {
		three[9*i] = 3
	}
	want := [][64]float32{
		mul(plain, b, func(i int) float32 { return c[i] }), et, mul(plain, b, none),
		mul(plain, b, func(int) float32 { return 2 }), mul(plain, a, none), mul(plain, three, none),
	}
	for kernel, data := range map[string]func([64]float32) host.Buffer{
		"product_f32":  func(m [64]float32) host.Buffer { return filled(t, d, m[:]) },
		"product_f16":  func(m [64]float32) host.Buffer { return filled(t, d, halves(m, half)) },
		"product_bf16": func(m [64]float32) host.Buffer { return filled(t, d, halves(m, bfloat)) },
	} {
		y := nan(t, d, 64*len(want))
		submit(t, d, kernel, [3]int{1, 1, 1}, 32, data(a), data(b), filled(t, d, c[:]), y)
		got := read[float32](t, y)
		for i, w := range want {
			if !slices.Equal(got[64*i:64*i+64], w[:]) {
				t.Errorf("%s: product %d is %v, want %v", kernel, i, got[64*i:64*i+64], w)
			}
		}
	}
}

// halves converts small integers, which are exact.
func halves(m [64]float32, to func(float32) uint16) []uint16 {
	out := make([]uint16, len(m))
	for i, v := range m {
		out[i] = to(v)
	}
	return out
}

func bfloat(v float32) uint16 { return uint16(math.Float32bits(v) >> 16) }

func half(v float32) uint16 {
	u := math.Float32bits(v)
	if v == 0 {
		return 0
	}
	return uint16(u>>16&0x8000 | (u>>23&0xff-112)<<10 | u>>13&0x3ff)
}

// TestGPUFunctions holds the functions to Metal's own bounds, in units in the
// last place (Metal Shading Language Specification, table 8.1), plus the half
// unit by which the expected value is rounded.
func TestGPUFunctions(t *testing.T) {
	d := gpu(t)
	const n = 256
	x := make([]float32, n)
	r := rand.New(rand.NewPCG(5, 6))
	for i := range x {
		x[i] = float32(r.NormFloat64() * 4)
	}
	y := nan(t, d, 13*n)
	submit(t, d, "functions", [3]int{n / 64, 1, 1}, 64, filled(t, d, x), y, probeArgs(n, 0, 0x1p-140, 0))
	got := read[float32](t, y)
	for i, v := range x {
		f := float64(v)
		for row, w := range []struct{ want, ulp float64 }{
			{math.Exp(f), 4.5}, {math.Log(math.Abs(f)), 4.5}, {math.Sqrt(math.Abs(f)), 0.5}, {1 / math.Sqrt(math.Abs(f)), 1.5},
			{math.Sin(f), 4.5}, {math.Cos(f), 4.5}, {math.Tanh(f), 5.5}, {math.RoundToEven(f), 0},
			{f, 0x1p13}, {f, 0x1p16}, {f*f - 1, 0.51}, {float64(i % 4), 0}, {0, 0},
		} {
			g := float64(got[row*n+i])
			last := math.Abs(float64(math.Nextafter32(float32(w.want), float32(math.Inf(1)))) - float64(float32(w.want)))
			if !(math.Abs(g-w.want) <= w.ulp*last) {
				t.Errorf("row %d of %v: %v, want %v within %v units of %v", row, v, g, w.want, w.ulp, last)
			}
		}
	}
}

// BenchmarkLaunch times one dispatch of many that do next to nothing: what a
// small kernel costs at least.
func BenchmarkLaunch(b *testing.B) {
	d, err := Open(Options{})
	if err != nil {
		b.Skip(err)
	}
	defer d.Close()
	if err := d.Compile(b.Context(), probe); err != nil {
		b.Fatal(err)
	}
	y, err := d.NewBuffer(4096)
	if err != nil {
		b.Fatal(err)
	}
	defer y.Free()
	ds := make([]host.Dispatch, 1000)
	for i := range ds {
		ds[i] = host.Dispatch{Kernel: "fields", Grid: [3]int{1, 1, 1}, Threads: 32, Args: []host.Arg{{Buffer: y}, {Bytes: probeArgs(1, 1, 1, 1)}}}
	}
	gpu, host := 0.0, 0.0
	for b.Loop() {
		s, err := d.Time(func() error {
			defer func(t time.Time) { host += time.Since(t).Seconds() }(time.Now())
			return d.Submit(ds)
		})
		if err != nil {
			b.Fatal(err)
		}
		gpu += s
	}
	b.ReportMetric(gpu/float64(b.N)/float64(len(ds))*1e6, "µs-GPU/dispatch")
	b.ReportMetric(host/float64(b.N)/float64(len(ds))*1e6, "µs-submit/dispatch")
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/float64(len(ds))*1e6, "µs/dispatch")
}

// BenchmarkCopy times a copy on the device, in bytes read and written.
func BenchmarkCopy(b *testing.B) {
	d, err := Open(Options{})
	if err != nil {
		b.Skip(err)
	}
	defer d.Close()
	const n = 2 << 30
	var bufs [2]host.Buffer
	for i := range bufs {
		if bufs[i], err = d.NewBuffer(n); err != nil {
			b.Fatal(err)
		}
		defer bufs[i].Free()
	}
	b.SetBytes(2 * n)
	gpu := 0.0
	for b.Loop() {
		s, err := d.Time(func() error { return d.Copy(bufs[1], bufs[0], n) })
		if err != nil {
			b.Fatal(err)
		}
		gpu += s
	}
	b.ReportMetric(2*n*float64(b.N)/gpu/1e9, "GB/s-GPU")
}
