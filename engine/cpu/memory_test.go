package cpu

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"assay/engine/affine"
	"assay/engine/dsv4"
	"assay/engine/mx"
	"assay/engine/tensor"
	"assay/engine/token"
	"assay/engine/variant"
)

// inUse returns the bytes of live heap, and of the process's memory that no file
// backs, or 0 where the system does not say or the race detector adds its own.
func inUse() (heap, process int64) {
	runtime.GC() // what is pooled goes with the second collection
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	var pages, shared int64
	if data, err := os.ReadFile("/proc/self/statm"); err == nil && !raceDetector {
		fmt.Sscan(string(data), new(int64), &pages, &shared)
	}
	return int64(m.HeapAlloc), (pages - shared) * int64(os.Getpagesize())
}

// TestResidentBytes measures that a loaded variant holds its weights as stored,
// on the heap or anywhere else: at most 1.2 times the plan.
func TestResidentBytes(t *testing.T) {
	b := newBackend(t, Options{})
	for _, name := range []string{"bf16", "native", "g32-n8-e4", "g128-n4-e3"} {
		v := newVariant(t, name)
		plan := variant.Sum(v.Plan()).BytesMain
		heap, process := inUse()
		m, err := b.Load(t.Context(), v, 16)
		if err != nil {
			t.Fatal(err)
		}
		nowHeap, nowProcess := inUse()
		grown, resident := nowHeap-heap, nowProcess-process
		t.Logf("%s: plan %d bytes, loaded %d; heap %d more, process %d more", name, plan, m.Bytes(), grown, resident)
		if most := plan * 12 / 10; grown > most || m.Bytes() > most || resident > most {
			t.Errorf("%s: the heap grew by %d bytes, the process by %d, for %d loaded, the plan has %d", name, grown, resident, m.Bytes(), plan)
		}
		if m.Bytes() < plan*9/10 { // token tables are narrower than stored
			t.Errorf("%s: %d bytes loaded, the plan has %d", name, m.Bytes(), plan)
		}
		runtime.KeepAlive(m)
		runtime.KeepAlive(v)
	}
}

// TestScratchBytes measures what states, arrays and scratch take beside weights:
// no more than is added up before loading, and not far less.
func TestScratchBytes(t *testing.T) {
	texts, c, v := heldout(t), config(t), newVariant(t, "g64-n4-e3")
	long := slices.Concat(texts[0], texts[1])[:5000]
	b := newBackend(t, Options{Threads: 2})
	check := func(what string, took, planned int64) {
		t.Helper()
		t.Logf("%s: took %d bytes, %d were planned", what, took, planned)
		if took > planned || took < planned/2 {
			t.Errorf("%s: took %d bytes, %d were planned", what, took, planned)
		}
	}
	for _, n := range []int{64, 1500} {
		o := newOps(b, c)
		m, err := dsv4.Load(t.Context(), o, c, v, n)
		if err != nil {
			t.Fatal(err)
		}
		before, _ := inUse()
		s, _ := m.NewSession()
		if err := s.Prefill(t.Context(), long[:n], nil); err != nil {
			t.Fatal(err)
		}
		after, _ := inUse()
		planned := dsv4.SessionBytes(c, n, dsv4.PrefillTokens) + b.scratchBytes(c, dsv4.SessionTokens(n, dsv4.PrefillTokens), n)
		check(fmt.Sprintf("session of %d tokens", n), after-before, planned)
		runtime.KeepAlive(m)
		runtime.KeepAlive(s)
	}
	for _, windows := range [][][]token.ID{{long[:700], texts[2][:300]}, {long}} {
		before, _ := inUse()
		p, err := b.Pass(t.Context(), v, windows)
		if err != nil {
			t.Fatal(err)
		}
		l := p.Layout()
		x := make([][]float32, len(l.Groups))
		var streams int64
		for g := range x {
			x[g] = make([]float32, l.Groups[g].Tokens*l.Width)
			streams += int64(4 * len(x[g]))
		}
		for i := range 9 { // every kind of layer
			part, err := p.Load(t.Context(), v, i)
			if err != nil {
				t.Fatal(err)
			}
			for g := range x {
				if err := part.Run(t.Context(), g, x[g]); err != nil {
					t.Fatal(err)
				}
			}
		}
		after, _ := inUse()
		check(fmt.Sprintf("pass over %d tokens", len(slices.Concat(windows...))), after-before, l.Scratch+streams)
		runtime.KeepAlive(x)
		p.Close()
	}
}

// TestManyWindows wants the states of windows that run together counted.
func TestManyWindows(t *testing.T) {
	c := config(t)
	lengths := make([]int, 2000)
	for i := range lengths {
		lengths[i] = 2
	}
	ring := int64(c.SlidingWindow * c.HeadDim * 4)
	if got := dsv4.PassLayout(c, lengths).Scratch; got < 2000*ring {
		t.Errorf("a pass over 2000 windows of 2 tokens takes %d bytes, but their rings alone are %d", got, 2000*ring)
	}
}

// refused fails unless err holds all of want.
func refused(t *testing.T, what string, err error, want ...string) {
	t.Helper()
	for _, w := range want {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%s: error %v, want %q", what, err, w)
		}
	}
}

