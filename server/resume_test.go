package server_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/signaling"
)

func TestResumeReplays(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		bob, welcome := w.enter("bob")
		say := func(text string) {
			alice.request(signaling.TypeMessage, "", signaling.Message{To: "bob", Content: text})
		}
		say("one")
		bob.got("message")
		bob.drop()
		say("two")
		say("three")
		time.Sleep(59 * time.Second)
		again, back := w.rejoin(bob, welcome.ResumeToken)
		if !back.Resumed || back.SessionID != welcome.SessionID || back.ResumeToken == welcome.ResumeToken || back.Call != nil {
			t.Fatalf("welcome back is %+v", back)
		}
		say("four")
		var texts []string
		for _, f := range again.got("message") {
			var m signaling.Message
			_ = f.Into(&m)
			texts = append(texts, fmt.Sprint(f.Seq, m.Content))
		}
		if got := strings.Join(texts, " "); got != "2two 3three 4four" {
			t.Errorf("after the resume bob got %q", got)
		}

		// The old token is spent, whether or not the session is connected.
		spent := w.dial("bob", nil)
		spent.isError(signaling.CodeUnauthorized, spent.request(signaling.TypeHello, "", signaling.Hello{Version: 1, Resume: welcome.ResumeToken}))
		again.drop()
		spent = w.dial("bob", nil)
		spent.isError(signaling.CodeUnauthorized, spent.request(signaling.TypeHello, "", signaling.Hello{Version: 1, Resume: welcome.ResumeToken}))
		if _, third := w.rejoin(again, back.ResumeToken); !third.Resumed {
			t.Error("the new token does not resume")
		}
	})
}

// A welcome may be lost on its way, and the new token with it: the old one is
// good until the ping behind the welcome is answered, whatever else the client
// says before it reads.
func TestResumeAfterALostWelcome(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		bob, welcome := w.enter("bob")
		bob.drop()
		lost := w.dial("bob", nil) // the client dies before it reads the welcome
		lost.mute.Store(true)
		lost.sendID("hello", signaling.TypeHello, "", signaling.Hello{Version: 1, Resume: welcome.ResumeToken})
		lost.sendID("early", signaling.TypeMessage, "", signaling.Message{To: "nobody"})
		for _, kind := range []int{websocket.PingMessage, websocket.PongMessage} {
			_ = lost.ws.WriteControl(kind, nil, time.Now().Add(time.Second))
		}
		synctest.Wait()
		lost.drop()
		again, back := w.rejoin(lost, welcome.ResumeToken)
		if !back.Resumed {
			t.Fatal("the session was lost with its welcome")
		}
		again.request(signaling.TypeMessage, "", signaling.Message{To: "bob", Content: "I am here"})
		again.drop()
		spent := w.dial("bob", nil)
		spent.isError(signaling.CodeUnauthorized, spent.request(signaling.TypeHello, "", signaling.Hello{Version: 1, Resume: welcome.ResumeToken}))
	})
}

func TestResumeTooLate(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		watcher := w.join("alice")
		bob, welcome := w.enter("bob")
		bob.drop()
		time.Sleep(60*time.Second - time.Nanosecond)
		if keys := strings.Join(w.state.Keys(), " "); !strings.Contains(keys, welcome.SessionID) {
			t.Errorf("the session is gone early: %q", keys)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if keys := strings.Join(w.state.Keys(), " "); strings.Contains(keys, welcome.SessionID) {
			t.Errorf("the session is still there: %q", keys)
		}
		watcher.refused(signaling.CodeUserUnavailable, signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		late := w.dial("bob", nil)
		late.isError(signaling.CodeUnauthorized, late.request(signaling.TypeHello, "", signaling.Hello{Version: 1, Resume: welcome.ResumeToken}))
		if code := late.closeCode(); code != 4401 {
			t.Errorf("closed with %d", code)
		}
		fresh := w.dial("bob", nil)
		if w := fresh.hello(signaling.Hello{Resume: welcome.ResumeToken, Token: token(t, "bob")}); w.Resumed || w.SessionID == welcome.SessionID {
			t.Errorf("a new session says %+v", w)
		}
	})
}

