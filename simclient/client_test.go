package simclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/signaling"
	"github.com/callbench/callbench/simclient/media"
)

// code is the protocol's error code in err, if there is one.
func code(err error) signaling.Code {
	var e *signaling.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func TestWholeCall(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		alice := r.connected("alice")
		bob := r.connected("bob", func(c *Config) { c.Profile = ReactNative() })
		r.call(alice, bob)
		alice.wait(t, 5*time.Second, eventConnected)
		time.Sleep(30*time.Second + 5*time.Millisecond)
		if s := alice.State(); s.CallState != "connected" || s.Peer != "bob" || s.Call != "c-1" || s.Leg != 1 || s.User != "alice" {
			t.Errorf("state in the call: %+v", s)
		}
		r.must(alice.Hangup(r.ctx))
		bob.wait(t, time.Second, eventCallEnded, "reason=hangup", "by=alice")

		alice.order(t, "ws.open", "session.welcome resumed=false", "call.outgoing to=bob room=r-1", "call.ringing user=bob",
			"call.accepted user=bob", "signal.sent action=offer", "signal.received action=answer", "ice.state state=checking",
			"ice.state state=connected", "ice.pair local_type=host remote_type=host protocol=udp", "dtls.state state=connecting",
			"dtls.state state=connected", "pc.state state=connected", "call.connected leg=1", "media.flow state=flowing from=bob",
			"media.sent", "media.total", "signal.sent action=leave", "call.ended reason=hangup by=alice")
		bob.order(t, "call.incoming from=alice room=r-1", "signal.sent action=ringing", "signal.sent action=answer",
			"call.accepted user=bob", "ice.gathered candidates=1", "call.connected", "media.flow from=alice",
			"call.ended by=alice", "signal.sent action=leave")
		for _, a := range []*actor{alice, bob} {
			checkMedia(t, a)
			checkCallIDs(t, a)
			a.one(t, eventConnected)
			a.none(t, eventError)
			a.none(t, eventViolation)
			a.none(t, eventFailure)
			if s := a.State(); s.Call != "" || s.Leg != 0 {
				t.Errorf("state after the call: %+v", s)
			}
		}
	})
}

// checkMedia holds what was received in 30 s against what must have been sent,
// and the windows against the totals.
func checkMedia(t *testing.T, a *actor) {
	t.Helper()
	for kind, least := range map[string]int64{"audio": 1495, "video": 895} {
		total := a.one(t, eventMediaTotal, "media="+kind)
		if n := total.int("units"); n < least || n > least+10 {
			t.Errorf("%s %s: %d units, want %d or a few more", a.cfg.User, kind, n, least)
		}
		for _, key := range []string{"lost", "packets_lost", "wrong", "unmarked", "duplicated", "reordered", "freezes", "gaps"} {
			if n := total.int(key); n != 0 {
				t.Errorf("%s %s: %s=%d, want 0", a.cfg.User, kind, key, n)
			}
		}
		if d := total.duration("delay_avg_ms"); d != 2*delay {
			t.Errorf("%s %s: delay %v, want %v", a.cfg.User, kind, d, 2*delay)
		}
		windows := a.find(eventWindow, "media="+kind)
		var units, bytes int64
		for _, w := range windows {
			units += w.int("units")
			bytes += w.int("bytes")
		}
		if units != total.int("units") || bytes != total.int("bytes") {
			t.Errorf("%s %s: windows add up to %d units and %d bytes, the total has %d and %d", a.cfg.User, kind,
				units, bytes, total.int("units"), total.int("bytes"))
		}
		if n := len(windows); n < 30 || n > 32 {
			t.Errorf("%s %s: %d windows in 30 s", a.cfg.User, kind, n)
		}
		if sent := a.one(t, eventMediaSent, "media="+kind); sent.int("units") < least || sent.int("refused") > 0 {
			t.Errorf("sent: %v", sent)
		}
	}
}

// checkCallIDs: whoever reads the log must be able to tell calls apart.
func checkCallIDs(t *testing.T, a *actor) {
	t.Helper()
	for _, e := range a.all() {
		family, _, _ := strings.Cut(e.kind, ".")
		if slices.Contains([]string{"call", "ice", "dtls", "pc", "candidate", "media"}, family) && e.get("call") == "" {
			t.Errorf("no call id: %v", e)
		}
	}
}

func TestDecline(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		r.must(alice.Call(r.ctx, "bob"))
		bob.wait(t, time.Second, eventIncoming)
		r.must(bob.Hangup(r.ctx))
		alice.wait(t, time.Second, eventCallEnded, "reason=declined", "by=bob")
		bob.one(t, eventCallEnded, "reason=declined", "by=bob")
		alice.none(t, eventICE)
		time.Sleep(time.Second)
		if n := r.srv.count("alice rtc/leave"); n != 1 {
			t.Errorf("alice confirmed the end %d times", n)
		}
	})
}

