package scaling

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"assay/bench"
	"assay/engine/dsv4"
)

// Extrapolation is what a sweep of a whole model would take, by one of a
// checkpoint that has a few of its layers.
type Extrapolation struct {
	Made
	Of          string        `json:"of"` // the whole model
	Variants    []string      `json:"variants"`
	Reading     bench.Reading `json:"reading"` // of the checkpoint's shards, before the runs
	Samples     []Sample      `json:"samples"`
	Kinds       []Kind        `json:"layers"`
	Measured    Times         `json:"measured_seconds"` // of the sample with the median time
	Whole       Times         `json:"whole_seconds"`
	Work        Work          `json:"work"`
	WholeWork   Work          `json:"whole_work"`
	Share       float64       `json:"share_of_product_rate"` // of Measured, useful FLOP over all seconds
	Peak        int64         `json:"peak_bytes,omitempty"`
	Planned     Predicted     `json:"planned"` // what sweep --dry-run says
	Assumptions []string      `json:"assumptions"`
}

// Kind is the layers of one compression ratio. Seconds are of one layer, all
// variants together.
type Kind struct {
	Ratio     int     `json:"compress_ratio"`
	Measured  int     `json:"measured"`           // layers of this ratio in the checkpoint
	Whole     int     `json:"whole"`              // in the whole model
	As        int     `json:"as_of"`              // the ratio whose layers' times these are
	Attention float64 `json:"attention_seconds"`  //
	Experts   float64 `json:"experts_seconds"`    //
	Weights   float64 `json:"quantizing_seconds"` // decoding, quantizing and loading
}

// Times is where seconds go.
type Times struct {
	Embedding  float64 `json:"embedding"`
	Attention  float64 `json:"attention"`
	Experts    float64 `json:"experts"`
	Head       float64 `json:"head"`       // output projection
	Scoring    float64 `json:"scoring"`    //
	Quantizing float64 `json:"quantizing"` // with decoding and loading
	Reading    float64 `json:"reading"`    // from disk, where the run did not wait for it in Quantizing
	Rest       float64 `json:"rest"`
	Total      float64 `json:"total"`
}

func (t Times) sum() Times {
	t.Total = t.Embedding + t.Attention + t.Experts + t.Head + t.Scoring + t.Quantizing + t.Reading + t.Rest
	return t
}

// Predicted is the plan's seconds, and what was measured or extrapolated over it.
type Predicted struct {
	Measured      float64 `json:"measured_seconds"`
	Whole         float64 `json:"whole_seconds"`
	MeasuredRatio float64 `json:"measured_ratio"`
	WholeRatio    float64 `json:"whole_ratio"`
}

// CanExtrapolate errs unless a checkpoint's layers could be the whole model's,
// all but how many there are and which being the same, and there is one of each
// compression ratio, or one to take for it.
func CanExtrapolate(part, whole *dsv4.Config) error {
	a, b := *part, *whole
	b.NumHiddenLayers, b.NumNextNPredict, b.NumHashLayers, b.CompressRatios = a.NumHiddenLayers, a.NumNextNPredict, a.NumHashLayers, a.CompressRatios
	if err := a.SameModel(&b); err != nil {
		return err
	}
	_, err := standIns(part, whole)
	return err
}

// standIns returns for each compression ratio of the whole model that of the
// measured layers whose time its layers have: its own, or of layers without a
// compressor the largest, which do a little more.
func standIns(part, whole *dsv4.Config) (map[int]int, error) {
	measured := map[int]bool{}
	most := 0
	for i := range part.NumHiddenLayers {
		measured[part.Ratio(i)] = true
		most = max(most, part.Ratio(i))
	}
	out := map[int]int{}
	for i := range whole.NumHiddenLayers {
		r := whole.Ratio(i)
		out[r] = r
		if !measured[r] {
			if r != 0 {
				return nil, fmt.Errorf("scaling: there is no layer with a compression ratio of %d to measure", r)
			}
			out[r] = most
		}
	}
	return out, nil
}

