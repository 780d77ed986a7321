package server_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// callLogs are the messages about calls, as a test compares them.
func callLogs(t *testing.T, c *client) (logs []string) {
	t.Helper()
	for _, f := range c.got("message") {
		var m signaling.Message
		if err := f.Into(&m); err != nil {
			t.Fatal(err)
		}
		if m.Call != nil {
			logs = append(logs, fmt.Sprintf("%s>%s %s %d %q %s %s", m.From, m.To, m.Call.Outcome, m.Call.Duration, m.Content, m.Call.CallID, m.Call.RoomID))
		}
	}
	return logs
}

// TestCallMessages plays every end of a call and reads what the conversation
// keeps of it.
func TestCallMessages(t *testing.T) {
	const c1 = "call-alice-1 room-alice-1"
	for name, test := range map[string]struct {
		end  func(w *world, alice, bob *client, ref signaling.RTC)
		says string
	}{
		"hangup": {func(_ *world, alice, bob *client, ref signaling.RTC) {
			bob.rtc(signaling.ActionAnswer, ref)
			time.Sleep(65*time.Second + 999*time.Millisecond)
			alice.rtc(signaling.ActionLeave, ref)
		}, `accepted 65 "Call, 1:05"`},
		"an hour": {func(_ *world, alice, bob *client, ref signaling.RTC) {
			bob.rtc(signaling.ActionAnswer, ref)
			time.Sleep(time.Hour + 2*time.Minute + 3*time.Second)
			bob.rtc(signaling.ActionLeave, ref)
		}, `accepted 3723 "Call, 1:02:03"`},
		"both at once": {func(_ *world, alice, bob *client, ref signaling.RTC) {
			bob.rtc(signaling.ActionAnswer, ref)
			alice.send(signaling.TypeRTC, signaling.ActionLeave, ref)
			bob.send(signaling.TypeRTC, signaling.ActionLeave, ref)
		}, `accepted 0 "Call, 0:00"`},
		"reject": {func(_ *world, _, bob *client, ref signaling.RTC) { bob.rtc(signaling.ActionReject, ref) }, `declined 0 "Call declined"`},
		"leave":  {func(_ *world, _, bob *client, ref signaling.RTC) { bob.rtc(signaling.ActionLeave, ref) }, `declined 0 "Call declined"`},
		"busy":   {func(_ *world, _, bob *client, ref signaling.RTC) { bob.rtc(signaling.ActionBusy, ref) }, `busy 0 "Call not taken: busy"`},
		"cancel": {func(_ *world, alice, _ *client, ref signaling.RTC) { alice.rtc(signaling.ActionCancel, ref) }, `cancelled 0 "Call cancelled"`},
		"ring time-out": {func(_ *world, _, _ *client, _ signaling.RTC) {
			time.Sleep(61 * time.Second)
		}, `missed 0 "Missed call"`},
		"media lost while it rings": {func(w *world, _, _ *client, _ signaling.RTC) {
			w.media.endpoint("p1.e1").on(server.MediaEvent{Kind: server.MediaLost})
		}, `failed 0 "Call failed"`},
		"media refused at the answer": {func(w *world, _, bob *client, ref signaling.RTC) {
			w.media.set(func(m *fakeMedia) { m.fail["create endpoint"] = server.ErrMediaGone })
			bob.refused(signaling.CodeMediaFailed, signaling.ActionAnswer, ref)
			w.media.set(func(m *fakeMedia) { clear(m.fail) })
		}, `failed 0 "Call failed"`},
		"media lost later": {func(w *world, _, bob *client, ref signaling.RTC) {
			bob.rtc(signaling.ActionAnswer, ref)
			time.Sleep(2 * time.Second)
			w.media.set(func(m *fakeMedia) { m.fail["create pipeline"] = server.ErrMediaGone })
			w.media.endpoint("p1.e1").on(server.MediaEvent{Kind: server.MediaLost})
		}, `accepted 2 "Call, 0:02"`},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, w *world) {
				alice, bob, ref := dialed(w)
				test.end(w, alice, bob, ref)
				time.Sleep(10 * time.Second)
				for _, c := range []*client{alice, bob} {
					if got := callLogs(t, c); len(got) != 1 || got[0] != "alice>bob "+test.says+" "+c1 {
						t.Errorf("%s was told %q", c.name, got)
					}
				}
			})
		})
	}
}

// TestLostBeforeTheAnswer loses one of the two while it rings; the other is told.
func TestLostBeforeTheAnswer(t *testing.T) {
	for name, outcome := range map[string]string{"alice": `cancelled 0 "Call cancelled"`, "bob": `missed 0 "Missed call"`} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(c *server.Config) { c.ResumeWindow = time.Second }, func(t *testing.T, w *world) {
				alice, bob, _ := dialed(w)
				lost, other := alice, bob
				if name == "bob" {
					lost, other = bob, alice
				}
				lost.drop()
				time.Sleep(10 * time.Second)
				if got := callLogs(t, other); len(got) != 1 || got[0] != "alice>bob "+outcome+" call-alice-1 room-alice-1" {
					t.Errorf("%s was told %q", other.name, got)
				}
			})
		})
	}
}