func TestCancel(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		r.must(alice.Call(r.ctx, "bob"))
		alice.wait(t, time.Second, eventRinging)
		r.must(alice.Hangup(r.ctx))
		bob.wait(t, time.Second, eventCallEnded, "reason=cancelled", "by=alice")
		alice.one(t, eventCallEnded, "reason=cancelled", "by=alice")
		if err := bob.Accept(r.ctx); !errors.Is(err, ErrNoCall) {
			t.Errorf("accept after the end: %v, want ErrNoCall", err)
		}
	})
}

// TestHangupBeforeAck: who hangs up before the server has named the call leaves
// it as soon as it has.
func TestHangupBeforeAck(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		called := make(chan error, 1)
		go func() { called <- alice.Call(r.ctx, "bob") }()
		synctest.Wait()
		r.must(alice.Hangup(r.ctx))
		r.must(<-called)
		bob.wait(t, time.Second, eventCallEnded, "reason=cancelled")
		alice.order(t, "call.outgoing", "signal.sent action=leave", "call.ended reason=cancelled")
	})
}

func TestRefusals(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob, carol := r.connected("alice"), r.connected("bob"), r.connected("carol")
		if err := alice.Call(r.ctx, "nobody"); code(err) != signaling.CodeUserUnavailable {
			t.Errorf("call nobody: %v", err)
		}
		alice.one(t, eventError, "code=user_unavailable", "request=2")
		r.must(alice.Call(r.ctx, "bob"))
		if err := carol.Call(r.ctx, "bob"); code(err) != signaling.CodeBusy {
			t.Errorf("call somebody in a call: %v", err)
		}
		// The second call is the server's to refuse, and leaves the first one alone.
		if err := alice.Call(r.ctx, "carol"); code(err) != signaling.CodeBusy {
			t.Errorf("call while in a call: %v", err)
		}
		bob.wait(t, time.Second, eventIncoming)
		r.must(bob.Accept(r.ctx))
		alice.wait(t, time.Second, eventAccepted)
		if err := carol.Hangup(r.ctx); !errors.Is(err, ErrNoCall) {
			t.Errorf("hang up without a call: %v", err)
		}
		if err := carol.Accept(r.ctx); !errors.Is(err, ErrNoCall) {
			t.Errorf("accept without a call: %v", err)
		}
		if err := carol.Ring(r.ctx); !errors.Is(err, ErrNoCall) {
			t.Errorf("ring without a call: %v", err)
		}
	})
}

func TestManualRing(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob", func(c *Config) { c.ManualRing = true })
		r.must(alice.Call(r.ctx, "bob"))
		bob.wait(t, time.Second, eventIncoming)
		time.Sleep(time.Second)
		alice.none(t, eventRinging)
		r.must(bob.Ring(r.ctx))
		alice.wait(t, time.Second, eventRinging, "user=bob")
	})
}

// TestTooLateToRing: an invitation that was replayed when it had run out does not
// ring, and the end follows.
func TestTooLateToRing(t *testing.T) {
	bubble(t, func(r *rig) {
		bob := r.connected("bob")
		r.srv.locked(func() {
			s := r.srv.sessions["bob"]
			s.push(signaling.TypeInvite, "", signaling.Invite{RoomID: "r-1", CallID: "c-1", From: "alice"})
			s.rtc(signaling.ActionEnded, signaling.RTC{RoomID: "r-1", CallID: "c-1", Reason: signaling.ReasonNoAnswer})
		})
		bob.wait(t, time.Second, eventCallEnded, "reason=no_answer")
		time.Sleep(time.Second)
		if n := r.srv.count("bob rtc/ringing"); n != 0 {
			t.Errorf("the server heard of ringing %d times", n)
		}
		bob.none(t, eventViolation)
	})
}

// TestGlare: an invitation that crosses this side's own call request is taken,
// and the request is refused.
func TestGlare(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		called := make(chan error, 1)
		go func() {
			time.Sleep(time.Millisecond)
			called <- bob.Call(r.ctx, "alice")
		}()
		r.must(alice.Call(r.ctx, "bob"))
		if err := <-called; code(err) != signaling.CodeBusy {
			t.Errorf("the second call: %v, want busy", err)
		}
		r.must(bob.Accept(r.ctx))
		alice.wait(t, time.Second, eventAccepted)
		bob.none(t, eventViolation)
	})
}

