package suite

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math"

	"assay/engine/token"
)

// stored is −log p of tokens 1..351 of the first held-out text on the reference
// model, by variant, as the CPU engine (avx512) computed it on an AMD EPYC.
//
//go:embed stored.json
var stored []byte

// storedBound is how far the RMS over tokens may be: the CPU engine's kernels
// differ from each other by 3e-6.
const storedBound = 2e-5

// CheckStored errs unless log-probabilities give the stored ones.
func CheckStored(variant string, toks []token.ID, logProbs [][]float32) error {
	var all map[string][]float64
	if err := json.Unmarshal(stored, &all); err != nil {
		return fmt.Errorf("suite: stored.json: %w", err)
	}
	want, ok := all[variant]
	if !ok || len(want) != len(toks)-1 {
		return fmt.Errorf("suite: nothing is stored for %d tokens of %s", len(toks), variant)
	}
	var sum float64
	for i, w := range want {
		d := -float64(logProbs[i][toks[i+1]]) - w
		sum += d * d
	}
	if rms := math.Sqrt(sum / float64(len(want))); !(rms <= storedBound) {
		return fmt.Errorf("suite: %s is %.1e RMS from the stored log-probabilities, want at most %.0e", variant, rms, storedBound)
	}
	return nil
}

// NLL is −log p of each token after the first.
func NLL(toks []token.ID, logProbs [][]float32) []float64 {
	out := make([]float64, len(toks)-1)
	for i := range out {
		out[i] = math.Round(-1e6*float64(logProbs[i][toks[i+1]])) / 1e6
	}
	return out
}
