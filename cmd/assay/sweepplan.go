package main

import (
	"fmt"
	"io"
	"runtime"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"assay/bench"
	"assay/datasets"
	"assay/engine/cpu"
	"assay/engine/token"
	"assay/engine/variant"
	"assay/eval"
	"assay/eval/sweep"
	"assay/metal"
)

// machinePlan is what a sweep takes on one machine.
type machinePlan struct {
	Machine  string           `json:"machine"`
	Basis    string           `json:"basis"` // where its rates are from
	Memory   sweep.Memory     `json:"memory"`
	Resident bool             `json:"weights_resident"`
	Batches  int              `json:"batches"`
	Written  int64            `json:"bytes_written"`
	Time     sweep.Prediction `json:"nanoseconds"`
	Error    string           `json:"error,omitempty"` // why it does not fit
}

type sweepPlanJSON struct {
	Model    string        `json:"model"`
	Variants int           `json:"variants"`
	Windows  int           `json:"windows"`
	Tokens   int64         `json:"tokens"` // of all variants
	Scored   int64         `json:"scored"`
	FLOPs    int64         `json:"flop"`
	Alone    int64         `json:"flop_if_alone"` // if every variant ran by itself
	Weights  int64         `json:"weights_quantized"`
	Source   int64         `json:"bytes_read"`
	Machines []machinePlan `json:"machines"`
}

// planSweep prints what a sweep would take, from the config alone: no weight is
// read and no text is encoded, so every text counts with all its windows.
func planSweep(c *cobra.Command, o *runOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	if o.protocol.Windows == 0 {
		return usage("--dry-run reads no text: say with --windows how many windows each has")
	}
	m, err := openConfig(o.model)
	if err != nil {
		return err
	}
	defer m.close()
	texts, err := openTexts(o.texts, o.corpus)
	if err != nil {
		return err
	}
	j, err := m.planJob(o, len(texts))
	if err != nil {
		return err
	}
	out := sweepPlanJSON{Model: m.name, Variants: 1 + len(j.Variants), Windows: len(j.Windows)}
	here, err := thisMachine(o)
	if err != nil {
		return err
	}
	for _, at := range []machineRates{here, m3Ultra} {
		machine, whole, err := at.plan(j, o.engine.threads)
		out.Machines = append(out.Machines, machine)
		if err == nil {
			out.Tokens, out.Scored, out.FLOPs, out.Alone, out.Weights, out.Source = whole.Tokens, whole.Scored, whole.FLOPs, whole.Alone, whole.Weights, whole.Source
		}
	}
	if o.json {
		return printJSON(c.OutOrStdout(), out)
	}
	return printSweepPlan(c.OutOrStdout(), out)
}

// planJob is a job of a config alone: windows as long as the protocol says, with
// no tokens that mean anything.
func (m *model) planJob(o *runOptions, texts int) (*sweep.Job, error) {
	recipes, err := recipesOf(o.variants)
	if err != nil {
		return nil, err
	}
	j := &sweep.Job{Recorder: nothing{}}
	if j.Reference, err = variant.Planned(m.configJSON, variant.Recipe{Name: variant.BF16}, m.params); err != nil {
		return nil, err
	}
	for _, r := range recipes {
		if r.Name == variant.BF16 {
			continue
		}
		v, err := variant.Planned(m.configJSON, r, m.params)
		if err != nil {
			return nil, err
		}
		j.Variants = append(j.Variants, v)
	}
	one, _, err := datasets.Cut("text", make([]token.ID, o.protocol.Window*o.protocol.Windows+1), o.protocol)
	if err != nil {
		return nil, err
	}
	for range texts {
		j.Windows = append(j.Windows, one...)
	}
	return j, nil
}

// nothing is a recorder in which nothing is recorded.
type nothing struct{}

func (nothing) HasScore(string, string, int) bool  { return false }
func (nothing) AppendScore(eval.WindowScore) error { return nil }
func (nothing) HasTiming(string, int) bool         { return false }
func (nothing) AppendTiming(bench.Sample) error    { return nil }

// machineRates is a machine that a sweep is planned for.
type machineRates struct {
	name, basis string
	memory      int64
	rates       sweep.Rates
}

// scoringShare is what scoring reaches of a machine's peak in useful operations,
// end to end.
const scoringShare = 0.6

// m3Ultra is an M3 Ultra with 80 GPU cores and 512 GB, as its maker describes it:
// 80 cores of 128 lanes with two operations a clock, at about 1.4 GHz. Nothing of
// this is measured.
var m3Ultra = machineRates{
	name: "M3 Ultra, 512 GB", memory: metal.RaisedLimit(512),
	basis: "assumed, not measured: 28.6 TFLOP/s in f32 of 80 GPU cores, of which half is reached; 20 G weights/s; disk 6 GB/s",
	rates: sweep.Rates{FLOPs: 0.5 * 28.6e12, Quantize: 20e9, Read: 6e9, Write: 4e9},
}

