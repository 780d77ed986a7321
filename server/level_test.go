package server_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gorilla/websocket"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// join0 dials with a token in the header and waits until silence has made the
// connection one of level 0.
func (w *world) join0(name string) *client {
	w.t.Helper()
	c := w.dial(name, bearer(token(w.t, name)))
	time.Sleep(time.Second)
	synctest.Wait()
	return c
}

// say sends a frame as it is written here, and waits until it has had all its
// effects at this instant.
func (c *client) say(text string) {
	c.sendRaw(text)
	synctest.Wait()
}

// heard are the frames so far as they went on the wire, with the names of the
// golden corpus for the room and without what an SDP says.
func (c *client) heard() (texts []string) {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.texts {
		t = strings.ReplaceAll(t, "room-alice-1", "r-1")
		if i := strings.Index(t, `"sdp":"`); i >= 0 {
			t = t[:i] + `"sdp":"…"}}`
		}
		texts = append(texts, t)
	}
	return texts
}

// check compares what was sent, but for what conversations keep of calls.
func (c *client) check(want ...string) {
	c.w.t.Helper()
	got := slices.DeleteFunc(c.heard(), isMessage)
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		c.w.t.Errorf("%s was sent (-want +got):\n%s", c.name, diff)
	}
}

func isMessage(text string) bool { return strings.HasPrefix(text, `{"type":"message"`) }

// golden is a frame of the corpus.
func golden(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "signaling", "testdata", "golden", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// spellings are the frames of a call, with fields beside action and under data,
// and with as few of them as will do.
var spellings = map[string]map[string]string{
	"nested": {
		"call":      `{"type":"rtc","action":"call","data":{"targetUser":"bob"}}`,
		"answer":    `{"type":"rtc","action":"answer","data":{"roomId":"room-alice-1"}}`,
		"offer":     `{"type":"rtc","action":"offer","data":{"roomId":"room-alice-1","sdp":"` + escaped(sdpOffer) + `"}}`,
		"candidate": `{"type":"rtc","action":"candidate","data":{"roomId":"room-alice-1","candidate":"` + hostCandidate + `","sdpMLineIndex":1}}`,
		"leave":     `{"type":"rtc","action":"leave","data":{"roomId":"room-alice-1"}}`,
	},
	"join": { // which accepts like answer
		"call":      `{"type":"rtc","action":"call","targetUser":"bob"}`,
		"answer":    `{"type":"rtc","action":"join","roomId":"room-alice-1"}`,
		"offer":     `{"type":"rtc","action":"offer","sdp":"` + escaped(sdpOffer) + `"}`,
		"candidate": `{"type":"rtc","action":"candidate","candidate":"` + hostCandidate + `","sdpMLineIndex":1}`,
		"leave":     `{"type":"rtc","action":"leave"}`,
	},
	"flat": {
		"call":      `{"type":"rtc","action":"call","targetUser":"bob"}`,
		"answer":    `{"type":"rtc","action":"answer","roomId":"room-alice-1"}`,
		"offer":     `{"type":"rtc","action":"offer","sdp":"` + escaped(sdpOffer) + `"}`,
		"candidate": `{"type":"rtc","action":"candidate","candidate":"` + hostCandidate + `","sdpMLineIndex":1}`,
		"leave":     `{"type":"rtc","action":"leave","roomId":"room-alice-1"}`,
	},
}

func escaped(s string) string { return strings.ReplaceAll(s, "\r\n", `\r\n`) }

// TestLevel0Call is a whole call of two clients that know nothing but the design
// document: they are sent its frames and not a field more.
func TestLevel0Call(t *testing.T) {
	for name, say := range spellings {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, w *world) {
				alice, bob := w.join0("alice"), w.join0("bob")
				alice.say(say["call"])
				bob.say(say["answer"])
				bob.say(say["offer"]) // right behind its answer
				alice.say(say["offer"])
				alice.say(say["candidate"])
				bob.say(say["candidate"])
				time.Sleep(time.Minute)
				alice.say(say["leave"])
				bob.say(say["leave"])
				media := []string{`{"type":"rtc","action":"answer","data":{"roomId":"r-1","sdp":"…"}}`,
					`{"type":"rtc","action":"candidate","data":{"roomId":"r-1","candidate":"candidate:1 1 UDP 2015364095 10.0.0.9 4000 typ host","sdpMid":"0","sdpMLineIndex":0}}`}
				alice.check(slices.Concat([]string{golden(t, "level0-accepted")}, media)...)
				bob.check(slices.Concat([]string{golden(t, "level0-invite")}, media, []string{golden(t, "level0-ended")})...)
				for _, e := range []string{"p1.e1", "p1.e2"} {
					if got := w.media.endpoint(e).passed(); len(got) != 1 || got[0] != hostCandidate+"|1|1" {
						t.Errorf("%s was passed %q", e, got)
					}
				}
				checkHistory(t, w, signaling.ReasonHangup, map[string]time.Duration{"alice": time.Minute, "bob": time.Minute})
			})
		})
	}
}

