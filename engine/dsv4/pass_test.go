package dsv4_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"assay/engine"
	"assay/engine/dsv4"
	"assay/engine/dsv4/dsv4test"
	"assay/engine/tensor"
	"assay/engine/token"
	"assay/engine/variant"
)

// refused fails unless err holds want.
func refused(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

// TestPass takes windows of several lengths through the tiny model layer by
// layer: each gets what a session of its own gets, bit for bit, for the naive
// operations round nothing on the way.
func TestPass(t *testing.T) {
	c, w := dsv4test.GoldenConfig(), dsv4test.NewGolden(dsv4test.GoldenConfig())
	toks := dsv4test.GoldenTokens()
	windows := [][]token.ID{toks, toks[:1], toks[3:20], toks[12:]}
	n := &dsv4test.Naive{C: c}
	p, err := dsv4.NewPass(t.Context(), n, c, w, windows)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Hidden(t.Context())
	refused(t, err, "dsv4: the pass has run 0 of 6 layers")
	for range p.Layers() {
		if err := p.Layer(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, p.Layer(t.Context()), "dsv4: the pass has no layer 6")
	hidden, err := p.Hidden(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	head, err := dsv4.NewHead(n, c, w)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]float32, len(hidden)/head.Hidden()*head.Vocab())
	if err := head.LogProbs(t.Context(), hidden, got); err != nil {
		t.Fatal(err)
	}
	refused(t, head.LogProbs(t.Context(), hidden[1:], got), "hidden values for")
	refused(t, head.LogProbs(t.Context(), hidden, got[1:]), "hidden values for")
	for i, win := range windows {
		want, err := dsv4test.Run(t.Context(), n, c, w, win, []int{len(win)})
		if err != nil {
			t.Fatal(err)
		}
		for pos, row := range want {
			if !slices.Equal(got[:head.Vocab()], row) {
				t.Errorf("window %d, position %d differs from a session's", i, pos)
			}
			got = got[head.Vocab():]
		}
	}
	if err := errors.Join(p.Close(), head.Close()); err != nil {
		t.Error(err)
	}
}

func TestPassRefuses(t *testing.T) {
	c, w := dsv4test.GoldenConfig(), dsv4test.NewGolden(dsv4test.GoldenConfig())
	n := &dsv4test.Naive{C: c}
	for _, x := range []struct {
		windows [][]token.ID
		want    string
	}{
		{[][]token.ID{{1}, {}}, "dsv4: window 1 is empty"},
		{[][]token.ID{{1}, {2, 3, 40}}, "window 1: dsv4: token 40 at 2, vocabulary is 40"},
	} {
		_, err := dsv4.NewPass(t.Context(), n, c, w, x.windows)
		refused(t, err, x.want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p, err := dsv4.NewPass(ctx, n, c, w, [][]token.ID{{1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	refused(t, p.Layer(ctx), "context canceled")
	_, err = dsv4.NewPass(ctx, n, c, w, [][]token.ID{{1}})
	refused(t, err, "context canceled")
	_, err = dsv4.Load(ctx, n, c, w, 8)
	refused(t, err, "context canceled")
}

// spoiled is the golden weights with one tensor changed or taken away.
type spoiled struct {
	*dsv4test.Golden
	name   string
	change func(*tensor.Tensor) error
}

func (s spoiled) Tensor(name string) (tensor.Tensor, error) {
	x, err := s.Golden.Tensor(name)
	if err == nil && name == s.name {
		err = s.change(&x)
	}
	return x, err
}

func (s spoiled) Matrix(name string) (*tensor.Matrix, error) {
	if name == s.name {
		return nil, errors.New("gone: " + name)
	}
	return s.Golden.Matrix(name)
}

// TestLoadRefuses wants each tensor's error to come out of Load and of a pass,
// and names where a token table is wrong.
func TestLoadRefuses(t *testing.T) {
	c := dsv4test.GoldenConfig()
	for name, x := range map[string]struct {
		change func(*tensor.Tensor) error
		want   string
	}{
		"layers.1.ffn.gate.tid2eid": {func(x *tensor.Tensor) error {
			binary.LittleEndian.PutUint64(x.Data[8*(7*2+1):], 8)
			return nil
		}, `dsv4: tensor "layers.1.ffn.gate.tid2eid": expert 8 at [7, 1], want 0 to 7`},
		"layers.2.ffn.gate.tid2eid": {func(x *tensor.Tensor) error {
			binary.LittleEndian.PutUint64(x.Data, math.MaxUint64)
			return nil
		}, `expert -1 at [0, 0]`},
		"layers.0.ffn.gate.tid2eid":         {func(x *tensor.Tensor) error { x.DType = tensor.F64; return nil }, "want I64 or I32"},
		"layers.4.attn.attn_sink":           {func(x *tensor.Tensor) error { x.DType = tensor.I64; return nil }, "want BF16, F16 or F32"},
		"layers.5.attn.compressor.ape":      {func(*tensor.Tensor) error { return errors.New("gone") }, "gone"},
		"hc_head_base":                      {func(*tensor.Tensor) error { return errors.New("gone") }, "gone"},
		"layers.3.ffn.experts.6.w2.weight":  {nil, "gone: layers.3.ffn.experts.6.w2.weight"},
		"layers.4.attn.indexer.wq_b.weight": {nil, "gone: layers.4.attn.indexer.wq_b.weight"},
		"embed.weight":                      {nil, "gone: embed.weight"},
	} {
		w := spoiled{dsv4test.NewGolden(c), name, x.change}
		n := &dsv4test.Naive{C: c}
		_, err := dsv4.Load(t.Context(), n, c, w, 8)
		refused(t, err, x.want)

		p, err := dsv4.NewPass(t.Context(), n, c, w, [][]token.ID{{1, 2}})
		for i := 0; err == nil && i < c.NumHiddenLayers; i++ {
			err = p.Layer(t.Context())
		}
		if err == nil {
			_, err = p.Hidden(t.Context())
		}
		refused(t, err, x.want)
	}
	_, err := dsv4.NewHead(&dsv4test.Naive{C: c}, c, spoiled{dsv4test.NewGolden(c), "head.weight", nil})
	refused(t, err, "gone: head.weight")
}

// TestSession counts tokens, hands out distributions in order, and ends on an
// error of whoever takes them.
func TestSession(t *testing.T) {
	c, w := dsv4test.GoldenConfig(), dsv4test.NewGolden(dsv4test.GoldenConfig())
	toks := dsv4test.GoldenTokens()
	m, err := dsv4.Load(t.Context(), &dsv4test.Naive{C: c}, c, w, len(toks))
	if err != nil {
		t.Fatal(err)
	}
	if m.Bytes() <= 0 {
		t.Errorf("the model has %d bytes", m.Bytes())
	}
	s, err := m.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	taken, stop := 0, errors.New("stop")
	err = s.Prefill(t.Context(), toks[:10], func(p engine.LogProbs) error {
		if taken++; taken == 4 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || taken != 4 || s.Len() != 10 {
		t.Errorf("%d distributions, %d tokens, error %v", taken, s.Len(), err)
	}
	if err := errors.Join(s.Prefill(t.Context(), nil, nil), s.Prefill(t.Context(), toks[10:20], nil)); err != nil || s.Len() != 20 {
		t.Errorf("%d tokens, error %v", s.Len(), err)
	}
	got, err := dsv4test.Feed(t.Context(), s, toks[20:], []int{1, 19})
	if err != nil {
		t.Fatal(err)
	}
	want, err := dsv4test.Run(t.Context(), &dsv4test.Naive{C: c}, c, w, toks, []int{40})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range got {
		// Another order of float64 sums turns no float32 by more than its last place.
		for j, x := range p {
			if math.Abs(float64(x)-float64(want[20+i][j])) > 1e-6 {
				t.Fatalf("position %d, token %d: %g, want %g", 20+i, j, x, want[20+i][j])
			}
		}
	}
	_, err = s.Decode(t.Context(), 1)
	refused(t, err, "dsv4: session of 40 tokens cannot take 1 more, it was made for 40")
	if err := errors.Join(s.Close(), s.Close(), m.Close()); err != nil {
		t.Error(err)
	}
}

// TestLargestLayer: what a pass has loaded at most is a layer, or the output
// projection of a model with few and small ones.
func TestLargestLayer(t *testing.T) {
	step := func(name string, layer int, bytes int64) (s variant.Step) {
		s.Name, s.Layer, s.Bytes = name, layer, bytes
		return s
	}
	steps := []variant.Step{step("embed.weight", -1, 7), step("layers.0.a", 0, 4), step("layers.1.a", 1, 5), step("layers.1.b", 1, 1), step("layers.10.a", 10, 5), step("head.weight", -1, 3)}
	for i, want := range []int64{7, 9} {
		if got := dsv4.LargestLayer(steps); got != want {
			t.Errorf("the largest of %d steps is %d, want %d", len(steps), got, want)
		}
		if i == 0 {
			steps = append(steps, step("layers.0.c", 0, 5))
		}
	}
	mtp := step("mtp.0.a", -1, 1000)
	mtp.MTP = true
	if got := dsv4.LargestLayer(append(steps, mtp)); got != 9 {
		t.Errorf("with an MTP block it is %d, want 9", got)
	}
}

// TestPassBytes: streams and hidden states of all tokens, arrays of those that
// run together, and a state for each window of a group.
func TestPassBytes(t *testing.T) {
	c := dsv4test.GoldenConfig()
	one := dsv4.PassBytes(c, [][]token.ID{make([]token.ID, 10)})
	two := dsv4.PassBytes(c, [][]token.ID{make([]token.ID, 10), make([]token.ID, 10)})
	// Layers 2 and 4: a ring of 8·80, two rings of 8·160 rows and 2 entries of 80
	// for attention, 8·64 and 32 for the indexer.
	state := int64(4 * (8*80 + 2*8*160 + 2*80 + 2*8*64 + 2*32))
	tokens := 10*4*(5*32) + dsv4.WorkspaceBytes(c, 10)
	if two-one != state+tokens {
		t.Errorf("a second window of 10 tokens takes %d bytes, want %d", two-one, state+tokens)
	}
	if rope := one - state - tokens; rope != 10*16*8 {
		t.Errorf("the rotary tables of 10 positions take %d bytes, want %d", rope, 10*16*8)
	}
	long := dsv4.PassBytes(c, [][]token.ID{make([]token.ID, 10_000)})
	if got, most := long, int64(10_000*4*(5*32))+dsv4.WorkspaceBytes(c, dsv4.PassTokens(c))+3_000_000; got > most {
		t.Errorf("a window of 10,000 tokens takes %d bytes, want at most %d: it runs in pieces", got, most)
	}
	if got := fmt.Sprint(dsv4.SessionTokens(100), dsv4.SessionTokens(5000)); got != "100 512" {
		t.Errorf("sessions run %s tokens at once, want 100 512", got)
	}
}
