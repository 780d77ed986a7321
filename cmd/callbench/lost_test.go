package main

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// TestServiceServerAndRedisLost kills a server with SIGKILL while two calls run and
// one more of another node does, flushes Redis, and starts the server again: nobody
// knows of its calls, and the history says that they ended, once.
func TestServiceServerAndRedisLost(t *testing.T) {
	stored, media := newRedisPart(t), newKurentoPart(t)
	_, dsn := newMariaDBPart(t)
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	const secret = "a secret of 32 bytes, for killing"
	serve := func(node string) (*part, string) {
		addr := freeAddr(t)
		return newCallbenchPart(t, node, addr, "/healthz", "serve", "-listen", addr, "-users", "a0,b0,a1,b1", "-secret", secret, "-node", node,
			"-kms", "ws://"+media.addr+"/kurento", "-redis", stored.addr, "-mysql", dsn, "-data", t.TempDir()), addr
	}
	one, addr := serve("one")
	_, elsewhere := serve("two")
	ctx, cancel := context.WithTimeout(t.Context(), settle)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	lost, other := crowd(t, addr, secret, 2)[0], crowd(t, elsewhere, secret, 2)[1]
	must(lost.talk(ctx))
	must(other.talk(ctx))
	is := func(call, what string) func() bool {
		return func() bool {
			var n int
			err := db.QueryRow("SELECT COUNT(*) FROM calls JOIN rooms USING (roomId) JOIN room_members USING (roomId) WHERE callId = ? AND answerTime IS NOT NULL AND "+what, call).Scan(&n)
			return err == nil && n == 2
		}
	}
	const open, over = "endTime IS NULL AND status = 'active' AND leaveTime IS NULL",
		"endTime >= answerTime AND calls.reason = 'dropped' AND calls.outcome = 'accepted' AND status = 'ended' AND endedTime >= createdTime AND leaveTime >= joinTime AND endedTime >= leaveTime"
	until(t, "both calls are in the database", func() bool { return is(lost.call, open)() && is(other.call, open)() })
	one.kill()
	must(redis.NewClient(&redis.Options{Addr: stored.addr}).FlushAll(ctx).Err())
	for range 2 {
		one.start()
		until(t, "the call that nobody knows of has ended", is(lost.call, over))
		if !is(other.call, open)() {
			t.Error("the other node's call has ended")
		}
		one.kill()
	}
	one.start()
	must(wait(ctx, "they can talk again", func() bool { return lost.a.State().Link == "up" && lost.b.State().Link == "up" }))
	before := lost.call
	must(lost.talk(ctx))
	if lost.call == before || !strings.HasPrefix(lost.call, "c-") {
		t.Errorf("the call is %s, and was %s", lost.call, before)
	}
	must(lost.a.Hangup(ctx))
	until(t, "the next call has ended", is(lost.call, strings.ReplaceAll(over, "dropped", "hangup")))
	must(other.a.Hangup(ctx))
	until(t, "the other call has ended", is(other.call, strings.ReplaceAll(over, "dropped", "hangup")))
}
