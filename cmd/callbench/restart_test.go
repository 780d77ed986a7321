package main

import (
	"context"
	"os"
	"testing"
	"time"
)

// TestServiceServerKilled kills a server with SIGKILL in the middle of a call and
// starts it again, twice: media flow on in the same call, through the endpoints that
// it had, and a call can be ended and another made. The media server is the one at
// CALLBENCH_KMS_URL, or a mock.
func TestServiceServerKilled(t *testing.T) {
	kms, mocked := os.Getenv("CALLBENCH_KMS_URL"), (*part)(nil)
	stored := newRedisPart(t)
	if kms == "" {
		mocked = newKurentoPart(t)
		kms = "ws://" + mocked.addr + "/kurento"
	}
	const secret = "a secret of 32 bytes, for killing"
	addr := freeAddr(t)
	server := newCallbenchPart(t, "server", addr, "/healthz", "serve", "-listen", addr, "-users=", "-secret", secret, "-kms", kms, "-redis", stored.addr)
	k := crowd(t, addr, secret, 1)[0]
	ctx, cancel := context.WithTimeout(t.Context(), settle)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%v: %s", err, k.describe())
		}
	}
	must(k.talk(ctx))
	legs := [2]int{k.a.State().Leg, k.b.State().Leg}
	for range 2 {
		server.kill()
		must(wait(ctx, "both know that the server is gone", func() bool { return k.a.State().Link != "up" && k.b.State().Link != "up" }))
		server.start()
		must(wait(ctx, "they talk in the same call", k.talks))
		for range 30 { // a stream that has stopped is told within a second
			<-time.After(100 * time.Millisecond)
			if !k.talks() {
				t.Fatalf("they do not talk on: %s", k.describe())
			}
		}
		if now := [2]int{k.a.State().Leg, k.b.State().Leg}; now != legs {
			t.Errorf("legs %v were made anew: %v", legs, now)
		}
	}
	must(k.a.Hangup(ctx))
	must(wait(ctx, "the call is over", func() bool { _, over := k.over(); return over }))
	if reason, _ := k.over(); reason != "hangup/hangup" {
		t.Errorf("the call ended with %q", reason)
	}
	must(k.talk(ctx))
	must(k.b.Hangup(ctx))
	if mocked != nil {
		must(wait(ctx, "the media server holds nothing", func() bool { return len(mediaObjects(t, mocked)) == 0 }))
	}
}