// TestStillbornCall never rings, and both hear that it failed.
func TestStillbornCall(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob := w.join("alice"), w.join("bob")
		w.media.set(func(m *fakeMedia) { m.fail["create endpoint"] = server.ErrMediaGone })
		alice.refused(signaling.CodeMediaFailed, signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		for _, c := range []*client{alice, bob} {
			if got := callLogs(t, c); len(got) != 1 || got[0] != `alice>bob failed 0 "Call failed" call-alice-1 room-alice-1` {
				t.Errorf("%s was told %q", c.name, got)
			}
		}
		w.media.set(func(m *fakeMedia) { clear(m.fail) })
	})
}

// TestMissed calls somebody who is in another call: only the callee is told.
func TestMissed(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, _ := dialed(w)
		carol := w.join("carol")
		carol.refused(signaling.CodeBusy, signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		if got := callLogs(t, bob); len(got) != 1 || got[0] != `carol>bob missed 0 "Missed call" call-carol-1 ` {
			t.Errorf("bob was told %q", got)
		}
		alice.refused(signaling.CodeBusy, signaling.ActionCall, signaling.RTC{TargetUser: "carol"}) // it is alice who is busy
		for _, c := range []*client{alice, carol} {
			if got := callLogs(t, c); len(got) != 0 {
				t.Errorf("%s was told %q", c.name, got)
			}
		}
	})
}

// TestForgedUser speaks for another user in every rtc frame.
func TestForgedUser(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := dialed(w)
		bob.rtc(signaling.ActionAnswer, ref)
		before := len(w.journal.list())
		forged := ref
		forged.UserID, forged.TargetUser, forged.SDP, forged.Candidate = "alice", "carol", sdpOffer, hostCandidate
		actions := []signaling.Action{signaling.ActionCall, signaling.ActionRinging, signaling.ActionJoin, signaling.ActionReject, signaling.ActionBusy,
			signaling.ActionCancel, signaling.ActionLeave, signaling.ActionOffer, signaling.ActionCandidate}
		for _, a := range actions {
			bob.refused(signaling.CodeForbidden, a, forged)
		}
		forged.SDP = ""
		bob.refused(signaling.CodeForbidden, signaling.ActionAnswer, forged)
		alice.sendRaw(`{"type":"rtc","action":"leave","userId":"bob"}`)
		if errs := alice.got("error"); len(errs) != 1 {
			t.Errorf("alice's flat forgery was answered %v", errs)
		}
		if after := len(w.journal.list()); after != before+2*(len(actions)+1)+1 { // the frames themselves
			t.Errorf("something was done:\n%q", w.journal.list()[before:])
		}
		forged.UserID, forged.SDP = "bob", sdpOffer
		bob.rtc(signaling.ActionOffer, forged) // oneself may be named
	})
}

// TestDeclineAndBusy are the callee's two ways to say no.
func TestDeclineAndBusy(t *testing.T) {
	for action, reason := range map[signaling.Action]signaling.Reason{signaling.ActionReject: signaling.ReasonDeclined, signaling.ActionBusy: signaling.ReasonBusy} {
		bubble(t, nil, func(t *testing.T, w *world) {
			alice, bob, ref := dialed(w)
			alice.refused(signaling.CodeBadState, action, ref)
			no := bob.send(signaling.TypeRTC, action, ref)
			if f, _ := bob.answer(no); f.Type != signaling.TypeAck {
				t.Errorf("%s was answered %s %s", action, f.Kind(), f.Data)
			}
			if said := bob.frames[len(bob.frames)-2:]; said[0].ID != no || said[1].Kind() != "message" {
				t.Errorf("the message came before the ack: %v", said)
			}
			if d := alice.one("rtc/ended"); d.Reason != reason || d.UserID != "bob" {
				t.Errorf("alice was told %+v", d)
			}
			alice.rtc(signaling.ActionLeave, ref)
			checkHistory(t, w, reason, map[string]time.Duration{"alice": 0})
		})
	}
}

// TestCancelCrossesAnswer ends a call that was answered in the same moment.
func TestCancelCrossesAnswer(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := dialed(w)
		bob.rtc(signaling.ActionAnswer, ref)
		bob.refused(signaling.CodeBadState, signaling.ActionCancel, ref)
		bob.refused(signaling.CodeBadState, signaling.ActionReject, ref)
		alice.rtc(signaling.ActionCancel, ref)
		if d := bob.one("rtc/ended"); d.Reason != signaling.ReasonHangup {
			t.Errorf("bob was told %+v", d)
		}
		bob.refused(signaling.CodeBadState, signaling.ActionAnswer, ref)
	})
}

// TestJoin accepts a call that rings, and is nothing to who is in.
func TestJoin(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := dialed(w)
		room := signaling.RTC{RoomID: ref.RoomID}
		carol := w.join("carol")
		carol.refused(signaling.CodeNoSuchCall, signaling.ActionJoin, room)
		alice.rtc(signaling.ActionJoin, room)
		bob.rtc(signaling.ActionJoin, room)
		if d := alice.one("rtc/answer"); d.UserID != "bob" {
			t.Errorf("alice was told %+v", d)
		}
		alice.rtc(signaling.ActionJoin, room)
		bob.rtc(signaling.ActionJoin, room)
		synctest.Wait()
		if n := w.journal.count("kms create endpoint"); n != 2 {
			t.Errorf("%d endpoints", n)
		}
		offer(alice, ref)
		offer(bob, ref)
	})
}
