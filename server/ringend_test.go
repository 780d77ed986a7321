package server_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// TestRingingDevicesAreLost ends the call with the last of them.
func TestRingingDevicesAreLost(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, _ := rung(w, "phone", "laptop")
		goodbye(bob[0])
		if n := len(alice.got("rtc/ended")); n != 0 {
			t.Fatal("the other device rings")
		}
		bob[1].drop()
		time.Sleep(50 * time.Second)
		if n := len(alice.got("rtc/ended")); n != 0 {
			t.Fatal("the other device may come back")
		}
		time.Sleep(9500 * time.Millisecond)
		if n := len(alice.got("rtc/ended")); n != 0 {
			t.Fatal("the other device may come back")
		}
		time.Sleep(time.Second)
		alice.endedWith(signaling.ReasonNoAnswer, "")
	})
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, _ := rung(w, "phone", "laptop")
		goodbye(bob[0])
		goodbye(bob[1])
		alice.endedWith(signaling.ReasonDropped, "bob")
		if logs := callLogs(t, alice); len(logs) != 1 {
			t.Errorf("alice was told of %q", logs)
		}
	})
}

// goodbye ends the client's session.
func goodbye(c *client) {
	(&play{}).bye(c)
	synctest.Wait()
}

// TestLostWhileRinging ends by the ring timer and nothing else as long as the
// device may come back: its session, which was lost when it was called, lasts
// longer.
func TestLostWhileRinging(t *testing.T) {
	for _, lostAt := range []time.Duration{0, time.Millisecond, 30 * time.Second, 59 * time.Second} {
		bubble(t, nil, func(t *testing.T, w *world) {
			alice := w.join("alice")
			phone, welcome := w.enterOn("bob", "phone")
			ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
			begin := time.Now()
			time.Sleep(lostAt)
			phone.drop()
			time.Sleep(time.Until(begin.Add(59999 * time.Millisecond)))
			if n := len(alice.got("rtc/ended")); n != 0 {
				t.Fatalf("lost after %v: the end came early", lostAt)
			}
			time.Sleep(time.Millisecond)
			alice.endedWith(signaling.ReasonNoAnswer, "")
			if lostAt == 0 { // the session ends in the same instant
				return
			}
			back, again := w.rejoin(phone, welcome.ResumeToken)
			back.endedWith(signaling.ReasonNoAnswer, "")
			if again.Call == nil || again.Call.State != "ending" {
				t.Errorf("welcome names %+v", again.Call)
			}
			back.rtc(signaling.ActionLeave, ref)
		})
	}
}

// TestNobodyWaitsForLosers ends the call while a device that has lost it has
// confirmed nothing, and calls again, from any device.
func TestNobodyWaitsForLosers(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := rung(w, "phone", "laptop")
		bob[0].rtc(signaling.ActionAnswer, ref)
		bob[1].refused(signaling.CodeBusy, signaling.ActionCall, signaling.RTC{TargetUser: "carol"})
		alice.rtc(signaling.ActionLeave, ref)
		bob[0].rtc(signaling.ActionLeave, ref)
		if !contains(w.eventLines("call.state"), "call="+ref.CallID, "to=ended") {
			t.Error("the call waits for a device that is not in it")
		}
		bob[1].refused(signaling.CodeNoSuchCall, signaling.ActionLeave, ref)
		back := bob[1].rtc(signaling.ActionCall, signaling.RTC{TargetUser: "alice"})
		alice.rtc(signaling.ActionAnswer, signaling.RTC{CallID: back.CallID})
		bob[1].rtc(signaling.ActionLeave, signaling.RTC{CallID: back.CallID})
	})
}

// TestLoserResumes finds out that it is in no call, whether it has confirmed that
// or not.
func TestLoserResumes(t *testing.T) {
	for _, confirms := range []bool{false, true} {
		bubble(t, nil, func(t *testing.T, w *world) {
			alice := w.join("alice")
			phone, welcome := w.enterOn("bob", "phone")
			laptop := w.join("bob")
			ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
			laptop.rtc(signaling.ActionAnswer, ref)
			if confirms {
				phone.rtc(signaling.ActionLeave, ref)
			}
			phone.drop()
			back, again := w.rejoin(phone, welcome.ResumeToken)
			if confirms && again.Call != nil || !confirms && (again.Call == nil || again.Call.State != "ending") {
				t.Errorf("welcome names %+v", again.Call)
			}
			goodbye(back)
			if n := len(alice.got("rtc/reconnecting")) + len(alice.got("rtc/ended")); n != 0 {
				t.Errorf("alice was told %d times of a device that is not in the call", n)
			}
		})
	}
}

