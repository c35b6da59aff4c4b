package metal

import (
	"context"
	"time"

	"assay/metal/host"
	"assay/metal/kernels"
)

// CopyBandwidth measures the bytes a second that a device reads and writes
// together as it copies, the best of several runs over buffers that no cache
// holds.
func CopyBandwidth(dev host.Device) (float64, error) {
	if err := dev.Compile(context.Background(), kernels.Program([]kernels.Instance{kernels.Copy()})); err != nil {
		return 0, err
	}
	n := min(dev.Info().Limits.MaxBuffer, 512<<20) &^ 255
	if dev.Info().Driver == "emu" {
		n = 64 << 20
	}
	x, err := dev.NewBuffer(n)
	if err != nil {
		return 0, err
	}
	defer x.Free()
	y, err := dev.NewBuffer(n)
	if err != nil {
		return 0, err
	}
	defer y.Free()
	args := kernels.CopyArgs{N: uint64(n / 16)}
	d := host.Dispatch{
		Kernel: kernels.Copy().Name(), Label: "copy", Grid: [3]int{4096, 1, 1}, Threads: 256, Bytes: 2 * n,
		Args: []host.Arg{
			{Buffer: x, Uses: []host.Use{{At: 0, Len: n, Access: host.Read}}},
			{Buffer: y, Uses: []host.Use{{At: 0, Len: n, Access: host.Write}}},
			raw(&args),
		},
	}
	const most, each = 8, 4
	best := 0.0
	for range most {
		var ds []host.Dispatch
		for i := range each {
			d.Barrier = i > 0
			ds = append(ds, d)
		}
		start := time.Now()
		if err := dev.Submit(ds); err != nil {
			return 0, err
		}
		if err := dev.Wait(); err != nil {
			return 0, err
		}
		best = max(best, float64(2*n*each)/time.Since(start).Seconds())
	}
	return best, nil
}
