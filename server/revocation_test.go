package server_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/signaling"
)

func revocable(c *server.Config) { c.Revocations = &store.MemoryRevocations{} }

// shown is a token with an id, issued now.
func shown(t *testing.T, user, id string) string {
	return signed(t, jwt.RegisteredClaims{Subject: user, ID: id, IssuedAt: jwt.NewNumericDate(time.Now()), ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour))})
}

func (w *world) revoke(r server.Revocation) int {
	w.t.Helper()
	n, err := w.srv.Revoke(context.Background(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// A revoked token's live session is closed at once, its call ends, and neither
// the token nor the resume token brings it back.
func TestRevokeToken(t *testing.T) {
	bubble(t, revocable, func(t *testing.T, w *world) {
		alice := w.join("alice")
		bob := w.dial("bob", nil)
		token := shown(t, "bob", "t-1")
		welcome := bob.hello(signaling.Hello{Token: token})
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		bob.rtc(signaling.ActionAnswer, ref)
		if n := w.revoke(server.Revocation{TokenID: "t-1"}); n != 1 {
			t.Errorf("%d sessions ended, want 1", n)
		}
		if code := bob.closeCode(); code != 4403 {
			t.Errorf("closed with %d, want 4403", code)
		}
		bob.isError(signaling.CodeRevoked, bob.got("error")[0])
		if d := alice.one("rtc/ended"); d.Reason != signaling.ReasonDropped {
			t.Errorf("alice was told %+v", d)
		}
		for name, h := range map[string]signaling.Hello{"resume": {Resume: welcome.ResumeToken, LastSeq: 1}, "both": {Resume: welcome.ResumeToken, Token: token}, "token": {Token: token}} {
			h.Version = 1
			c := w.dial("bob", nil)
			if f := c.request(signaling.TypeHello, "", h); f.Type != signaling.TypeError {
				t.Errorf("%s: %s", name, f.Data)
			}
		}
		if welcome := w.dial("bob", nil).hello(signaling.Hello{Token: shown(t, "bob", "t-2")}); welcome.UserID != "bob" {
			t.Error("another token of bob's is not good")
		}
	})
}

// Of a user's sessions those end whose tokens are older; a detached one, one of
// level 0 and one without iat are among them, and one that was refreshed is not.
func TestRevokeUser(t *testing.T) {
	bubble(t, revocable, func(t *testing.T, w *world) {
		old := w.dial("bob", nil)
		old.hello(signaling.Hello{Token: shown(t, "bob", "")})
		away := w.dial("bob", nil)
		welcome := away.hello(signaling.Hello{Token: shown(t, "bob", "")})
		away.drop()
		undated := w.join("bob")
		level0 := w.dial("bob", bearer(shown(t, "bob", "")))
		level0.sendRaw(`{"type":"state","data":{"userId":"bob"}}`)
		refreshed := w.dial("bob", nil)
		refreshed.hello(signaling.Hello{Token: shown(t, "bob", "")})
		time.Sleep(10 * time.Second)
		fresh := signed(t, jwt.RegisteredClaims{Subject: "bob", IssuedAt: jwt.NewNumericDate(time.Now()), ExpiresAt: jwt.NewNumericDate(time.Now().Add(2 * time.Hour))})
		if f := refreshed.request(signaling.TypeToken, "", signaling.Token{Token: fresh}); f.Type != signaling.TypeAck {
			t.Fatalf("%s", f.Data)
		}
		if n := w.revoke(server.Revocation{User: "bob", Before: time.Now()}); n != 4 {
			t.Errorf("%d sessions ended, want 4", n)
		}
		for name, c := range map[string]*client{"old": old, "undated": undated, "level 0": level0} {
			if code := c.closeCode(); code != 4403 {
				t.Errorf("%s was closed with %d", name, code)
			}
		}
		c := w.dial("bob", nil)
		c.isError(signaling.CodeUnauthorized, c.request(signaling.TypeHello, "", signaling.Hello{Version: 1, Resume: welcome.ResumeToken}))
		synctest.Wait()
		if len(refreshed.got("error")) != 0 {
			t.Error("the refreshed session was closed")
		}
		refreshed.isError(signaling.CodeUnauthorized, refreshed.request(signaling.TypeToken, "", signaling.Token{Token: tokenFor(t, "bob", 9*time.Hour)}))
	})
}

// A token that is revoked while it is being verified lets nobody in for longer
// than a moment.
func TestRevokedWhileItIsVerified(t *testing.T) {
	slow := &slowRevocations{MemoryRevocations: &store.MemoryRevocations{}}
	bubble(t, func(c *server.Config) { c.Revocations = slow }, func(t *testing.T, w *world) {
		bob := w.dial("bob", nil)
		bob.sendID("1", signaling.TypeHello, "", signaling.Hello{Version: 1, Token: shown(t, "bob", "t-1")})
		time.Sleep(time.Second / 2) // Revocations have said no, and it is not heard yet
		if n := w.revoke(server.Revocation{TokenID: "t-1"}); n != 0 {
			t.Errorf("%d sessions ended, none was there", n)
		}
		if code := bob.closeCode(); code != 4403 {
			t.Errorf("closed with %d", code)
		}
	})
}

type slowRevocations struct{ *store.MemoryRevocations }

func (s *slowRevocations) Revoked(ctx context.Context, who server.Identity) (bool, error) {
	revoked, err := s.MemoryRevocations.Revoked(ctx, who)
	time.Sleep(time.Second)
	return revoked, err
}

// When nobody can say whether a token is good its bearer is told to come again,
// and who is there stays and may resume.
func TestRevocationsFail(t *testing.T) {
	broken := &brokenRevocations{}
	bubble(t, func(c *server.Config) { c.Revocations = broken }, func(t *testing.T, w *world) {
		alice, welcome := w.enter("alice")
		broken.broken = true
		bob := w.dial("bob", nil)
		bob.isError(signaling.CodeInternal, bob.request(signaling.TypeHello, "", signaling.Hello{Version: 1, Token: token(t, "bob")}))
		if code := bob.closeCode(); code != 4400 {
			t.Errorf("closed with %d, which does not say to come again", code)
		}
		level0 := w.dial("bob", bearer(token(t, "bob")))
		level0.sendRaw(`{"type":"state","data":{"userId":"bob"}}`)
		if code := level0.closeCode(); code != 4400 {
			t.Errorf("level 0 was closed with %d", code)
		}
		alice.drop()
		back := w.dial("alice", nil)
		if again := back.hello(signaling.Hello{Resume: welcome.ResumeToken, Token: token(t, "alice")}); !again.Resumed {
			t.Error("alice could not resume")
		}
		if _, err := w.srv.Revoke(context.Background(), server.Revocation{TokenID: "x"}); err == nil {
			t.Error("a revocation that could not be stored is no error")
		}
	})
}

type brokenRevocations struct{ broken bool }

func (b *brokenRevocations) Revoke(context.Context, server.Revocation) error { return errBroken }

func (b *brokenRevocations) Revoked(context.Context, server.Identity) (bool, error) {
	if b.broken {
		return false, errBroken
	}
	return false, nil
}

func TestRevokeRefuses(t *testing.T) {
	bubble(t, revocable, func(t *testing.T, w *world) {
		for name, r := range map[string]server.Revocation{
			"nothing": {}, "both": {TokenID: "a", User: "b", Before: time.Now()}, "a user without a time": {User: "b"}, "a token with a time": {TokenID: "a", Before: time.Now()},
		} {
			if _, err := w.srv.Revoke(context.Background(), r); err == nil {
				t.Errorf("%s is accepted", name)
			}
		}
	})
	bubble(t, nil, func(t *testing.T, w *world) {
		if _, err := w.srv.Revoke(context.Background(), server.Revocation{TokenID: "a"}); err == nil || errors.Is(err, errBroken) {
			t.Errorf("without Revocations: %v", err)
		}
	})
}

// A session that a killed server left behind cannot be resumed if its token was
// revoked meanwhile.
func TestRevokedWhileNoServerHadTheSession(t *testing.T) {
	bubble(t, revocable, func(t *testing.T, w *world) {
		left := func(id, tokenID string) signaling.Hello {
			sum := sha256.Sum256([]byte("secret"))
			err := w.state.PutSession(context.Background(), server.SessionRecord{SessionID: id, UserID: "bob", ConnectedAt: time.Now(), HeartbeatAt: time.Now(), TTL: time.Hour,
				Node: "callbench", Level: 1, Secret: hex.EncodeToString(sum[:]), Expires: time.Now().Add(time.Hour), TokenID: tokenID, Issued: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			return signaling.Hello{Resume: id + ".secret"}
		}
		first, second := left("s-1", "t-1"), left("s-2", "t-2")
		w.revoke(server.Revocation{TokenID: "t-1"})
		c := w.dial("bob", nil)
		first.Version = 1
		c.isError(signaling.CodeUnauthorized, c.request(signaling.TypeHello, "", first))
		if welcome := w.dial("bob", nil).hello(second); !welcome.Resumed {
			t.Error("another session of bob's was not resumed")
		}
	})
}
