package kernel

import (
	"runtime"
	"sync"
	"time"
)

// limitBytes is what ReadBandwidth goes through: several times any cache that
// threads of one machine share.
const limitBytes = 256 << 20

// limitTime is about how long each measurement takes, after its first run.
const limitTime = 300 * time.Millisecond

// ReadBandwidth measures the bytes a second that so many threads together read
// from memory, as the best of several passes over 256 MiB, each thread over its
// own part, which it adds up as four streams. It allocates them. It returns 0 in
// a program without kernels.
func ReadBandwidth(threads int) float64 {
	if Best() == nil {
		return 0
	}
	part := limitBytes / 4 / threads &^ 255
	all := make([]float32, part*threads)
	for i := range all {
		all[i] = 1 // every page a page of its own
	}
	return float64(4*len(all)) * best(threads, func(i int) { Best().read(all[i*part:][:part]) })
}

// PeakFLOPS measures the float32 operations a second of so many threads that
// multiply and add in registers, the best of several runs; a fused multiply-add
// counts as two. It returns 0 in a program without kernels.
func PeakFLOPS(threads int) float64 {
	if Best() == nil {
		return 0
	}
	const steps = 1 << 20
	fmas := Best().multiply(1) * steps
	return 2 * float64(fmas*threads) * best(threads, func(int) { Best().multiply(steps) })
}

// best returns the most rounds a second in which each of so many threads runs f
// once.
func best(threads int, f func(i int)) float64 {
	var rate float64
	for start := time.Now(); rate == 0 || time.Since(start) < limitTime; {
		rate = max(rate, 1/round(threads, f).Seconds())
	}
	return rate
}

// round runs f on each thread at the same time and returns how long that takes
// from the first start to the last end.
func round(threads int, f func(i int)) time.Duration {
	var ready, done sync.WaitGroup
	begin := make(chan struct{})
	for i := range threads {
		ready.Add(1)
		done.Add(1)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			ready.Done()
			<-begin
			f(i)
			done.Done()
		}()
	}
	ready.Wait()
	start := time.Now()
	close(begin)
	done.Wait()
	return time.Since(start)
}
