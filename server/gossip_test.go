package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// stuff sends a client that does not read more than its socket holds.
func stuff(w *world, to string) {
	w.t.Helper()
	mallory := w.join("mallory")
	for range 200 {
		if strings.Contains(scrape(w), `callbench_queue_longest{queue="connections"} 2`) {
			return
		}
		mallory.request(signaling.TypeMessage, "", signaling.Message{To: to, Content: strings.Repeat("x", 16<<10)})
	}
	w.t.Fatal("the socket takes everything")
}

// toggle has a user hide and come back often; it ends as hidden.
func (c *client) toggle(times int) {
	c.w.t.Helper()
	for i := range times {
		status := signaling.Online
		if i == times-1 || i%2 == 0 {
			status = signaling.Offline
		}
		if f := c.request(signaling.TypeState, "", signaling.State{Status: status}); f.Type != signaling.TypeAck {
			c.w.t.Fatal(string(f.Data))
		}
	}
}

// A client that reads slowly is not disconnected because others come and go: it
// hears the newest of each of them when it has caught up, and every message.
func TestPresenceWaitsForSlowReaders(t *testing.T) {
	tune := func(c *server.Config) {
		among(friends("alice", "bob", "carol"))(c)
		c.MaxQueue = 40
	}
	bubble(t, tune, func(t *testing.T, w *world) {
		alice, bob, carol := w.join("alice"), w.join("bob"), w.join("carol")
		thaw := alice.freeze()
		stuff(w, "alice")
		bob.toggle(101)
		carol.toggle(101)
		if n := len(w.eventLines("conn.closed")); n != 0 {
			t.Fatal("alice was disconnected")
		}
		close(thaw)
		synctest.Wait()
		var seen []string
		for _, f := range alice.got("state") {
			seen = append(seen, presence(t, f))
		}
		if len(seen) > 40 {
			t.Errorf("alice was told %d times", len(seen))
		}
		for _, last := range []string{"bob offline 102", "carol offline 102"} {
			if !slices.Contains(seen, last) {
				t.Errorf("alice was not told %q: %q", last, seen)
			}
		}
		if n := len(alice.got("message")); n < 2 {
			t.Errorf("alice got %d messages", n)
		}
	})
}

// A detached session is not lost because others come and go, and hears what is so
// when it is back.
func TestPresenceWaitsForDetached(t *testing.T) {
	bubble(t, among(friends("alice", "bob", "carol")), func(t *testing.T, w *world) {
		bob, carol := w.join("bob"), w.join("carol")
		alice, welcome := w.enter("alice")
		alice.drop()
		bob.toggle(1001) // more than is kept for replay
		carol.toggle(3)
		bob.request(signaling.TypeMessage, "", signaling.Message{To: "alice", Content: "hi"})
		back, again := w.rejoin(alice, welcome.ResumeToken)
		if !again.Resumed {
			t.Fatal("the session is lost")
		}
		back.sees("bob offline 1002", "carol offline 4")
		if n := len(back.got("message")); n != 1 {
			t.Errorf("%d messages", n)
		}
	})
}

// What a call needs is never left out: who does not read it is disconnected with
// slow_consumer, and hears all of it in order when it resumes.
func TestCallSignalingIsNotDropped(t *testing.T) {
	tune := func(c *server.Config) { c.MaxQueue = 20 }
	bubble(t, tune, func(t *testing.T, w *world) {
		alice, welcome := w.enter("alice")
		w.join("bob")
		thaw := alice.freeze()
		stuff(w, "alice")
		for i := range 20 {
			bob := w.clients[1]
			ref := bob.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "alice"})
			bob.rtc(signaling.ActionCancel, ref)
			if closed := w.eventLines("conn.closed"); len(closed) > 0 {
				if !contains(closed, "cause=slow_consumer") || i < 2 {
					t.Errorf("call %d: closed %q", i, closed)
				}
				break
			}
			time.Sleep(time.Second / 2)
		}
		if len(w.eventLines("conn.closed")) == 0 {
			t.Fatal("alice was not disconnected")
		}
		close(thaw)
		<-alice.ended
		back, again := w.rejoin(alice, welcome.ResumeToken)
		if !again.Resumed {
			t.Fatal("the session is lost")
		}
		synctest.Wait()
		var words []string
		for _, c := range []*client{alice, back} {
			c.mu.Lock()
			for _, f := range c.frames {
				if f.Kind() == "rtc_invite" || f.Kind() == "rtc/ended" {
					words = append(words, f.Kind())
				}
			}
			c.mu.Unlock()
		}
		for i, want := 0, []string{"rtc_invite", "rtc/ended"}; i < len(words); i++ {
			if words[i] != want[i%2] {
				t.Fatalf("alice heard %q", words)
			}
		}
		if len(words) < 4 || len(words)%2 != 0 {
			t.Errorf("alice heard %q", words)
		}
		counts(t, w, fmt.Sprintf(`callbench_sessions{attached="true"} %d`, 3))
	})
}
