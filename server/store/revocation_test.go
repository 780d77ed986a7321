package store_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
)

// revocations is what every Revocations must do. later lets time pass; nil if
// that cannot be had.
func revocations(t *testing.T, r server.Revocations, run string, later func(time.Duration)) {
	now := time.Now().Truncate(time.Millisecond)
	is := func(who server.Identity, want bool) {
		t.Helper()
		who.User, who.TokenID = run+who.User, run+who.TokenID
		if got, err := r.Revoked(t.Context(), who); err != nil || got != want {
			t.Errorf("%+v is revoked: %v, %v", who, got, err)
		}
	}
	alice := server.Identity{User: "alice", TokenID: "t-1", Issued: now}
	is(alice, false)
	must(t, r.Revoke(t.Context(), server.Revocation{TokenID: run + "t-1", Until: now.Add(time.Hour)}))
	is(alice, true)
	alice.TokenID = "t-2"
	is(alice, false)

	must(t, r.Revoke(t.Context(), server.Revocation{User: run + "bob", Before: now, Until: now.Add(time.Hour)}))
	must(t, r.Revoke(t.Context(), server.Revocation{User: run + "bob", Before: now.Add(-time.Minute), Until: now.Add(time.Minute)})) // takes nothing back
	is(server.Identity{User: "bob", Issued: now.Add(-time.Millisecond)}, true)
	is(server.Identity{User: "bob", Issued: now}, false)
	is(server.Identity{User: "bob"}, true) // without iat
	is(server.Identity{User: "alice"}, false)

	must(t, r.Revoke(t.Context(), server.Revocation{User: run + "carol", Before: now}))
	must(t, r.Revoke(t.Context(), server.Revocation{User: run + "carol", Before: now, Until: now.Add(time.Minute)})) // never stays never
	if later == nil {
		return
	}
	later(2 * time.Minute)
	is(server.Identity{User: "bob"}, true)
	is(server.Identity{User: "carol"}, true)
}

func TestMemoryRevocations(t *testing.T) {
	revocations(t, new(store.MemoryRevocations), "", nil)
}

func TestRedisRevocations(t *testing.T) {
	m := miniredis.RunT(t)
	r := store.NewRedis(store.RedisConfig{Addr: m.Addr()})
	revocations(t, r, "", m.FastForward)
	m.FastForward(2 * time.Hour)
	if keys := m.Keys(); len(keys) != 1 || keys[0] != "auth:revoked:user:carol" {
		t.Errorf("what has run out is kept: %q", keys)
	}
	must(t, r.Revoke(t.Context(), server.Revocation{TokenID: "old", Until: time.Now().Add(-time.Second)}))
	if m.Exists("auth:revoked:token:old") {
		t.Error("a token that has run out is remembered")
	}
	m.Close()
	if _, err := r.Revoked(t.Context(), server.Identity{User: "alice"}); err == nil {
		t.Error("without Redis there is no error")
	}
	must(t, r.Close())
}

func TestServiceRedisRevocations(t *testing.T) {
	addr := os.Getenv("CALLBENCH_REDIS_ADDR")
	if addr == "" {
		t.Skip("CALLBENCH_REDIS_ADDR does not say where a Redis is")
	}
	r := store.NewRedis(store.RedisConfig{Addr: addr})
	revocations(t, r, "callbench-"+strconv.FormatInt(time.Now().UnixNano(), 36)+"-", nil)
	must(t, r.Close())
}

// What has run out is removed when something is revoked.
func TestMemoryRevocationsForget(t *testing.T) {
	var m store.MemoryRevocations
	past := time.Now().Add(-time.Second)
	must(t, m.Revoke(t.Context(), server.Revocation{TokenID: "a", Until: past}))
	must(t, m.Revoke(t.Context(), server.Revocation{User: "u", Before: time.Now(), Until: past}))
	must(t, m.Revoke(t.Context(), server.Revocation{TokenID: "b"}))
	for _, who := range []server.Identity{{TokenID: "a"}, {User: "u"}} {
		if revoked, _ := m.Revoked(t.Context(), who); revoked {
			t.Errorf("%+v is remembered", who)
		}
	}
}
