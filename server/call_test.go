package server_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// sdpOffer is what a Pion client offers: the fingerprint at session level, three
// video codecs.
const sdpOffer = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=fingerprint:sha-256 " + sha256Fingerprint + "\r\na=group:BUNDLE 0 1\r\n" +
	"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=setup:actpass\r\na=mid:0\r\na=ice-ufrag:uf\r\na=ice-pwd:pw\r\na=rtpmap:111 opus/48000/2\r\na=sendrecv\r\n" +
	"m=video 9 UDP/TLS/RTP/SAVPF 102 96 97\r\nc=IN IP4 0.0.0.0\r\na=setup:actpass\r\na=mid:1\r\na=ice-ufrag:uf\r\na=ice-pwd:pw\r\n" +
	"a=rtpmap:102 H264/90000\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=sendrecv\r\n"

// sha256Fingerprint is one of nobody's certificate.
const sha256Fingerprint = "AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB"

const hostCandidate = "candidate:1 1 udp 2130706431 10.0.0.2 5000 typ host"

// dialed brings a call of alice's to where bob rings.
func dialed(w *world) (alice, bob *client, ref signaling.RTC) {
	w.t.Helper()
	alice, bob = w.join("alice"), w.join("bob")
	ref = alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
	return alice, bob, signaling.RTC{RoomID: ref.RoomID, CallID: ref.CallID}
}

// connected brings a call to where media flows.
func connected(w *world) (alice, bob *client, ref signaling.RTC) {
	w.t.Helper()
	alice, bob, ref = dialed(w)
	bob.rtc(signaling.ActionAnswer, ref)
	offer(alice, ref)
	offer(bob, ref)
	return alice, bob, ref
}

func offer(c *client, ref signaling.RTC) {
	c.w.t.Helper()
	ref.SDP = sdpOffer
	c.rtc(signaling.ActionOffer, ref)
}

func TestCallInTheOrderOfTheSteps(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob := w.join("alice"), w.join("bob")
		ref := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		if ref.CallID != "call-alice-1" || ref.RoomID != "room-alice-1" {
			t.Fatalf("ack names %+v", ref)
		}
		bob.rtc(signaling.ActionRinging, ref)
		bob.rtc(signaling.ActionAnswer, ref)
		offer(alice, ref)
		index := 1
		alice.rtc(signaling.ActionCandidate, signaling.RTC{CallID: ref.CallID, Candidate: hostCandidate, SDPMLineIndex: &index})
		offer(bob, ref)
		bob.rtc(signaling.ActionCandidate, signaling.RTC{CallID: ref.CallID, Candidate: hostCandidate, SDPMid: "0"})
		checkMidCall(t, w)
		time.Sleep(30 * time.Second)
		alice.rtc(signaling.ActionLeave, ref)
		bob.rtc(signaling.ActionLeave, ref)
		synctest.Wait()

		// What two clients receive at one instant is not ordered between them.
		w.journal.inOrder(t, "alice-> rtc/call", "kms create pipeline", "kms create endpoint", "state open room by alice", "alice<- ack")
		w.journal.inOrder(t, "state open room by alice", "bob<- rtc_invite",
			"bob-> rtc/ringing", "alice<- rtc/ringing of bob",
			"bob-> rtc/answer", "kms create endpoint", "kms connect", "kms connect", "state join bob", "bob<- ack",
			"alice-> rtc/offer sdp", "kms process offer p1.e1", "alice<- rtc/answer sdp",
			"alice-> rtc/candidate", "kms add candidate p1.e1",
			"bob-> rtc/offer sdp", "kms process offer p1.e2", "bob<- rtc/answer sdp",
			"bob-> rtc/candidate", "kms add candidate p1.e2",
			"alice-> rtc/leave", "kms release endpoint p1.e1", "state leave alice", "alice<- ack")
		w.journal.inOrder(t, "alice<- rtc/answer of bob", "alice-> rtc/offer sdp")
		w.journal.inOrder(t, "kms process offer p1.e1", "alice<- rtc/answer sdp", "alice<- rtc/candidate")
		w.journal.inOrder(t, "state leave alice", "bob<- rtc/ended hangup of alice", "bob-> rtc/leave",
			"kms release endpoint p1.e2", "kms release pipeline p1", "state leave bob", "history room ended hangup",
			"state close room", "bob<- ack")
		if n := len(alice.got("rtc/ended")); n != 0 {
			t.Errorf("who left was told %d times", n)
		}
		checkHistory(t, w, signaling.ReasonHangup, map[string]time.Duration{"alice": 30 * time.Second, "bob": 30 * time.Second})
	})
}

