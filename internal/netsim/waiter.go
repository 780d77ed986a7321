package netsim

import (
	"os"
	"sync"
	"time"
)

// waiter is where goroutines wait for something to change or for an instant
// to come. All its methods need the lock that it was made with. It is built on
// a condition variable because in a synctest bubble waiting for one lets time
// move on, which waiting for a mutex does not.
type waiter struct {
	cond     sync.Cond
	deadline time.Time
	timer    *time.Timer
	armed    time.Time // when the timer will fire; zero when it will not
}

// init ties the waiter to its lock.
func (w *waiter) init(mu *sync.Mutex) { w.cond.L = mu }

// expired tells whether the deadline has passed.
func (w *waiter) expired() bool {
	return !w.deadline.IsZero() && !time.Now().Before(w.deadline)
}

// check returns os.ErrDeadlineExceeded if the deadline has passed.
func (w *waiter) check() error {
	if w.expired() {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// setDeadline changes the deadline of waits under way and to come.
func (w *waiter) setDeadline(t time.Time) {
	w.deadline = t
	w.cond.Broadcast()
}

// wait returns after a broadcast, at the deadline, or at the instant given
// unless that is zero. It may also return for no reason: the caller looks again.
func (w *waiter) wait(until time.Time) {
	if until.IsZero() || !w.deadline.IsZero() && w.deadline.Before(until) {
		until = w.deadline
	}
	if !until.IsZero() && (w.armed.IsZero() || until.Before(w.armed)) {
		w.arm(until)
	}
	w.cond.Wait()
}

// arm sets the timer. One armed too early is left alone by wait: it costs a
// needless wake-up, and saves resetting it for every message under a deadline
// that keeps moving on.
func (w *waiter) arm(at time.Time) {
	w.armed = at
	if w.timer == nil {
		w.timer = time.AfterFunc(time.Until(at), w.fire)
		return
	}
	w.timer.Reset(time.Until(at))
}

// fire wakes everybody when the timer has run down.
func (w *waiter) fire() {
	w.cond.L.Lock()
	defer w.cond.L.Unlock()
	w.armed = time.Time{}
	w.cond.Broadcast()
}

// stop puts the timer away and wakes everybody, for good.
func (w *waiter) stop() {
	w.cond.Broadcast()
	if w.timer != nil {
		w.timer.Stop()
		w.armed = time.Time{}
	}
}
