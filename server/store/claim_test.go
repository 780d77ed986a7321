package store_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/callbench/callbench/server/store"
)

// lost reports whether a claim is lost now.
func lost(c *store.Claim) bool {
	select {
	case <-c.Lost():
		return true
	default:
		return false
	}
}

// TestClaim has a node's name claimed by one after the other: the last has it, and
// the one before learns that at once.
func TestClaim(t *testing.T) { testClaim(t, miniredis.RunT(t).Addr(), "n1") }

// TestServiceClaim is TestClaim on a real Redis.
func TestServiceClaim(t *testing.T) {
	addr := os.Getenv("CALLBENCH_REDIS_ADDR")
	if addr == "" {
		t.Skip("CALLBENCH_REDIS_ADDR does not say where a Redis is")
	}
	testClaim(t, addr, "n"+time.Now().Format(time.RFC3339Nano))
}

func testClaim(t *testing.T, addr, node string) {
	look := redis.NewClient(&redis.Options{Addr: addr})
	defer look.Close()
	claim := func(node string) (*store.Claim, *store.Redis) {
		t.Helper()
		r := store.NewRedis(store.RedisConfig{Addr: addr})
		t.Cleanup(func() { _ = r.Close() })
		c, err := r.Claim(t.Context(), node, store.ClaimConfig{Check: 20 * time.Millisecond})
		must(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c, r
	}
	first, _ := claim(node)
	other, _ := claim(node + "-other")
	if lost(first) || lost(other) {
		t.Fatal("a claim is lost that nobody contests")
	}
	go func() { <-first.Lost(); _ = first.Close() }() // as a server that ends
	begun := look.PubSubNumSub(t.Context(), "node:"+node+":taken").Val()["node:"+node+":taken"]
	second, client := claim(node)
	if begun != 1 || !lost(first) || lost(second) || lost(other) {
		t.Errorf("%d listen; the first is lost: %v, the second: %v, another node's: %v", begun, lost(first), lost(second), lost(other))
	}
	// Redis loses the name: who has it keeps it.
	must(t, look.Del(t.Context(), "node:"+node+":owner").Err())
	eventually(t, "the name has its owner again", func() bool { return look.Exists(t.Context(), "node:"+node+":owner").Val() == 1 })
	// Its owner dies, and Redis is told by nobody but the end of the connection.
	must(t, second.Abandon())
	must(t, client.Close())
	third, _ := claim(node)
	if lost(third) {
		t.Error("the third is lost")
	}
	// A message that was missed is found out.
	must(t, look.Set(context.Background(), "node:"+node+":owner", "somebody", 0).Err())
	eventually(t, "the third is lost", func() bool { return lost(third) })
	must(t, third.Close())
	if got := look.Get(t.Context(), "node:"+node+":owner").Val(); got != "somebody" {
		t.Errorf("who has lost the name has taken it away from %q", got)
	}
	must(t, other.Close())
	if look.Exists(t.Context(), "node:"+node+"-other:owner").Val() != 0 {
		t.Error("a name stays that was given back")
	}
	look.Del(t.Context(), "node:"+node+":owner")
}

// TestClaimWaits has the one before not end: the name is taken all the same.
func TestClaimWaits(t *testing.T) {
	r := store.NewRedis(store.RedisConfig{Addr: miniredis.RunT(t).Addr()})
	defer r.Close()
	hangs, err := r.Claim(t.Context(), "n", store.ClaimConfig{})
	must(t, err)
	defer hangs.Close()
	c, err := r.Claim(t.Context(), "n", store.ClaimConfig{Patience: 50 * time.Millisecond})
	must(t, err)
	defer c.Close()
	if eventually(t, "the first is lost", func() bool { return lost(hangs) }); lost(c) {
		t.Error("the second is lost")
	}
}
