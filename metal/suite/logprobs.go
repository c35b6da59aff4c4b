package suite

import (
	"fmt"
	"math"

	"assay/engine/tensor"
)

// logProbsCases compute log-probabilities: of one position as decoding does, of
// some, of more than one block on the device, and over more than one chunk of the
// vocabulary.
func logProbsCases() []Case {
	var all []Case
	for _, f := range someFormats() {
		c := productConfig()
		all = append(all, Case{Name: fmt.Sprintf("logprobs/%v", f), Config: c, Run: func(b *Bench) error {
			for _, s := range []struct {
				vocab, cols, positions int
				decode                 bool
			}{{1000, 128, 1, true}, {4099, 128, 1, true}, {1000, 128, 1, false}, {2049, 256, 5, false}, {40, 128, 300, false}} {
				if err := b.logProbs(f, s.vocab, s.cols, s.positions, s.decode); err != nil {
					return fmt.Errorf("vocabulary %d, %d positions: %w", s.vocab, s.positions, err)
				}
			}
			return nil
		}})
	}
	return all
}

func (b *Bench) logProbs(f tensor.Format, vocab, cols, positions int, decode bool) error {
	m := b.Real(f, vocab, cols)
	w, err := b.Load(m)
	if err != nil {
		return err
	}
	defer b.unload(w)
	hidden := make([]float32, positions*cols)
	for i := range hidden {
		hidden[i] = float32(b.Rand.NormFloat64() * 4)
	}
	got, want := make([]float32, positions*vocab), make([]float32, positions*vocab)
	for i := range got {
		got[i], want[i] = float32(math.NaN()), float32(math.NaN())
	}
	if err := b.Metal.LogProbs(w.Metal, hidden, got, decode); err != nil {
		return err
	}
	if err := b.CPU.LogProbs(w.CPU, hidden, want, decode); err != nil {
		return err
	}
	bounds := b.logBounds(m, hidden, want, positions)
	for i := range got {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= bounds[i]) {
			return fmt.Errorf("log p[%d, %d] is %g, want %g within %.3g", i/vocab, i%vocab, got[i], want[i], bounds[i])
		}
	}
	return b.logNaN(w, hidden, got, positions, decode)
}

// logBounds: a logit is off as productBounds says, with no rounding of inputs,
// and the logarithm of the sum by the most that any logit is. Beside that the sum
// itself, of exponentials within 5 ulp and in no more than 64 additions one after
// another, is off by 80·u of itself, its logarithm by 4 ulp, and the last two
// operations by u of what they yield, on either side.
func (b *Bench) logBounds(m *tensor.Matrix, hidden, logp []float32, positions int) []float64 {
	const u = 0x1p-24
	float := *b
	float.Unit = u
	bounds := float.productBounds(m, hidden, positions, 1)
	w := m.Decode()
	for t := range positions {
		row, most := bounds[t*m.Rows:][:m.Rows], 0.0
		logit, _ := dots([2][]float32{w, w}, 0, hidden[t*m.Cols:][:m.Cols])
		lse := math.Abs(logit-float64(logp[t*m.Rows])) + row[0]
		for _, v := range row {
			most = max(most, v)
		}
		for i := range row {
			row[i] += most + 80*u + 8*u*math.Log(float64(m.Rows)) + 4*u*(lse+math.Abs(float64(logp[t*m.Rows+i]))+lse)
		}
	}
	return bounds
}

// logNaN wants NaN of a position whose hidden state has one, and the same as
// before, bit for bit, of all others.
func (b *Bench) logNaN(w Weights, hidden, before []float32, positions int, decode bool) error {
	hidden[len(hidden)-1] = float32(math.NaN())
	got := make([]float32, len(before))
	if err := b.Metal.LogProbs(w.Metal, hidden, got, decode); err != nil {
		return err
	}
	last := len(got) / positions * (positions - 1)
	for i, v := range got {
		if i >= last && v == v || i < last && v != before[i] {
			return fmt.Errorf("with a NaN in the last of %d positions, log p[%d] is %g, was %g", positions, i, v, before[i])
		}
	}
	return nil
}
