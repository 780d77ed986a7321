package simclient

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/signaling"
)

// TestDrop: a lost socket is replaced, and pushes that came meanwhile are
// replayed, once.
func TestDrop(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		r.must(alice.Call(r.ctx, "bob"))
		bob.wait(t, time.Second, eventIncoming)
		alice.wait(t, time.Second, eventRinging)
		alice.Drop()
		alice.wait(t, time.Second, eventReconnecting, "cause=dropped", "call=c-1")
		r.must(bob.Accept(r.ctx)) // alice hears of it when she is back
		e := alice.wait(t, time.Second, eventResumed, "attempts=1", "replayed=1")
		if gap := e.duration("gap_ms"); gap != 560*time.Millisecond {
			t.Errorf("gap %v, want the first delay and three round trips", gap)
		}
		alice.order(t, "ws.closed code=1006 cause=dropped", "session.reconnecting", "ws.open attempt=1",
			"session.welcome resumed=true", "call.accepted user=bob", "session.resumed")
		alice.one(t, eventRinging)
		alice.one(t, eventAccepted)
		alice.none(t, eventDuplicate)
		if s := alice.State(); s.Link != "up" || s.Counters.Reconnects != 1 {
			t.Errorf("state %+v", s)
		}
	})
}

// TestCutAndRestore: ten seconds without a network cost ten seconds of media,
// and nothing else. ICE recovers by itself.
func TestCutAndRestore(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		alice, bob := r.connected("alice"), r.connected("bob")
		r.call(alice, bob)
		time.Sleep(12 * time.Second)
		bob.host.Link.Cut()
		cut := bob.start.Add(time.Since(bob.start))
		time.Sleep(10 * time.Second)
		bob.host.Link.Restore()
		bob.wait(t, 10*time.Second, eventResumed)
		time.Sleep(10 * time.Second)
		bob.order(t, "media.flow state=silent", "ice.state state=disconnected", "session.reconnecting cause=pong_timeout call=c-1",
			"media.flow state=flowing", "session.resumed")
		// ICE says after 5 to 7 s that it hears nothing, and then the socket is asked.
		dead := bob.one(t, eventReconnecting).at - cut.Sub(bob.start)
		disconnected := bob.one(t, eventICE, "state=disconnected").at - cut.Sub(bob.start)
		if dead != disconnected+2*time.Second || dead > 9*time.Second {
			t.Errorf("the socket was found dead after %v, ICE disconnected after %v", dead, disconnected)
		}
		bob.one(t, eventConnected)
		for _, kind := range []string{"media=audio", "media=video"} {
			if gap := bob.find(eventFlow, kind, "state=flowing")[1].duration("gap_ms"); gap < 10*time.Second || gap > 10200*time.Millisecond {
				t.Errorf("%s: gap %v", kind, gap)
			}
		}
		alice.none(t, eventReconnecting)
		alice.none(t, eventViolation)
		bob.none(t, eventViolation)
	})
}

// TestLongCut: when ICE has failed, the session is resumed first and then a new
// leg replaces the old one in the same call.
func TestLongCut(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		alice, bob := r.connected("alice"), r.connected("bob")
		r.call(alice, bob)
		time.Sleep(10 * time.Second)
		bob.host.Link.Cut()
		time.Sleep(40 * time.Second)
		bob.host.Link.Restore()
		bob.wait(t, 20*time.Second, eventResumed)
		time.Sleep(10 * time.Second)
		bob.order(t, "ice.state state=failed leg=1", "session.resumed", "call.negotiate reason=ice_failed leg=2",
			"signal.sent action=offer", "call.connected leg=2", "media.flow state=flowing from=alice")
		if s := bob.State(); s.Leg != 2 || s.CallState != "connected" {
			t.Errorf("state %+v", s)
		}
		for _, a := range []*actor{alice, bob} {
			if n := len(a.find(eventFlow, "state=flowing")); n != 4 {
				t.Errorf("%s: %d flows began, want audio and video twice:\n%s", a.cfg.User, n, a.dump())
			}
			a.none(t, eventViolation)
		}
	})
}

