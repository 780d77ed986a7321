package simclient

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/signaling"
)

// allLevel0 makes the server one that knows the design document only.
func (r *rig) allLevel0() { r.srv.level0, r.srv.helloCode = everybody, signaling.CodeUnknownType }

// TestLevel0WholeCall: two clients that were told to speak level 0 prove the
// same media as at level 1, with the room for a name.
func TestLevel0WholeCall(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		r.allLevel0()
		alice := r.connected("alice", atLevel(0))
		bob := r.connected("bob", atLevel(0), func(c *Config) { c.Profile, c.Batch = ReactNative(), time.Second })
		r.call(alice, bob)
		alice.wait(t, 5*time.Second, eventConnected)
		time.Sleep(30*time.Second + 5*time.Millisecond)
		if s := alice.State(); s.Level != 0 || s.Call != "" || s.Room != "r-1" || s.CallState != "connected" || s.Session != "" || s.User != "alice" {
			t.Errorf("state in the call: %+v", s)
		}
		r.must(alice.Hangup(r.ctx))
		bob.wait(t, time.Second, eventCallEnded, "reason=hangup", "by=alice", "level=0", "call=r-1")
		time.Sleep(time.Second)
		alice.order(t, "ws.open", "signal.sent type=state", "session.welcome level=0 resumed=false", "signal.sent action=call", "call.outgoing to=bob",
			"call.accepted user=bob call=r-1", "signal.sent action=offer", "signal.received action=answer",
			"call.connected leg=1 call=r-1", "media.flow state=flowing from=bob call=r-1", "call.ended reason=hangup by=alice level=0")
		bob.order(t, "call.incoming from=alice room=r-1", "signal.sent action=answer", "signal.sent action=offer",
			"call.connected", "call.ended by=alice", "signal.sent action=leave")
		for _, a := range []*actor{alice, bob} {
			checkMedia(t, a)
			a.none(t, eventSent, "type=hello")
			a.none(t, eventSent, "action=ringing")
			a.none(t, eventSent, "type=ack")
			for _, kind := range []string{eventError, eventViolation, eventFailure, eventWrongOrigin} {
				a.none(t, kind)
			}
		}
	})
}

// TestMixedLevels: parties of different levels agree on what marks their media.
func TestMixedLevels(t *testing.T) {
	for _, caller := range []string{"alice", "bob"} {
		bubble(t, func(r *rig) {
			r.withMedia()
			r.srv.helloCode = signaling.CodeBadFrame
			r.srv.level0 = func(user string) bool { return user == caller }
			alice, bob := r.connected("alice"), r.connected("bob")
			r.call(alice, bob)
			time.Sleep(10 * time.Second)
			for _, a := range []*actor{alice, bob} {
				if n := len(a.find(eventFlow, "state=flowing")); n != 2 {
					t.Errorf("%d flows began at %s, want audio and video:\n%s", n, a.cfg.User, a.dump())
				}
				a.none(t, eventWrongOrigin)
				a.none(t, eventViolation)
			}
			r.must(bob.Hangup(r.ctx))
			alice.wait(t, time.Second, eventCallEnded, "reason=hangup", "by=bob")
		})
	}
}

// TestLevel0Reasons: what a client of level 0 can know about an end.
func TestLevel0Reasons(t *testing.T) {
	leave := func(by string) func(r *rig, alice, bob *actor) {
		return func(r *rig, alice, bob *actor) {
			r.srv.locked(func() {
				for _, s := range []string{"alice", "bob"} {
					r.srv.sessions[s].write(frame(signaling.TypeRTC, signaling.ActionLeave, "", signaling.RTC{RoomID: "r-1", UserID: by}))
				}
				r.srv.call = nil
			})
		}
	}
	tests := map[string]struct {
		answered   bool
		do         func(r *rig, alice, bob *actor)
		alice, bob string
	}{
		"declined":   {false, func(r *rig, _, bob *actor) { r.must(bob.Reject(r.ctx)) }, "reason=declined by=bob", "reason=declined by=bob"},
		"busy":       {false, func(r *rig, _, bob *actor) { r.must(bob.Busy(r.ctx)) }, "reason=declined by=bob", "reason=busy by=bob"},
		"cancelled":  {false, func(r *rig, alice, _ *actor) { r.must(alice.Cancel(r.ctx)) }, "reason=cancelled by=alice", "reason=cancelled by=alice"},
		"hangup":     {true, func(r *rig, alice, _ *actor) { r.must(alice.Hangup(r.ctx)) }, "reason=hangup by=alice", "reason=hangup by=alice"},
		"no answer":  {false, leave(""), "reason=no_answer", "reason=no_answer"},
		"lost media": {true, leave(""), "reason=dropped", "reason=dropped"},
		"a party":    {true, leave("bob"), "reason=hangup by=bob", "reason=hangup by=bob"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.allLevel0()
				alice, bob := r.connected("alice", atLevel(0)), r.connected("bob", atLevel(0))
				r.must(alice.Call(r.ctx, "bob"))
				bob.wait(t, time.Second, eventIncoming)
				if test.answered {
					r.must(bob.Accept(r.ctx))
					alice.wait(t, time.Second, eventAccepted)
				}
				test.do(r, alice, bob)
				time.Sleep(time.Second)
				alice.one(t, eventCallEnded, append(strings.Fields(test.alice), "level=0")...)
				bob.one(t, eventCallEnded, append(strings.Fields(test.bob), "level=0")...)
				alice.none(t, eventViolation)
				bob.none(t, eventViolation)
			})
		})
	}
}

