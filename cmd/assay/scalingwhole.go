package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"assay/bench"
	"assay/bench/scaling"
)

// runExtrapolation sweeps a folder of a few layers and says what the whole model
// would take.
func runExtrapolation(c *cobra.Command, o *scalingOptions) error {
	part, err := openConfig(o.run.model)
	if err != nil {
		return err
	}
	defer part.close()
	whole, err := openConfig(o.whole)
	if err != nil {
		return err
	}
	defer whole.close()
	if err := scaling.CanExtrapolate(part.config, whole.config); err != nil {
		return usage("%s cannot stand for %s: %w", part.name, whole.name, err)
	}
	e := &scaling.Extrapolation{Of: whole.name, Assumptions: assumptions}
	if err := o.sweeps(c.Context(), e, c.ErrOrStderr()); err != nil {
		return interrupted(err)
	}
	if err := o.plans(e, part, whole); err != nil {
		return err
	}
	if err := e.Extrapolate(part.config, whole.config); err != nil {
		return err
	}
	return o.finish(c.OutOrStdout(), e, func(w io.Writer) error { return printExtrapolation(w, e) })
}

// sweeps reads the folder's shards once, and sweeps it as often as is asked.
func (o *scalingOptions) sweeps(ctx context.Context, e *scaling.Extrapolation, progress io.Writer) error {
	shards, err := filepath.Glob(filepath.Join(o.run.model, "*.safetensors"))
	if err != nil {
		return err
	}
	if e.Reading, err = bench.ReadFiles(ctx, shards); err != nil {
		return err
	}
	var rates []scaling.Rate
	for r := range o.repetitions + 1 { // before each and after the last
		rate, err := measuredRate(o.threads())
		if err != nil {
			return err
		}
		rates = append(rates, rate)
		if r == o.repetitions {
			break
		}
		if err := o.sweepOnce(ctx, e, progress); err != nil {
			return err
		}
	}
	rate, err := scaling.MedianRate(rates)
	e.Rates = []scaling.Rate{rate}
	return err
}

// sweepOnce sweeps the folder as sweep --no-speed would.
func (o *scalingOptions) sweepOnce(ctx context.Context, e *scaling.Extrapolation, progress io.Writer) error {
	s, err := prepare(&o.run)
	if err != nil {
		return err
	}
	defer s.close()
	plan, err := s.job.Plan()
	if err != nil {
		return err
	}
	sample, err := scaling.Measure(&s.job, func() error { return s.run(ctx, progress) })
	if err != nil {
		return err
	}
	e.Samples, e.Work = append(e.Samples, sample), scaling.WorkOf(plan, s.job.Windows)
	if e.Variants == nil {
		e.Made = s.made(extrapolationNotes)
		for _, v := range s.record.Variants {
			e.Variants = append(e.Variants, v.Name)
		}
	}
	return nil
}

// plans adds what sweep --dry-run says of the folder and of the whole model, at
// the rates of the record.
func (o *scalingOptions) plans(e *scaling.Extrapolation, part, whole *model) error {
	here, err := thisMachine(&o.run)
	if err != nil {
		return err
	}
	here.rates.FLOPs, here.rates.Quantize = scoringShare*e.Rates[0].FLOPs, e.Rates[0].Quantize
	for _, x := range []struct {
		m       *model
		seconds *float64
		work    *scaling.Work
	}{{part, &e.Planned.Measured, nil}, {whole, &e.Planned.Whole, &e.WholeWork}} {
		j, err := x.m.planJob(&o.run, len(e.Texts))
		if err != nil {
			return err
		}
		machine, plan, err := here.plan(j, o.run.engine.threads)
		if err != nil {
			return fmt.Errorf("a sweep of %s: %w", x.m.name, err)
		}
		*x.seconds = machine.Time.Total().Seconds()
		if x.work != nil {
			*x.work = scaling.WorkOf(plan, j.Windows)
		}
	}
	return nil
}

var assumptions = []string{
	"A layer takes the time of the measured layers of its compression ratio. Layers without a compressor, where none was measured, are taken for those of the largest ratio, which do a little more.",
	"Variants that share the first layers have parted by the last measured one, so that all further layers run for each of them.",
	"Embedding, output projection, scoring and the rest happen once a sweep: as long as here.",
	"The shards are read once, at the rate at which they were read here before the runs, and no reading overlaps with computing; what the runs read from disk is in their quantizing already.",
	"Memory is bounded by the largest part and the streams, not by the number of layers.",
	"Weights are drawn, so that routing is more even than a trained model's.",
}

var extrapolationNotes = []string{
	"Seconds are those of the repetition with the median time; all samples are kept, with all parts.",
	"quantizing has reading from memory, decoding and loading in it. planned is what assay sweep --dry-run predicts for the same texts, variants and memory, at the rates of this record.",
	"peak_bytes is what the process had resident at most, mapped files among it; where it is missing, the system does not say.",
}
