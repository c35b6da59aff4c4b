package metal

import (
	"fmt"

	"assay/engine/dsv4"
)

// scratchBytes is what operations allocate beside the model's arrays, for
// batches of t tokens of sequences of up to longest.
func (b *Backend) scratchBytes(c *dsv4.Config, t, longest int) int64 {
	var sum int64
	for _, f := range []func(c *dsv4.Config, t, longest int) int64{
		hyperScratch, attendScratch, selectScratch, routeScratch, headBytes, expertBytes,
	} {
		sum += f(c, t, longest)
	}
	return sum
}

// fits errs, with the sums, if weights and the rest do not fit what buffers may
// take.
func (b *Backend) fits(name string, weights, rest int64) error {
	limit := b.memory()
	if limit == 0 || weights+rest <= limit {
		return nil
	}
	return fmt.Errorf("metal: %s needs %s (weights %s, states and scratch %s), and the device keeps %s resident%s",
		name, gigabytes(weights+rest), gigabytes(weights), gigabytes(rest), gigabytes(limit), b.raise(weights+rest))
}

// raise tells the owner of a Mac how to raise the limit where that would help.
func (b *Backend) raise(need int64) string {
	i := b.dev.Info()
	if i.Driver != "metal" || need > i.Memory-SystemReserve {
		return ""
	}
	return fmt.Sprintf("; sudo sysctl iogpu.wired_limit_mb=%d would raise that until the next start", (need>>20)+1024)
}