// TestResumeAtTheLastMoment resumes just before the time runs out: what was
// resumed stays, and has all its time when it drops again.
func TestResumeAtTheLastMoment(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		bob, welcome := w.enter("bob")
		bob.drop()
		time.Sleep(60*time.Second - time.Millisecond)
		again, back := w.rejoin(bob, welcome.ResumeToken)
		if !back.Resumed {
			t.Fatal("resumed too late")
		}
		again.request(signaling.TypeMessage, "", signaling.Message{To: "bob", Content: "I am here"})
		again.drop()
		time.Sleep(58 * time.Second)
		if _, back = w.rejoin(again, back.ResumeToken); !back.Resumed || len(w.eventLines("session.end")) != 0 {
			t.Error("the session has ended")
		}
	})
}

// TestResumeMoves resumes while the old connection still seems alive.
func TestResumeMoves(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		bob, welcome := w.enter("bob")
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		bob.rtc(signaling.ActionAnswer, ref)
		moved, back := w.rejoin(bob, welcome.ResumeToken)
		if code := bob.closeCode(); code != 4409 {
			t.Errorf("the old connection was closed with %d", code)
		}
		if c := back.Call; !back.Resumed || c == nil || *c != (signaling.CallRef{CallID: ref.CallID, RoomID: ref.RoomID, Peer: "alice", State: "active"}) {
			t.Errorf("welcome back is %+v with call %+v", back, back.Call)
		}
		offer(moved, ref)
		if n := len(alice.got("rtc/reconnecting")) + len(alice.got("rtc/reconnected")); n != 0 {
			t.Errorf("alice was told %d times of a connection that was never down", n)
		}
	})
}

// TestResumeRepeatsRequests loses the answer to a request, not its effect.
func TestResumeRepeatsRequests(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, welcome := w.enter("alice")
		bob := w.join("bob")
		w.media.set(func(m *fakeMedia) { m.delay["create pipeline"] = time.Second })
		alice.sendID("call", signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		synctest.Wait()
		alice.drop()
		time.Sleep(2 * time.Second)
		if n := len(bob.got("rtc_invite")); n != 1 {
			t.Fatalf("bob was invited %d times", n)
		}
		back, again := w.rejoin(alice, welcome.ResumeToken)
		if again.Call == nil || again.Call.State != "ringing" || again.Call.Peer != "bob" {
			t.Errorf("welcome names call %+v", again.Call)
		}
		back.sendID("call", signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		if d := back.one("ack"); d.CallID != "call-alice-1" {
			t.Errorf("the repeated request was answered %+v", d)
		}
		if n := len(bob.got("rtc_invite")); n != 1 {
			t.Errorf("bob was invited %d times", n)
		}
	})
}

func TestReplayOverflow(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		bob, welcome := w.enter("bob")
		bob.drop()
		for i := range 513 {
			alice.sendID(fmt.Sprint("m", i), signaling.TypeMessage, "", signaling.Message{To: "bob", Content: "x"})
			synctest.Wait()
		}
		c := w.dial("bob", nil)
		c.isError(signaling.CodeUnauthorized, c.request(signaling.TypeHello, "", signaling.Hello{Version: 1, Resume: welcome.ResumeToken}))
		d := w.dial("bob", nil)
		d.lastSeq = 1 // the oldest that it missed is still there
		if again := d.hello(signaling.Hello{Resume: welcome.ResumeToken, LastSeq: 1}); !again.Resumed {
			t.Error("512 missed pushes cannot be replayed")
		}
		if n := len(d.got("message")); n != 512 {
			t.Errorf("%d were replayed", n)
		}
	})
}

