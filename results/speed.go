package results

import (
	"fmt"
	"io"

	"assay/eval/stat"
)

// SpeedOf returns how fast one variant was, in tokens a second: the median over
// kept repetitions, with the interval of stat.MedianInterval, whose N is their
// number. A repetition's prefill speed is its prefilled tokens by its prefill
// seconds; its decode speed is its decoded tokens by the sum of their seconds.
// The first Discarded repetitions are left out. Where nothing is timed both are
// unknown, and so they are where the timings are not of one variant.
func SpeedOf(timings []Timing, run Run) (prefill, decode stat.Estimate) {
	unknown := func(why string) (stat.Estimate, stat.Estimate) {
		return stat.Unknown(0, why), stat.Unknown(0, why)
	}
	if run.Speed == nil {
		return unknown("speed was not measured")
	}
	var p, d []float64
	for _, t := range timings {
		if t.Variant != timings[0].Variant {
			return unknown(fmt.Sprintf("timings of %s among those of %s", t.Variant, timings[0].Variant))
		}
		if t.Repetition < run.Speed.Discarded {
			continue
		}
		p = append(p, t.PrefillSpeed(*run.Speed))
		d = append(d, t.DecodeSpeed())
	}
	if len(p) == 0 {
		return unknown("no repetition is timed")
	}
	prefill, decode = stat.MedianInterval(p), stat.MedianInterval(d)
	if len(p) < run.Speed.Repetitions {
		why := fmt.Sprintf("%d of %d repetitions are timed", len(p), run.Speed.Repetitions)
		prefill.Warnings = append(prefill.Warnings, why)
		decode.Warnings = append(decode.Warnings, why)
	}
	return prefill, decode
}

// PrefillSpeed returns tokens a second: s.PrefillTokens / PrefillSeconds.
func (t Timing) PrefillSpeed(s Speed) float64 {
	return float64(s.PrefillTokens) / t.PrefillSeconds
}

// DecodeSpeed returns tokens a second: decoded tokens / Σ DecodeSeconds.
func (t Timing) DecodeSpeed() float64 {
	var seconds float64
	for _, x := range t.DecodeSeconds {
		seconds += x
	}
	return float64(len(t.DecodeSeconds)) / seconds
}

// WriteBench writes the kept timings as text of Go's benchmark format, which
// benchstat reads: one line a repetition, in the ledger's order, in tokens a
// second. Decode's depth is the tokens in the cache when it starts. It writes
// no benchmark where nothing is timed.
//
//	Unit tok/s better=higher
//	BenchmarkPrefill/variant=g32-n8-e4/tokens=512 1 1234.5 tok/s
//	BenchmarkDecode/variant=g32-n8-e4/depth=512 1 27.31 tok/s
func (c *Contents) WriteBench(w io.Writer) error {
	r := c.Run
	_, err := fmt.Fprintf(w, "goos: %s\ngoarch: %s\ncpu: %s\nengine: %s\nkernels: %s\nthreads: %d\nmodel: %s\nUnit tok/s better=higher\n",
		r.Machine.OS, r.Machine.Arch, r.Machine.CPU, r.Engine.Name, r.Engine.Kernels, r.Engine.Threads, r.Model.Name)
	for _, t := range c.Timings {
		if err != nil {
			break
		}
		if r.Speed == nil || t.Repetition < r.Speed.Discarded {
			continue
		}
		_, err = fmt.Fprintf(w, "BenchmarkPrefill/variant=%s/tokens=%d 1 %.6g tok/s\nBenchmarkDecode/variant=%s/depth=%d 1 %.6g tok/s\n",
			t.Variant, r.Speed.PrefillTokens, t.PrefillSpeed(*r.Speed),
			t.Variant, r.Speed.PrefillTokens, t.DecodeSpeed())
	}
	if err != nil {
		return fmt.Errorf("results: benchmark text: %w", err)
	}
	return nil
}
