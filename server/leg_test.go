package server_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// TestDTLSTimeout has two endpoints whose DTLS never finishes.
func TestDTLSTimeout(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := dialed(w)
		w.media.set(func(m *fakeMedia) { m.noDTLS = 2 }) // bob's first and second
		bob.rtc(signaling.ActionAnswer, ref)
		offer(alice, ref)
		offer(bob, ref)
		for round := 1; round <= 2; round++ {
			time.Sleep(5*time.Second - time.Nanosecond)
			if n := len(bob.got("rtc/negotiate")); n != round-1 {
				t.Fatalf("round %d began early", round)
			}
			time.Sleep(time.Nanosecond)
			asked := bob.got("rtc/negotiate")
			var d signaling.RTC
			if len(asked) != round || asked[round-1].Into(&d) != nil || d.Reason != signaling.ReasonDTLSTimeout || d.CallID != ref.CallID {
				t.Fatalf("bob was asked %v in round %d", asked, round)
			}
			offer(bob, ref)
		}
		w.journal.inOrder(t, "kms create endpoint", "kms create endpoint", "kms process offer p1.e2", "kms release endpoint p1.e2",
			"kms create endpoint", "kms connect", "kms connect", "kms process offer p1.e3", "kms release endpoint p1.e3",
			"kms create endpoint", "kms connect", "kms connect", "kms process offer p1.e4")
		time.Sleep(time.Minute)
		if n := len(bob.got("rtc/negotiate")) + len(alice.got("rtc/negotiate")); n != 2 {
			t.Errorf("%d requests to negotiate, want 2", n)
		}
		leg, _ := w.state.Hash("rtc:session:session-bob-1")
		if leg["endpointId"] != "p1.e4" || leg["connectedTime"] == "" {
			t.Errorf("bob's leg in State is %q", leg)
		}
		if objects := strings.Join(w.media.left(), " "); objects != "p1 p1.e1 p1.e4" {
			t.Errorf("on the media server: %s", objects)
		}
		alice.rtc(signaling.ActionLeave, ref)
		bob.rtc(signaling.ActionLeave, ref)
	})
}

func TestDTLSNeverFinishes(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := dialed(w)
		w.media.set(func(m *fakeMedia) { m.noDTLS = 99 })
		bob.rtc(signaling.ActionAnswer, ref)
		offer(bob, ref)
		for range 3 {
			time.Sleep(5 * time.Second)
			synctest.Wait()
			offer(bob, ref)
		}
		if n := len(bob.got("rtc/ended")); n != 0 {
			t.Fatal("the call ended early")
		}
		time.Sleep(5 * time.Second)
		for _, c := range []*client{alice, bob} {
			if d := c.one("rtc/ended"); d.Reason != signaling.ReasonMediaFailed || d.UserID != "" {
				t.Errorf("%s was told %+v", c.name, d)
			}
			c.rtc(signaling.ActionLeave, ref)
		}
		if n := len(bob.got("rtc/negotiate")); n != 3 {
			t.Errorf("bob was asked %d times, want 3", n)
		}
	})
}

// TestNewOffer makes a leg anew because its member asks for it.
func TestNewOffer(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := connected(w)
		offer(alice, ref)
		if got := alice.got("rtc/answer"); len(got) != 3 || !strings.Contains(string(got[2].Data), "answer of p1.e3") {
			t.Errorf("alice was answered %v", got)
		}
		w.journal.inOrder(t, "kms release endpoint p1.e1", "kms create endpoint p1", "kms connect", "kms connect", "kms process offer p1.e3")
		if n := len(bob.got("rtc/negotiate")) + len(bob.got("rtc/ended")); n != 0 {
			t.Errorf("bob was told %d times", n)
		}
		w.media.endpoint("p1.e1").on(server.MediaEvent{Kind: server.MediaCandidate, Candidate: server.Candidate{Text: "late"}})
		for _, f := range alice.got("rtc/candidate") {
			if strings.Contains(string(f.Data), "late") {
				t.Error("alice got a candidate of an endpoint that she has no more")
			}
		}
	})
}

