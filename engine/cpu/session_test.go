package cpu

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"assay/engine"
	"assay/engine/dsv4"
	"assay/engine/dsv4/dsv4test"
	"assay/engine/token"
)

// TestPassIsSession compares a layer-by-layer pass with sessions that prefill at
// once, in pieces, and decode token by token. Only decode sums in another order;
// a selection that it turns is named, and what follows is left.
func TestPassIsSession(t *testing.T) {
	toks := heldout(t)[1][:290]
	b, v, c := newBackend(t, Options{}), newVariant(t, "g64-n6-e3"), config(t)
	pass := &dsv4test.Observer{Ops: newOps(b, c), C: c}
	_, want := states(t, pass, c, v, [][]token.ID{toks})

	singles := make([]int, len(toks))
	for i := range singles {
		singles[i] = 1
	}
	for _, x := range []struct {
		name   string
		chunks []int
		bound  float64
	}{
		{"prefill", []int{290}, 0},
		{"prefill in pieces", []int{131, 2, 157}, 0},
		{"prefill, then decode", append([]int{270}, singles[:20]...), 1e-5},
		{"decode", singles, 1e-5},
	} {
		o := &dsv4test.Observer{Ops: newOps(b, c), C: c}
		got, err := dsv4test.Run(t.Context(), o, c, v, toks, x.chunks)
		if err != nil {
			t.Fatal(err)
		}
		first := flips(t, x.name, pass.Log.All, o.Log.All, [][]token.ID{toks})[0]
		if first < len(toks) && x.bound == 0 {
			t.Errorf("%s: selections differ from the pass's", x.name)
		}
		d := rms(slices.Concat(got[:first]...), want[:first*c.VocabSize])
		t.Logf("%s: RMS %.2e over %d positions", x.name, d, first)
		if d > x.bound {
			t.Errorf("%s: RMS %.2e, want %.0e", x.name, d, x.bound)
		}
	}
}

