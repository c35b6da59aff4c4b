package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// pool runs the items of a loop on a fixed number of goroutines. Between loops
// a few of them look out for the next one for a while before they sleep: waking
// a goroutine takes longer than most loops of a decoded token.
type pool struct {
	n       int
	current atomic.Pointer[job] // the last loop begun; a worker that has seen it waits for another
	looking atomic.Int32        // workers that look out
	most    int32               // of them at once: one a processor beside the caller's

	asleep atomic.Int32
	mu     sync.Mutex // guards falling asleep, and closed
	wake   sync.Cond
	closed bool
}

// lookout is how long a worker, and whoever waits for one, looks out before it
// sleeps. A decoded token's loops follow within a few microseconds.
const lookout = 100 * time.Microsecond

// job is one loop under way.
type job struct {
	items    int64
	f        func(worker, item int)
	next     atomic.Int64
	finished atomic.Int64
	sleeper  atomic.Pointer[chan struct{}] // who waits for the last item, if it sleeps
}

func newPool(n int) *pool {
	p := &pool{n: n, most: int32(min(n, runtime.GOMAXPROCS(0)) - 1)}
	p.wake.L = &p.mu
	for w := 1; w < n; w++ {
		go p.work(w)
	}
	return p
}

// close ends the workers. No loop may be under way.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.wake.Broadcast()
}

func (p *pool) work(worker int) {
	var seen *job
	for {
		j := p.await(seen)
		if j == nil {
			return
		}
		j.run(worker)
		seen = j
	}
}

// await returns the next loop after seen, or nil once the pool is closed.
func (p *pool) await(seen *job) *job {
	if p.looking.Add(1) <= p.most {
		spin(func() bool { return p.current.Load() != seen })
	}
	p.looking.Add(-1)
	if j := p.current.Load(); j != seen {
		return j
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	// Whoever begins a loop stores it and then asks who sleeps; a worker counts
	// as asleep and then looks once more. One of the two sees the other.
	p.asleep.Add(1)
	defer p.asleep.Add(-1)
	for {
		if p.closed {
			return nil
		}
		if j := p.current.Load(); j != seen {
			return j
		}
		p.wake.Wait()
	}
}

// each calls f for items 0..items-1 and returns when all are done. Items that
// run at the same time have different workers, 0..n-1. One loop at a time.
func (p *pool) each(items int, f func(worker, item int)) {
	helpers := min(p.n, items) - 1
	if helpers <= 0 {
		for i := range items {
			f(0, i)
		}
		return
	}
	j := &job{items: int64(items), f: f}
	p.current.Store(j)
	if p.asleep.Load() > 0 {
		p.mu.Lock()
		for range helpers {
			p.wake.Signal()
		}
		p.mu.Unlock()
	}
	j.run(0)
	j.wait()
	j.f = nil // the pool keeps j until the next loop, and need not keep what f holds
}

// run takes items until there are none.
func (j *job) run(worker int) {
	for {
		i := j.next.Add(1) - 1
		if i >= j.items {
			return
		}
		j.f(worker, int(i))
		if j.finished.Add(1) == j.items {
			if c := j.sleeper.Load(); c != nil {
				*c <- struct{}{}
			}
		}
	}
}

// wait returns when all items are finished.
func (j *job) wait() {
	done := func() bool { return j.finished.Load() == j.items }
	if spin(done) {
		return
	}
	c := make(chan struct{}, 1) // the last worker may send before anyone receives
	j.sleeper.Store(&c)
	if !done() {
		<-c
	}
}

// spin waits for ready, at most for lookout, and returns whether it has come. It
// lets other goroutines run meanwhile.
func spin(ready func() bool) bool {
	var start time.Time
	for round := 0; ; round++ {
		for range 64 {
			if ready() {
				return true
			}
			pause()
		}
		switch {
		case start.IsZero():
			start = time.Now()
		case time.Since(start) > lookout:
			return ready()
		}
		runtime.Gosched()
	}
}

// ranges cuts n into pieces of at least least and calls f for each.
func (p *pool) ranges(n, least int, f func(worker, from, to int)) {
	pieces := min(max(n/least, 1), 4*p.n)
	p.each(pieces, func(w, i int) { f(w, n*i/pieces, n*(i+1)/pieces) })
}