// TestLevel0Errors: an error names no request, and is put down to the last one
// that can have caused it.
func TestLevel0Errors(t *testing.T) {
	bubble(t, func(r *rig) {
		r.allLevel0()
		alice, bob := r.connected("alice", atLevel(0)), r.connected("bob", atLevel(0))
		r.must(alice.Call(r.ctx, "nobody"))
		alice.wait(t, time.Second, eventCallEnded, "reason=user_unavailable")
		alice.one(t, eventError, "code=user_unavailable")

		r.must(alice.Call(r.ctx, "bob"))
		bob.wait(t, time.Second, eventIncoming)
		r.must(alice.Message(r.ctx, "nobody", "hello"))
		time.Sleep(time.Second)
		if s := alice.State(); s.Peer != "bob" || s.CallState != "outgoing" {
			t.Errorf("an error about a message ended the call: %+v", s)
		}
		r.must(bob.Accept(r.ctx))
		alice.wait(t, time.Second, eventAccepted)
		r.srv.locked(func() {
			for _, code := range []signaling.Code{signaling.CodeInternal, signaling.CodeInvalidCandidate, signaling.CodeUnknownType, "odd", ""} {
				r.srv.sessions["alice"].write(frame(signaling.TypeError, "", "", signaling.Errorf(code, "no")))
			}
		})
		time.Sleep(time.Second)
		if s := alice.State(); s.CallState != "accepted" {
			t.Errorf("an error ended an answered call: %+v", s)
		}
		alice.none(t, eventViolation)
	})
}

// TestLevel0AnswerRefused: the call was taken back while it was answered.
func TestLevel0AnswerRefused(t *testing.T) {
	bubble(t, func(r *rig) {
		r.allLevel0()
		alice, bob := r.connected("alice", atLevel(0)), r.connected("bob", atLevel(0))
		r.must(alice.Call(r.ctx, "bob"))
		bob.wait(t, time.Second, eventIncoming)
		r.srv.locked(func() { r.srv.call = nil })
		r.must(bob.Accept(r.ctx))
		bob.wait(t, time.Second, eventCallEnded, "reason=no_such_call")
		time.Sleep(time.Second)
		bob.none(t, eventViolation)
	})
}

// TestLevel0ConfirmsWhatAnErrorEnded: an error frame ends a call before the
// server's leave does, which is confirmed all the same: the server waits for it.
func TestLevel0ConfirmsWhatAnErrorEnded(t *testing.T) {
	bubble(t, func(r *rig) {
		r.allLevel0()
		alice, bob := r.connected("alice", atLevel(0)), r.connected("bob", atLevel(0))
		r.must(alice.Call(r.ctx, "bob"))
		bob.wait(t, time.Second, eventIncoming, "room=r-1")
		var leaves []signaling.RTC
		r.srv.locked(func() {
			r.srv.call = nil
			r.srv.onRequest = func(s *fakeSession, f signaling.Frame) bool {
				if s.user == "bob" && f.Action == signaling.ActionLeave {
					var ref signaling.RTC
					r.must(f.Into(&ref))
					leaves = append(leaves, ref)
					s.write(frame(signaling.TypeError, "", "", signaling.Errorf(signaling.CodeNoSuchCall, "too late")))
					return true
				}
				return false
			}
		})
		r.must(bob.Accept(r.ctx))
		bob.wait(t, time.Second, eventCallEnded, "reason=no_such_call")
		time.Sleep(time.Second)
		errs := len(bob.find(eventError)) // of the answer and what followed it
		leave := frame(signaling.TypeRTC, signaling.ActionLeave, "", signaling.RTC{RoomID: "r-1", UserID: "alice"})
		r.srv.locked(func() { // once is enough, and a candidate is nothing to confirm
			bob := r.srv.sessions["bob"]
			bob.write(frame(signaling.TypeRTC, signaling.ActionCandidate, "", signaling.RTC{RoomID: "r-1"}))
			bob.write(leave)
			bob.write(leave)
		})
		time.Sleep(time.Second)
		r.srv.locked(func() {
			if len(leaves) != 1 || leaves[0].RoomID != "r-1" {
				t.Errorf("confirmed with %+v", leaves)
			}
		})
		bob.one(t, eventCallEnded)
		if n := len(bob.find(eventError)) - errs; n != 0 {
			t.Errorf("%d errors about what was confirmed", n)
		}
		bob.none(t, eventViolation)
	})
}