// TestICEFailsAlone: only the media's path is gone, and the leg is made anew at
// once.
func TestICEFailsAlone(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		alice, bob := r.connected("alice"), r.connected("bob")
		r.call(alice, bob)
		time.Sleep(5 * time.Second)
		r.must(r.srv.hub.of("bob").pc.GracefulClose())
		failed := bob.wait(t, 60*time.Second, eventICE, "state=failed")
		again := bob.wait(t, time.Second, eventNegotiate, "reason=ice_failed")
		if d := again.at - failed.at; d != 2*delay {
			t.Errorf("the new leg came %v after the failure, want the round trip of a ping", d)
		}
		bob.wait(t, time.Second, eventConnected, "leg=2")
		bob.none(t, eventReconnecting)
	})
}

// TestLostAck: the answer to a call request is lost with the socket, and what
// follows it is replayed before the request is repeated.
func TestLostAck(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		r.srv.locked(func() { r.srv.sessions["alice"].deaf = true })
		called := make(chan error, 1)
		go func() { called <- alice.Call(r.ctx, "bob") }()
		bob.wait(t, time.Second, eventIncoming)
		r.must(bob.Accept(r.ctx))
		alice.Drop()
		r.must(<-called)
		time.Sleep(time.Second)
		alice.order(t, "signal.sent action=call", "session.welcome resumed=true", "signal.sent action=call repeated=true",
			"signal.received type=ack")
		alice.order(t, "call.outgoing to=bob room=r-1", "call.ringing", "call.accepted", "session.resumed replayed=2")
		alice.one(t, eventOutgoing)
		alice.none(t, eventViolation)
		r.srv.locked(func() {
			if r.srv.calls != 1 {
				t.Errorf("%d calls were made", r.srv.calls)
			}
		})
	})
}

// TestRequestsAreRepeated in their order and with their ids, and those made
// without a socket are sent once there is one.
func TestRequestsAreRepeated(t *testing.T) {
	bubble(t, func(r *rig) {
		alice := r.connected("alice")
		r.srv.locked(func() { r.srv.sessions["alice"].deaf = true })
		done := make(chan error)
		for range 3 {
			go func() {
				_, err := alice.Request(r.ctx, signaling.TypeRTC, signaling.ActionLeave, nil)
				done <- err
			}()
			time.Sleep(time.Millisecond)
		}
		alice.Drop()
		synctest.Wait()
		go func() {
			_, err := alice.Request(r.ctx, signaling.TypeRTC, signaling.ActionLeave, nil)
			done <- err
		}()
		for range 4 {
			r.must(<-done)
		}
		alice.order(t, "signal.sent request=2", "signal.sent request=3", "signal.sent request=4", "session.welcome resumed=true",
			"signal.sent request=2 repeated=true", "signal.sent request=3 repeated=true", "signal.sent request=4 repeated=true",
			"signal.sent request=5", "signal.received request=2", "signal.received request=5")
		alice.none(t, eventSent, "request=5", "repeated=true")
	})
}

// TestHangupWithoutSocket: the call is left when the session is back.
func TestHangupWithoutSocket(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		r.call(alice, bob)
		alice.Drop()
		synctest.Wait()
		r.must(alice.Hangup(r.ctx))
		alice.order(t, "session.reconnecting", "media.total", "session.welcome resumed=true", "signal.sent action=leave", "call.ended reason=hangup")
		bob.wait(t, time.Second, eventCallEnded, "by=alice")
	})
}