// TestLevel0Ends tells the end of a call without its reason, and names who left
// if somebody did.
func TestLevel0Ends(t *testing.T) {
	leave := func(user string) string {
		return strings.Replace(`{"type":"rtc","action":"leave","data":{"roomId":"r-1","userId":"U"}}`, `,"userId":"U"`, user, 1)
	}
	byAlice, byBob := leave(`,"userId":"alice"`), leave(`,"userId":"bob"`)
	for _, test := range []struct {
		name       string
		do         func(alice, bob *client)
		alice, bob string
	}{
		{"declined", func(_, bob *client) { bob.say(`{"type":"rtc","action":"leave"}`) }, byBob, ""},
		{"cancelled", func(alice, _ *client) { alice.say(`{"type":"rtc","action":"leave"}`) }, "", byAlice},
		{"no answer", func(alice, _ *client) { time.Sleep(time.Minute) }, leave(""), leave("")},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, w *world) {
				alice, bob := w.join0("alice"), w.join0("bob")
				alice.say(`{"type":"rtc","action":"call","targetUser":"bob"}`)
				test.do(alice, bob)
				alice.check(slices.DeleteFunc([]string{test.alice}, none)...)
				bob.check(slices.DeleteFunc([]string{golden(t, "level0-invite"), test.bob}, none)...)
			})
		})
	}
}

func none(text string) bool { return text == "" }

// TestLevelsMeet has a client of each level in one call: level 0 does not hear
// what it has no words for.
func TestLevelsMeet(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join0("alice")
		bob, welcome := w.enter("bob")
		alice.say(`{"type":"rtc","action":"call","targetUser":"bob"}`)
		ref := bob.one("rtc_invite")
		bob.rtc(signaling.ActionRinging, ref)
		bob.rtc(signaling.ActionAnswer, ref)
		bob.drop()
		bob, _ = w.rejoin(bob, welcome.ResumeToken)
		bob.rtc(signaling.ActionLeave, ref)
		alice.say(`{"type":"rtc","action":"leave"}`)
		alice.check(golden(t, "level0-accepted"), `{"type":"rtc","action":"leave","data":{"roomId":"r-1","userId":"bob"}}`)

		bob.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "alice"})
		alice.say(`{"type":"rtc","action":"answer"}`)
		bob.one("rtc/answer")
		alice.say(`{"type":"rtc","action":"leave"}`)
		if d := bob.one("rtc/ended"); d.Reason != signaling.ReasonHangup || d.UserID != "alice" || d.CallID == "" {
			t.Errorf("bob was told %+v", d)
		}
	})
}

// TestLevel0CannotNegotiate ends a call whose leg would have to be made anew: there
// is no way to ask for it.
func TestLevel0CannotNegotiate(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.media.set(func(m *fakeMedia) { m.noDTLS = 1 })
		alice, bob := w.join0("alice"), w.join0("bob")
		alice.say(spellings["flat"]["call"])
		bob.say(spellings["flat"]["answer"])
		alice.say(spellings["flat"]["offer"])
		time.Sleep(5*time.Second - time.Nanosecond)
		if got := bob.heard(); len(got) != 1 {
			t.Fatalf("bob was sent %q", got)
		}
		time.Sleep(time.Nanosecond)
		end := `{"type":"rtc","action":"leave","data":{"roomId":"r-1"}}`
		bob.check(golden(t, "level0-invite"), end)
		if got := slices.DeleteFunc(alice.heard(), isMessage); got[len(got)-1] != end {
			t.Errorf("alice was sent %q", got)
		}
		alice.say(spellings["flat"]["leave"])
		bob.say(spellings["flat"]["leave"])
		if rooms := w.history.Rooms(); len(rooms) != 1 || rooms[0].Reason != signaling.ReasonMediaFailed {
			t.Errorf("history has %+v", rooms)
		}
	})
}

// TestLevel0Lost ends the session with its connection: there is nothing to come
// back to.
func TestLevel0Lost(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob := w.join("alice"), w.join0("bob")
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		bob.say(`{"type":"rtc","action":"answer"}`)
		bob.drop()
		if d := alice.one("rtc/ended"); d.Reason != signaling.ReasonDropped || d.UserID != "bob" {
			t.Errorf("alice was told %+v", d)
		}
		if n := len(alice.got("rtc/reconnecting")); n != 0 {
			t.Error("alice was told to wait")
		}
		alice.rtc(signaling.ActionLeave, ref)
		alice.refused(signaling.CodeUserUnavailable, signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		if keys := slices.DeleteFunc(w.state.Keys(), isPresence); len(keys) != 1 {
			t.Errorf("State has %q, want alice's session", keys)
		}
	})
}

