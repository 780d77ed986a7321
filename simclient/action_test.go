package simclient

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/signaling"
)

// TestWaysToLeave: each way to leave a call that rings has its verb and its
// reason.
func TestWaysToLeave(t *testing.T) {
	tests := map[string]struct {
		do     func(r *rig, alice, bob *actor) error
		action string
		end    []string
	}{
		"reject": {func(r *rig, _, bob *actor) error { return bob.Reject(r.ctx) }, "bob rtc/reject", []string{"reason=declined", "by=bob"}},
		"busy":   {func(r *rig, _, bob *actor) error { return bob.Busy(r.ctx) }, "bob rtc/busy", []string{"reason=busy", "by=bob"}},
		"cancel": {func(r *rig, alice, _ *actor) error { return alice.Cancel(r.ctx) }, "alice rtc/cancel", []string{"reason=cancelled", "by=alice"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				alice, bob := r.connected("alice"), r.connected("bob")
				r.must(alice.Call(r.ctx, "bob"))
				bob.wait(t, time.Second, eventIncoming)
				r.must(test.do(r, alice, bob))
				time.Sleep(time.Second)
				for _, a := range []*actor{alice, bob} {
					a.one(t, eventCallEnded, test.end...)
					a.none(t, eventViolation)
					a.none(t, eventError)
					for _, leave := range []func() error{func() error { return a.Reject(r.ctx) }, func() error { return a.Busy(r.ctx) },
						func() error { return a.Cancel(r.ctx) }, func() error { return a.Join(r.ctx, "", RoomOptions{}) }} {
						if err := leave(); !errors.Is(err, ErrNoCall) {
							t.Errorf("after the end: %v, want ErrNoCall", err)
						}
					}
				}
				if n := r.srv.count(test.action); n != 1 {
					t.Errorf("%d times %s", n, test.action)
				}
			})
		})
	}
}

// TestCancelBeforeAck: who takes a call back before the server has named it does
// so as soon as it has.
func TestCancelBeforeAck(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		called := make(chan error, 1)
		go func() { called <- alice.Call(r.ctx, "bob") }()
		synctest.Wait()
		r.must(alice.Cancel(r.ctx))
		r.must(<-called)
		bob.wait(t, time.Second, eventCallEnded, "reason=cancelled")
		alice.order(t, "call.outgoing", "signal.sent action=cancel", "call.ended reason=cancelled")
	})
}

// TestLeavingOutOfPlace: what makes no sense is the server's to refuse, and
// leaves the call alone; if the server agrees the call is over.
func TestLeavingOutOfPlace(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		r.call(alice, bob)
		for name, err := range map[string]error{"reject": bob.Reject(r.ctx), "busy": alice.Busy(r.ctx), "callee's cancel": bob.Cancel(r.ctx)} {
			if code(err) != signaling.CodeBadState {
				t.Errorf("%s: %v, want bad_state", name, err)
			}
		}
		if s := bob.State(); s.CallState != "accepted" {
			t.Errorf("state %+v", s)
		}
		r.must(alice.Cancel(r.ctx)) // the answer has come, the server does not mind
		alice.one(t, eventCallEnded, "reason=hangup", "by=alice")
		bob.wait(t, time.Second, eventCallEnded, "reason=hangup", "by=alice")
	})
}

func TestJoin(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		r.must(alice.Call(r.ctx, "bob"))
		bob.wait(t, time.Second, eventIncoming)
		r.must(bob.Join(r.ctx, "r-1", RoomOptions{}))
		alice.wait(t, time.Second, eventAccepted, "user=bob")
		bob.order(t, "signal.sent action=join", "call.accepted user=bob", "signal.sent action=offer")
		r.must(bob.Join(r.ctx, "", RoomOptions{})) // a member is there already
		bob.one(t, eventAccepted)
		carol := r.connected("carol")
		if err := carol.Join(r.ctx, "r-1", RoomOptions{}); code(err) != signaling.CodeNoSuchCall {
			t.Errorf("join somebody else's call: %v", err)
		}
	})
}

// TestBatches: candidates go together, and come together.
func TestBatches(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		var batches [][]signaling.ICECandidate
		r.srv.intercept(func(s *fakeSession, f signaling.Frame) bool {
			var rtc signaling.RTC
			if s.user == "bob" && f.Action == signaling.ActionCandidate {
				r.must(f.Into(&rtc))
				batches = append(batches, rtc.Candidates)
			}
			return false
		})
		alice := r.connected("alice")
		bob := r.connected("bob", func(c *Config) { c.Batch = 100 * time.Millisecond })
		r.call(alice, bob)
		bob.wait(t, time.Second, eventConnected)
		alice.wait(t, time.Second, eventConnected)
		r.srv.locked(func() {
			if len(batches) != 1 || len(batches[0]) != 5 || batches[0][0].SDPMid != "0" || batches[0][0].UsernameFragment == "" ||
				batches[0][4].Candidate != "" {
				t.Errorf("batches %+v, want one of a UDP and a TCP candidate for each section, and the end", batches)
			}
			r.srv.sessions["bob"].rtc(signaling.ActionCandidate, signaling.RTC{CallID: "c-1", RoomID: "r-1",
				Candidates: []signaling.ICECandidate{{Candidate: "candidate:7 1 udp 1 10.9.9.9 9 typ host"}, {Candidate: "nonsense"}, {}}})
		})
		seen := len(bob.find(eventTrickle))
		time.Sleep(time.Second)
		if n := len(bob.find(eventTrickle)) - seen; n != 3 {
			t.Errorf("%d candidates of a batch of 3 were seen", n)
		}
		bob.one(t, eventTrickle, "ignored=malformed")
		bob.none(t, eventFailure)
	})
}

// TestBatchWaits for others, but not for ever: gathering may never end.
func TestBatchWaits(t *testing.T) {
	bubble(t, func(r *rig) {
		alice := r.connected("alice", func(c *Config) { c.Batch = 100 * time.Millisecond })
		bob := r.connected("bob")
		r.call(alice, bob)
		time.Sleep(time.Second)
		sent := len(alice.find(eventSent, "action=candidate"))
		begin := time.Since(alice.start)
		alice.q.Do(func() {
			for range 2*maxBatch + 1 {
				alice.call.leg.sendCandidate(signaling.ICECandidate{Candidate: "candidate:1"})
			}
		})
		time.Sleep(time.Second)
		frames := alice.find(eventSent, "action=candidate")[sent:]
		if len(frames) != 3 || frames[1].at != begin || frames[2].at != begin+100*time.Millisecond {
			t.Errorf("frames %v, want two full ones and one 100 ms later", frames)
		}
		r.must(alice.Hangup(r.ctx))
	})
}
