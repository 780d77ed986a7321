package simclient

import (
	"strings"
	"testing"
	"time"

	"github.com/callbench/callbench/signaling"
)

// TestViolations: what a server must not do is told by name, and survived.
func TestViolations(t *testing.T) {
	ref := signaling.RTC{CallID: "c-1", RoomID: "r-1", UserID: "bob"}
	tests := map[string]struct {
		do   func(alice *fakeSession)
		want string
	}{
		"ended twice": {func(s *fakeSession) {
			end := ref
			end.Reason = signaling.ReasonHangup
			s.rtc(signaling.ActionEnded, end)
			s.rtc(signaling.ActionEnded, end)
		}, "what=ended_twice call=c-1 reason=hangup"},
		"gap": {func(s *fakeSession) {
			s.pushed = append(s.pushed, signaling.Frame{Seq: 99})
			s.push(signaling.TypeState, "", signaling.State{UserID: "bob", Status: "online"})
		}, "what=seq_gap seq=4 expected=3"},
		"no number": {func(s *fakeSession) {
			s.write(frame(signaling.TypeState, "", "", signaling.State{UserID: "bob", Status: signaling.Online}))
		}, "what=seq_missing type=state"},
		"not JSON":      {func(s *fakeSession) { s.ws.WriteMessage(1, []byte("{")) }, "what=bad_frame size=1"},
		"wrong data":    {func(s *fakeSession) { s.push(signaling.TypeRTC, signaling.ActionEnded, []int{1}) }, "what=bad_frame"},
		"unknown type":  {func(s *fakeSession) { s.push("news", "", nil) }, "what=unknown_type type=news"},
		"unknown verb":  {func(s *fakeSession) { s.rtc("wave", ref) }, "what=unknown_type type=rtc action=wave"},
		"unknown call":  {func(s *fakeSession) { s.rtc(signaling.ActionRinging, signaling.RTC{CallID: "c-7"}) }, "what=unknown_call call=c-7"},
		"answer to nil": {func(s *fakeSession) { s.write(frame(signaling.TypeAck, "", "77", nil)) }, "what=unknown_request request=77"},
		"two accepts":   {func(s *fakeSession) { s.rtc(signaling.ActionAnswer, ref) }, "what=accepted_twice user=bob"},
		"two answers": {func(s *fakeSession) {
			with := ref
			with.SDP = "v=0\r\n"
			s.rtc(signaling.ActionAnswer, with)
			s.rtc(signaling.ActionAnswer, with)
		}, "what=unasked_answer"},
		"second invitation": {func(s *fakeSession) {
			s.push(signaling.TypeInvite, "", signaling.Invite{RoomID: "r-8", CallID: "c-8", From: "carol"})
		}, "what=invited_in_call room=r-8 from=carol"},
		"second welcome": {func(s *fakeSession) {
			s.write(frame(signaling.TypeWelcome, "", "1", signaling.Welcome{SessionID: "s-8"}))
		},
			"what=unasked_welcome session=s-8"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				alice, bob := r.connected("alice"), r.connected("bob")
				r.call(alice, bob)
				alice.wait(t, time.Second, eventAccepted)
				alice.none(t, eventViolation)
				r.srv.locked(func() { test.do(r.srv.sessions["alice"]) })
				time.Sleep(time.Second)
				alice.one(t, eventViolation, strings.Fields(test.want)...)
				if s := alice.State(); s.Link != "up" || s.Counters.Violations != 1 {
					t.Errorf("state %+v", s)
				}
			})
		})
	}
}

// TestInvitedOnceMore: the invitation to the call that rings is no news, and that to
// one that was left in the meantime is none either.
func TestInvitedOnceMore(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		r.must(alice.Call(r.ctx, "bob"))
		bob.wait(t, time.Second, eventIncoming)
		r.srv.locked(func() {
			r.srv.sessions["bob"].push(signaling.TypeInvite, "", signaling.Invite{RoomID: "r-1", CallID: "c-1", From: "alice"})
		})
		time.Sleep(time.Second)
		bob.one(t, eventIncoming)
		bob.none(t, eventViolation)
		r.must(bob.Accept(r.ctx))
		alice.wait(t, time.Second, eventAccepted)
	})
}

// TestReplayedTwice: pushes that were seen are dropped.
func TestReplayedTwice(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		r.must(alice.Call(r.ctx, "bob"))
		bob.wait(t, time.Second, eventIncoming)
		r.srv.locked(func() {
			s := r.srv.sessions["bob"]
			s.write(s.pushed[0])
		})
		bob.wait(t, time.Second, eventDuplicate, "type=rtc_invite", "seq=1")
		bob.one(t, eventIncoming)
		bob.none(t, eventViolation)
		if s := bob.State(); s.Counters.Duplicates != 1 {
			t.Errorf("counters %+v", s.Counters)
		}
	})
}

// TestPeerNotifications: the other party's connection dropped and came back.
func TestPeerNotifications(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		r.call(alice, bob)
		alice.wait(t, time.Second, eventAccepted)
		r.srv.locked(func() {
			about := signaling.RTC{CallID: "c-1", RoomID: "r-1", UserID: "bob"}
			r.srv.sessions["alice"].rtc(signaling.ActionReconnecting, about)
			r.srv.sessions["alice"].rtc(signaling.ActionReconnected, about)
		})
		time.Sleep(time.Second)
		alice.order(t, "call.reconnecting call=c-1 user=bob", "call.reconnected call=c-1 user=bob")
	})
}

// TestDesignSpelling: frames of the design document, without callId and with
// fields beside action, are understood.
func TestDesignSpelling(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		r.must(alice.Call(r.ctx, "bob"))
		bob.wait(t, time.Second, eventIncoming)
		r.srv.locked(func() {
			s := r.srv.sessions["alice"]
			s.pushed = append(s.pushed, signaling.Frame{}, signaling.Frame{})
			s.ws.WriteMessage(1, []byte(`{"type":"rtc","action":"answer","seq":2,"roomId":"r-1"}`))
		})
		alice.wait(t, time.Second, eventAccepted, "call=c-1")
	})
}
