package server_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// enterFor begins a session whose token is good for so long.
func (w *world) enterFor(name string, d time.Duration) (*client, signaling.Welcome) {
	w.t.Helper()
	c := w.dial(name, nil)
	return c, c.hello(signaling.Hello{Token: tokenFor(w.t, name, d)})
}

func TestTokenTTL(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		if _, welcome := w.enterFor("alice", 90*time.Second); welcome.TokenTTL != 90 {
			t.Errorf("a token of 90 s has a TTL of %d", welcome.TokenTTL)
		}
		time.Sleep(time.Second / 2)
		if _, welcome := w.enterFor("bob", 90*time.Second+time.Second/2); welcome.TokenTTL != 90 {
			t.Errorf("90.5 s are %d", welcome.TokenTTL)
		}
		time.Sleep(time.Second / 4)
		if _, welcome := w.enterFor("carol", time.Second/4); welcome.TokenTTL != 1 {
			t.Errorf("a token that is good has a TTL of %d", welcome.TokenTTL)
		}
		header := w.dial("dave", bearer(tokenFor(t, "dave", time.Minute)))
		if welcome := header.hello(signaling.Hello{}); welcome.TokenTTL != 59 {
			t.Errorf("the header's token has a TTL of %d", welcome.TokenTTL)
		}
	})
}

// TestTokenThatNeverRunsOut is of an Auth that knows no expiry.
func TestTokenThatNeverRunsOut(t *testing.T) {
	tune := func(c *server.Config) {
		c.Auth = func(_ context.Context, token string) (server.Identity, error) {
			return server.Identity{User: token}, nil
		}
	}
	bubble(t, tune, func(t *testing.T, w *world) {
		c := w.dial("alice", nil)
		if welcome := c.hello(signaling.Hello{Token: "alice"}); welcome.TokenTTL != 0 {
			t.Errorf("TTL is %d", welcome.TokenTTL)
		}
		time.Sleep(1000 * time.Hour)
		synctest.Wait()
		if n := len(w.eventLines("conn.closed")); n != 0 {
			t.Error("the connection was closed")
		}
	})
}

// TestTokenAuthSaysIsOver refuses what an Auth passes on though it has run out.
func TestTokenAuthSaysIsOver(t *testing.T) {
	tune := func(c *server.Config) {
		c.Auth = func(_ context.Context, token string) (server.Identity, error) {
			return server.Identity{User: token, Expires: time.Now()}, nil
		}
	}
	bubble(t, tune, func(t *testing.T, w *world) {
		c := w.dial("alice", nil)
		c.isError(signaling.CodeUnauthorized, c.request(signaling.TypeHello, "", signaling.Hello{Version: 1, Token: "alice"}))
	})
}

// TestTokenRunsOut closes the connection on the instant. The session waits to be
// resumed with a newer token, and with nothing less.
func TestTokenRunsOut(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		bob, welcome := w.enterFor("bob", time.Minute)
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		bob.rtc(signaling.ActionAnswer, ref)
		time.Sleep(time.Minute - time.Nanosecond)
		synctest.Wait()
		if n := len(bob.got("error")); n != 0 {
			t.Fatal("bob was disconnected early")
		}
		time.Sleep(time.Nanosecond)
		if code := bob.closeCode(); code != 4410 {
			t.Errorf("closed with %d, want 4410", code)
		}
		bob.isError(signaling.CodeTokenExpired, bob.got("error")[0])
		alice.one("rtc/reconnecting")

		resume := func(token string) signaling.Frame {
			c := w.dial("bob", nil)
			c.lastSeq = 1
			return c.request(signaling.TypeHello, "", signaling.Hello{Version: 1, Resume: welcome.ResumeToken, LastSeq: 1, Token: token})
		}
		for name, token := range map[string]string{"no token": "", "garbage": "x.y.z", "an old token": tokenFor(t, "bob", -time.Second)} {
			if f := resume(token); f.Type != signaling.TypeError {
				t.Errorf("resumed with %s: %s", name, f.Data)
			} else {
				alice.isError(signaling.CodeUnauthorized, f)
			}
		}
		var back signaling.Welcome
		if f := resume(tokenFor(t, "bob", time.Minute)); f.Into(&back) != nil || !back.Resumed || back.TokenTTL != 60 || back.Call == nil {
			t.Fatalf("with a newer token the answer is %s %s", f.Kind(), f.Data)
		}
		alice.one("rtc/reconnected")
		time.Sleep(time.Minute)
		if code := w.clients[len(w.clients)-1].closeCode(); code != 4410 {
			t.Errorf("the newer token ran out: closed with %d", code)
		}
	})
}

