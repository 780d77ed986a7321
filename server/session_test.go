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

	"github.com/callbench/callbench/signaling"
)

func TestWelcome(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c, welcome := w.enter("alice")
		if welcome.UserID != "alice" || welcome.SessionID != "session-alice-1" || welcome.Resumed || welcome.Version != 1 ||
			welcome.Heartbeat != 30 || welcome.Timeout != 90 || welcome.ResumeWindow != 60 || welcome.Call != nil ||
			strings.Join(welcome.Features, " ") != "resume callid ack rooms" {
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
			{`{"type":"message","data":{"to":"bob","from":"mallory"}}`, signaling.CodeForbidden, ""},
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