// TestTooManyOffers offers anew more often than any loss of media explains.
func TestTooManyOffers(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := connected(w)
		for range 9 {
			offer(alice, ref)
		}
		again := ref
		again.SDP = sdpOffer
		alice.refused(signaling.CodeBadState, signaling.ActionOffer, again)
		if n := w.journal.count("kms create endpoint"); n != 11 {
			t.Errorf("%d endpoints were made, want bob's and 10", n)
		}
		offer(bob, ref)
		time.Sleep(10 * time.Second)
		offer(alice, ref)
	})
}

// TestOffersOvertakeEachOther sends a second offer before the first is answered,
// and both legs anew at once.
func TestOffersOvertakeEachOther(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := connected(w)
		w.media.set(func(m *fakeMedia) { m.delay["process offer"], m.delay["create endpoint"] = time.Second, time.Second })
		withSDP := ref
		withSDP.SDP = sdpOffer
		first := alice.send(signaling.TypeRTC, signaling.ActionOffer, withSDP)
		other := bob.send(signaling.TypeRTC, signaling.ActionOffer, withSDP)
		time.Sleep(1500 * time.Millisecond)
		second := alice.send(signaling.TypeRTC, signaling.ActionOffer, withSDP)
		synctest.Wait()
		third := alice.send(signaling.TypeRTC, signaling.ActionOffer, withSDP) // while its endpoint is being made
		time.Sleep(10 * time.Second)
		for id, want := range map[string]signaling.Type{first: signaling.TypeError, second: signaling.TypeError, third: signaling.TypeAck} {
			if f, ok := alice.answer(id); !ok || f.Type != want {
				t.Errorf("alice's offer %s was answered %s %s, want %s", id, f.Kind(), f.Data, want)
			}
		}
		if f, ok := bob.answer(other); !ok || f.Type != signaling.TypeAck {
			t.Errorf("bob's offer was answered %s %s", f.Kind(), f.Data)
		}
		objects := w.media.left()
		if len(objects) != 3 {
			t.Fatalf("on the media server: %q", objects)
		}
		w.journal.inOrder(t, "kms connect "+objects[2]+">"+objects[1], "kms connect "+objects[1]+">"+objects[2])
	})
}

func TestCandidates(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := dialed(w)
		w.media.set(func(m *fakeMedia) { m.silent = true })
		bob.rtc(signaling.ActionAnswer, ref)
		candidate := func(port int, mid string, index *int, fragment string) signaling.RTC {
			return signaling.RTC{CallID: ref.CallID, Candidate: fmt.Sprintf("candidate:1 1 udp 2130706431 10.0.0.2 500%d typ host", port),
				SDPMid: mid, SDPMLineIndex: index, UsernameFragment: fragment}
		}
		one, nine := 1, 9
		// Before the offer everything is kept, for nobody knows yet.
		alice.rtc(signaling.ActionCandidate, candidate(1, "", &one, ""))
		alice.rtc(signaling.ActionCandidate, candidate(2, "x", nil, ""))
		alice.rtc(signaling.ActionCandidate, candidate(3, "1", nil, "old"))
		alice.rtc(signaling.ActionCandidate, candidate(4, "", nil, "uf"))
		if n := w.journal.count("kms add candidate"); n != 0 {
			t.Error("candidates were passed on before the offer")
		}
		offer(alice, ref)
		alice.rtc(signaling.ActionCandidate, candidate(5, "0", &one, "")) // the mid decides
		alice.refused(signaling.CodeInvalidCandidate, signaling.ActionCandidate, candidate(6, "x", nil, ""))
		alice.refused(signaling.CodeInvalidCandidate, signaling.ActionCandidate, candidate(7, "", &nine, ""))
		alice.rtc(signaling.ActionCandidate, candidate(8, "", &one, "old"))
		alice.rtc(signaling.ActionCandidate, signaling.RTC{CallID: ref.CallID}) // no more
		mdns := candidate(9, "0", nil, "")
		mdns.Candidate = "candidate:1 1 udp 2113937151 0b6f4f3e-1111-2222-3333-444455556666.local 42651 typ host generation 0 ufrag uf network-cost 999"
		alice.rtc(signaling.ActionCandidate, mdns)
		for _, bad := range []string{"nonsense", "candidate:1 1 udp", hostCandidate + "\r\na=x", hostCandidate + strings.Repeat(" x y", 200)} {
			alice.refused(signaling.CodeInvalidCandidate, signaling.ActionCandidate, signaling.RTC{CallID: ref.CallID, Candidate: bad})
		}
		synctest.Wait()
		var got []string
		for _, p := range w.media.endpoint("p1.e1").passed() {
			got = append(got, strings.Join(strings.Fields(p)[5:], " "))
		}
		if s := strings.Join(got, ", "); s != "5001 typ host|1|1, 5004 typ host|0|0, 5005 typ host|0|0" {
			t.Errorf("passed on: %s", s)
		}
	})
}

