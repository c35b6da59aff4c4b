package metal_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"

	"assay/engine/cpu"
	"assay/engine/dsv4"
	"assay/engine/dsv4/dsv4test"
	"assay/engine/token"
	"assay/metal"
	"assay/metal/host"
	"assay/metal/host/emu"
	"assay/refmodel/refmodeltest"
)

// openEmu opens an emulated device, or skips where there is no compiler.
func openEmu(t testing.TB, opt emu.Options) *emu.Device {
	t.Helper()
	dev, err := emu.New(opt)
	if err != nil {
		t.Skip(err)
	}
	return dev
}

func newBackend(t testing.TB, dev *emu.Device, opt metal.Options) *metal.Backend {
	t.Helper()
	b, err := metal.New(dev, opt)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestGolden runs the specification's tiny model, checked: every access, race
// and barrier of every kernel that it uses. Float32 adds about 1e-5 to the
// table's six decimals.
func TestGolden(t *testing.T) {
	dev := openEmu(t, emu.Options{Checked: true})
	for _, sim := range []bool{false, true} {
		for _, chunks := range dsv4test.Chunkings {
			t.Run(fmt.Sprintf("sim=%v/%v", sim, chunks), func(t *testing.T) {
				c := dsv4test.GoldenConfig()
				b := newBackend(t, dev, metal.Options{Model: dsv4.Options{KVSim: sim}})
				ops, err := b.Ops(c)
				if err != nil {
					t.Fatal(err)
				}
				defer b.Release(ops)
				got, err := dsv4test.Run(t.Context(), ops, c, dsv4test.NewGolden(c), dsv4test.GoldenTokens(), chunks)
				if err != nil {
					t.Fatal(err)
				}
				if err := dsv4test.CheckGolden(got, sim, 2e-5); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestPerturbed runs the tiny model with everything moved that Metal may round
// otherwise: functions by as many units as it may, sums in another order, products
// and sums fused or not. A function's 4 units of 2^-24 stay below what the bound
// leaves for the order of sums.
func TestPerturbed(t *testing.T) {
	for seed := range uint32(4) {
		dev := openEmu(t, emu.Options{Perturb: true, Seed: seed})
		c := dsv4test.GoldenConfig()
		b := newBackend(t, dev, metal.Options{})
		ops, err := b.Ops(c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := dsv4test.Run(t.Context(), ops, c, dsv4test.NewGolden(c), dsv4test.GoldenTokens(), dsv4test.Chunkings[3])
		b.Release(ops)
		if err != nil {
			t.Fatal(err)
		}
		if err := dsv4test.CheckGolden(got, false, 2e-5); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		if os.Getenv("ASSAY_EMU") == "all" {
			holdReference(t, dev, "g64-n6-e3", metal.Activations)
		}
	}
}

// What the reference model is run with: enough of prefill that the indexer
// selects, then decode.
const prefill, decode = 320, 32

// feed is the chunks of that.
func feed() []int {
	chunks := []int{prefill}
	for range decode {
		chunks = append(chunks, 1)
	}
	return chunks
}

// variants are those that run in every test; ASSAY_EMU=all runs the whole grid.
func variants() []string {
	if os.Getenv("ASSAY_EMU") != "all" {
		return []string{"bf16", "native", "g32-n8-e4"}
	}
	all := []string{"bf16", "native"}
	for _, g := range []int{32, 64, 128} {
		for _, n := range []int{8, 6, 4} {
			for _, e := range []int{4, 3} {
				all = append(all, fmt.Sprintf("g%d-n%d-e%d", g, n, e))
			}
		}
	}
	return all
}

// klBounds are the mean KL divergences from the CPU engine that each activation
// may have, in nats.
var klBounds = map[string]float64{"f32": 1e-5, "f16": 5e-5, "bf16": 1e-3}

// TestReferenceModel holds the engine against the CPU engine on the reference
// model. In f32 log-probabilities agree to RMS 2e-5 up to the first near tie that
// fell the other way.
func TestReferenceModel(t *testing.T) {
	dev := openEmu(t, emu.Options{})
	for _, name := range variants() {
		activations := metal.Activations
		if name != "bf16" && os.Getenv("ASSAY_EMU") != "all" {
			activations = activations[:1]
		}
		holdReference(t, dev, name, activations)
	}
}

// holdReference holds a device against the CPU engine on a variant.
func holdReference(t *testing.T, dev *emu.Device, name string, activations []string) {
	t.Helper()
	toks := refmodeltest.Heldout(t)[0][:prefill+decode]
	c := refmodeltest.Config(t)
	plain, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	want, log := run(t, plain, c, name, toks)
	for _, a := range activations {
		got, seen := run(t, newBackend(t, dev, metal.Options{Activations: a}), c, name, toks)
		kl := meanKL(want, got)
		if !(kl <= klBounds[a]) {
			t.Errorf("%s, %s: mean KL to the CPU engine is %.2e nats, want at most %.0e", name, a, kl, klBounds[a])
		}
		if hash := hashFlips(c, log, seen); hash > 0 {
			t.Errorf("%s, %s: %d experts of hash layers differ", name, a, hash)
		}
		if a != "f32" {
			t.Logf("%s, %s: mean KL %.2e", name, a, kl)
			continue
		}
		first, named, err := nearTies(t, c, name, toks, seen)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		r := rms(want[:first], got[:first])
		t.Logf("%s: mean KL %.2e, RMS %.2e over %d positions; flips: %s", name, kl, r, first, strings.Join(named, "; "))
		if !(r <= 2e-5) {
			t.Errorf("%s: RMS %.2e from the CPU engine, want at most 2e-5", name, r)
		}
	}
}

// nearTies names the selections that differ from float64's, with their gaps; one
// that is no near tie is an error.
func nearTies(t *testing.T, c *dsv4.Config, name string, toks []token.ID, seen []dsv4test.Selection) (int, []string, error) {
	t.Helper()
	log := &dsv4test.Log{}
	if _, err := dsv4test.Run(t.Context(), &dsv4test.Naive{C: c, Log: log}, c, refmodeltest.Variant(t, name), toks, []int{len(toks)}); err != nil {
		t.Fatal(err)
	}
	first, named, err := dsv4test.Flips(log.All, seen, [][]token.ID{toks})
	return first[0], named, err
}

// operations is what both engines make operations with.
type operations interface {
	Ops(*dsv4.Config) (dsv4.Ops, error)
}

// run feeds toks to a variant and returns the distributions and selections.
func run(t *testing.T, b operations, c *dsv4.Config, name string, toks []token.ID) ([][]float32, []dsv4test.Selection) {
	t.Helper()
	ops, err := b.Ops(c)
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := b.(*metal.Backend); ok {
		defer m.Release(ops)
	}
	o := &dsv4test.Observer{Ops: ops, C: c}
	got, err := dsv4test.Run(t.Context(), o, c, refmodeltest.Variant(t, name), toks, feed())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return got, o.Log.All
}

// hashFlips counts selections of layers that route by token id which differ.
func hashFlips(c *dsv4.Config, want, got []dsv4test.Selection) (n int) {
	for i, w := range want {
		if w.Kind == "router" && c.Hash(w.Layer) && !w.Same(got[i]) {
			n++
		}
	}
	return n
}

func meanKL(p, q [][]float32) float64 {
	var sum float64
	for i := range p {
		for j, l := range p[i] {
			sum += math.Exp(float64(l)) * (float64(l) - float64(q[i][j]))
		}
	}
	return sum / float64(len(p))
}

func rms(a, b [][]float32) float64 {
	var sum float64
	n := 0
	for i := range a {
		for j := range a[i] {
			d := float64(a[i][j]) - float64(b[i][j])
			sum += d * d
			n++
		}
	}
	return math.Sqrt(sum / float64(max(n, 1)))
}

// TestSmallBuffers: where no buffer holds a large matrix, its rows lie in
// several, and nothing else changes, to the last bit.
func TestSmallBuffers(t *testing.T) {
	toks := refmodeltest.Heldout(t)[1][:40]
	c, chunks := refmodeltest.Config(t), []int{32, 6, 1, 1}
	var all [][][]float32
	for _, limit := range []int64{0, 1 << 20} {
		dev := openEmu(t, emu.Options{Limits: host.Limits{MaxBuffer: limit}})
		b := newBackend(t, dev, metal.Options{})
		ops, err := b.Ops(c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := dsv4test.Run(t.Context(), ops, c, refmodeltest.Variant(t, "g32-n8-e4"), toks, chunks)
		if err != nil {
			t.Fatal(err)
		}
		b.Release(ops)
		all = append(all, got)
	}
	if !reflect.DeepEqual(all[0], all[1]) {
		t.Errorf("RMS %.2e, want the same bits", rms(all[1], all[0]))
	}
}

// TestRefusesSmallMemory wants the sums of what does not fit.
func TestRefusesSmallMemory(t *testing.T) {
	b := newBackend(t, openEmu(t, emu.Options{Memory: 20e6}), metal.Options{})
	_, err := b.Load(t.Context(), refmodeltest.Variant(t, "g32-n8-e4"), 352)
	if err == nil || !strings.Contains(err.Error(), "metal: g32-n8-e4 needs") || !strings.Contains(err.Error(), "keeps 0.020 GB resident") {
		t.Errorf("error %v, want one with the sums", err)
	}
}

// choices are what one run picked: experts with their weights, and blocks.
type choices struct {
	ints    [][]int32
	weights [][]float32
}

// recording notes the choices of operations.
type recording struct {
	dsv4.Ops
	c *dsv4.Config
	choices
	t *testing.T
}

func (r *recording) Route(b *dsv4.Batch, x *dsv4.Router, u, picks, weights dsv4.Array) {
	r.Ops.Route(b, x, u, picks, weights)
	n := len(b.Tokens) * r.c.NumExpertsPerTok
	p, w := make([]int32, n), make([]float32, n)
	if err := errors.Join(r.ReadInts(p, picks, 0), r.Read(w, weights, 0)); err != nil {
		r.t.Fatal(err)
	}
	r.ints, r.weights = append(r.ints, p), append(r.weights, w)
}

func (r *recording) Select(b *dsv4.Batch, rope dsv4.Weight, q, w, picks dsv4.Array) {
	r.Ops.Select(b, rope, q, w, picks)
	p := make([]int32, len(b.Tokens)*r.c.IndexTopK)
	if err := r.ReadInts(p, picks, 0); err != nil {
		r.t.Fatal(err)
	}
	r.ints = append(r.ints, p)
}

// forced replaces the choices of operations by recorded ones.
type forced struct {
	dsv4.Ops
	choices
	t *testing.T
}

func (f *forced) set(a dsv4.Array, v []int32) {
	if err := f.Ops.(interface {
		SetInts(dsv4.Array, []int32) error
	}).SetInts(a, v); err != nil {
		f.t.Fatal(err)
	}
}

func (f *forced) Route(b *dsv4.Batch, x *dsv4.Router, u, picks, weights dsv4.Array) {
	f.Ops.Route(b, x, u, picks, weights)
	f.set(picks, f.ints[0])
	bits := make([]int32, len(f.weights[0]))
	for i, w := range f.weights[0] {
		bits[i] = int32(math.Float32bits(w))
	}
	f.set(weights, bits)
	f.ints, f.weights = f.ints[1:], f.weights[1:]
}

func (f *forced) Select(b *dsv4.Batch, rope dsv4.Weight, q, w, picks dsv4.Array) {
	f.Ops.Select(b, rope, q, w, picks)
	f.set(picks, f.ints[0])
	f.ints = f.ints[1:]
}

// TestForcedChoices: with the CPU engine's choices every log-probability agrees,
// without exception.
func TestForcedChoices(t *testing.T) {
	toks := refmodeltest.Heldout(t)[2][:prefill+decode]
	c := refmodeltest.Config(t)
	b, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	m := newBackend(t, openEmu(t, emu.Options{}), metal.Options{})
	for _, name := range variants()[1:] {
		plain, err := b.Ops(c)
		if err != nil {
			t.Fatal(err)
		}
		r := &recording{Ops: plain, c: c, t: t}
		want, err := dsv4test.Run(t.Context(), r, c, refmodeltest.Variant(t, name), toks, feed())
		if err != nil {
			t.Fatal(err)
		}
		ops, err := m.Ops(c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := dsv4test.Run(t.Context(), &forced{ops, r.choices, t}, c, refmodeltest.Variant(t, name), toks, feed())
		m.Release(ops)
		if err != nil {
			t.Fatal(err)
		}
		if d := rms(want, got); !(d <= 2e-5) {
			t.Errorf("%s: RMS %.2e from the CPU engine, want at most 2e-5", name, d)
		} else {
			t.Logf("%s: RMS %.2e over all %d positions", name, d, len(toks))
		}
	}
}

// TestStreamedSameBits: a pass, which holds one part of the model at a time,
// scores as a resident model does, bit for bit, whatever runs beside a window;
// and it fits a device that a whole model does not.
func TestStreamedSameBits(t *testing.T) {
	text := refmodeltest.Heldout(t)
	windows := [][]token.ID{text[0][:70], text[1][:33], text[2][:100]}
	v := refmodeltest.Variant(t, "g32-n8-e4")
	whole := newBackend(t, openEmu(t, emu.Options{}), metal.Options{})
	hidden := func(b *metal.Backend, windows [][]token.ID) []float32 {
		p, err := b.Pass(t.Context(), v, windows)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		h, err := dsv4test.Hidden(t.Context(), p, v)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	want := hidden(whole, windows)
	at := 0
	for i, w := range windows {
		alone := hidden(whole, windows[i:i+1])
		if !reflect.DeepEqual(alone, want[at:at+len(alone)]) {
			t.Errorf("window %d of %d tokens has other bits beside others", i, len(w))
		}
		at += len(alone)
	}
	small := newBackend(t, openEmu(t, emu.Options{Memory: 24e6}), metal.Options{})
	if _, err := small.Load(t.Context(), v, 100); err == nil {
		t.Error("a device of 24 MB holds 27.5 MB of weights")
	}
	if got := hidden(small, windows[2:]); !reflect.DeepEqual(got, want[at-len(got):]) {
		t.Error("a device that holds one part at a time gives other bits")
	}
}