// TestReplacedSession comes back with a token of its own and one that cannot be
// resumed: what the old session was in is over.
func TestReplacedSession(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, _ := connected(w)
		bob.drop()
		fresh := w.dial("bob", nil)
		if again := fresh.hello(signaling.Hello{Resume: "session-bob-1.wrong", Token: token(t, "bob")}); again.Resumed {
			t.Error("resumed with a wrong token")
		}
		if d := alice.one("rtc/ended"); d.Reason != signaling.ReasonDropped || d.UserID != "bob" {
			t.Errorf("alice was told %+v", d)
		}
		mallory := w.dial("mallory", nil)
		mallory.hello(signaling.Hello{Resume: "session-alice-1.wrong", Token: token(t, "mallory")})
		if n := len(w.eventLines("session.end")); n != 1 {
			t.Errorf("%d sessions ended, want bob's only", n)
		}
	})
}

func TestReconnectingAndReconnected(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		bob, welcome := w.enter("bob")
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		bob.rtc(signaling.ActionAnswer, ref)
		offer(alice, ref)
		offer(bob, ref)
		bob.drop()
		if d := alice.one("rtc/reconnecting"); d.UserID != "bob" || d.CallID != ref.CallID {
			t.Errorf("alice was told %+v", d)
		}
		time.Sleep(10 * time.Second)
		back, _ := w.rejoin(bob, welcome.ResumeToken)
		if d := alice.one("rtc/reconnected"); d.UserID != "bob" || d.CallID != ref.CallID {
			t.Errorf("alice was told %+v", d)
		}
		back.rtc(signaling.ActionLeave, ref)
		if d := alice.one("rtc/ended"); d.Reason != signaling.ReasonHangup {
			t.Errorf("alice was told %+v", d)
		}
		if n := w.journal.count("kms create endpoint"); n != 2 {
			t.Errorf("%d endpoints: media does not depend on the connection", n)
		}
	})
}

func TestDropped(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := connected(w)
		bob.drop()
		time.Sleep(60*time.Second - time.Nanosecond)
		if n := len(alice.got("rtc/ended")); n != 0 {
			t.Error("the call ended early")
		}
		time.Sleep(time.Nanosecond)
		if d := alice.one("rtc/ended"); d.Reason != signaling.ReasonDropped || d.UserID != "bob" {
			t.Errorf("alice was told %+v", d)
		}
		alice.rtc(signaling.ActionLeave, ref)
		checkHistory(t, w, signaling.ReasonDropped, map[string]time.Duration{"alice": 60 * time.Second, "bob": 60 * time.Second})
	})
}

// TestBothDropped leaves nobody to be told.
func TestBothDropped(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, _ := connected(w)
		alice.drop()
		bob.drop()
		time.Sleep(61 * time.Second)
		checkHistory(t, w, signaling.ReasonDropped, map[string]time.Duration{"alice": 60 * time.Second, "bob": 60 * time.Second})
	})
}

// TestGoodbye closes a connection with 1000, which is no accident.
func TestGoodbye(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, _ := connected(w)
		_ = bob.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Second))
		if code := bob.closeCode(); code != 1000 {
			t.Errorf("closed with %d", code)
		}
		if d := alice.one("rtc/ended"); d.Reason != signaling.ReasonDropped {
			t.Errorf("alice was told %+v", d)
		}
		if n := len(alice.got("rtc/reconnecting")); n != 0 {
			t.Error("alice was told to wait")
		}
	})
}

// lose has the client cut off: what either side sends from now on is lost, and
// neither knows.
func (c *client) lose() { c.link.Cut() }

