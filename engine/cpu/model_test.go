package cpu

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"assay/engine/dsv4"
	"assay/engine/dsv4/dsv4test"
	"assay/engine/token"
	"assay/engine/variant"
)

// rms returns the root mean square of a − b.
func rms(a, b []float32) float64 {
	var s float64
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		s += d * d
	}
	return math.Sqrt(s / float64(len(a)))
}

func config(t testing.TB) *dsv4.Config {
	t.Helper()
	c, err := dsv4.ParseConfig(source(t).Config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestNaive runs the reference model in float64 and on the engine. 300 tokens
// are enough for the indexer to select (from token 259 on). Log-probabilities
// agree to RMS 2e-5 unless a selection falls the other way, which is named with
// its gap and must be nearer than 1e-4.
func TestNaive(t *testing.T) {
	toks := heldout(t)[0][:300]
	v, c := newVariant(t, "g32-n8-e4"), config(t)
	log := &dsv4test.Log{}
	want, err := dsv4test.Run(t.Context(), &dsv4test.Naive{C: c, Log: log}, c, v, toks, []int{len(toks)})
	if err != nil {
		t.Fatal(err)
	}
	o := &dsv4test.Observer{Ops: newOps(newBackend(t, Options{}), c), C: c}
	got, err := dsv4test.Run(t.Context(), o, c, v, toks, []int{len(toks)})
	if err != nil {
		t.Fatal(err)
	}
	first := flips(t, log.All, o.Log.All, len(toks))
	for i := range first {
		if d := rms(got[i], want[i]); d > 2e-5 {
			t.Errorf("position %d: RMS %.2e over the vocabulary, want 2e-5", i, d)
		}
	}
	t.Logf("RMS %.2e over %d positions", rms(slices.Concat(got[:first]...), slices.Concat(want[:first]...)), first)
}

// flips names the selections that differ and returns the first position of one.
func flips(t *testing.T, want, got []dsv4test.Selection, n int) int {
	t.Helper()
	if len(want) != len(got) {
		t.Fatalf("%d selections, want %d", len(got), len(want))
	}
	first := n
	for i, w := range want {
		a, b := slices.Sorted(slices.Values(w.Picks)), slices.Sorted(slices.Values(got[i].Picks))
		if slices.Equal(a, b) {
			continue
		}
		t.Logf("%s, position %d, selection %d: took %v, want %v, gap %.1e", w.Kind, w.Token, i, b, a, w.Gap)
		if w.Gap > 1e-4 {
			t.Errorf("%s, position %d: that is no near tie", w.Kind, w.Token)
		}
		first = min(first, w.Token)
	}
	return first
}

// TestPassIsSession compares a layer-by-layer pass with sessions that prefill at
// once, in pieces, and decode token by token. Only decode sums in another order.
func TestPassIsSession(t *testing.T) {
	toks := heldout(t)[1][:290]
	b, v := newBackend(t, Options{}), newVariant(t, "g64-n6-e3")
	want, vocab := logProbs(t, b, v, [][]token.ID{toks})
	m, err := b.Load(t.Context(), v, len(toks))
	if err != nil {
		t.Fatal(err)
	}
	decode := []int{270}
	for range 20 {
		decode = append(decode, 1)
	}
	for _, c := range []struct {
		chunks []int
		bound  float64
	}{{[]int{290}, 0}, {[]int{131, 2, 157}, 0}, {decode, 1e-5}} {
		s, err := m.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		got, err := dsv4test.Feed(t.Context(), s, toks, c.chunks)
		if err != nil {
			t.Fatal(err)
		}
		if s.Len() != len(toks) {
			t.Errorf("the session has %d tokens, want %d", s.Len(), len(toks))
		}
		if d := rms(slices.Concat(got...), want); d > c.bound {
			t.Errorf("chunks %v: RMS %.2e, want %.0e; vocabulary %d", c.chunks, d, c.bound, vocab)
		}
	}
	s, _ := m.NewSession()
	if err := s.Prefill(t.Context(), make([]token.ID, 291), nil); err == nil || !strings.Contains(err.Error(), "was made for 290") {
		t.Errorf("a session takes more than it was made for: %v", err)
	}
	if _, err := s.Decode(t.Context(), 6144); err == nil || !strings.Contains(err.Error(), "vocabulary is 6144") {
		t.Errorf("an unknown token is taken: %v", err)
	}
}

// TestPassAlone wants the same bits of a window whatever windows share its pass,
// how many threads run it, and in which pieces it goes through.
func TestPassAlone(t *testing.T) {
	texts := heldout(t)
	v := newVariant(t, "g32-n4-e3")
	a, b, c := texts[0][:140], texts[2][:37], texts[3][:200]
	one := hidden(t, newBackend(t, Options{Threads: 1}), v, [][]token.ID{a})
	for _, threads := range []int{1, 2, 3} {
		all := hidden(t, newBackend(t, Options{Threads: threads}), v, [][]token.ID{c, b, a})
		if !slices.Equal(all[len(all)-len(one):], one) {
			t.Errorf("%d threads: a window's states depend on what shares its pass", threads)
		}
	}
	// 4,500 tokens are more than a pass runs at once.
	long := slices.Concat(texts[0], texts[1])[:4500]
	cfg := config(t)
	if n := dsv4.PassTokens(cfg); n >= len(long) {
		t.Fatalf("a pass runs %d tokens at once: the test needs a longer window", n)
	}
	whole := hidden(t, newBackend(t, Options{}), v, [][]token.ID{long})
	short := hidden(t, newBackend(t, Options{}), v, [][]token.ID{long[:600]})
	if !slices.Equal(whole[:len(short)], short) {
		t.Error("the first tokens of a window depend on those after them")
	}
}

// TestNativeIsExact wants the lossless repack to give bf16's bits.
func TestNativeIsExact(t *testing.T) {
	w := [][]token.ID{heldout(t)[3][:300]}
	b := newBackend(t, Options{})
	want, _ := logProbs(t, b, newVariant(t, "bf16"), w)
	got, _ := logProbs(t, b, newVariant(t, "native"), w)
	if !slices.Equal(got, want) {
		t.Errorf("RMS %.2e, want the same bits", rms(got, want))
	}
}

// TestResidentBytes measures that a loaded variant holds its weights as stored:
// what the heap grows by is at most 1.2 times the plan.
func TestResidentBytes(t *testing.T) {
	b := newBackend(t, Options{})
	for _, name := range []string{"bf16", "native", "g32-n8-e4", "g128-n4-e3"} {
		v := newVariant(t, name)
		plan := variant.Sum(v.Plan()).BytesMain
		before := heap()
		m, err := b.Load(t.Context(), v, 16)
		if err != nil {
			t.Fatal(err)
		}
		grown := heap() - before
		if most := plan * 12 / 10; grown > most || m.Bytes() > most {
			t.Errorf("%s: the heap grew by %d bytes for %d loaded, the plan has %d", name, grown, m.Bytes(), plan)
		}
		if m.Bytes() < plan*9/10 { // token tables are narrower than stored
			t.Errorf("%s: %d bytes loaded, the plan has %d", name, m.Bytes(), plan)
		}
		runtime.KeepAlive(m)
		runtime.KeepAlive(v)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestRefusals(t *testing.T) {
	v := newVariant(t, "bf16")
	small := newBackend(t, Options{Memory: 50_000_000})
	if _, err := small.Load(t.Context(), v, 1024); err == nil ||
		!strings.Contains(err.Error(), "weights 0.07 GB, states and scratch") || !strings.Contains(err.Error(), "0.05 GB is free") {
		t.Errorf("what does not fit is loaded: %v", err)
	}
	if _, err := small.Pass(t.Context(), v, [][]token.ID{make([]token.ID, 8192)}); err == nil || !strings.Contains(err.Error(), "is free") {
		t.Errorf("a pass that does not fit starts: %v", err)
	}
	sim := newBackend(t, Options{Model: dsv4.Options{KVSim: true}})
	if _, err := sim.Load(t.Context(), v, 16); err == nil || !strings.Contains(err.Error(), "kv_sim is undefined here") {
		t.Errorf("kv_sim runs where it is undefined: %v", err)
	}
	if _, err := New(Options{Kernels: "mmx"}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", "mmx")) {
		t.Errorf("unknown kernels are taken: %v", err)
	}
	for _, n := range []int{-1, MaxThreads + 1} {
		if _, err := New(Options{Threads: n}); err == nil {
			t.Errorf("%d threads are taken", n)
		}
	}
	odd := config(t)
	odd.HeadDim = 40
	if err := newBackend(t, Options{}).checkHeads(odd); err == nil || !strings.Contains(err.Error(), "head_dim is 40") {
		t.Errorf("heads that the kernels do not take: %v", err)
	}
	if err := newBackend(t, Options{Kernels: "plain"}).checkHeads(odd); err != nil {
		t.Errorf("the plain kernels refuse: %v", err)
	}
	b := newBackend(t, Options{})
	if _, err := b.Pass(t.Context(), v, [][]token.ID{{1, 2}, {}}); err == nil || !strings.Contains(err.Error(), "window 1 is empty") {
		t.Errorf("an empty window is taken: %v", err)
	}
}