// TestDecisionsOfDevicesCross sends, in the same instant, everything that decides
// about a call that rings. Whatever comes first: all agree on what became of it.
func TestDecisionsOfDevicesCross(t *testing.T) {
	words := []signaling.Action{signaling.ActionAnswer, signaling.ActionReject, signaling.ActionLeave, signaling.ActionBusy}
	for i := range 64 {
		mine := []signaling.Action{words[i&3], words[i>>2&3], words[i>>4&3]}
		for _, cancels := range []bool{false, true} {
			t.Run(fmt.Sprint(mine, cancels), func(t *testing.T) {
				bubble(t, func(c *server.Config) { c.ConfirmTimeout = time.Second }, func(t *testing.T, w *world) {
					alice, bob, ref := rung(w, "phone", "laptop", "tablet")
					for n, d := range bob {
						d.send(signaling.TypeRTC, mine[n], ref)
					}
					if cancels {
						alice.send(signaling.TypeRTC, signaling.ActionCancel, ref)
					}
					time.Sleep(5 * time.Second)
					agree(t, w, alice, bob, cancels, slices.Contains(mine, signaling.ActionAnswer))
					alice.send(signaling.TypeRTC, signaling.ActionLeave, ref)
					time.Sleep(5 * time.Second)
					next := bob[0].rtc(signaling.ActionCall, signaling.RTC{TargetUser: "alice"}) // everybody is free
					alice.rtc(signaling.ActionAnswer, signaling.RTC{CallID: next.CallID})
				})
			})
		}
	}
}

// agree holds what the parties of a call were told against each other.
func agree(t *testing.T, w *world, alice *client, bob []*client, cancels, answered bool) {
	t.Helper()
	acked := len(alice.got("rtc/answer"))
	if acked > 1 || acked == 1 && !answered {
		t.Errorf("alice was told %d answers", acked)
	}
	ended := len(alice.got("rtc/ended"))
	if !cancels && ended+acked == 0 || ended > 1 {
		t.Errorf("alice was told %d answers and %d ends", acked, ended)
	}
	for _, d := range bob {
		if n := len(d.got("rtc/ended")); n > 1 {
			t.Errorf("a device was told the end %d times", n)
		}
		for _, f := range d.got("error") {
			var e signaling.Error
			if err := f.Into(&e); err != nil || e.Code != signaling.CodeBadState && e.Code != signaling.CodeNoSuchCall {
				t.Errorf("a device was refused with %s", f.Data)
			}
		}
	}
	if rooms := w.history.Rooms(); len(rooms) != 1 || acked == 1 && !cancels && rooms[0].Status() != "active" {
		t.Errorf("History has %+v", rooms)
	}
}

// TestSessionEndsWithTheRinging loses either party's session in the instant in
// which the ring timer runs out: nobody has answered, in every run.
func TestSessionEndsWithTheRinging(t *testing.T) {
	for range 10 {
		for _, who := range []string{"alice", "bob"} {
			bubble(t, nil, func(t *testing.T, w *world) {
				alice, bob, _ := dialed(w)
				lost, stays := alice, bob
				if who == "bob" {
					lost, stays = bob, alice
				}
				lost.drop()
				time.Sleep(time.Minute)
				stays.endedWith(signaling.ReasonNoAnswer, "")
			})
		}
	}
}

// TestLoserHearsOfNoRecording of a call that it is not in.
func TestLoserHearsOfNoRecording(t *testing.T) {
	bubble(t, records, func(t *testing.T, w *world) {
		alice, bob, ref := rung(w, "phone", "laptop")
		bob[0].rtc(signaling.ActionAnswer, ref)
		bob[1].refused(signaling.CodeBadState, signaling.ActionRecord, signaling.RTC{RoomID: ref.RoomID, Recording: signaling.RecordStart})
		alice.rtc(signaling.ActionRecord, signaling.RTC{RoomID: ref.RoomID, Recording: signaling.RecordStart})
		if n, m := len(bob[0].got("rtc/recording")), len(bob[1].got("rtc/recording")); n == 0 || m != 0 {
			t.Errorf("the device in the call was told %d times, the other one %d times", n, m)
		}
		alice.rtc(signaling.ActionLeave, ref)
	})
}
