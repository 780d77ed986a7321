package simclient

import (
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/signaling"
)

func onPhone(c *Config) { c.Profile = ReactNative() }

// ping sends a WebSocket ping to a user's connection.
func (r *rig) ping(user string) {
	r.t.Helper()
	r.srv.locked(func() {
		if err := r.srv.sessions[user].ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)); err != nil {
			r.t.Fatal(err)
		}
	})
}

func (r *rig) pongs() (n int) {
	r.srv.locked(func() { n = r.srv.pongs })
	return n
}

// TestBackgroundPhone: a phone in the background answers pings and does nothing
// else. When it comes back it handles what came in its order, and asks whether
// its connection is alive.
func TestBackgroundPhone(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob", onPhone)
		time.Sleep(5 * time.Second)
		bob.Background()
		before := bob.State().Counters
		r.must(alice.Call(r.ctx, "bob"))
		for range 4 {
			r.ping("bob")
			time.Sleep(15 * time.Second)
		}
		if n := r.pongs(); n != 4 {
			t.Errorf("%d pongs to 4 pings", n)
		}
		if s := bob.State(); s.Counters != before || s.Link != "up" {
			t.Errorf("it was at work in the background: %+v", s)
		}
		alice.none(t, eventRinging)
		bob.none(t, eventIncoming)
		r.must(alice.Hangup(r.ctx))
		time.Sleep(time.Second)
		bob.Foreground()
		time.Sleep(time.Second)
		bob.order(t, "app.background", "app.foreground", "signal.received type=rtc_invite", "call.incoming from=alice",
			"signal.received type=rtc action=ended", "call.ended reason=cancelled")
		bob.one(t, eventBackground)
		bob.none(t, eventReconnecting)
		bob.none(t, eventViolation)
	})
}

// TestBackgroundTimers: the app's own timers stand still, so that a connection
// that died is missed only when the phone comes back; and then at once.
func TestBackgroundTimers(t *testing.T) {
	bubble(t, func(r *rig) {
		bob := r.connected("bob", onPhone)
		time.Sleep(5 * time.Second)
		bob.Background()
		r.srv.locked(func() { r.srv.sessions["bob"].ws.Close() })
		time.Sleep(50 * time.Second)
		bob.none(t, eventReconnecting)
		bob.none(t, eventWSOpen, "attempt=1")
		bob.Foreground()
		bob.wait(t, 2*time.Second, eventResumed)
		bob.order(t, "app.foreground", "ws.closed", "session.reconnecting", "ws.open attempt=1", "session.resumed")
		if took := bob.one(t, eventWSOpen, "attempt=1").at - bob.one(t, eventForeground).at; took > 100*time.Millisecond {
			t.Errorf("it waited %v to reconnect", took)
		}
	})
}

// TestBackgroundInCall: with a foreground service or CallKit the call's media
// goes on; without, the camera is taken away until the app is back.
func TestBackgroundInCall(t *testing.T) {
	for name, goesOn := range map[string]bool{"service": true, "none": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.withMedia()
				alice := r.connected("alice")
				bob := r.connected("bob", onPhone, func(c *Config) { c.Profile.BackgroundMedia = goesOn })
				r.call(alice, bob)
				time.Sleep(5 * time.Second)
				bob.Background()
				time.Sleep(20 * time.Second)
				if silent := len(alice.find(eventFlow, "state=silent")) > 0; silent == goesOn {
					t.Errorf("alice heard nothing: %v", silent)
				}
				bob.none(t, eventFlow, "state=silent")
				bob.Foreground()
				time.Sleep(5 * time.Second)
				want := 1
				if !goesOn {
					want = 2
				}
				for _, kind := range []string{"media=audio", "media=video"} {
					if n := len(alice.find(eventFlow, kind, "state=flowing")); n != want {
						t.Errorf("%s flowed %d times, want %d:\n%s", kind, n, want, alice.dump())
					}
				}
				r.must(bob.Hangup(r.ctx))
				alice.wait(t, time.Second, eventCallEnded)
				for _, kind := range []string{"media=audio", "media=video"} {
					if total := alice.one(t, eventMediaTotal, kind); total.int("lost") != 0 || total.int("wrong") != 0 {
						t.Errorf("%v", total)
					}
				}
				bob.one(t, eventConnected)
				bob.none(t, eventFailure)
			})
		})
	}
}