// TestCandidatesTravelTogether has a media server that takes its time.
func TestCandidatesTravelTogether(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, _, ref := connected(w)
		w.media.set(func(m *fakeMedia) { m.delay["add candidate"] = time.Second })
		for range 20 {
			alice.send(signaling.TypeRTC, signaling.ActionCandidate, signaling.RTC{CallID: ref.CallID, Candidate: hostCandidate})
		}
		time.Sleep(10 * time.Second)
		if n, calls := len(w.media.endpoint("p1.e1").passed()), w.journal.count("kms add candidate"); n != 20 || calls != 2 {
			t.Errorf("%d candidates in %d batches, want 20 in 2", n, calls)
		}
		w.media.set(func(m *fakeMedia) { m.hang["add candidate"] = true })
		for range 60 {
			alice.send(signaling.TypeRTC, signaling.ActionCandidate, signaling.RTC{CallID: ref.CallID, Candidate: hostCandidate})
		}
		if n := len(alice.got("error")); n != 20+60-64 {
			t.Errorf("%d of 80 candidates were refused", n)
		}
	})
}

// TestMediaFails refuses one operation after the other.
func TestMediaFails(t *testing.T) {
	broken := errors.New("broken")
	for _, test := range []struct {
		operation string
		hang      bool
		at        signaling.Action // the request that fails
	}{
		{"create pipeline", false, signaling.ActionCall},
		{"create pipeline", true, signaling.ActionCall},
		{"create endpoint", false, signaling.ActionCall},
		{"create endpoint", true, signaling.ActionCall},
		{"create endpoint", false, signaling.ActionAnswer},
		{"create endpoint", true, signaling.ActionAnswer},
		{"connect", false, signaling.ActionAnswer},
		{"connect", true, signaling.ActionAnswer},
		{"process offer", false, signaling.ActionOffer},
		{"process offer", true, signaling.ActionOffer},
		{"gather", false, signaling.ActionCandidate}, // the offer itself succeeds
		{"gather", true, signaling.ActionCandidate},
	} {
		t.Run(fmt.Sprintf("%s of %s hangs %v", test.operation, test.at, test.hang), func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, w *world) {
				spoil := func(at signaling.Action) {
					if at == test.at {
						w.media.set(func(m *fakeMedia) {
							if m.hang[test.operation] = test.hang; !test.hang {
								m.fail[test.operation] = broken
							}
						})
					}
				}
				playUntilBroken(t, w, test.at, spoil)
				whose := " user=alice session=session-alice-1 "
				switch {
				case test.at == signaling.ActionAnswer:
					whose = " user=bob session=session-bob-1 "
				case test.operation == "create pipeline":
					whose += "request=2 "
				case test.operation == "process offer":
					whose += "request=3 "
				}
				if failed := w.eventLines("media.failed"); len(failed) == 0 || !strings.Contains(failed[0], whose) {
					t.Errorf("%q does not say %q", failed, whose)
				}
				w.media.set(func(m *fakeMedia) { clear(m.fail); clear(m.hang) })
				time.Sleep(time.Minute)
			})
		})
	}
}

