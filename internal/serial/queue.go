// Package serial runs functions one at a time and in order, on a goroutine
// that exists only while there is something to run.
//
// A session, a call or a connection's writer is owned by one queue: whoever
// wants to touch its state hands the queue a function. Ten thousand idle
// owners then cost ten thousand small structs and no stacks.
package serial

import "sync"

// Sizes of the ring of waiting functions. The ring starts with minRing slots
// and doubles; one that a burst made larger than keepRing slots is given up
// when the queue falls idle, so that a burst is not paid for ever after.
const (
	minRing  = 4
	keepRing = 64
)

// Queue runs the functions given to Do one at a time, in the order of the Do
// calls. Its zero value is ready to use and unbounded. A Queue must not be
// copied after its first use.
//
// The functions run on a goroutine of the queue's own, but for those given to
// Here never on the caller's, so Do may be called with locks held and from inside a running function. A
// function must return: a panic in it ends the process like any panic in a
// goroutine, and runtime.Goexit leaves the queue stuck.
type Queue struct {
	// Limit is the largest number of functions that may wait, not counting
	// the running one. Zero means no limit. It is set before the first Do and
	// not changed afterwards.
	Limit int
	// Pool has the goroutine; nil starts one each time. It is set before the first
	// Do and not changed afterwards.
	Pool *Pool

	mu      sync.Mutex
	ring    []func()
	head    int
	waiting int
	running bool // the goroutine exists, or Here runs one
	stopped bool
	done    chan struct{} // made on demand, closed when stopped and drained
	loop    func()        // q.run, bound once: `go q.run()` would allocate each time
}

// Do appends f to the queue and returns at once. It returns false, and f will
// never run, when the queue has been stopped or when Limit functions are
// waiting already. Functions passed by one goroutine run in the order in which
// it passed them. What happened before a Do call is visible to its function,
// and what one function did is visible to the next.
func (q *Queue) Do(f func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped || q.Limit > 0 && q.waiting >= q.Limit {
		return false
	}
	q.push(f)
	if !q.running {
		q.start()
	}
	return true
}

// Here is Do for a caller that can spare its own goroutine: f runs on it, before
// Here returns, if the queue is idle. That costs no goroutine's wake-up. The
// caller must not hold a lock that f takes; what others hand the queue meanwhile
// is not the caller's to wait for.
func (q *Queue) Here(f func()) bool {
	q.mu.Lock()
	if q.stopped || q.running || q.waiting > 0 {
		q.mu.Unlock()
		return q.Do(f)
	}
	q.running = true
	q.mu.Unlock()
	f()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting > 0 {
		q.start()
		return true
	}
	q.idle()
	return true
}

// Len returns how many functions are waiting, not counting the running one.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting
}

// Stop refuses all further work and returns at once; what is queued already
// still runs. It may be called from inside a running function, and more than
// once.
func (q *Queue) Stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped {
		return
	}
	q.stopped = true
	if !q.running && q.done != nil {
		close(q.done)
	}
}

// Done returns a channel that is closed once the queue has been stopped and
// everything queued before that has run. After that the queue's goroutine does
// nothing but end.
func (q *Queue) Done() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.done == nil {
		q.done = make(chan struct{})
		if q.stopped && !q.running {
			close(q.done)
		}
	}
	return q.done
}

// Close stops the queue and returns when everything queued before has run. It
// must not be called from inside a running function, which would wait for
// itself: use Stop there.
func (q *Queue) Close() {
	q.Stop()
	<-q.Done()
}

// start begins the goroutine; q.mu is held.
func (q *Queue) start() {
	if q.loop == nil {
		q.loop = q.run
	}
	q.running = true
	if q.Pool != nil {
		q.Pool.Go(q.loop)
		return
	}
	go q.loop()
}

// run is the goroutine: it ends as soon as nothing waits.
func (q *Queue) run() {
	for {
		f := q.next()
		if f == nil {
			return
		}
		f()
	}
}

// next takes the oldest function, or marks the goroutine as ended and returns
// nil.
func (q *Queue) next() func() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting > 0 {
		return q.pop()
	}
	q.idle()
	return nil
}

// idle notes that nothing runs any more; q.mu is held.
func (q *Queue) idle() {
	q.running = false
	if len(q.ring) > keepRing || q.stopped {
		q.ring, q.head = nil, 0
	}
	if q.stopped && q.done != nil {
		close(q.done)
	}
}

// push appends f to the ring; q.mu is held.
func (q *Queue) push(f func()) {
	if q.waiting == len(q.ring) {
		q.grow()
	}
	q.ring[(q.head+q.waiting)&(len(q.ring)-1)] = f
	q.waiting++
}

// pop takes the oldest function off the ring; q.mu is held and the ring is not
// empty.
func (q *Queue) pop() func() {
	f := q.ring[q.head]
	q.ring[q.head] = nil // the ring must not keep what f captured
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.waiting--
	return f
}

// grow doubles the ring, whose length stays a power of two; q.mu is held.
func (q *Queue) grow() {
	ring := make([]func(), max(minRing, 2*len(q.ring)))
	n := copy(ring, q.ring[q.head:])
	copy(ring[n:], q.ring[:q.head])
	q.ring, q.head = ring, 0
}