// thisMachine measures this one.
func thisMachine(o *runOptions) (machineRates, error) {
	threads := o.engine.threads
	if threads == 0 {
		threads = runtime.NumCPU()
	}
	r, err := bench.Measure(threads)
	if err != nil {
		return machineRates{}, err
	}
	return machineRates{
		name: fmt.Sprintf("this machine, %d threads", threads), memory: o.limit(),
		basis: fmt.Sprintf("%s: %.0f GFLOP/s of products and %.1f G weights/s measured now, of the products %.0f %% reached end to end; disk assumed, 2 GB/s read and 0.4 GB/s written",
			cpu.Processor(), r.FLOPs/1e9, r.Quantize/1e9, 100*scoringShare),
		rates: sweep.Rates{FLOPs: scoringShare * r.FLOPs, Quantize: r.Quantize, Read: 2e9, Write: 0.4e9},
	}, nil
}

// plan plans the job for the machine.
func (r machineRates) plan(j *sweep.Job, threads int) (machinePlan, *sweep.Plan, error) {
	out := machinePlan{Machine: r.name, Basis: r.basis}
	b, err := cpu.New(cpu.Options{Threads: threads, Memory: r.memory})
	if err != nil {
		return out, nil, err
	}
	defer b.Close()
	j.Backend = b
	p, err := j.Plan()
	if err != nil {
		out.Error = err.Error()
		return out, nil, err
	}
	out.Memory, out.Resident, out.Batches, out.Written = p.Memory, p.Resident, len(p.Batches), p.Written
	out.Time = p.Predict(r.rates)
	return out, p, nil
}

func printSweepPlan(w io.Writer, d sweepPlanJSON) error {
	fmt.Fprintf(w, "A sweep of %s: %d variants, %d windows, %d tokens of all variants, %d scored.\n", d.Model, d.Variants, d.Windows, d.Tokens, d.Scored)
	fmt.Fprintf(w, "%.3f TFLOP (%.3f if every variant ran alone), %.3f G weights quantized, %s of the checkpoint read once.\n\n",
		float64(d.FLOPs)/1e12, float64(d.Alone)/1e12, float64(d.Weights)/1e9, size(d.Source))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(what string, cell func(m machinePlan) string) {
		fmt.Fprintf(t, "  %s", what)
		for _, m := range d.Machines {
			if m.Error != "" && what != "" {
				fmt.Fprint(t, "\t-")
				continue
			}
			fmt.Fprintf(t, "\t%s", cell(m))
		}
		fmt.Fprintln(t, "\t")
	}
	row("", func(m machinePlan) string { return m.Machine })
	row("memory", func(m machinePlan) string {
		return fmt.Sprintf("%s of %s", size(m.Memory.Total()), size(m.Memory.Limit))
	})
	row("  weights", func(m machinePlan) string {
		if m.Resident {
			return size(m.Memory.Weights) + ", all stay"
		}
		return size(m.Memory.Weights) + ", a part at a time"
	})
	row("  checkpoint", func(m machinePlan) string { return size(m.Memory.Mapped) })
	row("  streams", func(m machinePlan) string { return size(m.Memory.Streams) })
	row("  scratch", func(m machinePlan) string { return size(m.Memory.Scratch + m.Memory.Process) })
	row("streams in a file", func(m machinePlan) string { return size(m.Memory.Spilled) })
	row("batches", func(m machinePlan) string { return fmt.Sprint(m.Batches) })
	for _, x := range []struct {
		what string
		of   func(sweep.Prediction) time.Duration
	}{
		{"time", sweep.Prediction.Total},
		{"  compute", func(p sweep.Prediction) time.Duration { return p.Compute }},
		{"  quantize", func(p sweep.Prediction) time.Duration { return p.Quantize }},
		{"  read", func(p sweep.Prediction) time.Duration { return p.Read }},
		{"  write", func(p sweep.Prediction) time.Duration { return p.Write }},
	} {
		row(x.what, func(m machinePlan) string { return x.of(m.Time).Round(100 * time.Millisecond).String() })
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, m := range d.Machines {
		fmt.Fprintf(w, "\n%s: %s.", m.Machine, m.Basis)
		if m.Error != "" {
			fmt.Fprintf(w, " It does not fit: %s.", m.Error)
		}
	}
	_, err := fmt.Fprintln(w, "\nTimings (speed) are not in it. Quantizing is by MLX's rule; search- takes about 100 times as long.")
	return err
}