// playUntilBroken plays a call in which the media server fails at a step.
func playUntilBroken(t *testing.T, w *world, at signaling.Action, spoil func(signaling.Action)) {
	alice, bob := w.join("alice"), w.join("bob")
	spoil(signaling.ActionCall)
	call := signaling.RTC{TargetUser: "bob"}
	if at == signaling.ActionCall {
		alice.refused(signaling.CodeMediaFailed, signaling.ActionCall, call)
		if n := len(bob.got("rtc_invite")); n != 0 {
			t.Error("bob was invited")
		}
		if n := len(alice.got("rtc/ended")); n != 0 {
			t.Error("a call that never began was ended")
		}
		return
	}
	ref := alice.rtc(signaling.ActionCall, call)
	spoil(signaling.ActionAnswer)
	if at == signaling.ActionAnswer {
		bob.refused(signaling.CodeMediaFailed, signaling.ActionAnswer, ref)
	} else {
		bob.rtc(signaling.ActionAnswer, ref)
		withSDP := ref
		withSDP.SDP = sdpOffer
		spoil(signaling.ActionOffer)
		spoil(signaling.ActionCandidate)
		if at == signaling.ActionOffer {
			alice.refused(signaling.CodeMediaFailed, signaling.ActionOffer, withSDP)
		} else {
			offer(alice, ref)
			time.Sleep(10 * time.Second)
		}
	}
	for _, c := range []*client{alice, bob} {
		if d := c.one("rtc/ended"); d.Reason != signaling.ReasonMediaFailed {
			t.Errorf("%s was told %+v", c.name, d)
		}
	}
}

// TestReleaseHangs hangs up while the media server does not answer.
func TestReleaseHangs(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := connected(w)
		w.media.set(func(m *fakeMedia) { m.hang["release endpoint"], m.hang["release pipeline"] = true, true })
		start := time.Now()
		alice.rtc(signaling.ActionLeave, ref)
		if took := time.Since(start); took > 10*time.Second+time.Millisecond {
			t.Errorf("hanging up took %v", took)
		}
		bob.one("rtc/ended")
		bob.rtc(signaling.ActionLeave, ref)
		if took := time.Since(start); took > 31*time.Second {
			t.Errorf("the end took %v", took)
		}
		alice.refused(signaling.CodeNoSuchCall, signaling.ActionLeave, ref)
		again := alice.request(signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		if again.Type != signaling.TypeAck {
			t.Errorf("they cannot call again: %s", again.Data)
		}
		w.media.set(func(m *fakeMedia) { clear(m.hang) })
	})
}

func TestMediaServerLost(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := connected(w)
		w.media.set(func(m *fakeMedia) { m.fail["create pipeline"] = server.ErrMediaGone })
		for _, id := range []string{"p1.e1", "p1.e2"} {
			w.media.endpoint(id).on(server.MediaEvent{Kind: server.MediaLost, Detail: "gone"})
		}
		for _, c := range []*client{alice, bob} {
			if d := c.one("rtc/ended"); d.Reason != signaling.ReasonMediaFailed {
				t.Errorf("%s was told %+v", c.name, d)
			}
			c.rtc(signaling.ActionLeave, ref)
		}
		checkHistory(t, w, signaling.ReasonMediaFailed, map[string]time.Duration{"alice": 0, "bob": 0})
	})
}

// TestOfferCrossesTheLoss offers while the legs that the media server lost are made
// anew: the offer is answered when they are.
func TestOfferCrossesTheLoss(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, _, ref := connected(w)
		w.media.set(func(m *fakeMedia) { m.delay["create pipeline"] = time.Second })
		w.media.endpoint("p1.e1").on(server.MediaEvent{Kind: server.MediaLost, Detail: "gone"})
		ref.SDP = sdpOffer
		alice.rtc(signaling.ActionOffer, ref)
		if got := w.journal.count("kms process offer p2.e1"); got != 1 {
			t.Errorf("the new leg processed %d offers", got)
		}
	})
}

// TestLossWhileALegIsMadeAnew loses a leg while the other one is made anew, and gets
// no other pipeline: the call ends, and with it what was under way.
func TestLossWhileALegIsMadeAnew(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := connected(w)
		w.media.set(func(m *fakeMedia) {
			m.delay["release endpoint"] = 2 * time.Second
			m.fail["create pipeline"] = server.ErrMediaGone
		})
		again := ref
		again.SDP = sdpOffer
		alice.send(signaling.TypeRTC, signaling.ActionOffer, again)
		synctest.Wait()
		w.media.endpoint("p1.e2").on(server.MediaEvent{Kind: server.MediaLost, Detail: "gone"})
		time.Sleep(3 * time.Second)
		for _, c := range []*client{alice, bob} {
			if d := c.one("rtc/ended"); d.Reason != signaling.ReasonMediaFailed {
				t.Errorf("%s was told %+v", c.name, d)
			}
			c.rtc(signaling.ActionLeave, ref)
		}
	})
}

