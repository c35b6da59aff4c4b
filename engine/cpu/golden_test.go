package cpu

import (
	"context"
	"fmt"
	"math"
	"testing"

	"assay/engine"
	"assay/engine/dsv4"
	"assay/engine/dsv4/dsv4test"
	"assay/engine/token"
)

// goldenLogProbs runs the tiny model on its tokens, cut as chunks say; a chunk
// of 1 goes through Decode.
func goldenLogProbs(t *testing.T, opt Options, chunks []int) [][]float32 {
	t.Helper()
	c := dsv4test.GoldenConfig()
	b, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	m, err := dsv4.Load(t.Context(), newOps(b, c), c, dsv4test.NewGolden(c), 64)
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	return runSession(t, s, dsv4test.GoldenTokens(), chunks)
}

func runSession(t *testing.T, s engine.Session, toks []token.ID, chunks []int) [][]float32 {
	t.Helper()
	var out [][]float32
	keep := func(p engine.LogProbs) error {
		out = append(out, append([]float32(nil), p...))
		return nil
	}
	for _, n := range chunks {
		if n == 1 {
			p, err := s.Decode(context.Background(), toks[0])
			if err != nil {
				t.Fatal(err)
			}
			keep(p)
		} else if err := s.Prefill(context.Background(), toks[:n], keep); err != nil {
			t.Fatal(err)
		}
		toks = toks[n:]
	}
	return out
}

func TestGolden(t *testing.T) {
	singles := make([]int, 40)
	for i := range singles {
		singles[i] = 1
	}
	for _, kernels := range []string{"", "plain"} {
		for _, sim := range []bool{false, true} {
			for _, chunks := range [][]int{{40}, singles, {1, 39}, {5, 7, 28}, {8, 32}} {
				t.Run(fmt.Sprintf("%s/sim=%v/%v", kernels, sim, chunks), func(t *testing.T) {
					got := goldenLogProbs(t, Options{Kernels: kernels, Model: dsv4.Options{KVSim: sim}}, chunks)
					checkGolden(t, got, sim)
				})
			}
		}
	}
}

// checkGolden holds log-probabilities against the table. The table has six
// decimals; float32 adds about 1e-5.
func checkGolden(t *testing.T, got [][]float32, sim bool) {
	t.Helper()
	const bound = 2e-5
	for _, row := range dsv4test.GoldenTable[sim] {
		for i, want := range row.Logits {
			if d := math.Abs(float64(got[row.Position][i]) - (want - row.LogSumExp)); !(d < bound) {
				t.Errorf("position %d, token %d: log p is %.6f, want %.6f", row.Position, i, got[row.Position][i], want-row.LogSumExp)
			}
		}
		best := 0
		for i, v := range got[row.Position] {
			if v > got[row.Position][best] {
				best = i
			}
		}
		if row.Argmax >= 0 && best != row.Argmax {
			t.Errorf("position %d: token %d is first, want %d", row.Position, best, row.Argmax)
		}
	}
	var nll float64
	toks := dsv4test.GoldenTokens()
	for i := range toks[1:] {
		nll -= float64(got[i][toks[i+1]]) / 39
	}
	if d := math.Abs(nll - dsv4test.GoldenNLL[sim]); !(d < 2e-6) {
		t.Errorf("mean NLL %.7f, want %.7f", nll, dsv4test.GoldenNLL[sim])
	}
}