// TestCrossingHangups: both leave at the same time, and each learns of one end.
func TestCrossingHangups(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		r.call(alice, bob)
		left := make(chan error, 1)
		go func() { left <- bob.Hangup(r.ctx) }()
		r.must(alice.Hangup(r.ctx))
		r.must(<-left)
		time.Sleep(time.Second)
		for _, a := range []*actor{alice, bob} {
			a.one(t, eventCallEnded, "reason=hangup")
			a.none(t, eventViolation)
			a.none(t, eventError)
		}
	})
}

// TestNextCallAtOnce: the next call, in either direction, may begin before the
// end of the last one is acknowledged.
func TestNextCallAtOnce(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob, carol := r.connected("alice"), r.connected("bob"), r.connected("carol")
		r.call(alice, bob)
		left := make(chan error, 1)
		go func() { left <- alice.Hangup(r.ctx) }()
		synctest.Wait()
		r.must(alice.Call(r.ctx, "carol"))
		r.must(<-left)
		if s := alice.State(); s.Peer != "carol" || s.Call != "c-2" {
			t.Errorf("state %+v", s)
		}
		carol.wait(t, time.Second, eventIncoming)
		r.must(alice.Hangup(r.ctx))
		carol.wait(t, time.Second, eventCallEnded)

		r.must(alice.Call(r.ctx, "bob"))
		r.srv.intercept(func(s *fakeSession, f signaling.Frame) bool {
			if s.user == "alice" && f.Action == signaling.ActionLeave { // an invitation overtakes the acknowledgement
				r.srv.onRequest = nil
				s.leave(signaling.RTC{CallID: "c-3"}, "")
				r.srv.sessions["carol"].do(signaling.ActionCall, signaling.RTC{TargetUser: "alice"})
			}
			return false
		})
		r.must(alice.Hangup(r.ctx))
		alice.order(t, "call.ended call=c-3 reason=cancelled", "call.incoming call=c-4 from=carol")
		r.must(alice.Accept(r.ctx))
		alice.none(t, eventViolation)
	})
}

func TestWrongToken(t *testing.T) {
	bubble(t, func(r *rig) {
		token := "wrong"
		alice := r.client("alice", func(c *Config) {
			c.Token = func(context.Context) (string, error) { return token, nil }
		})
		if err := alice.Connect(r.ctx); code(err) != signaling.CodeUnauthorized {
			t.Errorf("connect: %v, want unauthorized", err)
		}
		alice.order(t, "ws.open", "error code=unauthorized", "ws.closed code=4401")
		alice.none(t, eventReconnecting)
		alice.none(t, eventEnded)
		if err := alice.Call(r.ctx, "bob"); !errors.Is(err, ErrNotConnected) {
			t.Errorf("call without a session: %v", err)
		}
		token = "alice"
		r.must(alice.Connect(r.ctx))
		if err := alice.Connect(r.ctx); !errors.Is(err, ErrConnected) {
			t.Errorf("connect twice: %v", err)
		}
	})
}

func TestConnectFails(t *testing.T) {
	bubble(t, func(r *rig) {
		noToken := errors.New("no token")
		alice := r.client("alice", func(c *Config) { c.Token = func(context.Context) (string, error) { return "", noToken } })
		if err := alice.Connect(r.ctx); !errors.Is(err, noToken) {
			t.Errorf("connect: %v", err)
		}
		bob := r.client("bob", func(c *Config) { c.URL = "ws://server:81/ws" })
		if err := bob.Connect(r.ctx); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("connect to a port where nobody listens: %v", err)
		}
		carol := r.client("carol")
		carol.host.Link.Cut()
		ctx, cancel := context.WithTimeout(r.ctx, time.Second)
		defer cancel()
		if err := carol.Connect(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("connect without a network: %v", err)
		}
		carol.host.Link.Restore()
		time.Sleep(10 * time.Second)
		if s := carol.State(); s.Link != "idle" {
			t.Errorf("after an abandoned Connect: %+v", s)
		}
		r.must(carol.Connect(r.ctx))
	})
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []Config{
		{},
		{User: "alice"},
		{User: "alice", URL: "http://server"},
		{User: "alice", URL: "ws://server", Interceptors: "many"},
		{User: "alice", URL: "ws://server", Silence: -1},
		{User: "alice", URL: "ws://server", Clips: []*media.Clip{}},
		{User: "alice", URL: "ws://server", Reconnect: Reconnect{Max: -time.Second}},
	} {
		if c, err := New(cfg); err == nil {
			c.Close()
			t.Errorf("no error for %+v", cfg)
		}
	}
}

