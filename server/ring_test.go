package server_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/signaling"
)

// devices begins sessions of bob's devices.
func devices(w *world, names ...string) (all []*client) {
	w.t.Helper()
	for _, name := range names {
		c, _ := w.enterOn("bob", name)
		all = append(all, c)
	}
	return all
}

// rung has alice call bob on these devices.
func rung(w *world, names ...string) (alice *client, all []*client, ref signaling.RTC) {
	w.t.Helper()
	alice = w.join("alice")
	all = devices(w, names...)
	ref = alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
	return alice, all, signaling.RTC{RoomID: ref.RoomID, CallID: ref.CallID}
}

// invitation is the only one that a client has had.
func (c *client) invitation() signaling.Invite {
	c.w.t.Helper()
	frames := c.got("rtc_invite")
	if len(frames) != 1 {
		c.w.t.Fatalf("%s was invited %d times", c.name, len(frames))
	}
	var in signaling.Invite
	if err := frames[0].Into(&in); err != nil {
		c.w.t.Fatal(err)
	}
	return in
}

// endedWith fails unless the client was told once that the call is over, and why.
func (c *client) endedWith(reason signaling.Reason, by string) {
	c.w.t.Helper()
	if d := c.one("rtc/ended"); d.Reason != reason || d.UserID != by {
		c.w.t.Errorf("%s was told the end with %q by %q, want %q by %q", c.name, d.Reason, d.UserID, reason, by)
	}
}

// TestEveryDeviceRings answers on one of three. The caller hears of ringing once
// and of the answer once, and so does the conversation of the call.
func TestEveryDeviceRings(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := rung(w, "phone", "laptop", "tablet")
		phone, laptop, tablet := bob[0], bob[1], bob[2]
		for _, d := range bob {
			if in := d.invitation(); in.CallID != ref.CallID || in.Expire != 60 {
				t.Errorf("invited to %+v", in)
			}
			d.rtc(signaling.ActionRinging, ref)
		}
		alice.one("rtc/ringing")
		laptop.rtc(signaling.ActionAnswer, ref)
		for _, loser := range []*client{phone, tablet} {
			loser.endedWith(signaling.ReasonAnsweredElsewhere, "")
			loser.refused(signaling.CodeBadState, signaling.ActionAnswer, ref)
			loser.refused(signaling.CodeBadState, signaling.ActionJoin, ref)
			loser.refused(signaling.CodeBadState, signaling.ActionRinging, ref)
			loser.refused(signaling.CodeBadState, signaling.ActionOffer, signaling.RTC{CallID: ref.CallID, SDP: sdpOffer})
		}
		phone.rtc(signaling.ActionLeave, ref)
		phone.refused(signaling.CodeNoSuchCall, signaling.ActionLeave, ref)
		w.join("carol").refused(signaling.CodeBusy, signaling.ActionCall, signaling.RTC{TargetUser: "bob"}) // he talks on
		offer(alice, ref)
		offer(laptop, ref)
		if members, _ := w.state.Hash("rtc:room:" + ref.RoomID + ":members"); len(members) != 2 {
			t.Errorf("members in State are %q", members)
		}
		time.Sleep(30 * time.Second)
		tablet.refused(signaling.CodeNoSuchCall, signaling.ActionLeave, ref) // it took too long to confirm
		alice.rtc(signaling.ActionLeave, ref)
		laptop.endedWith(signaling.ReasonHangup, "alice")
		laptop.rtc(signaling.ActionLeave, ref)
		if n := len(phone.got("rtc/ended")); n != 1 {
			t.Errorf("the phone was told the end %d times", n)
		}
		for _, c := range []*client{alice, phone, laptop, tablet} {
			logs := slices.DeleteFunc(callLogs(t, c), func(l string) bool { return strings.Contains(l, "carol") })
			if len(logs) != 1 {
				t.Errorf("%s was told of %q", c.name, logs)
			}
		}
		checkHistory(t, w, signaling.ReasonHangup, map[string]time.Duration{"alice": 30 * time.Second, "bob": 30 * time.Second})
	})
}