// TestNotResumed: the server has forgotten the session, and the call with it.
func TestNotResumed(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		r.call(alice, bob)
		alice.wait(t, time.Second, eventAccepted)
		old := alice.State().Session
		r.srv.locked(func() { r.srv.requests = append(r.srv.requests, "so that ids differ") })
		r.srv.forget()
		alice.wait(t, 5*time.Second, eventWelcome, "resumed=false", "session="+alice.State().Session)
		time.Sleep(time.Second)
		alice.order(t, "session.reconnecting", "call.ended reason=dropped", "session.ended reason=not_resumed session="+old,
			"session.welcome resumed=false")
		if s := alice.State(); s.Link != "up" || s.Session == old || s.Call != "" {
			t.Errorf("state %+v", s)
		}
		bob.wait(t, 5*time.Second, eventEnded)
		r.must(alice.Call(r.ctx, "bob")) // numbers of pushes begin anew
		bob.wait(t, time.Second, eventIncoming, "call=c-2")
		bob.none(t, eventViolation)
		bob.none(t, eventDuplicate)
	})
}

// TestCallLost: the resumed session has no call, and nothing says why.
func TestCallLost(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		r.call(alice, bob)
		alice.wait(t, time.Second, eventAccepted)
		r.srv.locked(func() { r.srv.call = nil })
		alice.Drop()
		alice.wait(t, 5*time.Second, eventResumed)
		alice.one(t, eventViolation, "what=call_lost", "call=c-1")
		alice.one(t, eventCallEnded, "reason=dropped")
	})
}

// TestInvitedWhileResuming: a call that begins before the replay is known to be
// over is not one that was lost.
func TestInvitedWhileResuming(t *testing.T) {
	bubble(t, func(r *rig) {
		alice := r.connected("alice")
		r.connected("bob")
		alice.Drop()
		alice.wait(t, time.Second, eventReconnecting)
		r.srv.locked(func() { r.srv.sessions["alice"].onAttach = func() { r.srv.sessions["bob"].startCall("alice") } })
		alice.wait(t, time.Second, eventResumed, "replayed=1")
		alice.order(t, "session.welcome resumed=true", "call.incoming from=bob", "session.resumed")
		alice.none(t, eventViolation)
		r.must(alice.Accept(r.ctx))
	})
}

// TestCallFailsWhileResuming: welcome names a call whose request is then
// refused.
func TestCallFailsWhileResuming(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		r.srv.intercept(func(s *fakeSession, f signaling.Frame) bool {
			if f.Action != signaling.ActionCall {
				return false
			}
			if r.srv.call == nil {
				r.srv.call = &fakeCall{id: "c-1", room: "r-1", caller: s, callee: r.srv.sessions["bob"]}
				s.ws.Close()
			} else {
				s.write(frame(signaling.TypeError, "", f.ID, signaling.Errorf(signaling.CodeMediaFailed, "no pipeline")))
			}
			return true
		})
		if err := alice.Call(r.ctx, "bob"); code(err) != signaling.CodeMediaFailed {
			t.Errorf("call: %v", err)
		}
		alice.order(t, "call.outgoing call=c-1", "session.welcome resumed=true call=c-1", "error code=media_failed", "call.ended call=c-1 reason=media_failed")
		time.Sleep(time.Second)
		alice.none(t, eventViolation)
		bob.none(t, eventIncoming)
	})
}

// TestGiveUp: after its time the client stops trying, and can be connected
// anew.
func TestGiveUp(t *testing.T) {
	bubble(t, func(r *rig) {
		alice := r.connected("alice", func(c *Config) { c.Reconnect.GiveUp = 30 * time.Second })
		request := make(chan error, 1)
		alice.host.Link.Cut()
		alice.Drop()
		synctest.Wait()
		go func() { request <- alice.Call(r.ctx, "bob") }()
		alice.wait(t, time.Minute, eventEnded, "reason=gave_up")
		e := alice.one(t, eventEnded)
		if down := e.at - alice.one(t, eventReconnecting).at; down > 30*time.Second || down < 20*time.Second {
			t.Errorf("gave up after %v", down)
		}
		if err := <-request; err == nil {
			t.Error("a request outlived its session")
		}
		alice.host.Link.Restore()
		r.must(alice.Connect(r.ctx))
	})
}

