package server

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/callbench/callbench/signaling"
)

// still is a server without a connection, and a media server that does nothing.
type still struct{ passed int }

func (m *still) NewPipeline(context.Context) (Pipeline, error) { return m, nil }
func (m *still) NewEndpoint(context.Context, Endpoint, func(MediaEvent)) (Endpoint, error) {
	return m, nil
}
func (m *still) NewCall(context.Context, func(MediaEvent)) (Pipeline, Endpoint, error) {
	return m, m, nil
}
func (*still) ReleaseWith(context.Context, Endpoint) error          { return nil }
func (*still) Join(context.Context, Endpoint) error                 { return nil }
func (*still) ID() string                                           { return "object" }
func (m *still) Pipeline(context.Context, string) (Pipeline, error) { return m, nil }
func (m *still) Endpoint(context.Context, string, func(MediaEvent)) (Endpoint, error) {
	return m, nil
}
func (m *still) NewMixer(context.Context) (Mixer, error)  { return m, nil }
func (m *still) NewPort(context.Context) (Element, error) { return m, nil }
func (m *still) NewRecorder(context.Context, string, func(RecorderEvent), ...string) (Recorder, error) {
	return m, nil
}
func (*still) Record(context.Context) error                      { return nil }
func (*still) Stop(context.Context) error                        { return nil }
func (*still) Connect(context.Context, Element) error            { return nil }
func (*still) Disconnect(context.Context, Element) error         { return nil }
func (*still) Negotiate(context.Context, string) (string, error) { return "answer", nil }
func (*still) Release(context.Context) error                     { return nil }
func (m *still) AddCandidates(_ context.Context, cs []Candidate) error {
	m.passed += len(cs)
	return nil
}

// forgetful is a State and a History that keep nothing.
type forgetful struct{}

func (forgetful) PutSession(context.Context, SessionRecord) error              { return nil }
func (forgetful) DropSession(context.Context, string) error                    { return nil }
func (forgetful) PutPresence(context.Context, signaling.State) (uint64, error) { return 0, nil }
func (forgetful) GetPresence(context.Context, string) (signaling.State, error) {
	return signaling.State{}, nil
}
func (forgetful) OpenRoom(context.Context, RoomSnapshot, MemberRecord, LegRecord) error { return nil }
func (forgetful) JoinRoom(context.Context, RoomSnapshot, MemberRecord, LegRecord) error { return nil }
func (forgetful) KeepRoom(context.Context, RoomSnapshot, MemberRecord, LegRecord) error { return nil }
func (forgetful) CheckLeg(context.Context, string, MemberRecord, ...string) error       { return nil }
func (forgetful) PutRole(context.Context, RoomSnapshot, MemberRecord) error             { return nil }
func (forgetful) SaveRoom(context.Context, RoomSnapshot, ...string) error               { return nil }
func (forgetful) Rooms(context.Context, string) ([]RoomSnapshot, error)                 { return nil, nil }
func (forgetful) GetSession(context.Context, string) (SessionRecord, bool, error) {
	return SessionRecord{}, false, nil
}
func (forgetful) PutRoomMedia(context.Context, RoomMedia) error            { return nil }
func (forgetful) MendRoom(context.Context, RoomSnapshot) error             { return nil }
func (forgetful) LeaveRoom(context.Context, MemberRecord) error            { return nil }
func (forgetful) CloseRoom(context.Context, RoomSnapshot) error            { return nil }
func (forgetful) SaveLeg(context.Context, LegRecord) error                 { return nil }
func (forgetful) LegConnected(context.Context, LegRecord) error            { return nil }
func (forgetful) RoomStarted(context.Context, RoomHistory) error           { return nil }
func (forgetful) RoomEnded(context.Context, RoomHistory) error             { return nil }
func (forgetful) MemberJoined(context.Context, MemberHistory) error        { return nil }
func (forgetful) MemberLeft(context.Context, MemberHistory) error          { return nil }
func (forgetful) CallChanged(context.Context, CallHistory) error           { return nil }
func (forgetful) RecordingChanged(context.Context, RecordingHistory) error { return nil }

