package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"assay/engine/cpu"
	"assay/engine/cpu/kernel"
	"assay/metal"
	"assay/metal/host"
)

// engineRow is what assay engines says of one engine.
type engineRow struct {
	Engine    string  `json:"engine"`
	Available bool    `json:"available"`
	Auto      bool    `json:"auto,omitempty"` // what auto chooses
	Why       string  `json:"why,omitempty"`  // it is not available, or auto chose it
	Device    string  `json:"device,omitempty"`
	System    string  `json:"system,omitempty"`
	Kernels   string  `json:"kernels,omitempty"`
	Source    string  `json:"source,omitempty"`
	Memory    int64   `json:"memory_bytes,omitempty"`
	Limits    *limits `json:"limits,omitempty"`
	Bandwidth float64 `json:"bandwidth_bytes_per_second,omitempty"` // measured: read, or of a copy read and written
	Peak      float64 `json:"peak_flops,omitempty"`                 // measured
}

type limits struct {
	MaxBuffer   int64 `json:"max_buffer_bytes"`
	Threadgroup int   `json:"threadgroup_bytes"`
	MaxThreads  int   `json:"threadgroup_threads"`
	WorkingSet  int64 `json:"working_set_bytes,omitempty"`
}

func enginesCommand() *cobra.Command {
	var asJSON, test bool
	o := engineOptions{activations: "f32"}
	c := &cobra.Command{
		Use:   "engines",
		Short: "List what can run a model here, or test one of them",
		Long: `List the engines, their devices, limits and measured bandwidth.

cpu runs anywhere. metal runs on a Mac with Apple silicon (macOS 14 or newer). emu
and cuda run the Metal kernels on a CPU and on an NVIDIA GPU through shims: they
verify kernels, and their speed says nothing about a Mac. --engine auto takes metal
where --self-test has passed on this system with these kernels, else cpu.

--self-test compiles every kernel, runs each operation against its plain twin, and
the reference model against the CPU engine, and prints one verdict.`,
		Example: `  assay engines
  assay engines --json
  assay engines --self-test                        # on a Mac, before anything else
  MTL_SHADER_VALIDATION=1 MTL_DEBUG_LAYER=1 assay engines --self-test
  assay engines --self-test --engine emu`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if test {
				return selfTest(c, &o, asJSON)
			}
			rows := listEngines()
			if asJSON {
				return printJSON(c.OutOrStdout(), map[string]any{"engines": rows})
			}
			return printEngines(c.OutOrStdout(), rows)
		},
	}
	f := c.Flags()
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.BoolVar(&test, "self-test", false, "test an engine that runs the Metal kernels")
	f.StringVar(&o.name, "engine", "metal", "with --self-test: metal, cuda or emu")
	f.IntVar(&o.threads, "threads", 0, "threads of emu; 0 is all cores")
	return c
}

// listEngines asks every engine. What an engine errs with is why it is not
// available.
func listEngines() []engineRow {
	auto, why := (&engineOptions{name: "auto"}).chosen()
	var rows []engineRow
	for _, name := range engines[1:] {
		row := engineRow{Engine: name, Auto: name == auto}
		if row.Auto {
			row.Why = why
		}
		var err error
		if name == "cpu" {
			err = row.cpu()
		} else {
			err = row.device()
		}
		if row.Available = err == nil; err != nil {
			row.Why = err.Error()
		}
		rows = append(rows, row)
	}
	return rows
}

// cpu fills in the CPU engine.
func (r *engineRow) cpu() error {
	b, err := cpu.New(cpu.Options{})
	if err != nil {
		return err
	}
	defer b.Close()
	d := b.Device()
	r.Device, r.Kernels, r.Memory = d.Name, d.Kernels, d.Memory
	r.Bandwidth, r.Peak = kernel.ReadBandwidth(d.Threads), kernel.PeakFLOPS(d.Threads)
	return nil
}

// device fills in an engine that runs the Metal kernels.
func (r *engineRow) device() error {
	dev, err := openDevice(r.Engine, 0)
	if err != nil {
		return err
	}
	b, err := metal.New(dev, metal.Options{})
	if err != nil {
		return errors.Join(err, dev.Close())
	}
	defer b.Close()
	i, d := dev.Info(), b.Device()
	r.Device, r.System, r.Kernels, r.Source, r.Memory = i.Name, i.System, d.Kernels, d.Source, i.Memory
	r.Limits = &limits{i.Limits.MaxBuffer, i.Limits.Threadgroup, i.Limits.MaxThreads, i.Limits.WorkingSet}
	r.Bandwidth, err = copyBandwidth(dev)
	return err
}

// copyBandwidth measures the bytes a second that a device reads and writes when
// it copies.
func copyBandwidth(dev host.Device) (float64, error) { return metal.CopyBandwidth(dev) }

func printEngines(w io.Writer, rows []engineRow) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "engine\tdevice\tmemory\tlargest buffer\tbandwidth\t")
	for _, r := range rows {
		if !r.Available {
			fmt.Fprintf(t, "%s\t-\t\t\t\t\n", r.Engine)
			continue
		}
		most := ""
		if r.Limits != nil {
			most = size(r.Limits.MaxBuffer)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.1f GB/s\t\n", r.Engine, r.Device, size(r.Memory), most, r.Bandwidth/1e9)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range rows {
		switch {
		case !r.Available:
			fmt.Fprintf(w, "%s is not available: %s\n", r.Engine, r.Why)
		case r.Auto:
			fmt.Fprintf(w, "auto is %s: %s (%s/%s)\n", r.Engine, r.Why, runtime.GOOS, runtime.GOARCH)
		}
	}
	return nil
}