// Extrapolate fills Schema, Kind, Kinds, Measured, Whole, Share, Peak and the
// ratios from Samples, Rates, Reading, Work, WholeWork and the plan's seconds.
func (e *Extrapolation) Extrapolate(part, whole *dsv4.Config) error {
	e.Schema, e.Kind = SchemaVersion, "extrapolation"
	s, err := Median(e.Samples)
	if err != nil {
		return err
	}
	parts := map[string]PartTime{}
	for _, p := range s.Parts {
		parts[p.Name] = p
	}
	if e.Kinds, err = kinds(part, whole, parts); err != nil {
		return err
	}
	for _, x := range e.Samples {
		e.Peak = max(e.Peak, x.Peak)
	}
	e.outside(s, parts, part)
	for _, k := range e.Kinds {
		e.Whole.Attention += float64(k.Whole) * k.Attention
		e.Whole.Experts += float64(k.Whole) * k.Experts
		e.Whole.Quantizing += float64(k.Whole) * k.Weights
	}
	// What came from memory in the run would come from the disk.
	cached := max(0, 1-float64(s.FromDisk)/float64(e.Work.Source))
	e.Whole.Reading = cached * float64(e.WholeWork.Source) / e.Reading.Rate()
	e.Measured, e.Whole = e.Measured.sum(), e.Whole.sum()
	if math.Abs(e.Measured.Total-s.Seconds) > 1e-6*s.Seconds+1e-6 {
		return fmt.Errorf("scaling: the parts take %g s together, the run %g", e.Measured.Total, s.Seconds)
	}
	if len(e.Rates) > 0 {
		e.Share = float64(e.Work.FLOPs) / e.Measured.Total / e.Rates[0].FLOPs
	}
	e.Planned.MeasuredRatio, e.Planned.WholeRatio = e.Measured.Total/e.Planned.Measured, e.Whole.Total/e.Planned.Whole
	return nil
}

// outside counts what is not in layers, in both, and the measured layers.
func (e *Extrapolation) outside(s Sample, parts map[string]PartTime, c *dsv4.Config) {
	m := Times{Attention: s.Split.Attention, Experts: s.Split.Experts, Head: s.Split.Head, Scoring: s.Split.Scoring,
		Quantizing: s.Split.Weights, Embedding: parts["embedding"].Run, Rest: s.Split.Rest - parts["embedding"].Run}
	w := m
	w.Attention, w.Experts = 0, 0
	for i := range c.NumHiddenLayers {
		a, f := layer(parts, i)
		w.Quantizing -= a.Weights + f.Weights
	}
	e.Measured, e.Whole = m, w
}

// layer returns the times of a layer's two parts.
func layer(parts map[string]PartTime, i int) (attention, experts PartTime) {
	return parts[fmt.Sprintf("layer %d attention", i)], parts[fmt.Sprintf("layer %d experts", i)]
}

// kinds averages the measured layers of each ratio. Variants that are still one
// in the first layers have parted by the last, so that a run of a part counts by
// the variants that differ there: seconds · loads of the last / loads of it.
func kinds(part, whole *dsv4.Config, parts map[string]PartTime) ([]Kind, error) {
	as, err := standIns(part, whole)
	if err != nil {
		return nil, err
	}
	_, last := layer(parts, part.NumHiddenLayers-1)
	measured := map[int]Kind{}
	for i := range part.NumHiddenLayers {
		a, f := layer(parts, i)
		if a.Loads == 0 || f.Loads == 0 {
			return nil, fmt.Errorf("scaling: layer %d was not timed", i)
		}
		k := measured[part.Ratio(i)]
		k.Measured++
		k.Attention += a.Run * float64(last.Loads) / float64(a.Loads)
		k.Experts += f.Run * float64(last.Loads) / float64(f.Loads)
		k.Weights += a.Weights + f.Weights
		measured[part.Ratio(i)] = k
	}
	counts := map[int]int{}
	for i := range whole.NumHiddenLayers {
		counts[whole.Ratio(i)]++
	}
	var out []Kind
	for _, r := range slices.Sorted(maps.Keys(counts)) {
		k := measured[as[r]]
		n := float64(k.Measured)
		out = append(out, Kind{Ratio: r, Measured: measured[r].Measured, Whole: counts[r], As: as[r],
			Attention: k.Attention / n, Experts: k.Experts / n, Weights: k.Weights / n})
	}
	return out, nil
}