// TestBackgroundElectron: a window in the background goes on.
func TestBackgroundElectron(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		bob.Background()
		r.must(alice.Call(r.ctx, "bob"))
		alice.wait(t, time.Second, eventRinging)
		bob.Foreground()
		bob.order(t, "app.background", "call.incoming", "app.foreground")
	})
}

// TestSleepShort: nobody hears of a machine that sleeps. If it is not for long
// everything is still there, and the call goes on by itself.
func TestSleepShort(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		alice, bob := r.connected("alice"), r.connected("bob")
		r.call(alice, bob)
		time.Sleep(10*time.Second + 500*time.Millisecond)
		before := bob.host.Link.Traffic().Out
		bob.Sleep(15 * time.Second)
		r.ping("bob")
		time.Sleep(14 * time.Second)
		if after := bob.host.Link.Traffic().Out; after != before {
			t.Errorf("it sent in its sleep: %+v, before %+v", after, before)
		}
		if n := r.pongs(); n != 0 {
			t.Errorf("it answered %d pings in its sleep", n)
		}
		time.Sleep(10 * time.Second)
		bob.order(t, "app.sleep for_ms=15s", "app.wake", "ice.state state=disconnected", "ice.state state=connected")
		if n := r.pongs(); n != 1 {
			t.Errorf("%d pongs after it woke", n)
		}
		if took := bob.one(t, eventWake).at - bob.one(t, eventSleep).at; took != 15*time.Second {
			t.Errorf("it slept for %v", took)
		}
		alice.order(t, "media.flow state=flowing", "media.flow state=silent", "media.flow state=flowing")
		bob.one(t, eventConnected)
		alice.none(t, eventReconnecting)
		for _, a := range []*actor{alice, bob} {
			a.none(t, eventViolation)
			a.none(t, eventFailure)
		}
	})
}

// TestSleepLong: after minutes the socket is dead and ICE has failed. The
// session is resumed and the call gets a new leg.
func TestSleepLong(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		alice, bob := r.connected("alice"), r.connected("bob", onPhone)
		r.call(alice, bob)
		time.Sleep(10*time.Second + 500*time.Millisecond) // no ping is on its way
		bob.Sleep(3 * time.Minute)
		time.Sleep(90 * time.Second)
		r.srv.locked(func() {
			ws := r.srv.sessions["bob"].ws
			ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(4408, "session_timeout"))
			ws.Close()
		})
		time.Sleep(89 * time.Second)
		bob.none(t, eventReconnecting)
		bob.none(t, eventWSClosed)
		bob.wait(t, 10*time.Second, eventConnected, "leg=2")
		time.Sleep(5 * time.Second)
		bob.order(t, "app.wake", "ice.state state=failed leg=1", "ws.closed", "session.reconnecting", "session.resumed",
			"call.negotiate reason=ice_failed leg=2", "call.connected leg=2", "media.flow state=flowing")
		if s := bob.State(); s.CallState != "connected" || s.Leg != 2 {
			t.Errorf("state %+v", s)
		}
		for _, a := range []*actor{alice, bob} {
			a.none(t, eventViolation)
			a.none(t, eventFailure)
		}
	})
}

