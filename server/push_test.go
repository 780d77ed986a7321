package server_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// fakePush writes down what it is told and does as it is told.
type fakePush struct {
	mu    sync.Mutex
	start time.Time
	told  []string // "10s invite alice>bob 50s"
	fail  error
	hang  bool // until the context ends
}

func (p *fakePush) Notify(ctx context.Context, n server.Notification) error {
	p.mu.Lock()
	line := fmt.Sprintf("%v %s %s %s>%s %v", time.Since(p.start), n.Type, n.CallID, n.From, n.To, time.Until(n.Expires))
	if n.Reason != "" {
		line += " " + string(n.Reason)
	}
	p.told = append(p.told, line)
	fail, hang := p.fail, p.hang
	p.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return fail
}

func (p *fakePush) list() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.told)
}

// pushed is a bubble with a Push.
func pushed(t *testing.T, tune func(*server.Config, *fakePush), test func(t *testing.T, w *world, p *fakePush)) {
	t.Helper()
	p := &fakePush{}
	bubble(t, func(c *server.Config) {
		c.Push = p
		p.start = time.Now()
		if tune != nil {
			tune(c, p)
		}
	}, func(t *testing.T, w *world) { test(t, w, p) })
}

// isTold fails unless Push was told exactly this.
func (p *fakePush) isTold(t *testing.T, want ...string) {
	t.Helper()
	if got := p.list(); !slices.Equal(got, want) {
		t.Errorf("Push was told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestOfflineCalleeIsWoken calls who has no session. The phone that is woken comes
// after 10 s, rings for the rest of the time and answers.
func TestOfflineCalleeIsWoken(t *testing.T) {
	pushed(t, nil, func(t *testing.T, w *world, p *fakePush) {
		alice := w.join("alice")
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		p.isTold(t, "0s invite call-alice-1 alice>bob 1m0s")
		time.Sleep(10 * time.Second)
		if n := len(alice.got("rtc/ringing")) + len(alice.got("rtc/ended")); n != 0 {
			t.Error("alice was told something before a device rang")
		}
		phone := devices(w, "phone")[0]
		if in := phone.invitation(); in.Expire != 50 {
			t.Errorf("invited %+v", in)
		}
		phone.rtc(signaling.ActionRinging, ref)
		alice.one("rtc/ringing")
		phone.rtc(signaling.ActionAnswer, ref)
		offer(alice, ref)
		offer(phone, ref)
		p.isTold(t, "0s invite call-alice-1 alice>bob 1m0s", "10s cancel call-alice-1 alice>bob 50s answered_elsewhere")
		alice.rtc(signaling.ActionLeave, ref)
		phone.rtc(signaling.ActionLeave, ref)
		time.Sleep(time.Minute)
		if n := len(p.list()); n != 2 {
			t.Errorf("Push was told %d times", n)
		}
	})
}

// TestNobodyIsWoken runs out: the call was missed, and who comes later is told so
// and does not ring.
func TestNobodyIsWoken(t *testing.T) {
	pushed(t, nil, func(t *testing.T, w *world, p *fakePush) {
		alice := w.join("alice")
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		time.Sleep(time.Minute)
		alice.endedWith(signaling.ReasonNoAnswer, "")
		alice.rtc(signaling.ActionLeave, ref)
		p.isTold(t, "0s invite call-alice-1 alice>bob 1m0s")
		phone := devices(w, "phone")[0]
		if n := len(phone.got("rtc_invite")); n != 0 {
			t.Errorf("the phone was invited %d times", n)
		}
		for _, c := range []*client{alice, phone} {
			if logs := callLogs(t, c); len(logs) != 1 || !strings.Contains(logs[0], "missed") {
				t.Errorf("%s was told of %q", c.name, logs)
			}
		}
		if rooms := w.history.Rooms(); len(rooms) != 1 || rooms[0].Reason != signaling.ReasonNoAnswer {
			t.Errorf("History has %+v", rooms)
		}
		if calls := w.history.Calls(); len(calls) != 1 || calls[0].Callee != "bob" || calls[0].Reason != signaling.ReasonNoAnswer ||
			calls[0].Outcome != signaling.OutcomeMissed || !calls[0].RingingAt.IsZero() {
			t.Errorf("History has %+v", calls)
		}
	})
}

// TestWokenForNothing tells the phone that the call is over, and why.
func TestWokenForNothing(t *testing.T) {
	for reason, end := range map[signaling.Reason]func(w *world, alice *client, ref signaling.RTC){
		signaling.ReasonCancelled:         func(_ *world, alice *client, ref signaling.RTC) { alice.rtc(signaling.ActionCancel, ref) },
		signaling.ReasonDropped:           func(_ *world, alice *client, _ signaling.RTC) { goodbye(alice) },
		signaling.ReasonDeclinedElsewhere: func(w *world, _ *client, ref signaling.RTC) { devices(w, "laptop")[0].rtc(signaling.ActionReject, ref) },
		signaling.ReasonBusy:              func(w *world, _ *client, ref signaling.RTC) { devices(w, "laptop")[0].rtc(signaling.ActionBusy, ref) },
		signaling.ReasonMediaFailed: func(w *world, _ *client, _ signaling.RTC) {
			w.media.endpoint("p1.e1").on(server.MediaEvent{Kind: server.MediaLost})
		},
	} {
		for _, hang := range []bool{false, true} {
			pushed(t, func(_ *server.Config, p *fakePush) { p.hang = hang }, func(t *testing.T, w *world, p *fakePush) {
				alice := w.join("alice")
				ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
				time.Sleep(3 * time.Second)
				end(w, alice, ref)
				p.isTold(t, "0s invite call-alice-1 alice>bob 1m0s", "3s cancel call-alice-1 alice>bob 57s "+string(reason))
			})
		}
	}
}

// TestGoneDevices are not told of the end, having not been told of the call.
func TestGoneDevices(t *testing.T) {
	pushed(t, func(_ *server.Config, p *fakePush) { p.fail = fmt.Errorf("webhook: %w", server.ErrPushGone) }, func(t *testing.T, w *world, p *fakePush) {
		alice := w.join("alice")
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		time.Sleep(time.Second)
		goodbye(devices(w, "phone")[0]) // nobody else can be woken
		alice.endedWith(signaling.ReasonDropped, "bob")
		alice.rtc(signaling.ActionLeave, ref)
		p.isTold(t, "0s invite call-alice-1 alice>bob 1m0s")
	})
}

// TestPushFails changes nothing for the call.
func TestPushFails(t *testing.T) {
	pushed(t, func(_ *server.Config, p *fakePush) { p.fail = errors.New("nobody listens") }, func(t *testing.T, w *world, p *fakePush) {
		alice := w.join("alice")
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		devices(w, "phone")[0].rtc(signaling.ActionAnswer, ref)
		alice.one("rtc/answer")
		if !contains(w.eventLines("push.notified"), "level=WARN", "outcome=error", "call=call-alice-1") {
			t.Error("the log does not say that Push has failed")
		}
	})
}

// TestConnectedDevicesAreNotWoken leaves Push alone as long as a device is
// connected that rings, and asks it when the last one is lost.
func TestConnectedDevicesAreNotWoken(t *testing.T) {
	pushed(t, nil, func(t *testing.T, w *world, p *fakePush) {
		alice, bob, ref := rung(w, "phone", "laptop")
		bob[1].rtc(signaling.ActionRinging, ref)
		bob[0].drop()
		time.Sleep(10 * time.Second)
		p.isTold(t)
		goodbye(bob[1])
		p.isTold(t, "10s invite call-alice-1 alice>bob 50s")
		time.Sleep(49999 * time.Millisecond)
		if n := len(alice.got("rtc/ended")); n != 0 {
			t.Error("the call has ended while a device may be woken")
		}
		time.Sleep(time.Millisecond)
		alice.endedWith(signaling.ReasonNoAnswer, "")
	})
}

// TestDetachedDevicesAreWoken has a session, but nobody can be told through it.
func TestDetachedDevicesAreWoken(t *testing.T) {
	pushed(t, nil, func(t *testing.T, w *world, p *fakePush) {
		alice := w.join("alice")
		phone, welcome := w.enterOn("bob", "phone")
		phone.drop()
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		p.isTold(t, "0s invite call-alice-1 alice>bob 1m0s")
		back, _ := w.rejoin(phone, welcome.ResumeToken)
		back.rtc(signaling.ActionAnswer, ref)
		p.isTold(t, "0s invite call-alice-1 alice>bob 1m0s", "0s cancel call-alice-1 alice>bob 1m0s answered_elsewhere")
	})
}

// TestSilentDevicesAreNotTrusted has a connection that is dead, as a phone's that fell
// asleep. Whoever is woken rings, and who was silent may answer all the same.
func TestSilentDevicesAreNotTrusted(t *testing.T) {
	pushed(t, nil, func(t *testing.T, w *world, p *fakePush) {
		alice, bob, ref := rung(w, "phone")
		time.Sleep(5*time.Second - time.Nanosecond)
		p.isTold(t)
		time.Sleep(time.Nanosecond)
		p.isTold(t, "5s invite call-alice-1 alice>bob 55s")
		devices(w, "laptop")[0].invitation()
		bob[0].rtc(signaling.ActionAnswer, ref)
		alice.one("rtc/answer")
		p.isTold(t, "5s invite call-alice-1 alice>bob 55s", "5s cancel call-alice-1 alice>bob 55s answered_elsewhere")
	})
}

// TestPushAll tells Push of a call that rings on a connected device.
func TestPushAll(t *testing.T) {
	pushed(t, func(c *server.Config, _ *fakePush) { c.PushAll = true }, func(t *testing.T, w *world, p *fakePush) {
		_, bob, ref := rung(w, "laptop")
		bob[0].rtc(signaling.ActionReject, ref)
		p.isTold(t, "0s invite call-alice-1 alice>bob 1m0s", "0s cancel call-alice-1 alice>bob 1m0s declined_elsewhere")
	})
}

// TestOneCallAtATime is so for a callee without a device, too.
func TestOneCallAtATime(t *testing.T) {
	pushed(t, nil, func(t *testing.T, w *world, p *fakePush) {
		alice, carol := w.join("alice"), w.join("carol")
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		carol.refused(signaling.CodeBusy, signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		phone := devices(w, "phone")[0]
		phone.refused(signaling.CodeBusy, signaling.ActionCall, signaling.RTC{TargetUser: "carol"})
		phone.invitation()
		alice.rtc(signaling.ActionCancel, ref)
		carol.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		if n := len(phone.got("rtc_invite")); n != 2 {
			t.Errorf("the phone was invited %d times", n)
		}
	})
	pushed(t, nil, func(t *testing.T, w *world, p *fakePush) {
		alice, carol := w.join("alice"), w.join("carol")
		w.media.set(func(m *fakeMedia) { m.delay["create pipeline"] = time.Second })
		alice.send(signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		synctest.Wait()
		alice.send(signaling.TypeRTC, signaling.ActionCancel, signaling.RTC{})
		synctest.Wait()
		carol.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"}) // he is free at once
	})
}

// TestShutdownTellsPush and waits for it a while, however slow it is.
func TestShutdownTellsPush(t *testing.T) {
	for _, hang := range []bool{false, true} {
		pushed(t, func(_ *server.Config, p *fakePush) { p.hang = hang }, func(t *testing.T, w *world, p *fakePush) {
			w.join("alice").rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
			time.Sleep(time.Second)
			w.close()
			p.isTold(t, "0s invite call-alice-1 alice>bob 1m0s", "1s cancel call-alice-1 alice>bob 59s dropped")
			if d := time.Since(p.start); d > 10*time.Second {
				t.Errorf("the server took until %v", d)
			}
		})
	}
}

// TestWithoutPush refuses a call to who is not there.
func TestWithoutPush(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		alice.refused(signaling.CodeUserUnavailable, signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		phone := devices(w, "phone")[0]
		if logs := callLogs(t, phone); len(logs) != 1 || !strings.Contains(logs[0], "missed") {
			t.Errorf("the phone was told of %q", logs)
		}
	})
}
