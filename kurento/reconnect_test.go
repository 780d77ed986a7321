package kurento_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/kurento"
)

// kms is a script: a KMS with these ids that raises an event of o with each
// ping.
func kms(session, server string) func(*peer) {
	return func(p *peer) {
		p.serve(session, server, func(r rpcRequest) {
			if r.Method == "ping" {
				p.event("o", "Paused", 1)
			}
			p.answerAll(r)
		})
	}
}

// TestReconnect checks, for each state in which KMS can be found again, what
// the owner is told and whether a subscription still brings events.
func TestReconnect(t *testing.T) {
	tests := map[string]struct {
		second func(*peer)
		want   kurento.Reconnected
		events int
	}{
		"same session": {kms("s", "k"), kurento.Reconnected{Session: "s", Server: "k", SameServer: true, SameSession: true}, 2},
		"session gone": {kms("s2", "k"), kurento.Reconnected{Session: "s2", Server: "k", SameServer: true}, 1},
		"restarted":    {kms("s2", "k2"), kurento.Reconnected{Session: "s2", Server: "k2"}, 1},
		// Another client's request that names a dead session creates it anew.
		"restarted, session recreated": {kms("s", "k2"), kurento.Reconnected{Session: "s", Server: "k2", SameSession: true}, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWire(t, kms("s", "k"), test.second)
				var n noted
				c := dialWire(t, w, noting(&n))
				events := 0
				sub, err := c.Subscribe(t.Context(), "o", func(kurento.Event) { events++ }, kurento.EventPaused)
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Ping(t.Context()); err != nil {
					t.Fatal(err)
				}
				w.cut()
				synctest.Wait()
				if c.Connected() || len(n.lost) != 1 || len(n.back) != 0 {
					t.Errorf("after the cut: connected %v, %+v", c.Connected(), n)
				}
				if err := c.Ping(t.Context()); err != nil { // waits
					t.Fatal(err)
				}
				synctest.Wait()
				test.want.Attempts, test.want.Outage = 1, time.Second
				if len(n.back) != 1 || n.back[0] != test.want {
					t.Errorf("told %+v, want %+v", n.back, test.want)
				}
				if c.Session() != test.want.Session || c.ServerID() != test.want.Server || !c.Connected() {
					t.Errorf("session %s, server %s, connected %v", c.Session(), c.ServerID(), c.Connected())
				}
				if events != test.events {
					t.Errorf("%d events, want %d", events, test.events)
				}
				if err := sub.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestOutage has KMS away for a while: calls made meanwhile wait for it, or
// end at their deadline with the certainty that they were not sent.
func TestOutage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, plain)
		var n noted
		c := dialWire(t, w, noting(&n))
		w.refuse(true)
		w.cut()
		synctest.Wait()
		began := time.Now()
		var lost *kurento.ConnectionError
		err := c.Ping(within(t, 4500*time.Millisecond))
		if !errors.As(err, &lost) || lost.Sent || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("call in the outage: %v", err)
		}
		w.refuse(false)
		if err := c.Ping(t.Context()); err != nil {
			t.Errorf("call that waits: %v", err)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("back after %v, want 5s", took)
		}
		if len(n.back) != 1 || n.back[0].Attempts != 5 || n.back[0].Outage != 5*time.Second {
			t.Errorf("told %+v", n.back)
		}
	})
}

// TestReconnectComesFirst checks that the owner learns of a new session before
// any waiting call goes out on it.
func TestReconnectComesFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var order []string
		w := newWire(t, kms("s", "k"), func(p *peer) {
			p.serve("s2", "k2", func(r rpcRequest) {
				order = append(order, r.Method)
				p.answerAll(r)
			})
		})
		c := dialWire(t, w, func(cfg *kurento.Config) {
			cfg.OnReconnect = func(kurento.Reconnected) {
				time.Sleep(time.Second)
				order = append(order, "told")
			}
		})
		w.cut()
		synctest.Wait()
		if err := c.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		if want := []string{"told", "ping"}; !slices.Equal(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
	})
}

// TestReconnectAgain loses the connection during the greeting and right after
// it, several times.
func TestReconnectAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		hangUp := func(p *peer) { p.next() }
		greetAndHangUp := func(p *peer) {
			if r, ok := p.next(); ok {
				p.result(r, `{"serverId":"k","sessionId":"s"}`)
			}
		}
		w := newWire(t, kms("s", "k"), hangUp, greetAndHangUp, hangUp, hangUp, greetAndHangUp, kms("s", "k"))
		var n noted
		c := dialWire(t, w, noting(&n))
		w.cut()
		time.Sleep(20 * time.Second)
		if err := c.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		attempts := make([]int, 0, 3)
		for _, r := range n.back {
			attempts = append(attempts, r.Attempts)
		}
		if want := []int{2, 3, 1}; !slices.Equal(attempts, want) {
			t.Errorf("attempts %v, want %v", attempts, want)
		}
	})
}

// TestTakeOver has one client resume the session of another.
func TestTakeOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, kms("s", "k"))
		first := dialWire(t, w, nil)
		_ = first.Close()
		second := dialWire(t, w, func(cfg *kurento.Config) { cfg.Session = first.Session() })
		if second.Session() != "s" {
			t.Errorf("session %s", second.Session())
		}
		events := 0
		if _, err := second.Subscribe(t.Context(), "o", func(kurento.Event) { events++ }, kurento.EventPaused); err != nil {
			t.Fatal(err)
		}
		if err := second.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if events != 1 {
			t.Errorf("%d events", events)
		}
		third := dialWire(t, w, func(cfg *kurento.Config) { cfg.Session = "unknown" })
		if third.Session() != "s" {
			t.Errorf("an unknown session gave %s, want a new one", third.Session())
		}
	})
}

// TestSubscribeAcrossSessions loses the session while a subscription is being
// made: it must fail, not look like one that works.
func TestSubscribeAcrossSessions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWire(t, kms("s", "k"), kms("s2", "k2"))
		c := dialWire(t, w, nil)
		w.cut()
		synctest.Wait()
		if _, err := c.Subscribe(t.Context(), "o", func(kurento.Event) {}, kurento.EventPaused); err == nil {
			t.Error("subscribed to an object of a lost session")
		}
	})
}

// TestDefaultBackoff checks the bounds that its comment promises.
func TestDefaultBackoff(t *testing.T) {
	for attempt := range 100 {
		whole := 5 * time.Second
		if attempt >= 1 && attempt <= 6 {
			whole = 100 * time.Millisecond << (attempt - 1)
		}
		if got := kurento.DefaultBackoff(attempt); got < whole/2 || got >= whole {
			t.Errorf("attempt %d: %v, want %v to %v", attempt, got, whole/2, whole)
		}
	}
}