// TestMediaServerRestarted loses both legs and finds that a call goes on in a new
// pipeline, with an offer of each.
func TestMediaServerRestarted(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := connected(w)
		for _, id := range []string{"p1.e1", "p1.e2"} {
			w.media.endpoint(id).on(server.MediaEvent{Kind: server.MediaLost, Detail: "gone"})
		}
		for _, c := range []*client{alice, bob} {
			if d := c.one("rtc/negotiate"); d.Reason != signaling.ReasonMediaRestarted {
				t.Errorf("%s was told %+v", c.name, d)
			}
			again := ref
			again.SDP = sdpOffer
			if ack := c.request(signaling.TypeRTC, signaling.ActionOffer, again); ack.Type != signaling.TypeAck {
				t.Errorf("%s's new offer: %s", c.name, ack.Data)
			}
		}
		synctest.Wait()
		if got, want := w.media.left(), []string{"p2", "p2.e1", "p2.e2"}; !slices.Equal(got, want) {
			t.Errorf("the media server has %q, want %q", got, want)
		}
		alice.rtc(signaling.ActionLeave, ref)
		bob.rtc(signaling.ActionLeave, ref)
		checkHistory(t, w, signaling.ReasonHangup, map[string]time.Duration{"alice": 0, "bob": 0})
	})
}

// TestWhileDialing does to a call what may come before its pipeline is made.
func TestWhileDialing(t *testing.T) {
	for name, test := range map[string]struct {
		do     func(w *world, alice, bob *client)
		reason signaling.Reason
	}{
		"cancel": {func(_ *world, alice, _ *client) { alice.sendRaw(`{"type":"rtc","action":"leave"}`) }, signaling.ReasonCancelled},
		"caller gone": {func(_ *world, alice, _ *client) {
			alice.drop()
		}, signaling.ReasonDropped},
		"callee gone": {func(_ *world, _, bob *client) {
			bob.drop()
		}, signaling.ReasonDropped},
	} {
		t.Run(name, func(t *testing.T) {
			tune := func(c *server.Config) { c.MediaTimeout = 3 * time.Minute }
			bubble(t, tune, func(t *testing.T, w *world) {
				alice, bob := w.join("alice"), w.join("bob")
				w.media.set(func(m *fakeMedia) { m.delay["create pipeline"] = 2 * time.Minute })
				alice.send(signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
				synctest.Wait()
				test.do(w, alice, bob)
				time.Sleep(3 * time.Minute)
				synctest.Wait()
				if rooms := w.history.Rooms(); len(rooms) != 1 || rooms[0].Reason != test.reason {
					t.Errorf("History has %+v", rooms)
				}
			})
		})
	}
}

// TestHangUpWhileAccepting ends the call while the callee's endpoint is made.
func TestHangUpWhileAccepting(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := dialed(w)
		w.media.set(func(m *fakeMedia) { m.delay["create endpoint"] = time.Second })
		accept := bob.send(signaling.TypeRTC, signaling.ActionAnswer, ref)
		synctest.Wait()
		alice.rtc(signaling.ActionLeave, ref)
		if d := bob.one("rtc/ended"); d.Reason != signaling.ReasonHangup {
			t.Errorf("bob was told %+v", d)
		}
		bob.rtc(signaling.ActionLeave, ref)
		time.Sleep(2 * time.Second)
		f, _ := bob.answer(accept)
		bob.isError(signaling.CodeNoSuchCall, f)
		checkHistory(t, w, signaling.ReasonHangup, map[string]time.Duration{"alice": 0})
	})
}

// TestShutdownWhileMediaAreMadeAnew releases the pipeline that comes too late.
func TestShutdownWhileMediaAreMadeAnew(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		connected(w)
		w.media.set(func(m *fakeMedia) { m.delay["create pipeline"] = time.Second })
		w.media.endpoint("p1.e1").on(server.MediaEvent{Kind: server.MediaLost, Detail: "gone"})
		synctest.Wait()
		w.close() // bubble sees what is left
	})
}
