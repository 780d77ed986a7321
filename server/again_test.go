package server_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// follows fails unless a client's pushes of these kinds came in this order and no
// others of them came.
func (c *client) follows(t *testing.T, kinds ...string) {
	t.Helper()
	synctest.Wait()
	var got []string
	c.mu.Lock()
	for _, f := range c.frames {
		if f.Seq != 0 && f.Type != signaling.TypeMessage {
			got = append(got, describe(f))
		}
	}
	c.mu.Unlock()
	if len(got) != len(kinds) {
		t.Fatalf("%s was told %q, want %q", c.name, got, kinds)
	}
	for i := range kinds {
		if got[i] != kinds[i] {
			t.Fatalf("%s was told %q, want %q", c.name, got, kinds)
		}
	}
}

// TestCallAgainAtOnce says call, cancel and call in one breath, with any word
// that ends a call, while the media server is as slow as it likes. Where it is
// quick, a call may ring before it is cancelled.
func TestCallAgainAtOnce(t *testing.T) {
	for name, slow := range map[string]string{"quick": "", "release": "release endpoint", "pipeline": "create pipeline", "endpoint": "create endpoint"} {
		for _, end := range []signaling.Action{signaling.ActionCancel, signaling.ActionLeave} {
			t.Run(name+" "+string(end), func(t *testing.T) {
				bubble(t, nil, func(t *testing.T, w *world) {
					alice, bob := w.join("alice"), w.join("bob")
					w.media.set(func(m *fakeMedia) { m.delay[slow] = 3 * time.Second })
					var ids []string
					for _, a := range []signaling.Action{signaling.ActionCall, end, signaling.ActionCall, end, signaling.ActionCall} {
						ids = append(ids, alice.send(signaling.TypeRTC, a, signaling.RTC{TargetUser: "bob"}))
					}
					time.Sleep(20 * time.Second)
					for _, id := range ids {
						if f, ok := alice.answer(id); !ok || f.Type != signaling.TypeAck {
							t.Errorf("request %s was answered %s %s", id, f.Kind(), f.Data)
						}
					}
					var want []string
					invites := bob.got("rtc_invite")
					if strings.HasPrefix(slow, "create") && len(invites) != 1 {
						t.Fatalf("bob was invited %d times", len(invites))
					}
					for range len(invites) - 1 {
						want = append(want, "rtc_invite", "rtc/ended cancelled of alice")
					}
					bob.follows(t, append(want, "rtc_invite")...)
					var ref signaling.RTC
					_ = invites[len(invites)-1].Into(&ref)
					if ref.CallID != "call-alice-3" {
						t.Errorf("bob was invited to %+v", ref)
					}
					bob.rtc(signaling.ActionAnswer, signaling.RTC{CallID: ref.CallID})
					if got := callLogs(t, bob); len(got) != 2 {
						t.Errorf("bob was told of %q", got)
					}
				})
			})
		}
	}
}

// TestCallAgainBeforeTheConfirmation calls again who has not confirmed the end of
// the old call, and then confirms it.
func TestCallAgainBeforeTheConfirmation(t *testing.T) {
	for name, slow := range map[string]time.Duration{"quick": 0, "slow release": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, w *world) {
				alice, bob, old := connected(w)
				w.media.set(func(m *fakeMedia) { m.delay["release endpoint"] = slow })
				leave := alice.send(signaling.TypeRTC, signaling.ActionLeave, old)
				call := alice.send(signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
				synctest.Wait()
				bob.follows(t, "rtc_invite", "rtc/answer sdp", "rtc/candidate", "rtc/candidate", "rtc/ended hangup of alice", "rtc_invite")
				f, _ := alice.answer(call)
				var ref signaling.RTC
				if err := f.Into(&ref); err != nil || f.Type != signaling.TypeAck {
					t.Fatalf("the second call was answered %s %s", f.Kind(), f.Data)
				}
				bob.rtc(signaling.ActionAnswer, ref) // the old one is not confirmed yet
				offer(alice, ref)
				offer(bob, ref)
				bob.rtc(signaling.ActionLeave, old)
				if f, _ := alice.answer(leave); f.Type != signaling.TypeAck {
					t.Errorf("leave was answered %s %s", f.Kind(), f.Data)
				}
				time.Sleep(10 * time.Second)
				leg, _ := w.state.Hash("rtc:session:session-bob-1")
				if leg["roomId"] != ref.RoomID || leg["connectedTime"] == "" {
					t.Errorf("bob's leg in State is %q", leg)
				}
				if n := len(bob.got("rtc/ended")); n != 1 {
					t.Errorf("bob was told %d times that a call is over", n)
				}
				bob.rtc(signaling.ActionLeave, ref)
				alice.one("rtc/ended")
			})
		})
	}
}

