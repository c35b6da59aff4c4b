package cpu

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

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