// session starts a session on a variant of the reference model.
func session(t *testing.T, tokens int) engine.Session {
	t.Helper()
	m, err := newBackend(t, Options{}).Load(t.Context(), newVariant(t, "g32-n4-e3"), tokens)
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestPrefillOfOne wants a prefill of one token to be a prefill: the same bits.
func TestPrefillOfOne(t *testing.T) {
	toks := heldout(t)[3][:24]
	run := func(chunks ...int) (out []float32) {
		s, rest := session(t, len(toks)), toks
		for _, n := range chunks {
			if err := s.Prefill(t.Context(), rest[:n], func(p engine.LogProbs) error {
				out = append(out, p...)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if s.Len() != len(toks) {
			t.Errorf("the session has %d tokens, want %d", s.Len(), len(toks))
		}
		return out
	}
	if whole := run(24); !slices.Equal(run(1, 1, 1, 5, 16), whole) {
		t.Error("prefills of one token differ from one of all")
	}
}

// TestPassAlone wants the same bits of a window whatever windows share its pass,
// in whatever order, and however many threads run it.
func TestPassAlone(t *testing.T) {
	texts := heldout(t)
	v := newVariant(t, "g32-n4-e3")
	windows := [][]token.ID{texts[0][:140], texts[2][:37], texts[3][:200], texts[1][:1]}
	d := config(t).HiddenSize
	var alone [][]float32
	for _, w := range windows {
		alone = append(alone, hidden(t, newBackend(t, Options{Threads: 1}), v, [][]token.ID{w}))
	}
	for threads, order := range map[int][]int{1: {3, 1, 0, 2}, 2: {0, 1, 2, 3}, 3: {2, 2, 1, 0}} {
		var some [][]token.ID
		for _, i := range order {
			some = append(some, windows[i])
		}
		all := hidden(t, newBackend(t, Options{Threads: threads}), v, some)
		for _, i := range order {
			n := len(windows[i]) * d
			if !slices.Equal(all[:n], alone[i]) {
				t.Errorf("%d threads, windows %v: states of window %d depend on what shares its pass", threads, order, i)
			}
			all = all[n:]
		}
	}
}

// TestLongWindow wants the same bits of a window longer than a pass runs at
// once, of a session that takes it in other pieces, and of windows that a pass
// runs in groups.
func TestLongWindow(t *testing.T) {
	texts := heldout(t)
	long := slices.Concat(texts[0], texts[1])[:4500]
	v, c := newVariant(t, "g32-n4-e3"), config(t)
	if n := dsv4.PassTokens(c); n >= len(long) || n < 4000 {
		t.Fatalf("a pass runs %d tokens at once: the test needs another window", n)
	}
	b := newBackend(t, Options{})
	const last = 480 // from before the cut on
	all := hidden(t, b, v, [][]token.ID{long[:200], long, long[:300]})
	whole := all[200*c.HiddenSize:][:len(long)*c.HiddenSize]
	if !slices.Equal(whole[:200*c.HiddenSize], all[:200*c.HiddenSize]) ||
		!slices.Equal(whole[:300*c.HiddenSize], all[len(all)-300*c.HiddenSize:]) {
		t.Error("the first tokens of a window depend on those after them")
	}
	head, err := b.Head(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]float32, last*c.VocabSize)
	if err := head.LogProbs(t.Context(), whole[len(whole)-last*c.HiddenSize:], want); err != nil {
		t.Fatal(err)
	}
	s := session(t, len(long))
	if err := s.Prefill(t.Context(), long[:len(long)-last], nil); err != nil {
		t.Fatal(err)
	}
	at := 0
	if err := s.Prefill(t.Context(), long[len(long)-last:], func(p engine.LogProbs) error {
		if !slices.Equal(p, want[at*c.VocabSize:][:c.VocabSize]) {
			t.Errorf("position %d of a window in pieces: RMS %.2e, want the same bits", len(long)-last+at, rms(p, want[at*c.VocabSize:]))
			return errors.New("enough")
		}
		at++
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// TestSessionRefuses wants one sentence for what a session cannot take.
func TestSessionRefuses(t *testing.T) {
	s := session(t, 290)
	for _, x := range []struct {
		want string
		err  error
	}{
		{"session of 0 tokens cannot take 291 more, it was made for 290", s.Prefill(t.Context(), make([]token.ID, 291), nil)},
		{"token 6144 at 0, vocabulary is 6144", second(s.Decode(t.Context(), 6144))},
		{"token 9999 at 2", s.Prefill(t.Context(), []token.ID{1, 2, 9999}, nil)},
	} {
		if x.err == nil || !strings.Contains(x.err.Error(), x.want) {
			t.Errorf("error %v, want %q", x.err, x.want)
		}
	}
	if s.Len() != 0 {
		t.Errorf("refused tokens count: %d", s.Len())
	}
	s.Close()
	if _, err := s.Decode(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "session is closed") {
		t.Errorf("a closed session decodes: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// endsAfter is a context that is cancelled after some questions.
type endsAfter struct {
	context.Context
	asked int
}

func (c *endsAfter) Err() error {
	if c.asked--; c.asked < 0 {
		return context.Canceled
	}
	return nil
}

// TestCancelledSession wants a session whose call ended between two layers to
// say so from then on: its layers remember different tokens.
func TestCancelledSession(t *testing.T) {
	toks := heldout(t)[0][:40]
	s := session(t, len(toks))
	if err := s.Prefill(t.Context(), toks[:20], nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Prefill(&endsAfter{t.Context(), 3}, toks[20:], nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("a cancelled prefill returns %v", err)
	}
	if _, err := s.Decode(t.Context(), toks[20]); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "session is of no more use") {
		t.Errorf("a session whose layers disagree decodes: %v", err)
	}
	// Between two pieces nothing is torn.
	s = session(t, len(toks))
	stop := errors.New("stop")
	if err := s.Prefill(t.Context(), toks[:20], func(engine.LogProbs) error { return stop }); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if _, err := s.Decode(t.Context(), toks[20]); err != nil || s.Len() != 21 {
		t.Errorf("a session of %d tokens does not go on: %v", s.Len(), err)
	}
}
