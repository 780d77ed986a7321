package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

func TestWelcome(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c, welcome := w.enter("alice")
		if welcome.UserID != "alice" || welcome.SessionID != "session-alice-1" || welcome.Resumed || welcome.Version != 1 ||
			welcome.Heartbeat != 30 || welcome.Timeout != 90 || welcome.ResumeWindow != 60 || welcome.Call != nil ||
			strings.Join(welcome.Features, " ") != "resume callid ack" {
			t.Errorf("welcome is %+v", welcome)
		}
		synctest.Wait()
		fields, left := w.state.Hash("ws:session:session-alice-1")
		if fields["userId"] != "alice" || fields["connectionTime"] == "" || fields["lastHeartbeat"] != fields["connectionTime"] || left != 150*time.Second {
			t.Errorf("session in State is %q for %v", fields, left)
		}
		bearer := w.dial("bob", http.Header{"Authorization": {"Bearer " + token(t, "bob")}})
		if welcome := bearer.hello(signaling.Hello{}); welcome.UserID != "bob" {
			t.Errorf("the header's user is %q", welcome.UserID)
		}
		c.isError(signaling.CodeBadState, c.request(signaling.TypeHello, "", signaling.Hello{Version: 1}))
	})
}

func TestHelloRefused(t *testing.T) {
	sign := func(method jwt.SigningMethod, key any, claims jwt.Claims) string {
		s, err := jwt.NewWithClaims(method, claims).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	soon := func() *jwt.NumericDate { return jwt.NewNumericDate(time.Now().Add(time.Minute)) }
	for _, test := range []struct {
		name  string
		hello func() signaling.Hello
		code  signaling.Code
		close int
	}{
		{"version", func() signaling.Hello { return signaling.Hello{Version: 2, Token: token(t, "a")} }, signaling.CodeVersion, 4406},
		{"no token", func() signaling.Hello { return signaling.Hello{Version: 1} }, signaling.CodeUnauthorized, 4401},
		{"garbage", func() signaling.Hello { return signaling.Hello{Version: 1, Token: "x.y.z"} }, signaling.CodeUnauthorized, 4401},
		{"unknown resume", func() signaling.Hello { return signaling.Hello{Version: 1, Resume: "s-1.x"} }, signaling.CodeUnauthorized, 4401},
		{"other secret", func() signaling.Hello {
			return signaling.Hello{Version: 1, Token: sign(jwt.SigningMethodHS256, []byte("another secret of 32 bytes ......."), jwt.RegisteredClaims{Subject: "a", ExpiresAt: soon()})}
		}, signaling.CodeUnauthorized, 4401},
		{"other algorithm", func() signaling.Hello {
			return signaling.Hello{Version: 1, Token: sign(jwt.SigningMethodHS512, secret, jwt.RegisteredClaims{Subject: "a", ExpiresAt: soon()})}
		}, signaling.CodeUnauthorized, 4401},
		{"unsigned", func() signaling.Hello {
			return signaling.Hello{Version: 1, Token: sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, jwt.RegisteredClaims{Subject: "a", ExpiresAt: soon()})}
		}, signaling.CodeUnauthorized, 4401},
		{"no exp", func() signaling.Hello {
			return signaling.Hello{Version: 1, Token: sign(jwt.SigningMethodHS256, secret, jwt.RegisteredClaims{Subject: "a"})}
		}, signaling.CodeUnauthorized, 4401},
		{"expired", func() signaling.Hello {
			return signaling.Hello{Version: 1, Token: sign(jwt.SigningMethodHS256, secret, jwt.RegisteredClaims{Subject: "a", ExpiresAt: jwt.NewNumericDate(time.Now().Add(-time.Second))})}
		}, signaling.CodeUnauthorized, 4401},
		{"no subject", func() signaling.Hello {
			return signaling.Hello{Version: 1, Token: sign(jwt.SigningMethodHS256, secret, jwt.RegisteredClaims{ExpiresAt: soon()})}
		}, signaling.CodeUnauthorized, 4401},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, w *world) {
				c := w.dial("a", nil)
				c.isError(test.code, c.request(signaling.TypeHello, "", test.hello()))
				if code := c.closeCode(); code != test.close {
					t.Errorf("closed with %d, want %d", code, test.close)
				}
			})
		})
	}
}

func TestHelloRequired(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		silent, early, broken := w.dial("a", nil), w.dial("b", nil), w.dial("c", nil)
		start := time.Now()
		early.isError(signaling.CodeHelloRequired, early.request(signaling.TypeRTC, signaling.ActionLeave, nil))
		if code := early.closeCode(); code != 4400 {
			t.Errorf("an early frame was closed with %d", code)
		}
		broken.sendRaw("{")
		if code := broken.closeCode(); code != 4400 {
			t.Errorf("a broken frame was closed with %d", code)
		}
		if code := silent.closeCode(); code != 4400 || time.Since(start) != 10*time.Second {
			t.Errorf("silence was closed with %d after %v", code, time.Since(start))
		}
	})
}

