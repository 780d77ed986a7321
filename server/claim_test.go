package server_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// elsewhere has another server hold a user for a room of its own, and returns how
// it lets go.
func (w *world) elsewhere(user, room string) (release func()) {
	w.t.Helper()
	r := server.RoomSnapshot{RoomRecord: server.RoomRecord{RoomID: room, Type: server.RoomBroadcast}, Node: "other", Hold: time.Hour}
	m := server.MemberRecord{RoomID: room, SessionID: "session-of-" + user, UserID: user, Role: server.RolePublisher}
	l := server.LegRecord{SessionID: m.SessionID, UserID: user, RoomID: room}
	if err := w.state.OpenRoom(w.t.Context(), r, m, l); err != nil {
		w.t.Fatal(err)
	}
	return func() {
		if err := w.state.LeaveRoom(w.t.Context(), m); err != nil {
			w.t.Error(err)
		}
		if err := w.state.CloseRoom(w.t.Context(), r); err != nil {
			w.t.Error(err)
		}
	}
}

// TestBusyElsewhere calls, and is called by, who is in a room of another server:
// that is what it would be if the room were here.
func TestBusyElsewhere(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, carol := w.join("alice"), w.join("bob"), w.join("carol")
		release := w.elsewhere("bob", "there")
		alice.refused(signaling.CodeBusy, signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		if got := callLogs(t, bob); len(got) != 1 {
			t.Errorf("bob was told of %q, want a missed call", got)
		}
		bob.refused(signaling.CodeBusy, signaling.ActionCall, signaling.RTC{TargetUser: "carol"})
		bob.refused(signaling.CodeBusy, signaling.ActionJoin, signaling.RTC{RoomID: "here", RoomType: "mcu"})
		synctest.Wait()
		if n := len(carol.got("rtc_invite")) + len(carol.got("message")) + len(alice.got("message")); n != 0 {
			t.Errorf("somebody heard of a call that was not made")
		}
		if left := w.media.left(); len(left) > 0 {
			t.Errorf("left on the media server: %q", left)
		}
		if rooms := w.history.Rooms(); len(rooms) != 0 {
			t.Errorf("History has rooms that were not made: %+v", rooms)
		}
		release()
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		bob.rtc(signaling.ActionReject, ref)
	})
}

// TestAnswerElsewhere answers a call in the moment in which another server takes
// the callee: the call ends, and nothing of it stays.
func TestAnswerElsewhere(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob := w.join("alice"), w.join("bob")
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		w.state.Lose()
		release := w.elsewhere("bob", "there")
		bob.refused(signaling.CodeBusy, signaling.ActionAnswer, ref)
		if d := alice.one("rtc/ended"); d.Reason != signaling.ReasonBusy {
			t.Errorf("alice was told %+v", d)
		}
		if got := callLogs(t, alice); len(got) != 1 || !strings.Contains(got[0], "busy") {
			t.Errorf("alice was told of %q", got)
		}
		alice.rtc(signaling.ActionLeave, ref)
		for _, m := range w.history.Members(ref.RoomID) {
			if m.UserID == "bob" {
				t.Errorf("History has bob in the room: %+v", m)
			}
		}
		release()
	})
}