// TestResumeAfterLostPushes loses the last frames from the server on a socket
// that seems alive, twice in a row.
func TestResumeAfterLostPushes(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		bob, welcome := w.enter("bob")
		say := func(text string) {
			alice.request(signaling.TypeMessage, "", signaling.Message{To: "bob", Content: text})
		}
		say("one")
		bob.got("message")
		for round, lost := range [][]string{{"two", "three"}, {"four"}, {}} {
			bob.lose()
			for _, text := range lost {
				say(text)
			}
			again, back := w.rejoin(bob, welcome.ResumeToken)
			if !back.Resumed {
				t.Fatalf("round %d: the session is gone", round)
			}
			got := again.got("message") // took checks that the numbers follow on the last one
			if len(got) != len(lost) {
				t.Fatalf("round %d: %d pushes were replayed, want %d", round, len(got), len(lost))
			}
			for i, f := range got {
				var m signaling.Message
				if f.Into(&m) != nil || m.Content != lost[i] {
					t.Errorf("round %d: push %d is %s", round, f.Seq, f.Data)
				}
			}
			bob, welcome = again, back
		}
	})
}

// TestResumeAfterLostRequests loses the last frames from the client: repeated,
// each is done once, whether the server saw it before or not.
func TestResumeAfterLostRequests(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, welcome := w.enter("alice")
		bob := w.join("bob")
		say := func(c *client, id string) {
			c.sendID(id, signaling.TypeMessage, "", signaling.Message{To: "bob", Content: id})
		}
		say(alice, "seen")
		synctest.Wait()
		alice.lose()
		say(alice, "lost")
		time.Sleep(20 * time.Second)
		if n := len(bob.got("message")); n != 1 {
			t.Fatalf("%d messages came through", n)
		}
		for range 2 { // the second time as if the answers had been lost
			again, back := w.rejoin(alice, welcome.ResumeToken)
			if !back.Resumed {
				t.Fatal("the session is gone")
			}
			say(again, "seen")
			say(again, "lost")
			if n := len(again.got("ack")); n != 2 {
				t.Errorf("%d of 2 repeated requests were acknowledged", n)
			}
			again.lose()
			alice, welcome = again, back
		}
		var texts []string
		for _, f := range bob.got("message") {
			var m signaling.Message
			_ = f.Into(&m)
			texts = append(texts, m.Content)
		}
		if got := strings.Join(texts, " "); got != "seen lost" {
			t.Errorf("bob got %q", got)
		}
	})
}

// TestResumeAfterWelcomesLost loses the welcome of a resume as often as one
// likes: the token that the client holds stays good until a welcome arrives.
func TestResumeAfterWelcomesLost(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		bob, welcome := w.enter("bob")
		bob.lose()
		alice.request(signaling.TypeMessage, "", signaling.Message{To: "bob", Content: "missed"})
		for range 3 {
			lost := w.dial("bob", nil)
			lost.mute.Store(true)
			lost.sendID("hello", signaling.TypeHello, "", signaling.Hello{Version: 1, Resume: welcome.ResumeToken})
			lost.lose() // on the hello's heels
			time.Sleep(5 * time.Second)
		}
		again, back := w.rejoin(bob, welcome.ResumeToken)
		if !back.Resumed {
			t.Fatal("the session was lost with its welcomes")
		}
		if got := again.got("message"); len(got) != 1 || got[0].Seq != 1 {
			t.Errorf("replayed: %v", got)
		}
		if n := len(w.eventLines("session.resume")); n != 4 {
			t.Errorf("the session was resumed %d times, want 4", n)
		}
		spent := w.dial("bob", nil)
		spent.isError(signaling.CodeUnauthorized, spent.request(signaling.TypeHello, "", signaling.Hello{Version: 1, Resume: welcome.ResumeToken}))
	})
}

// TestResumeAheadOfTheServer claims pushes that were never sent.
func TestResumeAheadOfTheServer(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		bob, welcome := w.enter("bob")
		bob.drop()
		c := w.dial("bob", nil)
		c.isError(signaling.CodeUnauthorized, c.request(signaling.TypeHello, "", signaling.Hello{Version: 1, Resume: welcome.ResumeToken, LastSeq: 1}))
		if _, back := w.rejoin(bob, welcome.ResumeToken); !back.Resumed {
			t.Error("the session is gone")
		}
	})
}