// TestClose closes in every phase: the bubble fails if anything goes on.
func TestClose(t *testing.T) {
	for name, until := range map[string]func(*rig, *actor, *actor){
		"idle":    func(*rig, *actor, *actor) {},
		"dialing": func(r *rig, a, _ *actor) { go a.Connect(r.ctx); time.Sleep(5 * time.Millisecond) },
		"hello":   func(r *rig, a, _ *actor) { go a.Connect(r.ctx); time.Sleep(45 * time.Millisecond) },
		"up":      func(r *rig, a, _ *actor) { r.must(a.Connect(r.ctx)) },
		"calling": func(r *rig, a, _ *actor) {
			r.must(a.Connect(r.ctx))
			go a.Call(r.ctx, "bob")
			synctest.Wait()
		},
		"negotiating": func(r *rig, a, b *actor) {
			r.must(a.Connect(r.ctx))
			r.call(a, b)
		},
		"in call": func(r *rig, a, b *actor) {
			r.must(a.Connect(r.ctx))
			r.call(a, b)
			time.Sleep(5 * time.Second)
		},
		"cut off": func(r *rig, a, b *actor) {
			r.must(a.Connect(r.ctx))
			r.call(a, b)
			time.Sleep(5 * time.Second)
			a.host.Link.Cut()
		},
		"reconnecting": func(r *rig, a, b *actor) {
			r.must(a.Connect(r.ctx))
			r.call(a, b)
			a.host.Link.Cut()
			time.Sleep(15 * time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.withMedia()
				bob, alice := r.connected("bob"), r.client("alice")
				until(r, alice, bob)
				begin := time.Now()
				r.must(alice.Close())
				if took := time.Since(begin); took > closeTimeout {
					t.Errorf("closing took %v", took)
				}
				r.must(alice.Close())
				if s := alice.State(); s.Link != "closed" {
					t.Errorf("state %+v", s)
				}
				if err := alice.Call(r.ctx, "bob"); !errors.Is(err, ErrClosed) {
					t.Errorf("call after Close: %v", err)
				}
				alice.none(t, eventCallEnded)
				alice.none(t, eventFailure)
			})
		})
	}
}

func TestRawFramesAndRequests(t *testing.T) {
	bubble(t, func(r *rig) {
		alice := r.connected("alice")
		r.must(alice.Send([]byte(`{"type":"rtc","action":"leave","id":"raw","data":{}}`)))
		alice.wait(t, time.Second, eventViolation, "what=unknown_request", "request=raw")
		if _, err := alice.Request(r.ctx, signaling.TypeRTC, signaling.ActionOffer, signaling.RTC{CallID: "c-9"}); code(err) != signaling.CodeNoSuchCall {
			t.Errorf("offer without a call: %v", err)
		}
		ack, err := alice.Request(r.ctx, signaling.TypeRTC, signaling.ActionLeave, nil)
		if err != nil || ack.Type != signaling.TypeAck {
			t.Errorf("leave: %v %v", ack, err)
		}
		alice.Drop()
		synctest.Wait()
		if err := alice.Send(nil); !errors.Is(err, ErrNotConnected) {
			t.Errorf("send without a socket: %v", err)
		}
	})
}

// TestRepeatable: the same call gives the same events at the same instants,
// but for their order within an instant, and also when packets are lost from
// the first one on.
func TestRepeatable(t *testing.T) {
	for _, loss := range []float64{0, 10} {
		t.Run(fmt.Sprintf("loss=%v", loss), func(t *testing.T) { testRepeatable(t, loss) })
	}
}

func testRepeatable(t *testing.T, loss float64) {
	run := func() (trace string) {
		bubble(t, func(r *rig) {
			r.withMedia()
			alice, bob := r.connected("alice"), r.connected("bob")
			bob.host.Link.SetLoss(loss)
			r.call(alice, bob)
			time.Sleep(3*time.Second + 7*time.Millisecond) // not at an instant at which packets pass
			bob.host.Link.Cut()
			time.Sleep(12 * time.Second)
			bob.host.Link.Restore()
			time.Sleep(12 * time.Second)
			r.must(bob.Hangup(r.ctx))
			time.Sleep(time.Second)
			trace = essence(alice) + essence(bob)
		})
		return trace
	}
	first := run()
	for range 4 {
		if again := run(); again != first {
			t.Fatalf("two runs differ:\n%s\n%s", first, again)
		}
	}
}

// essence is what must be the same in every run: sizes of SDP and the counts of
// packets at the edge of an instant are not.
func essence(a *actor) string {
	var lines []string
	for _, e := range a.all() {
		switch e.kind {
		case eventSent, eventReceived, eventTrickle, eventTrickled, eventMediaTotal, eventWindow, eventMediaSent:
			continue
		}
		lines = append(lines, fmt.Sprint(a.cfg.User, " ", e))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}
