package main

import (
	"context"
	"os"
	"strings"
	"testing"
)

// TestServiceNodeTaken starts a second server with the name of one on which a call
// runs, and a third in the first one's place: each time the one before ends at once
// and says why, and in the end the call goes on, through the endpoints that it had.
func TestServiceNodeTaken(t *testing.T) {
	stored, media := newRedisPart(t), newKurentoPart(t)
	const secret = "a secret of 32 bytes, for killing"
	serve := func(name, addr string) *part {
		return newCallbenchPart(t, name, addr, "/healthz", "serve", "-listen", addr, "-users=", "-secret", secret, "-node", "one",
			"-kms", "ws://"+media.addr+"/kurento", "-redis", stored.addr)
	}
	addr := freeAddr(t)
	first := serve("first", addr)
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
	second := serve("second", freeAddr(t))
	ends := func(p *part) {
		t.Helper()
		done := make(chan error, 1)
		go func() { done <- p.cmd.Wait() }()
		select {
		case err := <-done:
			if err == nil {
				t.Errorf("%s ends without an error", p.name)
			}
		case <-ctx.Done():
			t.Fatalf("%s does not end", p.name)
		}
		if text, err := os.ReadFile(p.log); err != nil || !strings.Contains(string(text), "another server has taken this one's name (-node one)") {
			t.Errorf("%s says %s, %v", p.name, text, err)
		}
	}
	ends(first)
	must(wait(ctx, "both know that the server is gone", func() bool { return k.a.State().Link != "up" && k.b.State().Link != "up" }))
	third := serve("third", addr)
	ends(second)
	must(wait(ctx, "they talk in the same call", k.talks))
	if now := [2]int{k.a.State().Leg, k.b.State().Leg}; now != legs {
		t.Errorf("legs %v were made anew: %v", legs, now)
	}
	if reason, over := k.over(); over {
		t.Errorf("the call is over: %s", reason)
	}
	must(k.a.Hangup(ctx))
	must(wait(ctx, "the call is over", func() bool { _, over := k.over(); return over }))
	must(wait(ctx, "the media server holds nothing", func() bool { return len(mediaObjects(t, media)) == 0 }))
	if third.cmd.ProcessState != nil {
		t.Error("the third has ended")
	}
}
