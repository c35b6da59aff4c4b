package cpu

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// TestPoolRunsEachItemOnce wants every item run once and no worker at two items
// at the same time: loops right after one another, and loops that find their
// workers asleep, on fewer and on more threads than there are processors.
func TestPoolRunsEachItemOnce(t *testing.T) {
	for _, n := range []int{1, 2, 3, 4 * runtime.NumCPU(), MaxThreads} {
		p := newPool(n)
		for loop := range 300 {
			items := loop % 40
			if loop%100 == 50 {
				items = 3 * n
			}
			if loop%30 == 29 {
				time.Sleep(3 * lookout / 2)
			}
			ran, busy := make([]atomic.Int32, items), make([]atomic.Int32, n)
			p.each(items, func(worker, item int) {
				if busy[worker].Add(1) != 1 {
					t.Errorf("%d threads: worker %d is at two items", n, worker)
				}
				ran[item].Add(1)
				if item%7 == 3 {
					runtime.Gosched()
				}
				busy[worker].Add(-1)
			})
			for i := range ran {
				if got := ran[i].Load(); got != 1 {
					t.Fatalf("%d threads, loop %d: item %d of %d ran %d times", n, loop, i, items, got)
				}
			}
		}
		p.close()
	}
}

// TestPoolWaitsForTheLast wants each to return after its last item, also when
// that takes longer than anyone looks out for.
func TestPoolWaitsForTheLast(t *testing.T) {
	p := newPool(3)
	defer p.close()
	for range 20 {
		var done atomic.Int32
		p.each(3, func(_, item int) {
			if item > 0 {
				time.Sleep(time.Duration(item) * 2 * lookout)
			}
			done.Add(1)
		})
		if got := done.Load(); got != 3 {
			t.Fatalf("%d of 3 items were done", got)
		}
	}
}

// TestPoolCloses wants a closed pool to leave no goroutine behind, and an idle
// one to use no processor.
func TestPoolCloses(t *testing.T) {
	before := runtime.NumGoroutine()
	p := newPool(8)
	p.each(100, func(int, int) {})
	deadline := time.Now().Add(5 * time.Second)
	for p.asleep.Load() != 7 {
		if time.Now().After(deadline) {
			t.Fatalf("%d of 7 idle workers sleep", p.asleep.Load())
		}
		time.Sleep(lookout)
	}
	p.close()
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, want the %d from before", runtime.NumGoroutine(), before)
		}
		time.Sleep(lookout)
	}
}

// BenchmarkPool is what a loop costs that has nothing to do.
func BenchmarkPool(b *testing.B) {
	p := newPool(runtime.NumCPU())
	defer p.close()
	for b.Loop() {
		p.each(p.n, func(int, int) {})
	}
}
