package server_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// stored is all of State but what changes with time.
func (w *world) stored() map[string]map[string]string {
	synctest.Wait()
	all := make(map[string]map[string]string)
	for _, k := range w.state.Keys() {
		fields, _ := w.state.Hash(k)
		delete(fields, "lastHeartbeat")
		delete(fields, "snapshot") // newer
		delete(fields, "heardTime")
		all[k] = fields
	}
	return all
}

// TestStateIsLost flushes State in the middle of a call, of a room and of a call that
// rings: within a heartbeat everything is there as it was.
func TestStateIsLost(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := connected(w)
		carol, dave := w.join("carol"), w.join("dave")
		carol.rtc(signaling.ActionJoin, signaling.RTC{RoomID: "stage", RoomType: "broadcast", Role: "publisher"})
		dave.rtc(signaling.ActionJoin, signaling.RTC{RoomID: "stage"})
		erin, frank := w.join("erin"), w.join("frank")
		ringing := erin.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "frank"})
		time.Sleep(time.Second)
		before := w.stored()
		w.state.Lose()
		time.Sleep(31 * time.Second)
		after := w.stored()
		for key, fields := range after {
			if isPresence(key) { // goes on above what was told
				if fields["version"] != "2" {
					t.Errorf("%s is %q", key, fields)
				}
				delete(fields, "version")
				delete(before[key], "version")
			}
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("what came back is not what was there: %s", diff)
		}
		frank.rtc(signaling.ActionReject, ringing)
		dave.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "stage"})
		alice.rtc(signaling.ActionLeave, ref)
		bob.rtc(signaling.ActionLeave, ref)
	})
}

const (
	failing = iota + 1
	hanging
)

var errAway = errors.New("state is away")

// faltering is a State that can be away: it fails, or hangs until whoever asked gives
// up.
func faltering(state server.State, away *atomic.Int32) server.State {
	return guardedState{state, func(ctx context.Context, f func() error) error {
		switch away.Load() {
		case failing:
			return errAway
		case hanging:
			<-ctx.Done()
			return ctx.Err()
		}
		return f()
	}}
}

// TestStateIsAway has calls end, begin and go on while State is away. When it is back
// it says what is, soon and without being asked, and nothing is left of what ended.
func TestStateIsAway(t *testing.T) {
	for _, how := range []int32{failing, hanging} {
		var away atomic.Int32
		bubble(t, func(c *server.Config) { c.State = faltering(c.State, &away) }, func(t *testing.T, w *world) {
			alice, bob, ref := connected(w)
			gone, there := w.join("carol"), w.join("dave")
			old := gone.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "dave"})
			away.Store(how)
			gone.rtc(signaling.ActionLeave, old)
			there.rtc(signaling.ActionLeave, old)
			erin, frank := w.join("erin"), w.join("frank")
			during := erin.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "frank"})
			frank.rtc(signaling.ActionAnswer, during)
			offer(erin, during)
			offer(frank, during)
			gone.drop()
			time.Sleep(time.Minute)
			if n := len(w.eventLines("state.failed")); n == 0 {
				t.Error("the log does not tell that State failed")
			}
			away.Store(0)
			time.Sleep(5 * time.Second)
			keys := strings.Join(w.state.Keys(), " ")
			if strings.Contains(keys, old.RoomID) || strings.Contains(keys, "rtc:user:carol") || strings.Contains(keys, "rtc:session:session-carol-1") || strings.Contains(keys, "ws:session:session-carol-1") {
				t.Errorf("something is left of what ended: %q", keys)
			}
			for _, key := range []string{"rtc:room:" + during.RoomID + ":state", "rtc:room:" + during.RoomID + ":members", "rtc:room:" + during.RoomID + ":snapshot",
				"rtc:user:erin", "rtc:user:frank", "rtc:session:session-erin-1", "ws:session:session-frank-1", "user:erin:presence"} {
				if !strings.Contains(keys, key) {
					t.Errorf("State does not have %s: %q", key, keys)
				}
			}
			if fields, _ := w.state.Hash("rtc:session:session-erin-1"); fields["connectedTime"] == "" && fields["sdpAnswer"] == "" {
				t.Errorf("the leg is %q", fields)
			}
			failed := len(w.eventLines("state.failed"))
			time.Sleep(time.Minute)
			if n := len(w.eventLines("state.failed")); n != failed {
				t.Errorf("State fails still, %d times more", n-failed)
			}
			erin.rtc(signaling.ActionLeave, during)
			alice.rtc(signaling.ActionLeave, ref)
			bob.rtc(signaling.ActionLeave, ref)
		})
	}
}

// TestStateIsBackAtTheEnd has State come back right before the server shuts down: what
// should not be there any more is removed all the same.
func TestStateIsBackAtTheEnd(t *testing.T) {
	away := new(atomic.Int32)
	bubble(t, func(c *server.Config) { c.State = faltering(c.State, away) }, func(t *testing.T, w *world) {
		alice := w.join("alice")
		away.Store(failing)
		_ = alice.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
		<-alice.ended
		synctest.Wait()
		if keys := w.state.Keys(); !contains(keys, "ws:session:") {
			t.Fatalf("State was not away: it has %q", keys)
		}
		away.Store(0)
	})
}

// TestEndedSessionStaysSo has a client say goodbye while State is away: that it is
// there still does not bring it back.
func TestEndedSessionStaysSo(t *testing.T) {
	away := new(atomic.Int32)
	bubble(t, func(c *server.Config) { c.State = faltering(c.State, away) }, func(t *testing.T, w *world) {
		alice, welcome := w.enter("alice")
		away.Store(failing)
		_ = alice.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
		<-alice.ended
		synctest.Wait()
		away.Store(0)
		for range 2 {
			again := w.dial("alice", nil)
			if h := again.helloAfter(signaling.Hello{Token: token(t, "alice"), Device: "phone", Resume: welcome.ResumeToken}); h.Resumed {
				t.Error("a session that was ended is resumed")
			}
			time.Sleep(5 * time.Second)
		}
	})
}
