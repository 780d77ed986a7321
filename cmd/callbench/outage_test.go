package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
)

// TestServiceRedisFails stops a Redis with SIGSTOP, kills it with SIGKILL and starts
// it empty, and flushes it, each while two calls run: one goes on, the other ends and
// another begins meanwhile. Afterwards Redis says what is, and in the end it holds
// nothing of any call.
func TestServiceRedisFails(t *testing.T) {
	addr := freeAddr(t)
	_, port, _ := strings.Cut(addr, ":")
	stored := newPart(t, "redis", addr, find(t, "redis-server"), "--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", t.TempDir())
	media := newKurentoPart(t)
	const secret = "a secret of 32 bytes, for killing"
	at := freeAddr(t)
	newCallbenchPart(t, "server", at, "/healthz", "serve", "-listen", at, "-users=", "-secret", secret, "-kms", "ws://"+media.addr+"/kurento", "-redis", addr)
	o := &outages{t: t, couples: crowd(t, at, secret, 2), look: redis.NewClient(&redis.Options{Addr: addr})}
	t.Cleanup(func() { _ = o.look.Close() })
	signal := func(s syscall.Signal) func() {
		return func() {
			if err := stored.cmd.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	o.during("hangs", signal(syscall.SIGSTOP), signal(syscall.SIGCONT))
	o.during("is killed and comes back empty", stored.kill, stored.start)
	o.during("is flushed", func() {
		if err := o.look.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}, func() {})
}

// TestServiceMediaServerAway kills the media server: clients are still let in, by
// balancers that ask too, for messages and presence need none. That it is missing is
// told.
func TestServiceMediaServerAway(t *testing.T) {
	media := newKurentoPart(t)
	addr, _ := served(t, "-kms", "ws://"+media.addr+"/kurento")
	told := func(what string) bool {
		code, body := get(t, "http://"+addr+"/readyz")
		return code == http.StatusOK && strings.Contains(body, `"media server":"`+what+`"`)
	}
	until(t, "the media server is there", func() bool { return told("ok") })
	media.kill()
	until(t, "the media server is told to be missing, and all else is well", func() bool { return told("not there") })
}

// outages are what Redis goes through while two couples talk.
type outages struct {
	t       *testing.T
	couples []*couple
	look    *redis.Client
}

func (o *outages) during(what string, begin, end func()) {
	ctx, cancel := context.WithTimeout(o.t.Context(), settle)
	defer cancel()
	must := func(err error) {
		o.t.Helper()
		if err != nil {
			o.t.Fatalf("Redis %s: %v: %s; %s; Redis has %q", what, err, o.couples[0].describe(), o.couples[1].describe(), o.keys())
		}
	}
	stays, goes := o.couples[0], o.couples[1]
	must(stays.talk(ctx))
	must(goes.talk(ctx))
	rooms := []string{stays.a.State().Room, goes.a.State().Room}
	begin()
	must(goes.a.Hangup(ctx))
	must(wait(ctx, "the call is over", func() bool { _, over := goes.over(); return over }))
	must(goes.talk(ctx)) // another one
	end()
	rooms = append(rooms, goes.a.State().Room)
	if !stays.talks() {
		o.t.Errorf("Redis %s, and the call does not go on: %s", what, stays.describe())
	}
	must(wait(ctx, "Redis has the two calls that there are", func() bool { return o.has(rooms[0]) && !o.has(rooms[1]) && o.has(rooms[2]) }))
	must(stays.a.Hangup(ctx))
	must(goes.b.Hangup(ctx))
	must(wait(ctx, "Redis has no call", func() bool { return len(o.keys()) == 0 }))
}

// has reports whether Redis has all of a room with two members.
func (o *outages) has(room string) bool {
	members := o.look.HGetAll(o.t.Context(), "rtc:room:"+room+":members").Val()
	keys := o.keys()
	for _, k := range []string{"rtc:room:" + room + ":state", "rtc:room:" + room + ":snapshot"} {
		if !slices.Contains(keys, k) {
			return false
		}
	}
	for user := range members {
		held := o.look.HGetAll(o.t.Context(), "rtc:user:"+user).Val()
		if held["roomId"] != room || o.look.HGet(o.t.Context(), fmt.Sprint("rtc:session:", held["sessionId"]), "connectedTime").Val() == "" {
			return false
		}
	}
	return len(members) == 2
}

func (o *outages) keys() []string { return o.look.Keys(o.t.Context(), "rtc:*").Val() }
