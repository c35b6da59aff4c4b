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
)

// refused fails unless err holds want.
func refused(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

// TestPass takes windows of several lengths through the tiny model part by
// part: each gets what a session of its own gets, bit for bit, for the naive
// operations round nothing on the way.
func TestPass(t *testing.T) {
	c, w := dsv4test.GoldenConfig(), dsv4test.NewGolden(dsv4test.GoldenConfig())
	toks := dsv4test.GoldenTokens()
	windows := [][]token.ID{toks, toks[:1], toks[3:20], toks[12:]}
	n := &dsv4test.Naive{C: c}
	p, err := dsv4.NewPass(n, c, windows)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []int{-1, 14} {
		_, err = p.Load(t.Context(), w, part)
		refused(t, err, fmt.Sprintf("dsv4: the pass has no part %d", part))
	}
	hidden, err := dsv4test.Hidden(t.Context(), p, w)
	if err != nil {
		t.Fatal(err)
	}
	part, err := p.Load(t.Context(), w, 1)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, part.Run(t.Context(), 0, make([]float32, 5)), "dsv4: group 0 has 5 floats of streams, want")
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
		_, err := dsv4.NewPass(n, c, x.windows)
		refused(t, err, x.want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p, err := dsv4.NewPass(n, c, [][]token.ID{{1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	part, err := p.Load(ctx, w, 0)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	refused(t, part.Run(ctx, 0, make([]float32, 2*p.Layout().Width)), "context canceled")
	_, err = p.Load(ctx, w, 1)
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

		p, err := dsv4.NewPass(n, c, [][]token.ID{{1, 2}})
		if err == nil {
			_, err = dsv4test.Hidden(t.Context(), p, w)
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

// TestPassLayout: every parameter of the main model in one part, but the output
// projection; groups of what runs together; arrays, tables and states counted.
func TestPassLayout(t *testing.T) {
	c := dsv4test.GoldenConfig()
	l := dsv4.PassLayout(c, []int{10})
	seen := map[string]string{}
	for _, p := range l.Parts {
		for _, name := range p.Params {
			seen[name] = p.Name
		}
	}
	for _, p := range dsv4.Params(c) {
		if (seen[p.Name] == "") != (p.MTP || p.Name == "head.weight") {
			t.Errorf("%s is in part %q", p.Name, seen[p.Name])
		}
		delete(seen, p.Name)
	}
	if len(seen) > 0 {
		t.Errorf("parts have more than the model: %v", seen)
	}
	for name, want := range map[int]string{0: "embedding", 1: "layer 0 attention", 4: "layer 1 experts", 13: "final norm"} {
		if got := l.Parts[name].Name; got != want {
			t.Errorf("part %d is %q, want %q", name, got, want)
		}
	}
	if l.Width != 4*32 || l.Hidden != 32 {
		t.Errorf("streams of %d floats and hidden states of %d, want 128 and 32", l.Width, l.Hidden)
	}
	// Layers 2 and 4: a ring of 8·80, two rings of 8·160 rows and 2 entries of 80
	// for attention, 8·64 and 32 for the indexer.
	state := int64(4 * (8*80 + 2*8*160 + 2*80 + 2*8*64 + 2*32))
	two := dsv4.PassLayout(c, []int{10, 10})
	if got, want := two.Scratch-l.Scratch, state+dsv4.WorkspaceBytes(c, 10); got != want {
		t.Errorf("a second window of 10 tokens takes %d bytes, want %d", got, want)
	}
	if rope := l.Scratch - state - dsv4.WorkspaceBytes(c, 10); rope != 10*16*8 {
		t.Errorf("the rotary tables of 10 positions take %d bytes, want %d", rope, 10*16*8)
	}
	long := dsv4.PassLayout(c, []int{10_000, 3, 3})
	if got, most := long.Scratch, dsv4.WorkspaceBytes(c, dsv4.PassTokens(c))+3_000_000; got > most {
		t.Errorf("a window of 10,000 tokens takes %d bytes, want at most %d: it runs in pieces", got, most)
	}
	if got := fmt.Sprint(long.Groups); got != "[{0 1 10000} {1 3 6}]" {
		t.Errorf("groups %s, want [{0 1 10000} {1 3 6}]", got)
	}
	if got := fmt.Sprint(dsv4.SessionTokens(100, dsv4.PrefillTokens), dsv4.SessionTokens(5000, dsv4.PrefillTokens)); got != "100 512" {
		t.Errorf("sessions run %s tokens at once, want 100 512", got)
	}
}
