package cpu

import (
	"testing"
	"time"

	"assay/bench"
	"assay/engine/cpu/kernel"
	"assay/engine/token"
)

// slow is kernels whose matrix-vector product takes longer.
type slow struct {
	kernels
	by time.Duration
}

func (s slow) MatVec(w *kernel.Matrix, from, to int, x, y []float32) {
	s.kernels.MatVec(w, from, to, x, y)
	for start := time.Now(); time.Since(start) < s.by; {
	}
}

// TestBenchSeesASlowKernel makes decode's kernel slower on purpose: decode must
// show it.
func TestBenchSeesASlowKernel(t *testing.T) {
	plan := bench.Plan{PrefillTokens: 32, DecodeTokens: 8, Repetitions: 1}
	toks := make([]token.ID, plan.Tokens())
	for i := range toks {
		toks[i] = token.ID(100 + i)
	}
	const by = 200 * time.Microsecond
	run := func(by time.Duration) (decode time.Duration) {
		b, err := New(Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		b.kernels = slow{b.kernels, by}
		m, err := b.Load(t.Context(), newVariant(t, "g32-n8-e4"), plan.Tokens())
		if err != nil {
			t.Fatal(err)
		}
		s, err := bench.Once(t.Context(), m, plan, toks)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range s.Decode {
			decode += d
		}
		return decode
	}
	fast := min(run(0), run(0)) // a busy machine slows one of them
	slowed := run(by)
	// A token runs over 200 matrix-vector products; each adds by.
	least := 200 * by * 8 / 2
	if slowed-fast < least {
		t.Errorf("decode took %v, slowed %v: want at least %v more", fast, slowed, least)
	}
}
