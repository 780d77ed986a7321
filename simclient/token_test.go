package simclient

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/signaling"
)

// tokens gives another token each time; the first one is alice's name, by which
// the fake server knows her.
func tokens(asked *int, fail func(n int) error) func(*Config) {
	return func(c *Config) {
		c.Token = func(context.Context) (string, error) {
			*asked++
			if *asked == 1 {
				return "alice", nil
			}
			if err := fail(*asked); err != nil {
				return "", err
			}
			return "t-" + strconv.Itoa(*asked), nil
		}
	}
}

func never(int) error { return nil }

// TestTokenIsRefreshed when four fifths of its life are over, again and again.
func TestTokenIsRefreshed(t *testing.T) {
	bubble(t, func(r *rig) {
		r.srv.tokenTTL = 100
		asked := 0
		alice := r.connected("alice", tokens(&asked, never))
		time.Sleep(165 * time.Second)
		found := alice.find(eventTokenRefreshed, "ttl=100")
		if len(found) != 2 || found[0].at != 80*time.Second+80*time.Millisecond || found[1].at-found[0].at != 80*time.Second+20*time.Millisecond {
			t.Errorf("refreshed %v, want twice, each 80 s after the server said 100 s", found)
		}
		r.srv.locked(func() {
			if got := r.srv.sessions["alice"].tokens; !slices.Equal(got, []string{"t-2", "t-3"}) {
				t.Errorf("tokens %q", got)
			}
		})
		r.must(alice.RefreshToken(r.ctx))
		time.Sleep(79 * time.Second)
		if n := len(alice.find(eventTokenRefreshed)); n != 3 {
			t.Errorf("%d refreshes: the life of the last token counts", n)
		}
		r.must(alice.Close())
		time.Sleep(time.Hour)
	})
}

// TestTokenIsRefreshedLater: if there is none at first, it is tried again while
// the old one lives.
func TestTokenIsRefreshedLater(t *testing.T) {
	bubble(t, func(r *rig) {
		r.srv.tokenTTL = 100
		asked := 0
		alice := r.connected("alice", tokens(&asked, func(n int) error {
			if n < 4 {
				return errors.New("the login service is down")
			}
			return nil
		}))
		alice.wait(t, 100*time.Second, eventTokenRefreshed)
		if n := len(alice.find(eventFailure, "doing=refresh the token")); n != 2 {
			t.Errorf("%d failures, want 2", n)
		}
		alice.q.Do(func() { alice.cfg.Token = func(context.Context) (string, error) { return "wrong", nil } })
		time.Sleep(2 * time.Minute)
		refused := alice.find(eventError, "code=unauthorized")
		if n := len(refused); n < 2 || n > 6 {
			t.Errorf("a wrong token was shown %d times", n)
		}
		if err := alice.RefreshToken(r.ctx); code(err) != signaling.CodeUnauthorized {
			t.Errorf("refresh: %v", err)
		}
	})
}

// TestTokenExpired: the server closes, and the session is resumed with another
// token.
func TestTokenExpired(t *testing.T) {
	bubble(t, func(r *rig) {
		asked := 0
		alice := r.connected("alice", tokens(&asked, never))
		bob := r.connected("bob")
		r.call(alice, bob)
		r.srv.locked(func() {
			r.srv.sessions["alice"].ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(4410, ""))
		})
		alice.wait(t, 2*time.Second, eventResumed, "call=c-1")
		alice.order(t, "ws.closed code=4410 cause=server", "session.reconnecting", "session.welcome resumed=true")
		r.srv.locked(func() {
			if got := r.srv.bearers[len(r.srv.bearers)-1]; got != "t-2" {
				t.Errorf("resumed with token %q, want the second one", got)
			}
		})
		if s := alice.State(); s.Call != "c-1" {
			t.Errorf("state %+v", s)
		}
	})
}

func TestNoTokenToRefresh(t *testing.T) {
	bubble(t, func(r *rig) {
		r.srv.tokenTTL = 100
		alice := r.connected("alice")
		alice.q.Do(func() { alice.cfg.Token = nil })
		if err := alice.RefreshToken(r.ctx); !errors.Is(err, ErrNoToken) {
			t.Errorf("refresh: %v", err)
		}
		bob := r.client("bob")
		if err := bob.RefreshToken(r.ctx); !errors.Is(err, ErrNotConnected) {
			t.Errorf("refresh: %v", err)
		}
	})
}

// TestTokenInHeader: the request for the WebSocket shows it, at either level.
func TestTokenInHeader(t *testing.T) {
	bubble(t, func(r *rig) {
		r.connected("alice")
		r.connected("bob", atLevel(1))
		r.srv.locked(func() {
			if got := strings.Join(r.srv.bearers, " "); got != "alice bob" {
				t.Errorf("tokens of the headers: %q", got)
			}
		})
		carol := r.client("carol", func(c *Config) { c.Token = nil })
		if err := carol.Connect(r.ctx); code(err) != signaling.CodeUnauthorized {
			t.Errorf("without a token: %v", err)
		}
	})
}

// TestForbiddenSocket: a server may refuse the token before there is a WebSocket.
func TestForbiddenSocket(t *testing.T) {
	bubble(t, func(r *rig) {
		alice := r.connected("alice")
		r.srv.locked(func() { r.srv.refuse = 401 })
		alice.Drop()
		alice.wait(t, 5*time.Second, eventEnded, "reason=unauthorized")
		if err := alice.Connect(r.ctx); code(err) != signaling.CodeUnauthorized {
			t.Errorf("connect: %v", err)
		}
	})
}

// TestCloseWhileRefreshing: a client that is closed has no use for a token.
func TestCloseWhileRefreshing(t *testing.T) {
	bubble(t, func(r *rig) {
		r.srv.tokenTTL = 100
		asked := 0
		alice := r.connected("alice", tokens(&asked, never))
		alice.q.Do(func() {
			alice.cfg.Token = func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }
		})
		time.Sleep(90 * time.Second)
		r.must(alice.Close())
		alice.none(t, eventFailure)
	})
}