// TestCallBackAtOnce has who was told the end call back before it confirms.
func TestCallBackAtOnce(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, old := dialed(w)
		bob.rtc(signaling.ActionReject, old)
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		alice.sendRaw(`{"type":"rtc","action":"leave","roomId":"` + old.RoomID + `"}`)
		bob.rtc(signaling.ActionReject, ref)
		// Both ends are told; without ids the older is meant that is not confirmed.
		alice.rtc(signaling.ActionLeave, signaling.RTC{})
		alice.refused(signaling.CodeNoSuchCall, signaling.ActionLeave, signaling.RTC{})
		alice.refused(signaling.CodeNoSuchCall, signaling.ActionLeave, old)
		if rooms := w.history.Rooms(); len(rooms) != 2 || rooms[0].Status() != "ended" || rooms[1].Status() != "ended" {
			t.Errorf("History has %+v", rooms)
		}
	})
}

// TestDeclineAndCall says no and calls in one breath.
func TestDeclineAndCall(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := dialed(w)
		no := bob.send(signaling.TypeRTC, signaling.ActionReject, ref)
		call := bob.send(signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: "alice"})
		for _, id := range []string{no, call} {
			if f, _ := bob.answer(id); f.Type != signaling.TypeAck {
				t.Errorf("%s was answered %s %s", id, f.Kind(), f.Data)
			}
		}
		alice.follows(t, "rtc/ended declined of bob", "rtc_invite")
	})
}

// TestConfirmWithoutIDs has no ids, as at level 0: the call that the session is
// in is meant, and then the oldest that ends and that it has not confirmed.
func TestConfirmWithoutIDs(t *testing.T) {
	bubble(t, func(c *server.Config) { c.ConfirmTimeout = time.Minute }, func(t *testing.T, w *world) {
		alice, bob, first := dialed(w)
		alice.rtc(signaling.ActionCancel, first)
		second := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		alice.rtc(signaling.ActionCancel, second)
		third := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		w.media.set(func(m *fakeMedia) { m.delay["release pipeline"] = 3 * time.Second })
		var ids []string
		for range 4 {
			ids = append(ids, bob.send(signaling.TypeRTC, signaling.ActionLeave, signaling.RTC{}))
		}
		time.Sleep(10 * time.Second)
		for i, id := range ids {
			if f, _ := bob.answer(id); (f.Type == signaling.TypeAck) != (i < 3) {
				t.Errorf("leave %d was answered %s %s", i, f.Kind(), f.Data)
			}
		}
		if d := alice.one("rtc/ended"); d.CallID != third.CallID || d.Reason != signaling.ReasonDeclined {
			t.Errorf("alice was told %+v", d)
		}
		for _, of := range []string{first.CallID, second.CallID} {
			if !contains(w.eventLines("call.state"), "call="+of+" ", "to=ended") {
				t.Errorf("%s was not confirmed", of)
			}
		}
	})
}

// TestCallAgainOvertakes makes the second call quicker than the first, which was
// cancelled while dialing: the record of the leg is the second one's.
func TestCallAgainOvertakes(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		w.join("bob")
		w.media.set(func(m *fakeMedia) { m.delay["create pipeline"] = 3 * time.Second })
		alice.send(signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		alice.send(signaling.TypeRTC, signaling.ActionCancel, signaling.RTC{})
		synctest.Wait()
		w.media.set(func(m *fakeMedia) { clear(m.delay) })
		alice.send(signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		time.Sleep(5 * time.Second)
		if leg, _ := w.state.Hash("rtc:session:session-alice-1"); leg["roomId"] != "room-alice-2" {
			t.Errorf("alice's leg in State is %q", leg)
		}
	})
}

// TestShutdownWhileACallEnds waits until the conversation was told.
func TestShutdownWhileACallEnds(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := connected(w)
		w.media.set(func(m *fakeMedia) { m.delay["release endpoint"] = 3 * time.Second })
		leave := alice.send(signaling.TypeRTC, signaling.ActionLeave, ref)
		synctest.Wait()
		w.stop()
		time.Sleep(20 * time.Second)
		if f, _ := alice.answer(leave); f.Type != signaling.TypeAck {
			t.Errorf("leave was answered %s %s", f.Kind(), f.Data)
		}
		bob.one("rtc/ended")
		if got := callLogs(t, bob); len(got) != 1 {
			t.Errorf("bob was told of %q", got)
		}
	})
}

// TestResumeWhileTheCallEnds finds the call that ends, for its end may be among
// what the client missed.
func TestResumeWhileTheCallEnds(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		bob, welcome := w.enter("bob")
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		bob.rtc(signaling.ActionAnswer, ref)
		bob.drop()
		alice.rtc(signaling.ActionLeave, ref)
		back, again := w.rejoin(bob, welcome.ResumeToken)
		if again.Call == nil || again.Call.CallID != ref.CallID || again.Call.State != "ending" {
			t.Errorf("welcome names call %+v", again.Call)
		}
		if d := back.one("rtc/ended"); d.CallID != ref.CallID {
			t.Errorf("bob was told %+v", d)
		}
		back.rtc(signaling.ActionLeave, ref)
	})
}
