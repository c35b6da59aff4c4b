package emu

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"assay/metal/host"
	"assay/metal/msl"

	"golang.org/x/sys/unix"
)

func scale(x, y host.Buffer, n int, by float32, from uint64) host.Dispatch {
	return host.Dispatch{Kernel: "scale_f32", Label: "scale", Grid: [3]int{(n + 63) / 64, 1, 1}, Threads: 64,
		Args: []host.Arg{in(x), out(y), scaleArgs{uint32(n), by, from}.arg()}}
}

// TestUndeclared has what real accesses are compared with: the ranges, without
// which barriers come out wrong.
func TestUndeclared(t *testing.T) {
	const n = 128
	d := tiny(t, Options{Checked: true, Seed: 3})
	x, y := floats(t, d, make([]float32, n)...), poisoned(t, d, n)
	for want, change := range map[string]func(*host.Dispatch){
		"": func(*host.Dispatch) {},
		"read of bytes [508, 512) of the buffer at x, whose byte 508 that is; the dispatch declares to read [0, 508), at tiny.metal:17": func(s *host.Dispatch) {
			s.Args[0].Uses[0].Len -= 4
		},
		"write of bytes [508, 512) of the buffer at y, whose byte 508 that is; the dispatch declares to write [0, 508), at tiny.metal:17": func(s *host.Dispatch) {
			s.Args[1].Uses[0].Len -= 4
		},
		"write of bytes [256, 260) of the buffer at y, whose byte 256 that is; the dispatch declares to write [0, 256) [260, 512), at tiny.metal:17": func(s *host.Dispatch) {
			s.Args[1].Uses = []host.Use{{At: 0, Len: 256, Access: host.Write}, {At: 260, Len: 252, Access: host.ReadWrite}}
		},
		"declares to read nothing":  func(s *host.Dispatch) { s.Args[0].Uses = nil },
		"declares to write nothing": func(s *host.Dispatch) { s.Args[1].Uses[0].Access = host.Read },
		"past the end":              func(s *host.Dispatch) { s.Args[2] = scaleArgs{n, 1, 2 * n}.arg() },
	} {
		s := scale(x, y, n, 1, 0)
		change(&s)
		err := d.Submit([]host.Dispatch{s})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	// Two ranges that touch are one.
	s := scale(x, y, n, 1, 0)
	s.Args[0].Uses = []host.Use{{At: 0, Len: 100, Access: host.Read}, {At: 100, Len: 412, Access: host.Read}}
	if err := d.Submit([]host.Dispatch{s}); err != nil {
		t.Error(err)
	}
	// What another argument may touch is not this one's, though it is the same memory.
	one := poisoned(t, d, 3*n)
	s = scale(one, one, n, 1, 0)
	s.Args[0].Uses = []host.Use{{At: 0, Len: 256, Access: host.Read}}
	s.Args[1].At, s.Args[1].Uses = 512, []host.Use{{At: 256, Len: 768, Access: host.ReadWrite}}
	if err := d.Submit([]host.Dispatch{s}); err == nil || !strings.Contains(err.Error(), "at x, whose byte 256 that is; the dispatch declares to read [0, 256)") {
		t.Errorf("error %v of an argument that reads what another declares", err)
	}
	ignoring := tiny(t, Options{Checked: true, Ignore: []Ignored{{"scale", "y", host.Write}}})
	x, y = floats(t, ignoring, make([]float32, n)...), poisoned(t, ignoring, n)
	if err := ignoring.Submit([]host.Dispatch{scale(x, y, n, 1, 0)}); err == nil || !strings.Contains(err.Error(), "declares to write nothing") {
		t.Errorf("error %v of a dispatch whose write is ignored", err)
	}
}

// TestNoBarrierBetween wants two dispatches that need a barrier refused without
// one, and passed with it, whichever of them comes first.
func TestNoBarrierBetween(t *testing.T) {
	const n = 64
	for seed := range uint32(6) {
		d := tiny(t, Options{Checked: true, Seed: seed})
		x, y, z := floats(t, d, make([]float32, n)...), floats(t, d, make([]float32, n)...), poisoned(t, d, n)
		ds := []host.Dispatch{scale(x, y, n, 2, 0), scale(y, z, n, 2, 0)}
		if err := d.Submit(ds); err == nil || !strings.Contains(err.Error(), "race in device memory") {
			t.Errorf("seed %d: error %v of dispatches without a barrier between", seed, err)
		}
		ds[1].Barrier = true
		if err := d.Submit(ds); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

// TestShuffled wants some seed to turn two dispatches round, and some not.
func TestShuffled(t *testing.T) {
	const n = 32
	seen := map[float32]bool{}
	for seed := range uint32(8) {
		d := tiny(t, Options{Checked: true, Seed: seed})
		x, y := floats(t, d, make([]float32, n)...), floats(t, d, make([]float32, n)...)
		for i := range n { // 1
			copy(x.data[4*i:], "\x00\x00\x80\x3f")
		}
		// The buffers are the same memory for each other's dispatch: the second to
		// run overwrites what the first wrote, and the checker stops it.
		err := d.Submit([]host.Dispatch{scale(x, y, n, 2, 0), scale(x, y, n, 3, 0)})
		if err == nil {
			t.Fatalf("seed %d: two dispatches write the same bytes, and no error", seed)
		}
		seen[read(t, y)[0]] = true
	}
	if !seen[2] || !seen[3] {
		t.Errorf("of two dispatches, those ran first that wrote %v", seen)
	}
}

// TestCountReads counts by hand: every threadgroup of 64 reads its own 64
// elements, three times over.
func TestCountReads(t *testing.T) {
	const n = 130
	d := tiny(t, Options{Checked: true})
	x, y := floats(t, d, make([]float32, n)...), poisoned(t, d, n)
	for _, b := range []*Buffer{x, y} {
		if err := b.CountReads(); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if err := d.Submit([]host.Dispatch{scale(x, y, n, 1, 0)}); err != nil {
			t.Fatal(err)
		}
	}
	if x.BytesRead() != 3*4*n || y.BytesRead() != 0 || d.BytesRead() != 3*4*n {
		t.Errorf("read %d, %d, together %d bytes, want %d, 0", x.BytesRead(), y.BytesRead(), d.BytesRead(), 3*4*n)
	}
	d.ResetReads()
	z := floats(t, d, make([]float32, 2)...)
	sums := host.Dispatch{Kernel: "row_sums", Label: "sums", Grid: [3]int{2, 1, 1}, Threads: 32, Args: []host.Arg{in(x), out(z), rowArgs(2, 50)}}
	if err := d.Submit([]host.Dispatch{sums}); err != nil {
		t.Fatal(err)
	}
	if d.BytesRead() != 400 {
		t.Errorf("read %d bytes, want 400", d.BytesRead())
	}
	x.Free()
	if d.BytesRead() != 0 {
		t.Errorf("a freed buffer counts %d bytes", d.BytesRead())
	}
	fast := tiny(t, Options{})
	if err := floats(t, fast, 1).CountReads(); err == nil {
		t.Error("a device that sees no reads counts them")
	}
}

// TestPerturbed wants results moved, by no more than the tolerance, another way by
// another seed, and the same way by the same.
func TestPerturbed(t *testing.T) {
	run := func(opt Options) []float32 {
		d := tiny(t, opt)
		o, counter := poisoned(t, d, 32*40), floats(t, d, 0)
		err := d.Submit([]host.Dispatch{{Kernel: "library", Label: "all", Grid: [3]int{1, 1, 1}, Threads: 32,
			Args: []host.Arg{out(o), {Buffer: counter, Uses: []host.Use{{Len: 4, Access: host.ReadWrite}}}}}})
		if err != nil {
			t.Fatal(err)
		}
		return read(t, o)
	}
	plain := run(Options{})
	moved := func(v []float32) (n int) {
		for i := range v {
			if a, b := math.Float32bits(v[i]), math.Float32bits(plain[i]); a != b && i%40 != 14 { // 14 counts lanes
				n++
			}
		}
		return n
	}
	a, b, again := run(Options{Perturb: true, Seed: 2}), run(Options{Perturb: true, Seed: 4}), run(Options{Perturb: true, Seed: 2})
	if n := moved(a); n < 100 || n > 5*32 {
		t.Errorf("%d results moved, of 5 functions in 32 lanes", n)
	}
	differ, repeats := 0, 0
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			differ++
		}
		if math.Float32bits(a[i]) == math.Float32bits(again[i]) {
			repeats++
		}
	}
	if differ < 50 || repeats != len(a) {
		t.Errorf("%d of %d results differ by the seed, %d repeat", differ, len(a), repeats)
	}
	if n := moved(run(Options{Checked: true, Seed: 9})); n != 0 {
		t.Errorf("%d results of the checked build are other than the fast build's", n)
	}
}

// TestSumOrder wants a perturbed sum of numbers of all sizes in another order,
// still close.
func TestSumOrder(t *testing.T) {
	const cols = 500
	v := make([]float32, cols)
	exact := 0.0
	for i := range v {
		v[i] = float32(math.Sin(float64(i))) * float32(math.Exp2(float64(i%20)))
		exact += float64(v[i])
	}
	seen := map[float32]bool{}
	for seed := range uint32(6) {
		d := tiny(t, Options{Perturb: seed > 0, Seed: 2 * seed})
		x, y := floats(t, d, v...), poisoned(t, d, 1)
		if err := d.Submit([]host.Dispatch{{Kernel: "row_sums", Label: "sum", Grid: [3]int{1, 1, 1}, Threads: 64, Args: []host.Arg{in(x), out(y), rowArgs(1, cols)}}}); err != nil {
			t.Fatal(err)
		}
		got := read(t, y)[0]
		seen[got] = true
		if math.Abs(float64(got)-exact) > 500*0x1p-24*0x1p20 { // cols roundings of at most the largest sum
			t.Errorf("seed %d: the sum is %g, want %g", seed, got, exact)
		}
	}
	if len(seen) < 3 {
		t.Errorf("six orders of a sum give %d values", len(seen))
	}
}

// TestNoCompiler wants a sentence that says what is missing.
func TestNoCompiler(t *testing.T) {
	open(t, Options{})
	t.Setenv("CXX", "no-such-compiler")
	if _, err := New(Options{}); err == nil || !strings.Contains(err.Error(), "needs a C++ compiler") || !strings.Contains(err.Error(), "no-such-compiler") {
		t.Errorf("error %v", err)
	}
}

// TestCompilerSpeaks wants the rules, then the compiler's own words, of programs
// that do not compile.
func TestCompilerSpeaks(t *testing.T) {
	d := open(t, Options{})
	for want, source := range map[string]string{
		"hides the address space": "kernel void k(device float* y [[buffer(0)]]) { auto v = y[0]; y[0] = v; }\n",
		"bad.metal:2":             "kernel void k(device bfloat* y [[buffer(0)]]) {\n\ty[0] = 1.0f;\n}\n",
	} {
		err := d.Compile(t.Context(), host.Program{Source: msl.Program([]msl.File{{Name: "bad.metal", Text: source}}, nil), Kernels: []string{"k"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	if err := d.Compile(t.Context(), host.Program{Kernels: []string{"k"}}); err == nil {
		t.Error("a kernel that is not there compiles")
	}
}

// TestCache compiles into an empty folder from two devices at once; what is there
// is not compiled again, and nothing else is left.
func TestCache(t *testing.T) {
	folder := t.TempDir()
	var wg sync.WaitGroup
	errs := make([]error, 2)
	p := program(t, "tiny.metal", tinyInstances[:2]...)
	for i := range errs {
		wg.Go(func() {
			d, err := New(Options{Cache: folder})
			if err == nil {
				err = d.Compile(t.Context(), p)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	list := func() (names []string) {
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
			if !strings.Contains("rku", e.Name()[:1]) && e.Name() != "trimmed" {
				t.Errorf("%s was left", e.Name())
			}
		}
		return names
	}
	before := list()
	d, err := New(Options{Cache: folder})
	if err != nil {
		t.Fatal(err)
	}
	d.builder.cxx = filepath.Join(folder, "none") // would fail if it were needed
	if err := d.Compile(t.Context(), p); err != nil {
		t.Error(err)
	}
	if after := list(); len(after) != len(before) {
		t.Errorf("the folder had %v, now %v", before, after)
	}
}

func TestBuffers(t *testing.T) {
	d := open(t, Options{Limits: host.Limits{MaxBuffer: 1 << 20}, Memory: 3 << 20})
	b, err := d.NewBuffer(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	if at := uintptr(unsafe.Pointer(&b.Bytes()[0])); at%host.PageSize != 0 || b.Len() != 1<<20 {
		t.Errorf("a buffer of %d bytes at %#x", b.Len(), at)
	}
	if _, err := d.NewBuffer(1<<20 + 1); err == nil || !strings.Contains(err.Error(), "over the limit") {
		t.Errorf("error %v over MaxBuffer", err)
	}
	var more []host.Buffer
	for range 2 {
		c, err := d.NewBuffer(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		more = append(more, c)
	}
	if _, err := d.NewBuffer(1); err == nil || !strings.Contains(err.Error(), "over the memory") {
		t.Errorf("error %v over the memory", err)
	}
	for _, c := range more {
		c.Free()
	}
	if err := b.Write(5, []byte("words")); err != nil {
		t.Error(err)
	}
	got := make([]byte, 7)
	if err := b.Read(4, got); err != nil || !bytes.Equal(got, []byte("\x00words\x00")) {
		t.Errorf("read %q, %v", got, err)
	}
	if b.Write(1<<20-2, []byte("abc")) == nil || b.Read(-1, got) == nil {
		t.Error("access outside of a buffer")
	}
	if _, err := d.NewBuffer(0); err == nil {
		t.Error("a buffer of no bytes")
	}
}

// TestMap runs a kernel on memory of the host's, which it may not write.
func TestMap(t *testing.T) {
	d := tiny(t, Options{Checked: true})
	pages, err := unix.Mmap(-1, 0, 4*host.PageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(pages)
	skip := int(-uintptr(unsafe.Pointer(&pages[0])) % host.PageSize)
	data := pages[skip : skip+2*host.PageSize]
	copy(data[4:], "\x00\x00\x80\x3f")
	m, err := d.Map(data)
	if err != nil {
		t.Fatal(err)
	}
	y := poisoned(t, d, 3)
	if err := d.Submit([]host.Dispatch{scale(m, y, 3, 5, 0)}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, y); got[0] != 0 || got[1] != 5 || got[2] != 0 {
		t.Errorf("5 times the mapped numbers is %v", got)
	}
	x := floats(t, d, 1, 2, 3)
	if err := d.Submit([]host.Dispatch{scale(x, m, 3, 5, 0)}); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("error %v of a write to mapped memory", err)
	}
	if m.Write(0, []byte{1}) == nil {
		t.Error("mapped memory is written")
	}
	m.Free()
	for _, wrong := range [][]byte{nil, data[:100], pages[skip+8 : skip+8+host.PageSize]} {
		if _, err := d.Map(wrong); err == nil {
			t.Errorf("%d bytes are mapped that are not whole pages", len(wrong))
		}
	}
}

// TestMatchArgs holds a Go struct against what the compiler reports.
func TestMatchArgs(t *testing.T) {
	d := tiny(t, Options{})
	if err := d.MatchArgs("scale_bf16", scaleArgs{}); err != nil {
		t.Error(err)
	}
	if fields, size, err := d.ArgStruct("scale_bf16"); err != nil || size != 16 || len(fields) != 3 || fields[2] != (Field{"from", "ulong", 8, 8}) {
		t.Errorf("fields %v, size %d, %v", fields, size, err)
	}
	for want, wrong := range map[string]any{
		"2 fields": struct{ N, By uint32 }{},
		"is M, the": struct {
			M    uint32
			By   float32
			From uint64
		}{},
		"is int32": struct {
			N    int32
			By   float32
			From uint64
		}{},
		"By is uint32": struct {
			N    uint32
			By   uint32
			From uint64
		}{},
		"stands at byte 4": struct {
			N    uint32
			From uint64
			By   float32
		}{},
		"no struct": 3,
	} {
		if err := d.MatchArgs("scale_f32", wrong); err == nil || !strings.Contains(err.Error(), want) {
			t.Logf("error %v of %T, want %q", err, wrong, want)
			if err == nil {
				t.Fail()
			}
		}
	}
	if d.MatchArgs("missing", scaleArgs{}) == nil {
		t.Error("a kernel that is not there has arguments")
	}
}

// TestFailureLeavesNothing runs a right dispatch after a wrong one, on the same
// fibers, with many threads.
func TestFailureLeavesNothing(t *testing.T) {
	for _, checked := range []bool{false, true} {
		d := open(t, Options{Checked: checked, Workers: 4})
		if err := d.Compile(t.Context(), program(t, "bugs.metal")); err != nil {
			t.Fatal(err)
		}
		x, y := floats(t, d, make([]float32, 1024)...), floats(t, d, make([]float32, 1024)...)
		for i := range 64 {
			x.data[4*i] = byte(i)
		}
		for range 20 {
			if err := d.Submit([]host.Dispatch{bugDispatch("bug_early_return", x, y)}); err == nil {
				t.Fatal("no error of threads that miss a barrier")
			}
			if err := d.Submit([]host.Dispatch{bugDispatch("ok_reverse", x, y)}); err != nil {
				t.Fatal(err)
			}
			for i := range 64 {
				if y.data[4*i] != byte(63-i) {
					t.Fatalf("element %d is %d", i, y.data[4*i])
				}
			}
		}
	}
}

// TestTrim wants what is old gone, what leads to it too, and what was used kept.
func TestTrim(t *testing.T) {
	b := &builder{folder: t.TempDir()}
	now := time.Now()
	for name, age := range map[string]time.Duration{"u-old": keep + daily, "u-used": keep - daily, "u-touched": keep + daily} {
		if err := errors.Join(os.WriteFile(b.path(name), nil, 0o644), os.Chtimes(b.path(name), now.Add(-age), now.Add(-age)),
			os.Symlink(name, b.path("k"+name[1:]))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(b.touch("u-touched", now), b.trim(now)); err != nil {
		t.Fatal(err)
	}
	if err := b.trim(now.Add(2 * daily)); err != nil { // now the link leads nowhere
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"u-old": false, "k-old": false, "u-used": false, "u-touched": true, "k-touched": true} {
		if _, err := os.Lstat(b.path(name)); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", name, err, want)
		}
	}
}