// checkMidCall looks at what a call in progress has left everywhere.
func checkMidCall(t *testing.T, w *world) {
	t.Helper()
	synctest.Wait()
	leg, left := w.state.Hash("rtc:session:session-alice-1")
	if leg["userId"] != "alice" || leg["roomId"] != "room-alice-1" || leg["endpointId"] != "p1.e1" || leg["sdpAnswer"] != "answer of p1.e1" ||
		leg["sdpOffer"] == "" || leg["connectedTime"] == "" || left != 3600*time.Second {
		t.Errorf("alice's leg in State is %q for %v", leg, left)
	}
	head, media, _ := strings.Cut(leg["sdpOffer"], "m=")
	if strings.Contains(head, "fingerprint") || strings.Count(media, "fingerprint") != 2 || strings.Contains(media, "H264") || !strings.Contains(media, "VP8") {
		t.Errorf("the media server was offered %q", leg["sdpOffer"])
	}
	members, _ := w.state.Hash("rtc:room:room-alice-1:members")
	if members["alice"] != "publisher" || members["bob"] != "publisher" {
		t.Errorf("members in State are %q", members)
	}
	room, _ := w.state.Hash("rtc:room:room-alice-1:state")
	if room["roomType"] != "1v1" || room["mediaStarted"] != "true" {
		t.Errorf("room in State is %q", room)
	}
	if got := w.media.endpoint("p1.e1").passed(); len(got) != 1 || got[0] != hostCandidate+"|1|1" {
		t.Errorf("alice's endpoint was passed %q", got)
	}
	if got := w.media.endpoint("p1.e2").passed(); len(got) != 1 || got[0] != hostCandidate+"|0|0" {
		t.Errorf("bob's endpoint was passed %q", got)
	}
}

// checkHistory expects one ended room with these members.
func checkHistory(t *testing.T, w *world, reason signaling.Reason, durations map[string]time.Duration) {
	t.Helper()
	synctest.Wait()
	rooms := w.history.Rooms()
	if len(rooms) != 1 || rooms[0].Status() != "ended" || rooms[0].Reason != reason || rooms[0].Creator != "alice" || rooms[0].Type != server.Room1v1 {
		t.Fatalf("rooms in History: %+v", rooms)
	}
	members := w.history.Members(rooms[0].RoomID)
	if len(members) != len(durations) {
		t.Fatalf("members in History: %+v", members)
	}
	for _, m := range members {
		if want := durations[m.UserID]; m.Duration() != want || m.Role != server.RolePublisher {
			t.Errorf("member %+v was there for %v, want %v", m, m.Duration(), want)
		}
	}
}

func TestCancel(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := dialed(w)
		alice.rtc(signaling.ActionLeave, ref)
		if d := bob.one("rtc/ended"); d.Reason != signaling.ReasonCancelled || d.UserID != "alice" {
			t.Errorf("bob was told %+v", d)
		}
		bob.rtc(signaling.ActionLeave, ref)
		checkHistory(t, w, signaling.ReasonCancelled, map[string]time.Duration{"alice": 0})
		again := alice.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		if again.CallID == ref.CallID || again.RoomID == ref.RoomID {
			t.Errorf("the second call has the ids of the first: %+v", again)
		}
	})
}

func TestDecline(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := dialed(w)
		bob.rtc(signaling.ActionLeave, ref)
		if d := alice.one("rtc/ended"); d.Reason != signaling.ReasonDeclined || d.UserID != "bob" {
			t.Errorf("alice was told %+v", d)
		}
		alice.rtc(signaling.ActionLeave, ref)
		checkHistory(t, w, signaling.ReasonDeclined, map[string]time.Duration{"alice": 0})
	})
}

func TestNoAnswer(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := dialed(w)
		if e := bob.got("rtc_invite"); len(e) != 1 || string(e[0].Data) != `{"roomId":"room-alice-1","callId":"call-alice-1","from":"alice","expire":60}` {
			t.Errorf("bob was invited by %v", e)
		}
		time.Sleep(60*time.Second - time.Nanosecond)
		if len(alice.got("rtc/ended")) != 0 {
			t.Error("it ended before 60 s")
		}
		time.Sleep(time.Nanosecond)
		for _, c := range []*client{alice, bob} {
			if d := c.one("rtc/ended"); d.Reason != signaling.ReasonNoAnswer || d.UserID != "" {
				t.Errorf("%s was told %+v", c.name, d)
			}
		}
		alice.rtc(signaling.ActionLeave, ref)
		bob.rtc(signaling.ActionLeave, ref)
		checkHistory(t, w, signaling.ReasonNoAnswer, map[string]time.Duration{"alice": 60 * time.Second})
	})
}

func TestNobodyConfirms(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := connected(w)
		alice.rtc(signaling.ActionLeave, ref)
		time.Sleep(5*time.Second - time.Nanosecond)
		if rooms := w.history.Rooms(); len(rooms) != 1 || rooms[0].Status() != "active" {
			t.Errorf("History has %+v before bob's time to confirm is over", rooms)
		}
		time.Sleep(time.Millisecond)
		checkHistory(t, w, signaling.ReasonHangup, map[string]time.Duration{"alice": 0, "bob": 0}) // as it was at the end, not at the release
		if r := w.history.Rooms()[0]; r.EndedAt.Sub(r.CreatedAt) != 0 {
			t.Errorf("the room ended %v after it began", r.EndedAt.Sub(r.CreatedAt))
		}
		bob.refused(signaling.CodeNoSuchCall, signaling.ActionLeave, ref)
		bob.one("rtc/ended")
	})
}

