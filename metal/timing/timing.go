// Package timing times the Metal backend's kernels on a device, each beside what
// the device's memory does at most. It runs the operations that a model runs, on
// made-up weights of a model's sizes, and says nothing of their results.
package timing

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"assay/engine/dsv4"
	"assay/metal"
	"assay/metal/host"
)

// Row is one kernel, or a few that make an operation, timed.
type Row struct {
	Name        string  `json:"name"`
	Shape       string  `json:"shape"`
	Activations string  `json:"activations"`
	Seconds     float64 `json:"seconds"`       // of one call, the median of several repetitions
	Spread      float64 `json:"spread"`        // of the repetitions, (most − least)/median
	Bytes       int64   `json:"bytes"`         // that a call must move
	FLOPs       int64   `json:"flops"`         // that it must compute
	Dispatches  int     `json:"dispatches"`    // of a call
	ShareOfCopy float64 `json:"share_of_copy"` // bytes a second by those of a copy
	// Want is what the project asks of an H200: a share of its copy, or with
	// FLOPs a rate. 0 where it asks nothing.
	Want     float64 `json:"want,omitempty"`
	WantRate float64 `json:"want_rate,omitempty"`
}

// BytesPerSecond is the rate at which the row moves its bytes.
func (r Row) BytesPerSecond() float64 { return float64(r.Bytes) / r.Seconds }

// FLOPsPerSecond is the rate at which it computes.
func (r Row) FLOPsPerSecond() float64 { return float64(r.FLOPs) / r.Seconds }

// Missed says that the row is under what is wanted of it.
func (r Row) Missed() bool {
	return r.Want > 0 && r.ShareOfCopy < r.Want || r.WantRate > 0 && r.FLOPsPerSecond() < r.WantRate
}

// Report is a device's rows.
type Report struct {
	Device host.Info `json:"device"`
	Copy   float64   `json:"copy"` // bytes a second, read and written
	Rows   []Row     `json:"rows"`
}

// Options say what is timed and for how long.
type Options struct {
	// Divide makes every size so much smaller: for tests, where rates mean nothing.
	Divide int
	// Cache is the device's last cache in bytes: weights rotate over four times
	// as much. 0 stands for 64 MB.
	Cache int64
	// Time is how long a repetition lasts, about. 0 stands for 20 ms.
	Time time.Duration
	// Only is the names of what is timed, none for all.
	Only []string
	// Each, where set, sees every row as it is made.
	Each func(Row)
}

// repetitions of a row.
const repetitions = 7

// Run times all cases on a device.
func Run(ctx context.Context, dev host.Device, o Options) (Report, error) {
	if o.Divide == 0 {
		o.Divide = 1
	}
	if o.Cache == 0 {
		o.Cache = 64 << 20
	}
	if o.Time == 0 {
		o.Time = 20 * time.Millisecond
	}
	r := Report{Device: dev.Info()}
	var err error
	if r.Copy, err = metal.CopyBandwidth(dev); err != nil {
		return r, err
	}
	add := func(row Row) error {
		row.ShareOfCopy = row.BytesPerSecond() / r.Copy
		r.Rows = append(r.Rows, row)
		if o.Each != nil {
			o.Each(row)
		}
		return ctx.Err()
	}
	for _, c := range cases() {
		if !o.wants(c.name) {
			continue
		}
		row, err := c.time(dev, o)
		if err != nil {
			return r, fmt.Errorf("timing: %s %s: %w", row.Name, row.Shape, err)
		}
		if err := add(row); err != nil {
			return r, err
		}
	}
	err = timeSteps(dev, o, add)
	return r, err
}

// wants says whether rows of a name are asked for.
func (o Options) wants(name string) bool { return len(o.Only) == 0 || slices.Contains(o.Only, name) }

// clock is what a device may have to time its own work with.
type clock interface {
	Time(run func() error) (float64, error)
}

// seconds times what run submits, from its start to its end.
func seconds(dev host.Device, run func() error) (float64, error) {
	if c, ok := dev.(clock); ok {
		return c.Time(run)
	}
	start := time.Now()
	if err := run(); err != nil {
		return 0, err
	}
	err := dev.Wait()
	return time.Since(start).Seconds(), err
}

// recorder passes on what is submitted to a device, and keeps it: so that the
// same dispatches run again without what it takes to encode them.
type recorder struct {
	host.Device
	on bool
	ds []host.Dispatch
}

func (r *recorder) Submit(ds []host.Dispatch) error {
	if r.on {
		r.ds = append(r.ds, ds...)
	}
	return r.Device.Submit(ds)
}

// Close leaves the device to who opened it.
func (r *recorder) Close() error { return nil }

// call is an operation that a case times; i counts its calls, so that each can
// take other weights.
type call func(i int)

// measure times calls of an operation, each in its turn over n sets of weights.
func measure(row *Row, dev *recorder, o Options, ops dsv4.Ops, y dsv4.Array, n int, do call) error {
	wait := func() error { return ops.Read(make([]float32, 1), y, 0) }
	do(0) // compiles
	if err := wait(); err != nil {
		return err
	}
	dev.on = true
	for i := range n {
		do(i)
	}
	if err := wait(); err != nil {
		return err
	}
	dev.on = false
	row.Dispatches = len(dev.ds) / n
	once := func() error { return dev.Device.Submit(dev.ds) }
	t, err := seconds(dev.Device, once)
	if err != nil {
		return err
	}
	times := max(1, min(int(o.Time.Seconds()/t), 1000))
	var all []float64
	for range repetitions {
		t, err := seconds(dev.Device, func() error {
			for range times {
				if err := once(); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		all = append(all, t/float64(times*n))
	}
	slices.Sort(all)
	row.Seconds = all[repetitions/2]
	row.Spread = (all[repetitions-1] - all[0]) / row.Seconds
	return nil
}

// Print writes a report for people.
func (r Report) Print(w io.Writer) error {
	fmt.Fprintf(w, "%s, %s: a copy moves %.0f GB/s (read and written)\n", r.Device.Name, r.Device.System, r.Copy/1e9)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "kernel\tshape\tactivations\tµs\tspread\tGB/s\tof copy\tTFLOP/s\tdispatches\twanted")
	for _, x := range r.Rows {
		wanted := ""
		switch {
		case x.Want > 0:
			wanted = fmt.Sprintf("%.0f %% of copy", 100*x.Want)
		case x.WantRate > 0:
			wanted = fmt.Sprintf("%.0f TFLOP/s", x.WantRate/1e12)
		}
		if x.Missed() {
			wanted += ": missed"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%.1f\t%.1f %%\t%.0f\t%.0f %%\t%.2f\t%d\t%s\n", x.Name, x.Shape, x.Activations, x.Seconds*1e6,
			100*x.Spread, x.BytesPerSecond()/1e9, 100*x.ShareOfCopy, x.FLOPsPerSecond()/1e12, x.Dispatches, wanted)
	}
	return t.Flush()
}