// TestLevel0Crossings: what is on its way while a call ends is no violation.
func TestLevel0Crossings(t *testing.T) {
	bubble(t, func(r *rig) {
		r.allLevel0()
		alice, bob := r.connected("alice", atLevel(0)), r.connected("bob", atLevel(0))
		r.must(alice.Call(r.ctx, "bob"))
		bob.wait(t, time.Second, eventIncoming)
		accepted := make(chan error, 1)
		go func() { accepted <- bob.Accept(r.ctx) }()
		r.must(alice.Cancel(r.ctx))
		r.must(<-accepted)
		time.Sleep(time.Second)
		bob.one(t, eventCallEnded, "reason=hangup", "by=alice")
		alice.one(t, eventCallEnded, "reason=cancelled")

		r.must(alice.Call(r.ctx, "bob")) // and both call each other
		time.Sleep(time.Millisecond)
		r.must(bob.Call(r.ctx, "alice"))
		bob.wait(t, time.Second, eventIncoming, "room=r-2")
		bob.wait(t, time.Second, eventError, "code=busy")
		r.must(bob.Accept(r.ctx))
		alice.wait(t, time.Second, eventAccepted, "call=r-2")
		left := make(chan error, 1)
		go func() { left <- bob.Hangup(r.ctx) }()
		r.must(alice.Hangup(r.ctx))
		r.must(<-left)
		time.Sleep(time.Second)
		for _, a := range []*actor{alice, bob} {
			a.one(t, eventCallEnded, "call=r-2", "reason=hangup")
			a.none(t, eventViolation)
		}
		r.srv.locked(func() {
			r.srv.sessions["alice"].rtc(signaling.ActionAnswer, signaling.RTC{RoomID: "r-2", SDP: "v=0\r\n"})
		})
		time.Sleep(time.Second)
		alice.none(t, eventViolation)
		for _, a := range []*actor{alice, bob} {
			r.srv.locked(func() { // the first may be of the call that was taken back before it had a name
				r.srv.sessions[a.cfg.User].rtc(signaling.ActionAnswer, signaling.RTC{RoomID: "r-8"})
				r.srv.sessions[a.cfg.User].rtc(signaling.ActionAnswer, signaling.RTC{RoomID: "r-9"})
			})
			a.wait(t, time.Second, eventViolation, "what=unknown_call", "call=r-9")
		}
	})
}

// TestLevel0Drop: the session ends with its connection, and a fresh one follows.
func TestLevel0Drop(t *testing.T) {
	bubble(t, func(r *rig) {
		r.allLevel0()
		alice, bob := r.connected("alice", atLevel(0)), r.connected("bob", atLevel(0))
		r.call(alice, bob)
		alice.Drop()
		synctest.Wait()
		if err := alice.Message(r.ctx, "bob", "hello"); !errors.Is(err, ErrNotConnected) {
			t.Errorf("without a connection: %v", err)
		}
		r.srv.locked(func() { r.srv.call = nil })
		time.Sleep(2 * time.Second)
		alice.order(t, "session.reconnecting cause=dropped", "call.ended call=r-1 reason=dropped level=0", "session.ended reason=dropped",
			"ws.open", "session.welcome resumed=false level=0")
		alice.none(t, eventResumed)
		r.must(alice.Call(r.ctx, "bob"))
	})
}

// TestLevel0GivesUp tells so, though its session ended long before.
func TestLevel0GivesUp(t *testing.T) {
	bubble(t, func(r *rig) {
		r.allLevel0()
		alice := r.connected("alice", atLevel(0))
		alice.host.Link.Cut()
		alice.Drop()
		alice.wait(t, 3*time.Minute, eventEnded, "reason=gave_up")
	})
}