// TestLevel0Message leaves out what level 0 does not know.
func TestLevel0Message(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob := w.join("alice"), w.join0("bob")
		alice.request(signaling.TypeMessage, "", signaling.Message{MessageID: "m-1", To: "bob", Content: "..."})
		if got := bob.heard(); len(got) != 1 || got[0] != `{"type":"message","data":{"from":"alice","to":"bob","content":"...","timestamp":946684801000}}` {
			t.Errorf("bob was sent %q", got)
		}
		bob.say(`{"type":"message","id":"7","data":{"to":"alice","content":"!"}}`)
		if got := bob.heard(); len(got) != 1 {
			t.Errorf("bob was answered %q", got)
		}
		if got := alice.got("message"); len(got) != 1 || got[0].Seq != 1 {
			t.Errorf("alice got %v", got)
		}
	})
}

// TestLevel0Errors answers what is wrong without an id, whatever id it had, and
// knows no more than the design document.
func TestLevel0Errors(t *testing.T) {
	for _, test := range []struct {
		frame string
		code  signaling.Code
	}{
		{`{`, signaling.CodeBadFrame},
		{`{"type":"dance","id":"1"}`, signaling.CodeUnknownType},
		{`{"type":"ack","data":{"seq":0}}`, signaling.CodeUnknownType},
		{`{"type":"token","id":"1","data":{"token":"x"}}`, signaling.CodeUnknownType},
		{`{"type":"rtc","action":"ringing"}`, signaling.CodeUnknownAction},
		{`{"type":"rtc","action":"reject"}`, signaling.CodeUnknownAction},
		{`{"type":"rtc","action":"call","id":"1","targetUser":"nobody"}`, signaling.CodeUserUnavailable},
		{`{"type":"rtc","action":"leave"}`, signaling.CodeNoSuchCall},
		{`{"type":"hello","id":"1","data":{"version":1}}`, signaling.CodeBadState},
	} {
		bubble(t, nil, func(t *testing.T, w *world) {
			c := w.join0("alice")
			c.say(test.frame)
			got := c.got("error")
			if len(got) != 1 || got[0].ID != "" {
				t.Fatalf("%s was answered %q", test.frame, c.heard())
			}
			c.isError(test.code, got[0])
			c.say(test.frame) // the connection goes on
			if n := len(c.heard()); n != 2 {
				t.Errorf("%s was answered %d times of 2", test.frame, n)
			}
		})
	}
}

// TestLevelOfAConnection is decided by its first frame, or its silence, and by
// the token in its header.
func TestLevelOfAConnection(t *testing.T) {
	const leave, hello = `{"type":"rtc","action":"leave"}`, `{"type":"hello","id":"1","data":{"version":1}}`
	for _, test := range []struct {
		name   string
		header string // "good", "bad" or none
		first  string // "" is silence
		after  time.Duration
		codes  []signaling.Code // of errors at once
		close  int              // 0: it stays open
		level  string           // of the session that begins
	}{
		{"hello", "good", hello, 0, nil, 0, "level=1"},
		{"hello in time", "good", hello, time.Second - time.Nanosecond, nil, 0, "level=1"},
		{"hello too late", "good", hello, time.Second + time.Nanosecond, []signaling.Code{signaling.CodeBadState}, 0, "level=0"},
		{"another frame", "good", leave, 0, []signaling.Code{signaling.CodeNoSuchCall}, 0, "level=0"},
		{"no frame at all", "good", `{`, 0, []signaling.Code{signaling.CodeBadFrame}, 0, "level=0"},
		{"silence", "good", "", time.Second, nil, 0, "level=0"},
		{"too large", "good", strings.Repeat("x", signaling.MaxFrame+1), 0, []signaling.Code{signaling.CodeTooLarge}, 1009, ""},
		{"another frame without a token", "", leave, 0, []signaling.Code{signaling.CodeHelloRequired}, 4400, ""},
		{"silence without a token", "", "", 10 * time.Second, []signaling.Code{signaling.CodeHelloRequired}, 4400, ""},
		{"another frame with a bad token", "bad", leave, 0, []signaling.Code{signaling.CodeUnauthorized}, 4401, ""},
		{"hello with a bad token", "bad", hello, 0, []signaling.Code{signaling.CodeUnauthorized}, 4401, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, w *world) {
				checkLevel(t, w, test.header, test.first, test.after, test.codes, test.close, test.level)
			})
		})
	}
}