func TestBadFrames(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.join("alice")
		for _, test := range []struct {
			frame string
			code  signaling.Code
			id    string
		}{
			{`{`, signaling.CodeBadFrame, ""},
			{`[]`, signaling.CodeBadFrame, ""},
			{`{"id":"1x"}`, signaling.CodeBadFrame, ""},
			{`{"type":"rtc"}`, signaling.CodeBadFrame, ""},
			{`{"type":"dance","id":"2x"}`, signaling.CodeUnknownType, "2x"},
			{`{"type":"rtc","action":"dance","id":"3x"}`, signaling.CodeUnknownAction, "3x"},
			{`{"type":"rtc","action":"call","data":[],"id":"4x"}`, signaling.CodeBadData, "4x"},
			{`{"type":"rtc","action":"call","id":"` + strings.Repeat("9", 65) + `"}`, signaling.CodeBadFrame, ""},
			{`{"type":"message","data":{"content":"hi"},"id":"5x"}`, signaling.CodeBadData, "5x"},
			{`{"type":"message","data":{"to":"nobody"}}`, signaling.CodeUserUnavailable, ""},
		} {
			before := len(c.got("error"))
			c.sendRaw(test.frame)
			errors := c.got("error")
			if len(errors) != before+1 {
				t.Fatalf("%s was not answered", test.frame)
			}
			last := errors[before]
			c.isError(test.code, last)
			if last.ID != test.id {
				t.Errorf("%s was answered with id %q, want %q", test.frame, last.ID, test.id)
			}
		}
		if err := c.ws.WriteMessage(websocket.BinaryMessage, []byte(`{"type":"rtc","action":"leave"}`)); err != nil {
			t.Fatal(err)
		}
		errors := c.got("error")
		c.isError(signaling.CodeBadFrame, errors[len(errors)-1])
	})
}

func TestTooLarge(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c, fits := w.join("alice"), w.join("bob")
		frame := func(size int) string {
			const around = len(`{"type":"message","data":{"to":"","content":""}}`)
			return `{"type":"message","data":{"to":"","content":"` + strings.Repeat("x", size-around) + `"}}`
		}
		fits.sendRaw(frame(signaling.MaxFrame))
		fits.isError(signaling.CodeBadData, fits.got("error")[0])
		c.sendRaw(frame(signaling.MaxFrame + 1))
		if code := c.closeCode(); code != 1009 {
			t.Errorf("closed with %d, want 1009", code)
		}
		c.isError(signaling.CodeTooLarge, c.got("error")[0])
		if n := len(w.eventLines("session.detach")); n != 1 {
			t.Errorf("%d sessions wait to be resumed, want 1", n)
		}
	})
}

func TestRepeatedRequest(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, _ := w.join("alice"), w.join("bob")
		w.media.set(func(m *fakeMedia) { m.delay["create pipeline"] = time.Second })
		call := signaling.RTC{TargetUser: "bob"}
		for range 3 { // the second and third come before the first is done
			alice.sendID("c", signaling.TypeRTC, signaling.ActionCall, call)
		}
		time.Sleep(2 * time.Second)
		if acks := alice.got("ack"); len(acks) != 1 {
			t.Fatalf("%d answers before the request is repeated", len(acks))
		}
		alice.sendID("c", signaling.TypeRTC, signaling.ActionCall, call)
		acks := alice.got("ack")
		if len(acks) != 2 || string(acks[0].Data) != string(acks[1].Data) || len(alice.got("error")) != 0 {
			t.Fatalf("repeated request was answered %v %v", acks, alice.got("error"))
		}
		if n := w.journal.count("kms create pipeline"); n != 1 {
			t.Errorf("the call was made %d times", n)
		}
		for i := range 256 { // pushes the id out of memory
			alice.sendID(fmt.Sprint("x", i), signaling.TypeRTC, "dance", nil)
		}
		alice.sendID("c", signaling.TypeRTC, signaling.ActionCall, call)
		f := alice.got("error")
		alice.isError(signaling.CodeBusy, f[len(f)-1])
	})
}

func TestMessageRelay(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob := w.join("alice"), w.join("bob")
		second := w.join("bob")
		f := alice.request(signaling.TypeMessage, "", signaling.Message{From: "mallory", To: "bob", Content: "hi", Timestamp: 1})
		if f.Type != signaling.TypeAck {
			t.Fatalf("answered %s %s", f.Kind(), f.Data)
		}
		for _, c := range []*client{bob, second} {
			got := c.got("message")
			var m signaling.Message
			if len(got) != 1 || got[0].Into(&m) != nil || m.From != "alice" || m.Content != "hi" || m.Timestamp != time.Now().UnixMilli() || got[0].Seq != 1 {
				t.Errorf("bob got %v", got)
			}
		}
	})
}

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