// TestFirstAnswerWins lets all devices answer in the same instant.
func TestFirstAnswerWins(t *testing.T) {
	for _, word := range []signaling.Action{signaling.ActionAnswer, signaling.ActionJoin} {
		bubble(t, nil, func(t *testing.T, w *world) {
			w.media.set(func(m *fakeMedia) { m.delay["create endpoint"] = 100 * time.Millisecond })
			alice, bob, ref := rung(w, "phone", "laptop", "tablet", "watch")
			ids := make(map[*client]string)
			for _, d := range bob {
				ids[d] = d.send(signaling.TypeRTC, word, ref)
			}
			time.Sleep(time.Second)
			var winners, losers []*client
			for _, d := range bob {
				if f, _ := d.answer(ids[d]); f.Type == signaling.TypeAck {
					winners = append(winners, d)
				} else {
					d.isError(signaling.CodeBadState, f)
					d.endedWith(signaling.ReasonAnsweredElsewhere, "")
					losers = append(losers, d)
				}
			}
			if len(winners) != 1 || len(losers) != 3 {
				t.Fatalf("%d devices have answered", len(winners))
			}
			alice.one("rtc/answer")
			offer(alice, ref)
			offer(winners[0], ref)
			winners[0].rtc(signaling.ActionLeave, ref)
			alice.endedWith(signaling.ReasonHangup, "bob")
		})
	}
}

// TestDeclinedElsewhere has one device say no for all, in either word.
func TestDeclinedElsewhere(t *testing.T) {
	for _, word := range []signaling.Action{signaling.ActionReject, signaling.ActionLeave} {
		bubble(t, nil, func(t *testing.T, w *world) {
			alice, bob, ref := rung(w, "phone", "laptop")
			bob[1].rtc(word, ref)
			alice.endedWith(signaling.ReasonDeclined, "bob")
			bob[0].endedWith(signaling.ReasonDeclinedElsewhere, "bob")
			bob[0].refused(signaling.CodeBadState, signaling.ActionAnswer, ref)
			bob[0].rtc(signaling.ActionReject, ref)
			if n := len(bob[1].got("rtc/ended")); n != 0 {
				t.Errorf("who declined was told %d times", n)
			}
		})
	}
}

// TestBusyDevice is out while the other one rings on; the last one's word ends the
// call.
func TestBusyDevice(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := rung(w, "phone", "laptop")
		bob[0].rtc(signaling.ActionBusy, ref)
		bob[0].refused(signaling.CodeNoSuchCall, signaling.ActionAnswer, ref)
		bob[0].refused(signaling.CodeBusy, signaling.ActionCall, signaling.RTC{TargetUser: "carol"}) // the user is called
		if n := len(alice.got("rtc/ended")); n != 0 {
			t.Fatalf("alice was told the end %d times", n)
		}
		bob[1].rtc(signaling.ActionBusy, ref)
		alice.endedWith(signaling.ReasonBusy, "bob")
		if n := len(bob[0].got("rtc/ended")); n != 0 {
			t.Errorf("who was out was told %d times", n)
		}
	})
	bubble(t, nil, func(t *testing.T, w *world) {
		_, bob, ref := rung(w, "phone", "laptop")
		bob[0].rtc(signaling.ActionBusy, ref)
		bob[1].rtc(signaling.ActionAnswer, ref)
	})
}

