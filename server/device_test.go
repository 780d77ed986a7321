package server_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// enterOn begins a session of a user's device.
func (w *world) enterOn(name, device string) (*client, signaling.Welcome) {
	w.t.Helper()
	c := w.dial(name, nil)
	return c, c.hello(signaling.Hello{Token: token(w.t, name), Device: device})
}

// TestSameDevice ends the older session of a device that comes back without it.
// Nobody is told that the user was away.
func TestSameDevice(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.state.Watch(func(user string, s signaling.State) { w.journal.add("presence %s %s", user, s.Status) })
		alice := w.join("alice")
		laptop, _ := w.enterOn("bob", "laptop")
		phone, lost := w.enterOn("bob", "phone")
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		phone.rtc(signaling.ActionAnswer, ref)

		again, welcome := w.enterOn("bob", "phone")
		if code := phone.closeCode(); code != 4409 {
			t.Errorf("the older session's connection was closed with %d", code)
		}
		phone.isError(signaling.CodeSuperseded, phone.got("error")[0])
		if welcome.Resumed || welcome.SessionID == lost.SessionID {
			t.Errorf("welcome is %+v", welcome)
		}
		if d := alice.one("rtc/ended"); d.Reason != signaling.ReasonDropped || d.UserID != "bob" {
			t.Errorf("alice was told %+v", d)
		}
		alice.rtc(signaling.ActionLeave, ref)
		if n := w.journal.count("presence bob"); n != 1 {
			t.Errorf("bob's presence was told %d times; it is online all the time", n)
		}
		alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		again.one("rtc_invite")
		if n := len(laptop.got("error")); n != 0 || len(w.eventLines("session.end")) != 1 {
			t.Error("a session of another device has ended")
		}
		dead := w.dial("bob", nil)
		dead.isError(signaling.CodeUnauthorized, dead.request(signaling.TypeHello, "", signaling.Hello{Version: 1, Resume: lost.ResumeToken}))
	})
}

// TestSameDeviceDetached ends a session that waits to be resumed.
func TestSameDeviceDetached(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.state.Watch(func(user string, s signaling.State) { w.journal.add("presence %s %s", user, s.Status) })
		bob, _ := w.enterOn("bob", "phone")
		bob.drop()
		w.enterOn("bob", "phone")
		synctest.Wait()
		if keys := slices.DeleteFunc(w.state.Keys(), isPresence); len(keys) != 1 || !strings.HasSuffix(keys[0], "session-bob-2") {
			t.Errorf("State has %q", keys)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := w.journal.count("presence"); n != 1 {
			t.Errorf("presence was told %d times", n)
		}
	})
}

// TestOtherDevices are sessions side by side: those of other users, and those
// that do not say what they are.
func TestOtherDevices(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.enterOn("bob", "phone")
		w.enterOn("alice", "phone")
		w.enterOn("bob", "")
		w.enterOn("bob", "")
		synctest.Wait()
		if n := len(w.eventLines("session.end")); n != 0 {
			t.Errorf("%d sessions ended", n)
		}
	})
}

func TestDeviceIsTooLong(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.dial("alice", nil)
		c.isError(signaling.CodeBadData, c.request(signaling.TypeHello, "", signaling.Hello{Version: 1, Token: token(t, "alice"), Device: strings.Repeat("x", 129)}))
		if code := c.closeCode(); code != 4400 {
			t.Errorf("closed with %d", code)
		}
	})
}

// pairing is a log handler that holds the first session that begins until the
// second one has begun, too.
type pairing struct {
	slog.Handler
	begun  *atomic.Int32
	second chan struct{}
}

func (h pairing) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "session.start" {
		if h.begun.Add(1) == 1 {
			<-h.second
		} else {
			close(h.second)
		}
	}
	return h.Handler.Handle(ctx, r)
}

// Two sockets that a device opens at the same time must not end each other: the
// device would be gone.
func TestSameDeviceTwiceAtOnce(t *testing.T) {
	pair := func(cfg *server.Config) {
		cfg.Log = slog.New(pairing{cfg.Log.Handler(), new(atomic.Int32), make(chan struct{})})
	}
	bubble(t, pair, func(t *testing.T, w *world) {
		a, b := w.dial("alice", nil), w.dial("alice", nil)
		for _, c := range []*client{a, b} {
			c.send(signaling.TypeHello, "", signaling.Hello{Version: 1, Token: token(t, "alice"), Device: "phone"})
		}
		time.Sleep(5 * time.Second)
		if ended := w.eventLines("session.end"); len(ended) != 1 || !contains(ended, "cause=replaced") {
			t.Errorf("one of the two is replaced, not these: %q", ended)
		}
	})
}
