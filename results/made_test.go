package results

import (
	"testing"
	"time"
)

// noon is when everything in these tests was made.
var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// madeRun returns a run of two texts with two windows each, of bf16 and the
// named variants, whose sizes are given in that order, bf16 being 800 bytes.
func madeRun(names []string, bytesMain ...int64) Run {
	r := Run{
		Schema: SchemaVersion, Made: noon,
		Tool:     Tool{Version: "0.1.0", Commit: "abc"},
		Model:    Model{Name: "reference", Digest: "m1", Parameters: 400, Layers: 8, CacheBytes: map[string]int64{"8192": 10}},
		Protocol: Protocol{Name: "assay", Window: 512, Reference: "bf16"},
		Texts: []Text{
			{Name: "prose", Corpus: "heldout", Digest: "t1", Tokens: 9, Count: 2},
			{Name: "code", Corpus: "heldout", Digest: "t2", Tokens: 9, Count: 2},
		},
		Variants: []Variant{{Name: "bf16", Digest: "v0", BytesMain: 800, BitsPerWeight: 16}},
		Engine:   Engine{Name: "cpu", Device: "CPU engine, made", Kernels: "plain", Activations: "f32", Threads: 2, System: "made 1.0", Source: "0123456789abcdef"},
		Machine:  Machine{OS: "linux", Arch: "amd64", CPU: "made", Cores: 2, Memory: 1 << 30},
		Speed:    &Speed{PrefillTokens: 100, DecodeTokens: 2, Repetitions: 3, Discarded: 1, Seed: 7},
	}
	for i, n := range names {
		r.Variants = append(r.Variants, Variant{Name: n, Encoder: "mlx-gpu", Digest: "v" + n, BytesMain: bytesMain[i]})
	}
	return r
}

// madeScore returns a score of two tokens, whose KL is kl in both.
func madeScore(variant, text string, window int, kl float32) Score {
	return Score{Variant: variant, Text: text, Window: window, Tokens: 2, Made: noon,
		NLL: Floats{2 + kl, 3 + kl}, KL: Floats{kl, kl}, Top1: Bits{true, kl == 0}}
}

// madeTiming returns a repetition: the seconds of its prefill of 100 tokens, and
// those of its 2 decoded tokens.
func madeTiming(variant string, repetition int, prefill float64, decode ...float64) Timing {
	return Timing{Variant: variant, Repetition: repetition, PrefillSeconds: prefill, DecodeSeconds: decode, Made: noon}
}

// fourKL is a variant's KL on prose 0, prose 1, code 0 and code 1.
type fourKL [4]float32

// madeContents returns what a ledger of run holds, with the windows of the
// variants in kl scored.
func madeContents(t *testing.T, run Run, kl map[string]fourKL) *Contents {
	t.Helper()
	c := &Contents{Run: run, scores: map[scoreKey]bool{}, timings: map[timingKey]bool{}}
	for _, v := range run.Variants {
		for i, x := range kl[v.Name] {
			if err := c.addScore(madeScore(v.Name, []string{"prose", "code"}[i/2], i%2, x)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return c
}