// TestInvitationAges says to a device that comes back how long it may ring still,
// and that it may not if that is over.
func TestInvitationAges(t *testing.T) {
	for _, c := range []struct {
		lost, back time.Duration
		expire     int
	}{{0, 40 * time.Second, 20}, {10 * time.Second, 59500 * time.Millisecond, 1}, {20 * time.Second, 61 * time.Second, 0}, {20 * time.Second, 75 * time.Second, 0}} {
		bubble(t, nil, func(t *testing.T, w *world) {
			alice := w.join("alice")
			phone, welcome := w.enterOn("bob", "phone")
			laptop := w.join("bob")
			begin := time.Now()
			if c.lost == 0 {
				phone.drop() // it has not seen the invitation
			}
			alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
			time.Sleep(c.lost)
			if c.lost != 0 {
				phone.mu.Lock()
				phone.lastSeq, phone.frames = 0, nil // the frame was lost with the connection
				phone.mu.Unlock()
				phone.drop()
			}
			time.Sleep(time.Until(begin.Add(c.back)))
			back, again := w.rejoin(phone, welcome.ResumeToken)
			if in := back.invitation(); in.Expire != c.expire || !again.Resumed {
				t.Errorf("lost after %v, back after %v: expire %d, want %d", c.lost, c.back, in.Expire, c.expire)
			}
			if n := len(back.got("rtc/ended")); n != 0 && c.expire > 0 || n != 1 && c.expire == 0 {
				t.Errorf("back after %v it was told %d times that the call is over", c.back, n)
			}
			if in := laptop.invitation(); in.Expire != 60 {
				t.Errorf("the laptop may ring %d s", in.Expire)
			}
		})
	}
}

// TestLateDevice begins its session while the call is made, rings, was answered or
// is over: only in the first two it rings.
func TestLateDevice(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.media.set(func(m *fakeMedia) { m.delay["create pipeline"] = time.Second })
		alice := w.join("alice")
		phone := devices(w, "phone")[0]
		alice.send(signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		early := devices(w, "laptop")[0]
		time.Sleep(46 * time.Second)
		late := devices(w, "tablet")[0]
		ref := signaling.RTC{CallID: phone.invitation().CallID}
		if e, l := early.invitation(), late.invitation(); e.Expire != 60 || l.Expire != 15 || l.From != "alice" {
			t.Errorf("invited %+v and %+v", e, l)
		}
		late.rtc(signaling.ActionAnswer, ref)
		early.endedWith(signaling.ReasonAnsweredElsewhere, "")
		never := devices(w, "watch")[0]
		alice.rtc(signaling.ActionLeave, ref)
		late.rtc(signaling.ActionLeave, ref)
		if n := len(never.got("rtc_invite")) + len(devices(w, "car")[0].got("rtc_invite")); n != 0 {
			t.Errorf("%d invitations to a call that was answered", n)
		}
	})
}

// TestDeviceComesAnew replaces the session of a device that rings by another of
// the same device, which rings in its place.
func TestDeviceComesAnew(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, _, ref := rung(w, "phone")
		time.Sleep(10 * time.Second)
		again := devices(w, "phone")[0]
		if in := again.invitation(); in.Expire != 50 {
			t.Errorf("invited %+v", in)
		}
		again.rtc(signaling.ActionAnswer, ref)
		alice.one("rtc/answer")
	})
}

// TestAgainWithDevices calls again at once, whoever ended the call and from
// whatever device, while nobody has confirmed its end.
func TestAgainWithDevices(t *testing.T) {
	type party struct{ alice, phone, laptop *client }
	for name, end := range map[string]func(p party, ref signaling.RTC){
		"cancelled": func(p party, ref signaling.RTC) { p.alice.rtc(signaling.ActionCancel, ref) },
		"declined":  func(p party, ref signaling.RTC) { p.phone.rtc(signaling.ActionReject, ref) },
		"hung up by caller": func(p party, ref signaling.RTC) {
			p.phone.rtc(signaling.ActionAnswer, ref)
			p.alice.rtc(signaling.ActionLeave, ref)
		},
		"hung up by callee": func(p party, ref signaling.RTC) {
			p.phone.rtc(signaling.ActionAnswer, ref)
			p.phone.rtc(signaling.ActionLeave, ref)
		},
	} {
		for _, again := range []string{"alice", "phone", "laptop"} {
			t.Run(name+", again by "+again, func(t *testing.T) {
				bubble(t, nil, func(t *testing.T, w *world) {
					alice, bob, ref := rung(w, "phone", "laptop")
					p := party{alice, bob[0], bob[1]}
					end(p, ref)
					from, target, rings := alice, "bob", bob
					if again != "alice" {
						from, target, rings = map[string]*client{"phone": bob[0], "laptop": bob[1]}[again], "alice", []*client{alice}
					}
					next := from.rtc(signaling.ActionCall, signaling.RTC{TargetUser: target})
					for _, r := range rings {
						invites := r.got("rtc_invite")
						var in signaling.Invite
						if len(invites) == 0 || invites[len(invites)-1].Into(&in) != nil || in.CallID != next.CallID {
							t.Fatalf("%s was not invited to the second call", r.name)
						}
					}
					rings[0].rtc(signaling.ActionAnswer, signaling.RTC{CallID: next.CallID})
					offer(from, signaling.RTC{CallID: next.CallID})
					offer(rings[0], signaling.RTC{CallID: next.CallID})
					from.rtc(signaling.ActionLeave, signaling.RTC{CallID: next.CallID})
				})
			})
		}
	}
}

