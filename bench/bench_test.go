package bench

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"assay/engine"
	"assay/engine/token"
)

// fake is a model and its session, which note what they are fed.
type fake struct {
	prefilled, decoded []token.ID
	wait               time.Duration
	closed             bool
}

func (f *fake) NewSession() (engine.Session, error) { return f, nil }
func (f *fake) Bytes() int64                        { return 0 }
func (f *fake) Len() int                            { return len(f.prefilled) + len(f.decoded) }
func (f *fake) Close() error                        { f.closed = true; return nil }

func (f *fake) Prefill(_ context.Context, toks []token.ID, yield func(engine.LogProbs) error) error {
	if yield != nil {
		panic("bench wants no distributions of prefill")
	}
	f.prefilled = append(f.prefilled, toks...)
	time.Sleep(f.wait)
	return nil
}

func (f *fake) Decode(_ context.Context, tok token.ID) (engine.LogProbs, error) {
	f.decoded = append(f.decoded, tok)
	time.Sleep(f.wait)
	return engine.LogProbs{0}, nil
}

func TestOnce(t *testing.T) {
	toks := []token.ID{5, 4, 3, 2, 1, 0}
	f := &fake{wait: 5 * time.Millisecond}
	s, err := Once(t.Context(), f, Plan{PrefillTokens: 3, DecodeTokens: 2, Repetitions: 1}, toks)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(f.prefilled, toks[:3]) || !slices.Equal(f.decoded, toks[3:5]) || !f.closed {
		t.Errorf("fed %v, then %v, closed %v", f.prefilled, f.decoded, f.closed)
	}
	if s.Prefill < f.wait || len(s.Decode) != 2 || s.Decode[0] < f.wait || s.Decode[1] < f.wait {
		t.Errorf("timed %v and %v, each took at least %v", s.Prefill, s.Decode, f.wait)
	}
	if _, err := Once(t.Context(), f, Plan{PrefillTokens: 5, DecodeTokens: 2, Repetitions: 1}, toks); err == nil || !strings.Contains(err.Error(), "6 tokens, want at least 7") {
		t.Errorf("a short text: %v", err)
	}
}

// TestOrder wants a permutation a repetition that the seed decides, and every
// variant in every place over many.
func TestOrder(t *testing.T) {
	p := Default
	seen := map[[2]int]bool{}
	for r := range 200 {
		order := p.Order(r, 5)
		if again := p.Order(r, 5); !slices.Equal(order, again) {
			t.Fatalf("repetition %d: %v, then %v", r, order, again)
		}
		sorted := slices.Sorted(slices.Values(order))
		if !slices.Equal(sorted, []int{0, 1, 2, 3, 4}) {
			t.Fatalf("repetition %d: %v is no permutation", r, order)
		}
		for place, v := range order {
			seen[[2]int{place, v}] = true
		}
	}
	if len(seen) != 25 {
		t.Errorf("in 200 repetitions %d of 25 places were taken", len(seen))
	}
	other := p
	other.Seed++
	if slices.Equal(slices.Concat(p.Order(0, 9), p.Order(1, 9)), slices.Concat(other.Order(0, 9), other.Order(1, 9))) {
		t.Error("another seed gives the same orders")
	}
}

func TestCheck(t *testing.T) {
	if err := Default.Check(); err != nil || Default.Total() != 7 || Default.Tokens() != 576 {
		t.Errorf("the default: %v, %d repetitions, %d tokens", err, Default.Total(), Default.Tokens())
	}
	for _, p := range []Plan{{}, {PrefillTokens: 1, DecodeTokens: 1}, {PrefillTokens: 1, Repetitions: 1}, {DecodeTokens: 1, Repetitions: 1}, {1, 1, 1, -1, 0}, {1 << 40, 1, 1, 0, 0}, {1, 1, 1 << 40, 0, 0}} {
		if p.Check() == nil {
			t.Errorf("%+v passes", p)
		}
	}
}
