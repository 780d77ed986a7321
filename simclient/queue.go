package simclient

import (
	"context"
	"sync"
	"time"

	"github.com/callbench/callbench/internal/serial"
)

// appQueue runs what the app does, in order: its reactions to frames, to timers
// and to Pion's events, and what it is asked for. While it is held these wait,
// as a suspended app's do. The machine below the app does not: that is what now
// is for.
type appQueue struct {
	run serial.Queue

	mu   sync.Mutex
	why  heldFor
	held []func()
}

// heldFor is why a queue is held: one or both.
type heldFor uint8

const (
	heldInBackground heldFor = 1 << iota
	heldAsleep
)

// Do runs f when it is its turn, and returns false if it never will be.
func (q *appQueue) Do(f func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.why != 0 {
		q.held = append(q.held, f)
		return true
	}
	return q.run.Do(f)
}

// now runs f behind what runs already, held or not.
func (q *appQueue) now(f func()) bool { return q.run.Do(f) }

func (q *appQueue) hold(why heldFor) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.why |= why
}

// release hands on what has waited, in order, if nothing else holds it.
func (q *appQueue) release(why heldFor) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.why &^= why; q.why != 0 {
		return
	}
	for _, f := range q.held {
		q.run.Do(f)
	}
	q.held = nil
}

// do runs f on the client's queue and waits until f or something that it
// started calls done, once.
func (c *Client) do(ctx context.Context, f func(done func(error))) error {
	result := make(chan error, 1)
	if !c.q.Do(func() { f(func(err error) { result <- err }) }) {
		return ErrClosed
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.ctx.Done():
		return ErrClosed
	}
}

// timer is a timer of the queue: once stopped, on the queue, it never fires.
type timer struct {
	t       *time.Timer
	stopped bool
}

// after runs f on the queue after d, as an app's timer does.
func (c *Client) after(d time.Duration, f func()) *timer { return newTimer(d, c.q.Do, f) }

// afterAll runs f on the queue after d, whether the app runs or not.
func (c *Client) afterAll(d time.Duration, f func()) *timer { return newTimer(d, c.q.now, f) }

func newTimer(d time.Duration, do func(func()) bool, f func()) *timer {
	t := new(timer)
	t.t = time.AfterFunc(d, func() {
		do(func() {
			if !t.stopped {
				t.stopped = true
				f()
			}
		})
	})
	return t
}

// stop may be called for a timer that is nil, has fired or was stopped.
func (t *timer) stop() {
	if t != nil {
		t.stopped = true
		t.t.Stop()
	}
}

// pending reports whether the timer is yet to fire.
func (t *timer) pending() bool { return t != nil && !t.stopped }