// TestGlareOfDevices lets all devices of both call the other user in the same
// instant: one call is made, everybody else is busy, and all devices of the
// callee ring and no others.
func TestGlareOfDevices(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		all := map[string][]*client{}
		for _, d := range []string{"phone", "laptop", "tablet"} {
			for _, user := range []string{"alice", "bob"} {
				c, _ := w.enterOn(user, user+"'s "+d)
				all[user] = append(all[user], c)
			}
		}
		ids := make(map[*client]string)
		for i := range 3 {
			ids[all["alice"][i]] = all["alice"][i].send(signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
			ids[all["bob"][i]] = all["bob"][i].send(signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: "alice"})
		}
		synctest.Wait()
		var made []*client
		for c, id := range ids {
			if f, _ := c.answer(id); f.Type == signaling.TypeAck {
				made = append(made, c)
			} else {
				c.isError(signaling.CodeBusy, f)
			}
		}
		if len(made) != 1 {
			t.Fatalf("%d calls were made", len(made))
		}
		for user, clients := range all {
			for _, c := range clients {
				if n := len(c.got("rtc_invite")); (n == 1) != (user != made[0].name) || n > 1 {
					t.Errorf("a device of %s was invited %d times", user, n)
				}
			}
		}
	})
}

func TestSelfCall(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		phone := devices(w, "phone", "laptop")[0]
		f := phone.request(signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		phone.isError(signaling.CodeBadData, f)
		var e signaling.Error
		if err := f.Into(&e); err != nil || e.Message != "targetUser is oneself: a user cannot call its own devices" {
			t.Errorf("the refusal says %q", e.Message)
		}
		synctest.Wait()
		if n := len(w.history.Rooms()); n != 0 || w.journal.count("kms") != 0 {
			t.Error("a call was made")
		}
	})
}

// TestLevel0Device loses the call as a device of level 1 does, in its own words.
func TestLevel0Device(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice := w.join("alice")
		plain, phone := w.join0("bob"), devices(w, "phone")[0]
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		if in := plain.invitation(); in.RoomID != ref.RoomID || in.Expire != 60 {
			t.Errorf("invited %+v", in)
		}
		phone.rtc(signaling.ActionAnswer, ref)
		if d := plain.one("rtc/leave"); d.RoomID != ref.RoomID || d.UserID != "" || d.Reason != "" {
			t.Errorf("told %+v", d)
		}
		plain.sendRaw(`{"type":"rtc","action":"leave","roomId":"` + ref.RoomID + `"}`)
		if n := len(plain.got("error")); n != 0 {
			t.Error("the confirmation was refused")
		}
		plain.sendRaw(`{"type":"rtc","action":"answer","roomId":"` + ref.RoomID + `"}`)
		plain.isError(signaling.CodeNoSuchCall, plain.got("error")[0])
		alice.rtc(signaling.ActionLeave, ref)
	})
}