// TestCloseCodes: the server's close code says whether and how to come back.
func TestCloseCodes(t *testing.T) {
	for code, events := range map[int][]string{
		1012: {"ws.closed code=1012 cause=server", "session.reconnecting", "session.welcome resumed=true"},
		4408: {"ws.closed code=4408", "session.reconnecting", "session.welcome resumed=true"},
		4400: {"ws.closed code=4400", "session.reconnecting", "session.ended reason=not_resumed", "session.welcome resumed=false"},
		4409: {"ws.closed code=4409", "session.ended reason=superseded"},
	} {
		bubble(t, func(r *rig) {
			alice := r.connected("alice")
			r.srv.locked(func() {
				r.srv.sessions["alice"].ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""))
			})
			time.Sleep(2 * time.Second)
			alice.order(t, events...)
			if code == 4409 {
				alice.none(t, eventReconnecting)
			}
		})
	}
}

// TestUnauthorizedResume: an expired token ends the attempts.
func TestUnauthorizedResume(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		r.call(alice, bob)
		alice.q.Do(func() { alice.cfg.Token = nil })
		r.srv.forget()
		alice.wait(t, 5*time.Second, eventEnded, "reason=unauthorized")
		alice.one(t, eventCallEnded, "reason=dropped")
		time.Sleep(time.Minute)
		if n := len(alice.find(eventWSOpen)); n != 2 {
			t.Errorf("%d sockets were opened", n)
		}
	})
}

// TestHeartbeat: a connection that takes everything and says nothing is found
// dead by the next ping.
func TestHeartbeat(t *testing.T) {
	bubble(t, func(r *rig) {
		alice := r.connected("alice")
		time.Sleep(35 * time.Second)
		alice.none(t, eventWSClosed)
		alice.host.Link.Cut()
		time.Sleep(12 * time.Second)
		alice.one(t, eventReconnecting, "cause=pong_timeout")
		alice.host.Link.Restore()
		alice.wait(t, 10*time.Second, eventResumed)
	})
}

// TestSilentServer: one that accepts the socket and never says welcome.
func TestSilentServer(t *testing.T) {
	bubble(t, func(r *rig) {
		alice := r.client("alice", atLevel(1))
		r.srv.locked(func() { r.srv.mute = true })
		if err := alice.Connect(r.ctx); err == nil {
			t.Fatal("connected")
		}
		alice.one(t, eventWSClosed, "cause=welcome_timeout")
	})
}

func TestBackoff(t *testing.T) {
	policy := Reconnect{}.withDefaults()
	draw := func(policy Reconnect, user string) (delays [40]time.Duration) {
		b := newBackoff(policy, user, "phone")
		for i := range delays {
			delays[i] = b.next()
		}
		return delays
	}
	plain := draw(policy, "alice")
	for i, want := range []time.Duration{500, 1000, 2000, 4000, 8000, 8000} {
		if plain[i] != want*time.Millisecond {
			t.Errorf("attempt %d without jitter after %v, want %v ms", i, plain[i], int(want))
		}
	}
	policy.Seed = 7
	alice, bob := draw(policy, "alice"), draw(policy, "bob")
	if alice == bob {
		t.Error("two users draw the same delays")
	}
	if alice != draw(policy, "alice") {
		t.Error("the same user draws other delays from the same seed")
	}
	var sum time.Duration
	for i, d := range alice {
		if d < 0 || d > plain[i] {
			t.Errorf("attempt %d after %v, want up to %v", i, d, plain[i])
		}
		sum += d
	}
	if mean := sum / time.Duration(len(alice)); mean < 2*time.Second || mean > 6*time.Second {
		t.Errorf("mean delay %v is not near half of 8 s", mean)
	}
}
