package kurento_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/kurento"
)

// noted is what the hooks of a client were told.
type noted struct {
	lost []error
	back []kurento.Reconnected
}

// noting has the hooks of cfg write to n. Reading it is safe after
// synctest.Wait.
func noting(n *noted) func(*kurento.Config) {
	return func(cfg *kurento.Config) {
		cfg.OnLost = func(err error) { n.lost = append(n.lost, err) }
		cfg.OnReconnect = func(r kurento.Reconnected) { n.back = append(n.back, r) }
		cfg.Backoff = func(int) time.Duration { return time.Second }
	}
}

// TestDeadlines checks that a call ends at its deadline to the instant, the
// default one or the caller's, and that a response that comes later disturbs
// nothing.
func TestDeadlines(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var held []rpcRequest
		w := newWire(t, func(p *peer) {
			p.serve("s", "k", func(r rpcRequest) {
				if r.param("operation") == "hold" {
					held = append(held, r)
					return
				}
				for _, h := range held {
					p.value(h, `"late"`)
				}
				held = nil
				p.value(r, `"in time"`)
			})
		})
		var n noted
		c := dialWire(t, w, noting(&n))
		o := c.Object("o")
		for _, own := range []time.Duration{0, 3 * time.Second, 30 * time.Second} {
			ctx, want := t.Context(), kurento.DefaultRequestTimeout
			if own > 0 {
				ctx, want = within(t, own), own
			}
			began := time.Now()
			err := o.Invoke(ctx, "hold", nil, nil)
			if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != want {
				t.Errorf("after %v: %v; want the deadline after %v", took, err, want)
			}
			// The next answer settles what was abandoned.
			if err := o.Invoke(t.Context(), "answer", nil, nil); err != nil {
				t.Error(err)
			}
		}
		var value string
		if err := o.Invoke(t.Context(), "answer", nil, &value); err != nil || value != "in time" {
			t.Errorf("%q, %v", value, err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(n.lost) != 0 {
			t.Errorf("the connection was given up: %v", n.lost)
		}
	})
}

// TestStuckServer has KMS never answer, though it sends events and pongs: the
// connection is replaced PingTimeout after the deadline of the oldest request,
// which ends the calls that wait behind it.
func TestStuckServer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		stop := make(chan struct{})
		defer close(stop)
		stuck := func(p *peer) {
			go func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Second):
						p.event("o", "Paused", 1)
					}
				}
			}()
			p.serve("s", "k", func(rpcRequest) {})
		}
		w := newWire(t, stuck, plain)
		var n noted
		c := dialWire(t, w, noting(&n))
		began := time.Now()
		if err := c.Ping(within(t, 5*time.Second)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("first call: %v", err)
		}
		var lost *kurento.ConnectionError
		if err := c.Ping(within(t, time.Hour)); !errors.As(err, &lost) || !lost.Sent {
			t.Errorf("second call: %v", err)
		}
		// The check comes with the ping that follows the deadline by more than
		// PingTimeout: deadline 5 s, + 20 s, next ping at 30 s.
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("given up after %v, want 30s", took)
		}
		if err := c.Ping(t.Context()); err != nil {
			t.Errorf("on the new connection: %v", err)
		}
		if len(n.lost) != 1 || !strings.Contains(n.lost[0].Error(), "unanswered") {
			t.Errorf("lost %v", n.lost)
		}
	})
}

// TestHalfOpen has the network swallow everything without a word. Idle, that
// is noticed by silence; with a call under way, when its deadline has passed.
func TestHalfOpen(t *testing.T) {
	tests := map[string]struct {
		call time.Duration // the deadline of a call made meanwhile, 0 for none
		want time.Duration // from the start to the loss
	}{
		"idle":       {0, 30 * time.Second}, // the ping after 20 s of silence
		"calling":    {10 * time.Second, 30 * time.Second},
		"long call":  {time.Minute, 60 * time.Second}, // noticed by the ping at its deadline
		"short call": {time.Second, 30 * time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWire(t, plain)
				var n noted
				change := noting(&n)
				began := time.Now()
				lostAfter := make(chan time.Duration, 1)
				c := dialWire(t, w, func(cfg *kurento.Config) {
					change(cfg)
					cfg.OnLost = func(error) { lostAfter <- time.Since(began) }
				})
				w.freeze()
				if test.call > 0 {
					go func() { _ = c.Ping(within(t, test.call)) }()
				}
				if got := <-lostAfter; got != test.want {
					t.Errorf("noticed after %v, want %v", got, test.want)
				}
				if err := c.Ping(t.Context()); err != nil {
					t.Errorf("on the new connection: %v", err)
				}
				synctest.Wait()
				if len(n.back) != 1 || !n.back[0].Resumed() {
					t.Errorf("reconnected %+v", n.back)
				}
			})
		})
	}
}

// TestLongRequest has KMS work on one request for minutes. It answers no ping
// meanwhile, as measured: that must not look like death.
func TestLongRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, func(p *peer) {
			p.ws.SetPingHandler(func(string) error { return nil })
			p.serve("s", "k", func(r rpcRequest) {
				time.AfterFunc(3*time.Minute, func() { p.answerAll(r) })
			})
		})
		var n noted
		c := dialWire(t, w, noting(&n))
		if err := c.Object("o").Invoke(within(t, 5*time.Minute), "stopAndWait", nil, nil); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if len(n.lost) != 0 {
			t.Errorf("lost %v", n.lost)
		}
	})
}

// TestIdle checks that an idle connection to a live KMS stays for hours.
func TestIdle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, plain)
		var n noted
		c := dialWire(t, w, noting(&n))
		time.Sleep(6 * time.Hour)
		if err := c.Ping(t.Context()); err != nil || len(n.lost) != 0 {
			t.Errorf("%v, lost %v", err, n.lost)
		}
	})
}

// TestWriteBlocked has KMS stop reading, so that a write blocks: the writer is
// freed by the write time-out, and those who wait for their turn by their own.
func TestWriteBlocked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		blocked := func(p *peer) {
			if r, ok := p.next(); ok {
				p.result(r, `{"serverId":"k","sessionId":"s"}`)
			}
			<-p.t.Context().Done()
		}
		w := newWire(t, blocked, plain)
		var n noted
		c := dialWire(t, w, noting(&n))
		began := time.Now()
		var lost *kurento.ConnectionError
		waiting := make(chan struct{})
		go func() {
			defer close(waiting)
			time.Sleep(time.Millisecond)
			err := c.Ping(within(t, 2*time.Second))
			if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != 2001*time.Millisecond {
				t.Errorf("waiting call, after %v: %v", took, err)
			}
		}()
		if err := c.Ping(within(t, time.Minute)); !errors.As(err, &lost) {
			t.Errorf("writing call: %v", err)
		}
		if took := time.Since(began); took > kurento.DefaultWriteTimeout+time.Second {
			t.Errorf("writing call took %v", took)
		}
		<-waiting
		if err := c.Ping(t.Context()); err != nil {
			t.Errorf("on the new connection: %v", err)
		}
		if len(n.lost) != 1 {
			t.Errorf("lost %v", n.lost)
		}
	})
}