// TestSleepForgotten: when the server has given the session up meanwhile the app
// begins a new one.
func TestSleepForgotten(t *testing.T) {
	if testing.Short() {
		t.Skip("sends media for minutes of virtual time; run without -short")
	}
	bubble(t, func(r *rig) {
		r.withMedia()
		alice, bob := r.connected("alice"), r.connected("bob")
		r.call(alice, bob)
		time.Sleep(10 * time.Second)
		bob.Sleep(5 * time.Minute)
		time.Sleep(4 * time.Minute)
		r.srv.forget()
		bob.wait(t, 2*time.Minute, eventCallEnded, "reason=dropped")
		bob.order(t, "app.wake", "session.reconnecting", "call.ended reason=dropped", "session.ended reason=not_resumed", "session.welcome resumed=false")
		if s := bob.State(); s.Link != "up" || s.Call != "" {
			t.Errorf("state %+v", s)
		}
	})
}

// TestSleepAndBackground: an app that wakes in the background stays there.
func TestSleepAndBackground(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob", onPhone)
		time.Sleep(2 * time.Second) // its receipts are out: one that waits while it sleeps may cost it the connection
		bob.Background()
		bob.Sleep(10 * time.Second)
		bob.Sleep(5 * time.Second) // no news
		r.must(alice.Call(r.ctx, "bob"))
		r.ping("bob")
		time.Sleep(20 * time.Second)
		bob.one(t, eventSleep)
		bob.one(t, eventWake)
		bob.none(t, eventIncoming)
		if n := r.pongs(); n != 1 {
			t.Errorf("%d pongs", n)
		}
		bob.Foreground()
		bob.wait(t, time.Second, eventIncoming)
	})
}

// TestCloseAway: a client can be closed wherever its app is, and leaves nothing.
func TestCloseAway(t *testing.T) {
	for name, leave := range map[string]func(*Client){
		"background": (*Client).Background,
		"asleep":     func(c *Client) { c.Sleep(time.Hour) },
		"both":       func(c *Client) { c.Background(); c.Sleep(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.withMedia()
				alice, bob := r.connected("alice"), r.connected("bob", onPhone)
				r.call(alice, bob)
				time.Sleep(5 * time.Second)
				leave(bob.Client)
				time.Sleep(50 * time.Second)
				waits := make(chan error, 1)
				go func() { waits <- bob.Hangup(r.ctx) }()
				time.Sleep(time.Second)
				r.must(bob.Close())
				if err := <-waits; err == nil {
					t.Error("it hung up while it was away")
				}
				if s := bob.State(); s.Link != "closed" {
					t.Errorf("state %+v", s)
				}
				bob.none(t, eventFailure)
			})
		})
	}
}

// TestTwoSockets: a device that connects twice, as a window does that is
// reloaded or an app whose reconnection ran twice. The server closes the older
// connection with 4409. Who had it stops, and does not fight for it.
func TestTwoSockets(t *testing.T) {
	for _, profile := range []Profile{Electron(), ReactNative()} {
		t.Run(profile.Name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.withMedia()
				same := func(c *Config) { c.Profile = profile }
				alice, old := r.connected("alice"), r.connected("bob", same)
				r.call(alice, old)
				time.Sleep(2 * time.Second)
				first := r.srv.sessions["bob"]
				young := r.connected("bob", same)
				r.srv.locked(func() {
					first.ws.WriteMessage(websocket.CloseMessage,
						websocket.FormatCloseMessage(signaling.CodeSuperseded.Info().Close, string(signaling.CodeSuperseded)))
					r.srv.call = nil
				})
				time.Sleep(5 * time.Minute)
				old.order(t, "ws.closed code=4409 cause=server", "call.ended reason=dropped", "session.ended reason=superseded")
				old.none(t, eventReconnecting)
				old.none(t, eventWSOpen, "attempt=1")
				if s := old.State(); s.Link != "idle" || s.Call != "" {
					t.Errorf("the old one: %+v", s)
				}
				if s := young.State(); s.Link != "up" || s.Counters.Reconnects != 0 {
					t.Errorf("the new one: %+v", s)
				}
				r.must(young.Call(r.ctx, "alice"))
			})
		})
	}
}
