package simclient

import (
	"context"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/signaling"
)

// TestFallBack: a server that does not know hello is spoken to at level 0, on
// the same connection.
func TestFallBack(t *testing.T) {
	for _, code := range []signaling.Code{signaling.CodeUnknownType, signaling.CodeBadFrame, ""} {
		bubble(t, func(r *rig) {
			r.allLevel0()
			r.srv.helloCode, r.srv.mute = code, code == ""
			begin := time.Now()
			alice := r.connected("alice")
			want := map[bool]time.Duration{false: 80 * time.Millisecond, true: 3*time.Second + 60*time.Millisecond}[code == ""] // with the pong
			if took := time.Since(begin); took != want {
				t.Errorf("%q: connected after %v, want %v", code, took, want)
			}
			reason := string(code)
			if reason == "" {
				reason = causeWelcome
			}
			alice.order(t, "signal.sent type=hello", "session.fallback reason="+reason, "session.welcome level=0")
			alice.one(t, eventWSOpen)
			bob := r.connected("bob")
			r.call(alice, bob)
			alice.none(t, eventViolation)
			alice.Drop() // and from now on it is level 0 from the start
			alice.wait(t, time.Second, eventWelcome, "level=0")
			time.Sleep(time.Second)
			if n := len(alice.find(eventSent, "type=hello")); n != 1 {
				t.Errorf("%q: %d hellos", code, n)
			}
		})
	}
}

// TestNoFallBack: other refusals are no sign of level 0, and who was told a level
// keeps to it.
func TestNoFallBack(t *testing.T) {
	bubble(t, func(r *rig) {
		r.allLevel0()
		r.srv.helloCode = signaling.CodeVersion
		alice := r.client("alice")
		go func() { time.Sleep(time.Second); r.srv.locked(func() { r.srv.sessions["alice"].ws.Close() }) }()
		if err := alice.Connect(r.ctx); code(err) != signaling.CodeVersion {
			t.Errorf("connect: %v", err)
		}
		r.srv.locked(func() { r.srv.helloCode = signaling.CodeUnknownType })
		bob := r.client("bob", atLevel(1))
		go func() { time.Sleep(time.Second); r.srv.locked(func() { r.srv.sessions["bob"].ws.Close() }) }()
		if err := bob.Connect(r.ctx); code(err) != signaling.CodeUnknownType {
			t.Errorf("connect: %v", err)
		}
		alice.none(t, eventFallback)
		bob.none(t, eventFallback)
	})
}

// TestNoFallBackWhileResuming: a server that had a session for the client and
// says nothing now is one that cannot be reached.
func TestNoFallBackWhileResuming(t *testing.T) {
	bubble(t, func(r *rig) {
		alice := r.connected("alice")
		r.srv.locked(func() { r.srv.mute = true })
		alice.Drop()
		alice.wait(t, 10*time.Second, eventWSClosed, "cause=welcome_timeout")
		r.srv.locked(func() { r.srv.mute = false })
		alice.wait(t, 20*time.Second, eventResumed)
		alice.none(t, eventFallback)
	})
}

// TestLateWelcome: the server knew hello after all, and the next connection is
// of level 1.
func TestLateWelcome(t *testing.T) {
	bubble(t, func(r *rig) {
		r.allLevel0()
		r.srv.mute = true
		alice := r.connected("alice")
		r.srv.locked(func() {
			r.srv.level0, r.srv.mute = nil, false
			r.srv.sessions["alice"].write(frame(signaling.TypeWelcome, "", "1", signaling.Welcome{SessionID: "s-9"}))
		})
		alice.wait(t, time.Second, eventWelcome, "level=1")
		alice.order(t, "session.welcome level=0", "ws.closed cause=late_welcome", "session.reconnecting", "session.ended reason=not_resumed", "session.welcome level=1")
		alice.none(t, eventViolation)
	})
}

// TestSlowWelcome comes when the client has given hello up, and has not said
// anything yet.
func TestSlowWelcome(t *testing.T) {
	bubble(t, func(r *rig) {
		alice := r.client("alice")
		alice.host.Link.SetDelay(1200 * time.Millisecond) // dialing takes 3 times that, a welcome 2 times more
		alice.cfg.HelloTimeout = 2 * time.Second
		r.must(alice.Connect(r.ctx))
		alice.order(t, "session.fallback", "session.welcome level=1")
		alice.one(t, eventWelcome)
		alice.one(t, eventWSOpen)
		alice.none(t, eventViolation)
	})
}

// TestLevel0WrongToken: all that such a server can do is to close.
func TestLevel0WrongToken(t *testing.T) {
	bubble(t, func(r *rig) {
		r.allLevel0()
		alice := r.client("alice", atLevel(0), func(c *Config) {
			c.Token = func(context.Context) (string, error) { return "wrong", nil }
		})
		r.srv.locked(func() {
			r.srv.level0 = func(user string) bool { return true }
		})
		if err := alice.Connect(r.ctx); code(err) != signaling.CodeUnauthorized {
			t.Errorf("connect: %v", err)
		}
		r.must(connectAs(r.ctx, alice, "alice"))
		alice.q.Do(func() { alice.cfg.Token = func(context.Context) (string, error) { return "wrong", nil } })
		alice.Drop()
		alice.wait(t, time.Second, eventEnded, "reason=unauthorized")
		r.must(connectAs(r.ctx, alice, "alice"))
		r.srv.locked(func() { // and a server that looks at the token later
			r.srv.sessions["alice"].ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(4400, ""))
		})
		time.Sleep(time.Minute)
		if n := len(alice.find(eventEnded, "reason=unauthorized")); n != 2 || len(alice.find(eventWSOpen)) != 4 {
			t.Errorf("it did not give up:\n%s", alice.dump())
		}
		if s := alice.State(); s.Link != "idle" {
			t.Errorf("state %+v", s)
		}
	})
}

func connectAs(ctx context.Context, a *actor, token string) error {
	a.q.Do(func() { a.cfg.Token = func(context.Context) (string, error) { return token, nil } })
	return a.Connect(ctx)
}