func checkLevel(t *testing.T, w *world, header, first string, after time.Duration, codes []signaling.Code, closed int, level string) {
	t.Helper()
	c := w.dial("alice", map[string]http.Header{"good": bearer(token(t, "alice")), "bad": bearer("x.y.z")}[header])
	time.Sleep(after)
	if first != "" {
		c.sendRaw(first)
	}
	if closed != 0 {
		if code := c.closeCode(); code != closed {
			t.Errorf("closed with %d, want %d", code, closed)
		}
	}
	var got []signaling.Code
	for _, f := range c.got("error") {
		var e signaling.Error
		if err := f.Into(&e); err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Code)
	}
	if diff := cmp.Diff(codes, got); diff != "" {
		t.Errorf("refused with (-want +got):\n%s", diff)
	}
	begun := strings.Join(w.eventLines("session.start"), "")
	if level == "" != (begun == "") || !strings.Contains(begun, level) {
		t.Errorf("the session is %q, want %s", begun, level)
	}
	time.Sleep(10 * time.Second) // nothing that waited comes late
	if n := len(w.eventLines("conn.closed")); (n == 0) != (closed == 0) {
		t.Errorf("%d connections are closed", n)
	}
}

// TestLevel0Server knows no hello.
func TestLevel0Server(t *testing.T) {
	tune := func(c *server.Config) { c.Level0 = true }
	const hello = `{"type":"hello","id":"1","data":{"version":1,"token":"x"}}`
	for _, test := range []struct {
		name, header string
		codes        []signaling.Code
		close        int
		level        string
	}{
		{"token in the header", "good", []signaling.Code{signaling.CodeUnknownType}, 0, "level=0"},
		{"no token", "", []signaling.Code{signaling.CodeUnknownType, signaling.CodeUnauthorized}, 4401, ""},
		{"bad token", "bad", []signaling.Code{signaling.CodeUnknownType, signaling.CodeUnauthorized}, 4401, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, tune, func(t *testing.T, w *world) {
				checkLevel(t, w, test.header, hello, 0, test.codes, test.close, test.level)
			})
		})
	}
	bubble(t, tune, func(t *testing.T, w *world) {
		alice, bob := w.dial("alice", bearer(token(t, "alice"))), w.dial("bob", bearer(token(t, "bob")))
		bob.say(hello)
		alice.say(`{"type":"rtc","action":"call","targetUser":"bob"}`) // nobody has to be silent first
		if got := bob.heard(); len(got) != 2 || got[1] != golden(t, "level0-invite") {
			t.Errorf("bob was sent %q", got)
		}
		alice.say(`{"type":"rtc","action":"leave"}`)
	})
}

// TestLevel0State answers who asks for a user's presence with a frame like the
// one that tells a change, and nobody else.
func TestLevel0State(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join0("alice")
		state := signaling.State{UserID: "user1", Status: signaling.Online, LastSeen: 1234567890, Version: 7}
		for text, answers := range map[string]int{
			`{"type":"state","data":{"userId":"user1"}}`:                    1,
			`{"type":"state","data":{"userId":"alice","status":"offline"}}`: 0,
			`{"type":"rtc","action":"leave","data":{"roomId":"r-1"}}`:       0,
		} {
			f, err := signaling.Decode([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			before := len(alice.heard())
			w.srv.Answer("alice", f, state)
			w.srv.Answer("alice", f, nil)
			got := alice.heard()[before:]
			if len(got) != answers || answers == 1 && got[0] != golden(t, "state") {
				t.Errorf("%s was answered %q", text, got)
			}
		}
	})
}

// TestLevel0Lives on pings like level 1, and ends with silence.
func TestLevel0Lives(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.join0("alice")
		time.Sleep(10 * time.Minute)
		if n := len(w.eventLines("conn.closed")); n != 0 {
			t.Fatal("a client that answers pings was disconnected")
		}
		c.mute.Store(true)
		if code := c.closeCode(); code != 4408 {
			t.Errorf("closed with %d", code)
		}
		synctest.Wait()
		if n := len(w.eventLines("session.end")); n != 1 {
			t.Error("the session is still there")
		}
	})
}

// TestLevel0TokenRunsOut while the client is connected: level 0 cannot show
// another, so it stays.
func TestLevel0TokenRunsOut(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.dial("alice", bearer(tokenFor(t, "alice", time.Minute)))
		time.Sleep(time.Hour)
		c.say(`{"type":"message","data":{"to":"alice","content":"still here"}}`)
		if got := c.got("message"); len(got) != 1 {
			t.Errorf("after its token ran out alice was sent %q", c.heard())
		}
	})
}

func TestGoodbyeAtLevel0(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.join0("alice")
		_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Second))
		if code := c.closeCode(); code != 1000 {
			t.Errorf("closed with %d", code)
		}
		synctest.Wait()
		if lines := w.eventLines("session.end"); len(lines) != 1 || !strings.Contains(lines[0], "cause=goodbye") {
			t.Errorf("ended: %q", lines)
		}
	})
}
