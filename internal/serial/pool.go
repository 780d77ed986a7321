package serial

import "sync"

// Pool keeps goroutines whose stacks have grown for the next that is to be done: a
// new one would copy its stack two or three times on the way to a socket. Its zero
// value keeps none, and starts one for each function.
type Pool struct {
	// Keep is how many goroutines may wait for something to do. It is set before
	// the first Go and not changed afterwards.
	Keep int

	mu     sync.Mutex
	idle   []chan func() // of those that wait, the warmest last
	closed bool
	all    sync.WaitGroup
}

// Go runs f on a goroutine of the pool's, and returns at once.
func (p *Pool) Go(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		p.idle[n-1] <- f // it has a place for one
		p.idle = p.idle[:n-1]
		return
	}
	if p.closed { // Close waits for no new ones
		go f()
		return
	}
	p.all.Go(func() { p.work(f) })
}

// work runs f, and what comes after it.
func (p *Pool) work(f func()) {
	next := make(chan func(), 1)
	for f != nil {
		f()
		if !p.wait(next) {
			return
		}
		f = <-next
	}
}

// wait makes a goroutine one that waits, unless enough do.
func (p *Pool) wait(next chan func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= p.Keep {
		return false
	}
	p.idle = append(p.idle, next)
	return true
}

// Close ends the goroutines that wait, and returns when those that run have ended.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	for _, next := range p.idle {
		next <- nil
	}
	p.idle = nil
	p.mu.Unlock()
	p.all.Wait()
}
