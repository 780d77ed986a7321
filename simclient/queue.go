package simclient

import (
	"context"
	"time"
)

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

// after runs f on the queue after d.
func (c *Client) after(d time.Duration, f func()) *timer {
	t := new(timer)
	t.t = time.AfterFunc(d, func() {
		c.q.Do(func() {
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