func TestBothHangUpAtOnce(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := connected(w)
		w.media.set(func(m *fakeMedia) { m.delay["release endpoint"] = 10 * time.Millisecond })
		a := alice.send(signaling.TypeRTC, signaling.ActionLeave, ref)
		b := bob.send(signaling.TypeRTC, signaling.ActionLeave, ref)
		time.Sleep(time.Second)
		for c, id := range map[*client]string{alice: a, bob: b} {
			if f, ok := c.answer(id); !ok || f.Type != signaling.TypeAck {
				t.Errorf("%s's leave was answered %s %s", c.name, f.Kind(), f.Data)
			}
			if n := len(c.got("rtc/ended")); n != 0 {
				t.Errorf("%s was told %d times that the call it left is over", c.name, n)
			}
		}
		if n := w.journal.count("kms release pipeline"); n != 1 {
			t.Errorf("the pipeline was released %d times", n)
		}
	})
}

func TestBusyAndUnavailable(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, _ := dialed(w)
		carol := w.join("carol")
		carol.refused(signaling.CodeBusy, signaling.ActionCall, signaling.RTC{TargetUser: "bob"})
		carol.refused(signaling.CodeBusy, signaling.ActionCall, signaling.RTC{TargetUser: "alice"})
		alice.refused(signaling.CodeBusy, signaling.ActionCall, signaling.RTC{TargetUser: "carol"})
		bob.refused(signaling.CodeBusy, signaling.ActionCall, signaling.RTC{TargetUser: "carol"})
		carol.refused(signaling.CodeUserUnavailable, signaling.ActionCall, signaling.RTC{TargetUser: "nobody"})
		carol.refused(signaling.CodeBadData, signaling.ActionCall, signaling.RTC{TargetUser: "carol"})
		carol.refused(signaling.CodeBadData, signaling.ActionCall, signaling.RTC{})
		if n := w.journal.count("kms create pipeline"); n != 1 {
			t.Errorf("%d pipelines for one call", n)
		}
	})
}

func TestRequestsInTheWrongState(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := dialed(w)
		carol := w.join("carol")
		withSDP := ref
		withSDP.SDP = sdpOffer
		withCandidate := ref
		withCandidate.Candidate = hostCandidate
		wrong := signaling.RTC{CallID: "call-alice-9"}

		alice.refused(signaling.CodeBadState, signaling.ActionAnswer, ref)
		alice.refused(signaling.CodeBadState, signaling.ActionRinging, ref)
		alice.refused(signaling.CodeBadState, signaling.ActionOffer, withSDP)
		bob.refused(signaling.CodeBadState, signaling.ActionOffer, withSDP)
		bob.refused(signaling.CodeBadState, signaling.ActionCandidate, withCandidate)
		bob.refused(signaling.CodeBadData, signaling.ActionAnswer, withSDP)
		bob.refused(signaling.CodeNoSuchCall, signaling.ActionAnswer, wrong)
		bob.refused(signaling.CodeNoSuchCall, signaling.ActionAnswer, signaling.RTC{RoomID: "room-alice-9"})
		carol.refused(signaling.CodeNoSuchCall, signaling.ActionAnswer, ref)
		carol.refused(signaling.CodeNoSuchCall, signaling.ActionLeave, ref)
		bob.rtc(signaling.ActionAnswer, ref)
		bob.refused(signaling.CodeBadState, signaling.ActionAnswer, ref)
		bob.refused(signaling.CodeBadState, signaling.ActionRinging, ref)
		bob.refused(signaling.CodeUnknownAction, "dance", ref)
	})
}

func TestOfferRefused(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob, ref := dialed(w)
		bob.rtc(signaling.ActionAnswer, ref)
		bad := ref
		bad.SDP = "v=0"
		alice.refused(signaling.CodeInvalidSDP, signaling.ActionOffer, bad)
		w.media.set(func(m *fakeMedia) { m.fail["process offer"] = server.ErrSDPRefused })
		good := ref
		good.SDP = sdpOffer
		alice.refused(signaling.CodeInvalidSDP, signaling.ActionOffer, good)
		w.media.set(func(m *fakeMedia) { delete(m.fail, "process offer") })
		offer(alice, ref) // the endpoint is as it was
		if n := w.journal.count("kms create endpoint"); n != 2 {
			t.Errorf("%d endpoints, want 2", n)
		}
	})
}

// TestFlatFrames speaks level 0 after hello: fields beside action, no ids.
func TestFlatFrames(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob := w.join("alice"), w.join("bob")
		alice.sendRaw(`{"type":"rtc","action":"call","targetUser":"bob"}`)
		bob.got("rtc_invite")
		bob.sendRaw(`{"type":"rtc","action":"answer","roomId":"room-alice-1"}`)
		alice.one("rtc/answer")
		alice.sendRaw(`{"type":"rtc","action":"leave"}`)
		if d := bob.one("rtc/ended"); d.Reason != signaling.ReasonHangup {
			t.Errorf("bob was told %+v", d)
		}
		if len(alice.got("ack"))+len(bob.got("ack")) != 0 {
			t.Error("frames without an id were acknowledged")
		}
	})
}
