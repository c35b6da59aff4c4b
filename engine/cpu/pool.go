package cpu

import (
	"sync"
	"sync/atomic"
)

// pool runs the items of a loop on a fixed number of goroutines.
type pool struct {
	n    int
	jobs chan *job
}

// job is one loop under way.
type job struct {
	items int64
	next  atomic.Int64
	f     func(worker, item int)
	done  sync.WaitGroup
}

func newPool(n int) *pool {
	p := &pool{n: n, jobs: make(chan *job, n)}
	for w := 1; w < n; w++ {
		go func() {
			for j := range p.jobs {
				j.run(w)
				j.done.Done()
			}
		}()
	}
	return p
}

func (p *pool) close() { close(p.jobs) }

func (j *job) run(worker int) {
	for {
		i := j.next.Add(1) - 1
		if i >= j.items {
			return
		}
		j.f(worker, int(i))
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
	j.done.Add(helpers)
	for range helpers {
		p.jobs <- j
	}
	j.run(0)
	j.done.Wait()
}

// ranges cuts n into pieces of at least least and calls f for each.
func (p *pool) ranges(n, least int, f func(worker, from, to int)) {
	pieces := min(max(n/least, 1), 4*p.n)
	p.each(pieces, func(w, i int) { f(w, n*i/pieces, n*(i+1)/pieces) })
}
