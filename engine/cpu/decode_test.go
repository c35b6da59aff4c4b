package cpu

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"assay/engine"
	"assay/engine/token"
)

// BenchmarkDecode decodes 64 tokens of the reference model after 512 of prefill,
// with the distribution each time. The rate is the middle one of its rounds.
func BenchmarkDecode(b *testing.B) {
	toks := slices.Concat(heldout(b)...)
	for _, name := range []string{"bf16", "native", "g32-n8-e4", "g32-n4-e3", "g64-n6-e3"} {
		for _, threads := range slices.Compact([]int{1, runtime.NumCPU()}) {
			b.Run(fmt.Sprintf("variant=%s/threads=%d", name, threads), func(b *testing.B) {
				backend := newBackend(b, Options{Threads: threads})
				m, err := backend.Load(b.Context(), newVariant(b, name), 576)
				if err != nil {
					b.Fatal(err)
				}
				var rates []float64
				for b.Loop() {
					rates = append(rates, decodeRate(b, m, toks[:576], 512))
				}
				slices.Sort(rates)
				b.ReportMetric(rates[len(rates)/2], "tok/s")
			})
		}
	}
}

// decodeRate returns the tokens a second of decoding toks from position at on.
func decodeRate(b *testing.B, m engine.Model, toks []token.ID, at int) float64 {
	s, err := m.NewSession()
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := s.Prefill(b.Context(), toks[:at], nil); err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	for _, t := range toks[at:] {
		if _, err := s.Decode(b.Context(), t); err != nil {
			b.Fatal(err)
		}
	}
	return float64(len(toks)-at) / time.Since(start).Seconds()
}
