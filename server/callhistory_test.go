package server_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// calls compares the calls in History, without their beginning, which is the
// same instant in each of these tests.
func (w *world) calls(want ...server.CallHistory) {
	w.t.Helper()
	synctest.Wait()
	if d := cmp.Diff(want, w.history.Calls()); d != "" {
		w.t.Errorf("calls in History (-want +got):\n%s", d)
	}
}

func TestCallInHistory(t *testing.T) {
	name := func(c *server.Config) { c.Node = "node-7" }
	bubble(t, name, func(t *testing.T, w *world) {
		alice, bob, ref := dialed(w)
		row := server.CallHistory{CallID: ref.CallID, RoomID: ref.RoomID, Caller: "alice", Callee: "bob", Node: "node-7", StartedAt: time.Now()}
		w.calls(row)
		time.Sleep(time.Second)
		bob.rtc(signaling.ActionRinging, ref)
		row.RingingAt = time.Now()
		time.Sleep(time.Second)
		bob.rtc(signaling.ActionRinging, ref)
		w.calls(row)
		bob.rtc(signaling.ActionAnswer, ref)
		row.AnsweredAt = time.Now()
		w.calls(row)
		time.Sleep(time.Minute)
		alice.rtc(signaling.ActionLeave, ref)
		row.EndedAt, row.Reason, row.Outcome = time.Now(), signaling.ReasonHangup, signaling.OutcomeAccepted
		w.calls(row) // it is known before bob has confirmed
		bob.rtc(signaling.ActionLeave, ref)
		w.calls(row)
	})
}

func TestCallsThatNeverWere(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		alice.refused(signaling.CodeUserUnavailable, signaling.ActionCall, signaling.RTC{TargetUser: "carol"})
		absent := server.CallHistory{CallID: "call-alice-1", Caller: "alice", Callee: "carol", Node: "callbench", StartedAt: time.Now(), EndedAt: time.Now(),
			Reason: signaling.Reason(signaling.CodeUserUnavailable), Outcome: signaling.OutcomeMissed}
		w.calls(absent)
		bob, dave := w.join("bob"), w.join("dave")
		alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		going := w.history.Calls()[1]
		dave.refused(signaling.CodeBusy, signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		engaged := server.CallHistory{CallID: "call-dave-1", Caller: "dave", Callee: "bob", Node: "callbench", StartedAt: time.Now(), EndedAt: time.Now(),
			Reason: signaling.ReasonBusy, Outcome: signaling.OutcomeMissed}
		w.calls(absent, going, engaged)
		alice.refused(signaling.CodeBusy, signaling.ActionCall, signaling.RTC{TargetUser: "dave"}) // she is in a call herself
		if n := len(w.history.Calls()); n != 3 {
			t.Errorf("%d calls in History, want 3", n)
		}
		bob.rtc(signaling.ActionReject, signaling.RTC{RoomID: going.RoomID})
	})
}

// A call whose media could not be made for the answer has no length: nobody could talk,
// and that is what the conversation says of it.
func TestFailedCallHasNoLength(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		_, bob, ref := dialed(w)
		w.media.set(func(m *fakeMedia) { m.hang["connect"] = true })
		bob.refused(signaling.CodeMediaFailed, signaling.ActionAnswer, ref)
		row := w.history.Calls()[0]
		if row.AnsweredAt.IsZero() || row.Outcome != signaling.OutcomeFailed || row.EndedAt.Sub(row.AnsweredAt) < time.Second {
			t.Fatalf("the call is %+v", row)
		}
		if d := row.Duration(); d != 0 {
			t.Errorf("it was %v long", d)
		}
	})
}