// TestTokenRunsOutWhileDetached must be shown a newer one, too.
func TestTokenRunsOutWhileDetached(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		bob, welcome := w.enterFor("bob", time.Minute)
		time.Sleep(30 * time.Second)
		bob.drop()
		time.Sleep(30 * time.Second)
		late := w.dial("bob", nil)
		late.isError(signaling.CodeUnauthorized, late.request(signaling.TypeHello, "", signaling.Hello{Version: 1, Resume: welcome.ResumeToken}))
		c := w.dial("bob", bearer(tokenFor(t, "bob", time.Hour)))
		if back := c.hello(signaling.Hello{Resume: welcome.ResumeToken}); !back.Resumed || back.TokenTTL != 3600 {
			t.Errorf("welcome back is %+v", back)
		}
	})
}

// TestResumeWithATokenOfAnotherUser begins a session of that user's: the token
// says who is there now.
func TestResumeWithATokenOfAnotherUser(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		bob, welcome := w.enter("bob")
		bob.drop()
		c := w.dial("carol", nil)
		if got := c.hello(signaling.Hello{Resume: welcome.ResumeToken, Token: token(t, "carol")}); got.Resumed || got.UserID != "carol" {
			t.Errorf("welcome is %+v", got)
		}
		if _, back := w.rejoin(bob, welcome.ResumeToken); !back.Resumed {
			t.Error("bob's session is gone")
		}
	})
}

func TestTokenRefreshed(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c, _ := w.enterFor("alice", time.Minute)
		time.Sleep(50 * time.Second)
		show := func(token string) signaling.Frame {
			return c.request(signaling.TypeToken, "", signaling.Token{Token: token})
		}
		c.isError(signaling.CodeForbidden, show(token(t, "bob")))
		c.isError(signaling.CodeUnauthorized, show("x.y.z"))
		c.isError(signaling.CodeBadData, show(""))
		other := w.join("alice") // elsewhere, for a second bad token from one place is answered later
		other.isError(signaling.CodeUnauthorized, other.request(signaling.TypeToken, "", signaling.Token{Token: tokenFor(t, "alice", -time.Second)}))
		for _, step := range []struct{ show, want int }{{120, 120}, {5, 120}, {180, 180}} { // an older one takes nothing away
			f := show(tokenFor(t, "alice", time.Duration(step.show)*time.Second))
			want := fmt.Sprintf(`{"tokenTTL":%d}`, step.want)
			if f.Type != signaling.TypeAck || string(f.Data) != want {
				t.Errorf("a token of %d s was answered %s %s, want %s", step.show, f.Kind(), f.Data, want)
			}
		}
		time.Sleep(180*time.Second - time.Nanosecond)
		synctest.Wait()
		if lines := w.eventLines("conn.closed"); len(lines) != 0 {
			t.Fatalf("closed early: %q", lines)
		}
		time.Sleep(time.Nanosecond)
		if code := c.closeCode(); code != 4410 {
			t.Errorf("closed with %d", code)
		}
	})
}

// TestTokenRefreshedOnAResume counts though the old one is still good.
func TestTokenRefreshedOnAResume(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c, welcome := w.enterFor("alice", time.Minute)
		c.drop()
		again := w.dial("alice", nil)
		if back := again.hello(signaling.Hello{Resume: welcome.ResumeToken, Token: tokenFor(t, "alice", time.Hour)}); !back.Resumed || back.TokenTTL != 3600 {
			t.Errorf("welcome back is %+v", back)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(again.got("error")); n != 0 {
			t.Error("the connection was closed when the old token ran out")
		}
	})
}

// TestSlowAuth does not keep a session from being served.
func TestSlowAuth(t *testing.T) {
	tune := func(c *server.Config) {
		verify := c.Auth
		c.Auth = func(ctx context.Context, token string) (server.Identity, error) {
			time.Sleep(time.Second)
			return verify(ctx, token)
		}
	}
	bubble(t, tune, func(t *testing.T, w *world) {
		c := w.join("alice")
		id := c.send(signaling.TypeToken, "", signaling.Token{Token: token(t, "alice")})
		c.request(signaling.TypeMessage, "", signaling.Message{To: "alice", Content: "meanwhile"})
		if _, ok := c.answer(id); ok {
			t.Fatal("the token was verified before its time")
		}
		time.Sleep(time.Second)
		if f, ok := c.answer(id); !ok || f.Type != signaling.TypeAck {
			t.Errorf("answered %s %s", f.Kind(), f.Data)
		}
	})
}

// TestTokenInTheQuery proves nothing: addresses end up in logs.
func TestTokenInTheQuery(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		for _, name := range []string{"token", "access_token", "Authorization"} {
			c := w.dialURL("alice", "ws://server/ws?"+name+"="+token(t, "alice"), nil)
			c.isError(signaling.CodeUnauthorized, c.request(signaling.TypeHello, "", signaling.Hello{Version: 1}))
			if code := c.closeCode(); code != 4401 {
				t.Errorf("%s: closed with %d", name, code)
			}
		}
		if strings.Contains(w.logs.String(), token(t, "alice")) {
			t.Error("the token is in the log")
		}
	})
}