func TestRefusals(t *testing.T) {
	v := newVariant(t, "bf16")
	ctx := t.Context()
	small := newBackend(t, Options{Memory: 50_000_000})
	refused(t, "weights that do not fit", second(small.Load(ctx, v, 1024)),
		"cpu: bf16 needs 0.09 GB (weights 0.07 GB, states and scratch 0.02 GB), and 0.05 GB is free")
	refused(t, "a pass that does not fit", second(small.Pass(ctx, v, [][]token.ID{make([]token.ID, 8192)})),
		"cpu: bf16 needs", "(states and scratch", "0.05 GB is free")
	sim := newBackend(t, Options{Model: dsv4.Options{KVSim: true}})
	const undefined = "dsv4: kv_sim is undefined here: head_dim - qk_rope_head_dim is 96, want a multiple of 64"
	refused(t, "kv_sim", second(sim.Load(ctx, v, 16)), undefined)
	refused(t, "kv_sim", second(sim.Pass(ctx, v, [][]token.ID{{1}})), undefined)
	refused(t, "kv_sim", second(sim.Head(ctx, v)), undefined)
	for _, n := range []int{-1, MaxThreads + 1} {
		refused(t, "threads", second(New(Options{Threads: n})), fmt.Sprintf("cpu: %d threads, want 1 to", n))
	}
	b := newBackend(t, Options{})
	refused(t, "an empty window", second(b.Pass(ctx, v, [][]token.ID{{1, 2}, {}})), "window 1 is empty")
	refused(t, "an unknown token", second(b.Pass(ctx, v, [][]token.ID{{1}, {2, 6144}})), "window 1: dsv4: token 6144 at 1, vocabulary is 6144")
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	refused(t, "a cancelled load", second(b.Load(cancelled, v, 16)), "context canceled")
}

// TestKernelsRefuse: sets that are not there, and heads that vectors do not fit.
func TestKernelsRefuse(t *testing.T) {
	set := vectorSets(t)[0].Name()
	refused(t, "unknown kernels", second(New(Options{Kernels: "mmx"})), `cpu: kernel: this machine does not run the "mmx" kernels`)
	c := config(t)
	c.HeadDim = 40
	refused(t, "heads", newBackend(t, Options{Kernels: set}).checkHeads(c), "cpu: head_dim is 40, the "+set+" kernels want a multiple of 16")
	c.HeadDim, c.IndexHeadDim = 64, 24
	refused(t, "heads", newBackend(t, Options{Kernels: set}).checkHeads(c), "cpu: index_head_dim is 24")
	if err := newBackend(t, Options{Kernels: "plain"}).checkHeads(c); err != nil {
		t.Errorf("the plain kernels refuse: %v", err)
	}
}

// made is a format that nobody has heard of.
type made struct{ tensor.Format }

func (made) String() string { return "ternary g7" }

// TestUnknownFormat wants a matrix refused that the engine has no kernel for, or
// whose bytes are not what its format says, wherever it stands.
func TestUnknownFormat(t *testing.T) {
	o := newOps(newBackend(t, Options{}), config(t))
	plainFormat := tensor.PlainFormat(tensor.BF16)
	good := func() *tensor.Matrix {
		return &tensor.Matrix{Name: "w", Rows: 2, Cols: 32, Format: plainFormat, Codes: make([]byte, 2*2*32)}
	}
	for _, x := range []struct {
		change func(*tensor.Matrix)
		want   string
	}{
		{func(m *tensor.Matrix) { m.Format = made{plainFormat} }, `cpu: tensor "w": the CPU engine has no kernel for ternary g7`},
		{func(m *tensor.Matrix) { m.Format = tensor.PlainFormat(tensor.F16) }, "no plain matrices of F16"},
		{func(m *tensor.Matrix) { m.Format = mx.Format(7) }, "mx: no format is numbered 7"},
		{func(m *tensor.Matrix) { m.Format = affine.Format{Params: affine.Params{Bits: 7, GroupSize: 32}} }, "7"},
		{func(m *tensor.Matrix) { m.Codes = m.Codes[:127] }, "127 bytes of codes, 0 of scales, 0 of biases for bf16 [2, 32], want 128, 0 and 0"},
		{func(m *tensor.Matrix) { m.Cols, m.Codes = 24, m.Codes[:96] }, `cpu: tensor "w": 24 columns, want a multiple of 16`},
	} {
		m := good()
		x.change(m)
		refused(t, x.want, second(o.Load(m)), x.want)
		refused(t, x.want, second(o.LoadExperts([]dsv4.ExpertMatrices{{W1: good(), W3: good(), W2: m}})), x.want)
	}
	if _, err := o.Load(good()); err != nil {
		t.Error(err)
	}
}

// TestDevice: what a record says of the machine.
func TestDevice(t *testing.T) {
	d := newBackend(t, Options{Threads: 3, Kernels: "plain", Memory: 12345}).Device()
	if d.Engine != "cpu" || d.Threads != 3 || d.Kernels != "plain" || d.Activations != "f32" || d.Memory != 12345 ||
		!strings.HasPrefix(d.Name, "CPU engine, ") || d.Name == "CPU engine, " {
		t.Errorf("the device is %+v", d)
	}
	if free, all := FreeMemory(), MachineMemory(); runtime.GOOS == "linux" && (free < 1<<20 || all < free) {
		t.Errorf("%d of %d bytes of memory are free", free, all)
	}
}