// TestLevel0MediaLost: a leg cannot be made anew.
func TestLevel0MediaLost(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		r.allLevel0()
		alice, bob := r.connected("alice", atLevel(0)), r.connected("bob", atLevel(0))
		r.call(alice, bob)
		time.Sleep(5 * time.Second)
		r.must(r.srv.hub.of("bob").pc.GracefulClose())
		bob.wait(t, 60*time.Second, eventCallEnded, "reason=media_failed", "by=bob")
		alice.wait(t, time.Second, eventCallEnded, "reason=hangup", "by=bob")
		bob.none(t, eventNegotiate)
	})
}

// TestLevel0NoWords: what level 0 cannot say is an error, if somebody asked for it.
func TestLevel0NoWords(t *testing.T) {
	bubble(t, func(r *rig) {
		r.allLevel0()
		alice, bob := r.connected("alice", atLevel(0)), r.connected("bob", atLevel(0), func(c *Config) { c.ManualRing = true })
		r.must(alice.Call(r.ctx, "bob"))
		bob.wait(t, time.Second, eventIncoming)
		if err := bob.Ring(r.ctx); !errors.Is(err, ErrLevel) {
			t.Errorf("ring: %v", err)
		}
		if err := bob.RefreshToken(r.ctx); !errors.Is(err, ErrLevel) {
			t.Errorf("token: %v", err)
		}
		r.must(bob.Join(r.ctx, "", RoomOptions{}))
		alice.wait(t, time.Second, eventAccepted, "user=bob")
	})
}

// TestLevel0Frames: the design document's members and nothing else.
func TestLevel0Frames(t *testing.T) {
	first := 0
	rtc := signaling.RTC{RoomID: "r-1", CallID: "c-1", Candidate: "candidate:1", SDPMid: "0", SDPMLineIndex: &first, UsernameFragment: "u"}
	batch := signaling.RTC{RoomID: "r-1", CallID: "c-1", Candidates: []signaling.ICECandidate{{Candidate: "candidate:1", SDPMid: "0"}, {Candidate: "candidate:2"}, {}}}
	for _, test := range []struct {
		t      signaling.Type
		action signaling.Action
		data   any
		want   string
	}{
		{signaling.TypeRTC, signaling.ActionCandidate, rtc, `{"type":"rtc","action":"candidate","data":{"roomId":"r-1","candidate":"candidate:1","sdpMLineIndex":0}}`},
		{signaling.TypeRTC, signaling.ActionCandidate, batch, `{"type":"rtc","action":"candidate","data":{"roomId":"r-1","candidate":"candidate:1"}}
{"type":"rtc","action":"candidate","data":{"roomId":"r-1","candidate":"candidate:2"}}`},
		{signaling.TypeRTC, signaling.ActionBusy, signaling.RTC{RoomID: "r-1", CallID: "c-1"}, `{"type":"rtc","action":"leave","data":{"roomId":"r-1"}}`},
		{signaling.TypeMessage, "", signaling.Message{MessageID: "m-1", To: "bob", Content: "hi"}, `{"type":"message","data":{"from":"","to":"bob","content":"hi","timestamp":0}}`},
	} {
		frames, err := words0(test.t, test.action, test.data)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, f := range frames {
			b, err := signaling.Encode(f)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, string(b))
		}
		if got := strings.Join(lines, "\n"); got != test.want {
			t.Errorf("%s/%s became\n%s, want\n%s", test.t, test.action, got, test.want)
		}
	}
}

// TestLevel0Repeats: two runs give the same events.
func TestLevel0Repeats(t *testing.T) {
	run := func() (trace string) {
		bubble(t, func(r *rig) {
			r.withMedia()
			r.allLevel0()
			alice, bob := r.connected("alice"), r.connected("bob", atLevel(0))
			r.call(alice, bob)
			r.must(alice.Message(r.ctx, "bob", "hello"))
			time.Sleep(3*time.Second + 7*time.Millisecond)
			alice.Drop()
			time.Sleep(12 * time.Second)
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

// TestLevel0CloseWhileWriting: an answer that was written when the client was
// closed already does not begin the call's media.
func TestLevel0CloseWhileWriting(t *testing.T) {
	bubble(t, func(r *rig) {
		r.allLevel0()
		alice, bob := r.connected("alice", atLevel(0)), r.connected("bob", atLevel(0))
		r.must(alice.Call(r.ctx, "bob"))
		bob.wait(t, time.Second, eventIncoming)
		on(bob.Client, func() {
			bob.accept(func(error) {})
			bob.shutdown()
		})
		synctest.Wait()
		bob.one(t, eventSent, "action=answer")
		bob.none(t, eventAccepted)
	})
}
