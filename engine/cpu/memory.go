package cpu

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"assay/engine/cpu/kernel"
	"assay/engine/dsv4"
)

// scratchBytes returns the most that the kernels' scratch takes for batches of
// t tokens of sequences of up to longest: of the operation as a whole, and of
// each thread.
func (b *Backend) scratchBytes(c *dsv4.Config, t, longest int) int64 {
	n, d, wide := c.HCMult, c.HiddenSize, c.MoEIntermediateSize
	whole := max(t*((2+n)*n+n+1), t*c.NRoutedExperts, t*c.NumExpertsPerTok*d) + 2*t*wide

	per := max(kernel.Panel/c.NumAttentionHeads, 1) // queries of an attention panel
	pooled, blocks := 0, 0                          // entries that it lists, and that an indexer scores
	for i := range c.NumHiddenLayers {
		if r := c.Ratio(i); c.Indexed(i) {
			blocks = longest / r
			pooled = max(pooled, min(per*c.IndexTopK, blocks))
		} else if r != 0 {
			pooled = max(pooled, longest/r)
		}
	}
	keys := min(c.SlidingWindow+per-1, longest) + pooled
	cols := max(n*d, c.NumAttentionHeads*c.HeadDim/c.OGroups, c.OGroups*c.OLoraRank, c.QLoraRank, wide)
	thread := max(
		cols*kernel.Panel,
		kernel.AttendRoom(c.HeadDim, keys),
		selectTokens*c.IndexNHeads+(2*selectTokens+1)*blocks+kernel.IndexRoom(c.IndexHeadDim),
		2*t*wide+max(d, wide)*kernel.Panel,
	)
	return 4 * (int64(whole) + int64(b.opt.Threads)*int64(thread))
}

// need is one part of what must fit.
type need struct {
	what  string
	bytes int64
}

// fits errs, with the sums, if the parts do not fit the memory there is. Where
// the system does not say what is free, it lets them pass.
func (b *Backend) fits(name string, parts ...need) error {
	free := b.memory()
	if free == 0 {
		return nil
	}
	var sum int64
	var terms []string
	for _, p := range parts {
		sum += p.bytes
		terms = append(terms, fmt.Sprintf("%s %s", p.what, gigabytes(p.bytes)))
	}
	if sum <= free {
		return nil
	}
	return fmt.Errorf("cpu: %s needs %s (%s), and %s is free", name, gigabytes(sum), strings.Join(terms, ", "), gigabytes(free))
}

func gigabytes(n int64) string { return fmt.Sprintf("%.2f GB", float64(n)/1e9) }

// memory returns the bytes that the backend may take, or 0 if unknown.
func (b *Backend) memory() int64 {
	if b.opt.Memory != 0 {
		return b.opt.Memory
	}
	return FreeMemory()
}

// FreeMemory returns what a program may still allocate without swapping: on
// Linux MemAvailable, or what the control group leaves if that is less; on a
// Mac, which does not say it as plainly, the machine's memory; elsewhere 0.
func FreeMemory() int64 {
	if n := systemMemory(); n > 0 {
		return n
	}
	free := meminfo("/proc/meminfo", "MemAvailable:")
	limit, used := number("/sys/fs/cgroup/memory.max"), number("/sys/fs/cgroup/memory.current")
	// What is cached of files, mapped shards among them, can be had back.
	cached, _ := strconv.ParseInt(fileField("/sys/fs/cgroup/memory.stat", "inactive_file "), 10, 64)
	if left := limit - used + cached; limit > 0 && (free == 0 || left < free) {
		free = max(left, 1)
	}
	return free
}

// MachineMemory returns the machine's memory in bytes, or 0 where the system
// does not say.
func MachineMemory() int64 {
	if n := systemMemory(); n > 0 {
		return n
	}
	return meminfo("/proc/meminfo", "MemTotal:")
}

// meminfo returns a field of a file of lines "field N kB", in bytes.
func meminfo(path, field string) int64 {
	kb, _ := strconv.ParseInt(strings.TrimSuffix(fileField(path, field), " kB"), 10, 64)
	return kb << 10
}

func number(path string) int64 {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	return n
}

// fileField returns what follows field on the first line that begins with it.
func fileField(path, field string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), field); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// Processor returns the processor's name as the system gives it, or its
// architecture.
func Processor() string {
	name := strings.TrimSpace(strings.TrimPrefix(fileField("/proc/cpuinfo", "model name"), ":"))
	if name == "" {
		name = systemProcessor()
	}
	if name == "" {
		return runtime.GOARCH
	}
	return name
}