func TestHeartbeat(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		bob, _ := w.enter("bob")
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		bob.rtc(signaling.ActionAnswer, ref)
		time.Sleep(100 * time.Second) // pongs, at 30, 60 and 90 s, keep them alive
		if n := len(alice.got("rtc/reconnecting")); n != 0 {
			t.Fatal("bob's connection was ended though it answers pings")
		}
		fields, left := w.state.Hash("ws:session:session-bob-1")
		if fields["lastHeartbeat"] != fmt.Sprint(w.started.Add(60*time.Second).UnixMilli()) || left != 140*time.Second {
			t.Errorf("session in State is %q for %v", fields, left)
		}
		bob.link.Cut()
		time.Sleep(80*time.Second - time.Nanosecond) // 90 s after the last pong
		if n := len(alice.got("rtc/reconnecting")); n != 0 {
			t.Error("bob's connection was ended early")
		}
		time.Sleep(time.Nanosecond)
		alice.one("rtc/reconnecting")
		closed := w.eventLines("conn.closed")
		if len(closed) != 1 || !strings.Contains(closed[0], "cause=session_timeout") {
			t.Errorf("closed: %q", closed)
		}
		time.Sleep(60 * time.Second)
		if d := alice.one("rtc/ended"); d.Reason != signaling.ReasonDropped {
			t.Errorf("alice was told %+v", d)
		}
		alice.rtc(signaling.ActionLeave, ref)
	})
}

// TestSilentClient reads, so it learns why it is disconnected.
func TestSilentClient(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.join("alice")
		c.mute.Store(true)
		start := time.Now()
		if code := c.closeCode(); code != 4408 || time.Since(start) != 90*time.Second {
			t.Errorf("closed with %d after %v", code, time.Since(start))
		}
		c.isError(signaling.CodeSessionTimeout, c.got("error")[0])
	})
}

func TestSlowConsumer(t *testing.T) {
	tune := func(c *server.Config) { c.MaxQueueBytes = 64 << 10 }
	bubble(t, tune, func(t *testing.T, w *world) {
		alice := w.join("alice")
		bob, welcome := w.enter("bob")
		thaw := bob.freeze()
		text := strings.Repeat("x", 32<<10)
		sent := 0
		for len(w.eventLines("conn.closed")) == 0 && sent < 100 {
			alice.request(signaling.TypeMessage, "", signaling.Message{To: "bob", Content: text})
			sent++
			synctest.Wait()
			time.Sleep(time.Second / 2) // the close frame gets its chance
		}
		closed := w.eventLines("conn.closed")
		if len(closed) != 1 || !strings.Contains(closed[0], "cause=slow_consumer") {
			t.Fatalf("after %d frames closed: %q", sent, closed)
		}
		close(thaw)
		<-bob.ended
		again, back := w.rejoin(bob, welcome.ResumeToken)
		if !back.Resumed || again.lastSeq != uint64(sent) && len(again.got("message")) == 0 {
			t.Errorf("resumed %v, last push %d of %d", back.Resumed, again.lastSeq, sent)
		}
		synctest.Wait()
		if again.lastSeq != uint64(sent) {
			t.Errorf("last push %d of %d", again.lastSeq, sent)
		}
	})
}

// TestSlowConsumerIsTold reads on in time to see why it is disconnected.
func TestSlowConsumerIsTold(t *testing.T) {
	tune := func(c *server.Config) { c.MaxQueue = 8 }
	bubble(t, tune, func(t *testing.T, w *world) {
		alice, bob := w.join("alice"), w.join("bob")
		thaw := bob.freeze()
		text := strings.Repeat("x", 32<<10)
		for !strings.Contains(w.logs.String(), "slow") && alice.nextID < 100 {
			alice.sendID(fmt.Sprint("m", alice.nextID), signaling.TypeMessage, "", signaling.Message{To: "bob", Content: text})
			alice.nextID++
			synctest.Wait()
		}
		close(thaw)
		if code := bob.closeCode(); code != 4429 {
			t.Errorf("closed with %d", code)
		}
	})
}

func TestShutdown(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, _ := connected(w)
		idle, detached := w.join("carol"), w.join("dave")
		detached.drop()
		start := time.Now()
		w.close()
		for _, c := range []*client{alice, bob, idle} {
			if code := c.closeCode(); code != 1012 {
				t.Errorf("%s was closed with %d", c.name, code)
			}
		}
		for _, c := range []*client{alice, bob} {
			if d := c.one("rtc/ended"); d.Reason != signaling.ReasonDropped {
				t.Errorf("%s was told %+v", c.name, d)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("closing took %v", took)
		}
	})
}

func TestPlainHTTP(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		get := func(path string) int {
			r, err := http.NewRequest(http.MethodGet, "http://server"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			rec := &recorder{header: http.Header{}}
			w.srv.ServeHTTP(rec, r)
			return rec.code
		}
		if got := get("/"); got != http.StatusNotFound {
			t.Errorf("/ answers %d", got)
		}
		if got := get("/ws"); got != http.StatusBadRequest {
			t.Errorf("/ws without an upgrade answers %d", got)
		}
		w.close()
		if got := get("/ws"); got != http.StatusServiceUnavailable {
			t.Errorf("/ws of a closed server answers %d", got)
		}
	})
}

type recorder struct {
	header http.Header
	code   int
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(b []byte) (int, error) { return len(b), nil }
func (r *recorder) WriteHeader(code int)        { r.code = code }
