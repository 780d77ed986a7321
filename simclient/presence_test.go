package simclient

import (
	"fmt"
	"testing"
	"time"

	"github.com/callbench/callbench/signaling"
)

func TestPresence(t *testing.T) {
	for _, level := range []int{1, 0} {
		bubble(t, func(r *rig) {
			if level == 0 {
				r.allLevel0()
			}
			alice := r.connected("alice", atLevel(level))
			r.connected("bob", atLevel(level))
			r.must(alice.AskPresence(r.ctx, "bob"))
			alice.wait(t, time.Second, eventPresence, "user=bob", "status=online", "last_seen=1700000000000")
			r.must(alice.SetPresence(r.ctx, "offline"))
			if err := alice.AskPresence(r.ctx, "nobody"); level == 1 && code(err) != signaling.CodeUserUnavailable {
				t.Errorf("presence of nobody: %v", err)
			}
			alice.wait(t, time.Second, eventError, "code=user_unavailable")
			time.Sleep(time.Second)
			alice.one(t, eventPresence)
			alice.none(t, eventViolation)
			if n := r.srv.count("alice state"); n != 4-level { // at level 0 the first one says who is there
				t.Errorf("%d frames about presence", n)
			}
		})
	}
}

// TestPresenceVersions: what is older than what is known is ignored.
func TestPresenceVersions(t *testing.T) {
	bubble(t, func(r *rig) {
		alice := r.connected("alice")
		push := func(status signaling.Status, version uint64) {
			r.srv.locked(func() {
				r.srv.sessions["alice"].push(signaling.TypeState, "", signaling.State{UserID: "bob", Status: status, Version: version})
			})
			time.Sleep(time.Second)
		}
		push(signaling.Online, 5)
		push(signaling.Offline, 4)
		alice.one(t, eventPresence, "status=online", "version=5")
		alice.one(t, eventPresenceStale, "status=offline", "version=4", "known=5", "user=bob")
		push(signaling.Online, 5) // as a new session begins with it
		push(signaling.Offline, 6)
		push(signaling.Online, 0) // from a server that could not number it
		if n := len(alice.find(eventPresence)); n != 4 {
			t.Errorf("%d presences, want 4:\n%s", n, alice.dump())
		}
		push("", 7)
		alice.one(t, eventViolation, "what=bad_frame", "type=state")
		r.srv.locked(func() {
			for i := range 2 * rememberedUsers {
				r.srv.sessions["alice"].push(signaling.TypeState, "", signaling.State{UserID: fmt.Sprint("u", i), Status: signaling.Online, Version: 1})
			}
		})
		time.Sleep(time.Second)
		alice.q.Do(func() {
			if n := len(alice.presence); n > rememberedUsers {
				t.Errorf("%d users are remembered", n)
			}
		})
	})
}