func stillServer(tb testing.TB) (*Server, *still) {
	tb.Helper()
	m := &still{}
	s, err := New(Config{Auth: JWT(), Media: m, State: forgetful{}, History: forgetful{}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s, m
}

// seat gives a user a session without a connection.
func seat(tb testing.TB, s *Server, user string) *session {
	tb.Helper()
	u := newSession(s, user, "")
	if !s.users.add(u) {
		tb.Fatal("the server is closed")
	}
	u.release()
	return u
}

// activeCall is a call in which both have negotiated.
func activeCall(tb testing.TB, s *Server) (alice *session, c *call) {
	tb.Helper()
	alice, bob := seat(tb, s, "alice"), seat(tb, s, "bob")
	o, err := readOffer(small, "VP8", false)
	if err != nil {
		tb.Fatal(err)
	}
	feed(tb, alice, `{"type":"rtc","action":"call","targetUser":"bob"}`)
	c = alice.room.Load().host.(*call)
	until(c, stateRinging)
	feed(tb, bob, `{"type":"rtc","action":"answer"}`)
	until(c, stateActive)
	for _, u := range []*session{alice, bob} {
		c.queue.Do(func() { c.offered(request{u, signaling.Frame{}}, o) })
	}
	wait(c, func() bool { return c.caller.leg.answer != "" && c.callee.leg.answer != "" })
	return alice, c
}

// wait returns when something is so on the call's queue.
func wait(c *call, so func() bool) {
	for done := make(chan bool); ; {
		c.queue.Do(func() { done <- so() })
		if <-done {
			return
		}
		runtime.Gosched()
	}
}

func until(c *call, s callState) {
	wait(c, func() bool { return c.at() == s })
}

func feed(tb testing.TB, u *session, text string) {
	tb.Helper()
	f, err := signaling.Decode([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	u.handle(f)
}

// BenchmarkCandidate is a candidate from the client's frame to the media
// server, without the WebSocket.
func BenchmarkCandidate(b *testing.B) {
	s, m := stillServer(b)
	alice, c := activeCall(b, s)
	frame := []byte(fmt.Sprintf(`{"type":"rtc","action":"candidate","data":{"callId":%q,"roomId":%q,"candidate":"candidate:1 1 udp 2130706431 10.0.0.2 5000 typ host generation 0 ufrag u","sdpMid":"a","sdpMLineIndex":0}}`, c.id, c.room.id))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		f, err := signaling.Decode(frame)
		if err != nil {
			b.Fatal(err)
		}
		alice.handle(f)
		if n++; n%maxCandidates == 0 { // a leg takes no more
			wait(c, func() bool { c.caller.leg.taken = 0; return !c.caller.leg.passing })
		}
	}
	wait(c, func() bool { return !c.caller.leg.passing })
	if m.passed != n {
		b.Errorf("%d of %d were passed on", m.passed, n)
	}
}

// BenchmarkPush is a frame of the server's own, from the call to the replay
// buffer.
func BenchmarkPush(b *testing.B) {
	s, _ := stillServer(b)
	u := seat(b, s, "alice")
	index := 0
	data := signaling.RTC{RoomID: "r-1", CallID: "c-1", Candidate: "candidate:1 1 UDP 2015364095 127.0.0.1 48619 typ host", SDPMid: "0", SDPMLineIndex: &index}
	b.ReportAllocs()
	for b.Loop() {
		u.push(signaling.TypeRTC, signaling.ActionCandidate, data)
	}
}

// BenchmarkReadOffer is Chromium's offer of 10 kB, made ready for Kurento.
func BenchmarkReadOffer(b *testing.B) {
	text := specimens(b)["audio_video"].Offer
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := readOffer(text, "VP8", false); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzFrame gives a session in a call any frame. It must not bring the server
// down, and a frame with an id is answered once at most.
func FuzzFrame(f *testing.F) {
	for _, seed := range []string{
		`{"type":"rtc","action":"call","id":"1","data":{"targetUser":"bob"}}`,
		`{"type":"rtc","action":"offer","data":{"sdp":"v=0"}}`,
		`{"type":"rtc","action":"candidate","candidate":"candidate:1 1 udp 1 1.2.3.4 5 typ host","sdpMLineIndex":0}`,
		`{"type":"rtc","action":"leave","id":"1"}`, `{"type":"rtc","action":"ringing"}`,
		`{"type":"message","data":{"to":"bob","content":"x"}}`, `{"type":"ack","data":{"seq":1}}`, `{"type":"state","data":{"status":"offline"}}`, `{"type":"state","data":{"userId":"bob"}}`, `{"type":"hello"}`, `{"type":"rtc","action":"answer","sdp":"x"}`, `{}`, `[]`, `null`,
	} {
		f.Add([]byte(seed))
	}
	s, _ := stillServer(f)
	alice := seat(f, s, "alice")
	seat(f, s, "bob")
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := signaling.Decode(b)
		if err != nil {
			if signaling.AsError(err).Code != signaling.CodeBadFrame {
				t.Errorf("decode: %v", err)
			}
			return
		}
		alice.handle(frame)
	})
}
