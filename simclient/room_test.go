package simclient

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/callbench/callbench/signaling"
)

// fakeRoom is the one room of a fake server. It lets everybody in and lets
// everybody do everything.
type fakeRoom struct {
	t       *testing.T
	name    string
	kind    string
	members []signaling.Member
	in      map[string]*fakeSession
	offers  map[string][]string // the SDP that each user has sent
	asked   []string            // "user action", with what it was about
	mum     bool                // tells nobody who comes
	answers map[string]signaling.Frame
	late    []signaling.RTC // what happened since somebody was let in, and is told before the acknowledgement
}

// room makes the fake server one that has a room.
func (r *rig) room(name string) *fakeRoom {
	room := &fakeRoom{t: r.t, name: name, in: map[string]*fakeSession{}, offers: map[string][]string{}, answers: map[string]signaling.Frame{}}
	r.srv.intercept(room.request)
	return room
}

// request does what a room has to do; it is called with the server's lock.
func (r *fakeRoom) request(s *fakeSession, f signaling.Frame) bool {
	var in signaling.RTC
	if f.Type != signaling.TypeRTC || f.Into(&in) != nil || in.RoomID != r.name {
		return false
	}
	if again, ok := r.answers[s.user+f.ID]; ok {
		s.write(again)
		return true
	}
	out := signaling.RTC{RoomID: r.name}
	switch f.Action {
	case signaling.ActionJoin:
		out = r.join(s, in)
	case signaling.ActionOffer:
		r.offers[s.user] = append(r.offers[s.user], in.SDP)
		s.write(frame(signaling.TypeAck, "", f.ID, nil))
		if s.srv.hub != nil {
			if err := s.srv.hub.offer(s, in); err != nil {
				r.t.Error(err)
			}
		}
		return true
	case signaling.ActionCandidate:
		if s.srv.hub != nil {
			s.srv.hub.candidate(s, in)
		}
	default:
		r.asked = append(r.asked, strings.Join(strings.Fields(s.user+" "+string(f.Action)+" "+in.UserID+" "+string(in.Role)+" "+in.Recording), " "))
	}
	r.answers[s.user+f.ID] = frame(signaling.TypeAck, "", f.ID, out)
	s.write(r.answers[s.user+f.ID])
	if f.Action == signaling.ActionLeave {
		r.gone(s.user, signaling.ReasonLeft)
	}
	return true
}

func (r *fakeRoom) join(s *fakeSession, in signaling.RTC) signaling.RTC {
	if r.kind == "" {
		r.kind = in.RoomType
	}
	m := signaling.Member{UserID: s.user, Role: in.Role}
	if !r.mum {
		r.tell(signaling.ActionJoined, signaling.RTC{UserID: m.UserID, Role: m.Role})
	}
	r.members, r.in[s.user] = append(r.members, m), s
	for _, news := range r.late {
		news.RoomID = r.name
		s.rtc(signaling.ActionJoined, news)
	}
	return signaling.RTC{RoomID: r.name, RoomType: r.kind, Role: m.Role, Members: r.members}
}

// tell pushes to everybody who is in.
func (r *fakeRoom) tell(a signaling.Action, data signaling.RTC) {
	data.RoomID = r.name
	for _, m := range r.members {
		r.in[m.UserID].rtc(a, data)
	}
}

// gone takes a user out and tells the others.
func (r *fakeRoom) gone(user string, reason signaling.Reason) {
	r.members = slices.DeleteFunc(r.members, func(m signaling.Member) bool { return m.UserID == user })
	r.tell(signaling.ActionLeft, signaling.RTC{UserID: user, Reason: reason})
}

// role gives a user a role and lets its leg be made anew.
func (r *fakeRoom) role(user string, role signaling.Role) {
	r.tell(signaling.ActionRole, signaling.RTC{UserID: user, Role: role})
	r.in[user].rtc(signaling.ActionNegotiate, signaling.RTC{RoomID: r.name, Reason: signaling.ReasonRoleChanged})
}

// directions are those of an offer's sections, in their order.
func directions(sdp string) string {
	var found []string
	for _, line := range strings.Split(sdp, "\r\n") {
		switch line {
		case "a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive":
			found = append(found, strings.TrimPrefix(line, "a="))
		}
	}
	return strings.Join(found, " ")
}

// TestBroadcast: the publisher sends, the subscriber receives, and when the roles
// change their legs are made anew the other way round.
func TestBroadcast(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		stage := r.room("stage")
		alice, bob := r.connected("alice"), r.connected("bob")
		r.must(alice.Join(r.ctx, "stage", RoomOptions{Type: "broadcast", Role: signaling.RolePublisher}))
		r.must(bob.Join(r.ctx, "stage", RoomOptions{Role: signaling.RoleSubscriber}))
		bob.wait(t, time.Second, eventFlow, "media=audio", "from=alice", "call=stage")
		bob.wait(t, time.Second, eventFlow, "media=video", "from=alice")
		alice.one(t, eventEntered, "type=broadcast", "role=publisher", "members=1")
		bob.one(t, eventEntered, "type=broadcast", "role=subscriber", "members=2")
		alice.one(t, eventJoined, "user=bob", "role=subscriber", "members=2")
		time.Sleep(3 * time.Second)
		bob.wait(t, time.Second, eventWindow, "media=audio", "from=alice")
		r.srv.locked(func() {
			stage.role("bob", signaling.RolePublisher)
			stage.role("alice", signaling.RoleSubscriber)
		})
		alice.wait(t, time.Second, eventFlow, "media=audio", "from=bob", "state=flowing")
		alice.wait(t, time.Second, eventFlow, "media=video", "from=bob", "state=flowing")
		alice.order(t, "room.role user=bob role=publisher", "room.role user=alice role=subscriber", "call.negotiate reason=role_changed leg=2")
		time.Sleep(3 * time.Second)
		bob.none(t, eventFlow, "from=bob")
		r.srv.locked(func() {
			for user, want := range map[string][]string{"alice": {"sendonly sendonly", "recvonly recvonly"}, "bob": {"recvonly recvonly", "sendonly sendonly"}} {
				var got []string
				for _, sdp := range stage.offers[user] {
					got = append(got, directions(sdp))
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s offered %q, want %q", user, got, want)
				}
			}
		})
		r.must(bob.Leave(r.ctx, "stage"))
		alice.wait(t, time.Second, eventLeft, "user=bob", "reason=left", "members=1")
		bob.one(t, eventRoomEnded, "reason=hangup", "by=bob")
		alice.wait(t, time.Second, eventFlow, "media=audio", "from=bob", "state=silent")
		for _, a := range []*actor{alice, bob} {
			a.none(t, eventViolation)
			a.none(t, eventFailure)
			a.none(t, eventError)
			a.none(t, eventWrongOrigin)
		}
	})
}

// TestBroadcastOfNobody: media of somebody who does not publish is of wrong origin.
func TestBroadcastOfNobody(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		stage := r.room("stage")
		alice, bob := r.connected("alice"), r.connected("bob")
		r.must(bob.Join(r.ctx, "stage", RoomOptions{Type: "broadcast", Role: signaling.RoleSubscriber}))
		r.srv.locked(func() { stage.mum = true })
		r.must(alice.Join(r.ctx, "stage", RoomOptions{Role: signaling.RolePublisher}))
		bob.wait(t, time.Second, eventWrongOrigin, "media=audio", "call=stage")
		bob.none(t, eventFlow, "state=flowing")
	})
}

// TestMix: in a mix everybody sends and receives, and hears itself too.
func TestMix(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia().echo = true
		mix := r.room("standup")
		alice, bob := r.connected("alice"), r.connected("bob")
		r.must(alice.Join(r.ctx, "standup", RoomOptions{Type: "mcu", Role: signaling.RolePublisher}))
		alice.wait(t, time.Second, eventFlow, "media=audio", "from=alice", "state=flowing")
		r.must(bob.Join(r.ctx, "standup", RoomOptions{Role: signaling.RolePublisher}))
		bob.wait(t, time.Second, eventFlow, "media=video", "from=bob", "state=flowing")
		time.Sleep(2 * time.Second)
		bob.none(t, eventWrongOrigin)
		r.srv.locked(func() {
			if got := directions(mix.offers["bob"][0]); got != "sendrecv sendrecv" {
				t.Errorf("bob offered %s", got)
			}
		})
	})
}

// TestRoomRequests: what is asked of a room says which, and the client's answer to
// being taken out of it is none.
func TestRoomRequests(t *testing.T) {
	bubble(t, func(r *rig) {
		room := r.room("standup")
		alice, bob := r.connected("alice"), r.connected("bob")
		for _, ask := range []error{alice.Kick(r.ctx, "bob"), alice.SetRole(r.ctx, "bob", signaling.RoleSubscriber), alice.Record(r.ctx, signaling.RecordStart), alice.Leave(r.ctx, "")} {
			if ask == nil {
				t.Error("something was asked of no room")
			}
		}
		r.must(alice.Join(r.ctx, "standup", RoomOptions{Type: "mcu", Role: signaling.RolePublisher}))
		r.must(bob.Join(r.ctx, "standup", RoomOptions{Role: signaling.RolePublisher}))
		r.must(alice.SetRole(r.ctx, "bob", signaling.RoleSubscriber))
		r.must(alice.Record(r.ctx, signaling.RecordStart))
		r.must(alice.Kick(r.ctx, "bob"))
		r.srv.locked(func() {
			room.tell(signaling.ActionRecording, signaling.RTC{Recording: string(signaling.RecordingRuns), RecordingID: "rec-1"})
			room.in["bob"].rtc(signaling.ActionEnded, signaling.RTC{RoomID: "standup", Reason: signaling.ReasonKicked, UserID: "alice"})
			room.gone("bob", signaling.ReasonKicked)
		})
		bob.wait(t, time.Second, eventRoomEnded, "reason=kicked", "by=alice", "call=standup")
		bob.one(t, eventRecording, "state=recording", "recording=rec-1")
		time.Sleep(time.Second)
		alice.one(t, eventLeft, "user=bob", "reason=kicked")
		r.srv.locked(func() {
			if want := []string{"alice role bob subscriber", "alice record start", "alice kick bob"}; !slices.Equal(room.asked, want) {
				t.Errorf("asked %q, want %q", room.asked, want)
			}
		})
		if s := alice.State(); s.Room != "standup" || s.Call != "" {
			t.Errorf("state %+v", s)
		}
		alice.none(t, eventViolation)
		bob.none(t, eventViolation)
		r.srv.locked(func() {
			room.in["alice"].rtc(signaling.ActionEnded, signaling.RTC{RoomID: "standup", Reason: signaling.ReasonMediaFailed})
		})
		alice.wait(t, time.Second, eventRoomEnded, "reason=media_failed")
		r.srv.locked(func() {
			room.in["alice"].rtc(signaling.ActionEnded, signaling.RTC{RoomID: "standup", Reason: signaling.ReasonMediaFailed})
		})
		alice.wait(t, time.Second, eventViolation, "what=ended_twice", "call=standup")
	})
}

// TestJoinAnsweredLate: the answer to join was lost with the connection. What was
// missed comes before it is repeated, and is newer than it.
func TestJoinAnsweredLate(t *testing.T) {
	bubble(t, func(r *rig) {
		room := r.room("standup")
		alice, bob, carol := r.connected("alice"), r.connected("bob"), r.connected("carol")
		r.must(bob.Join(r.ctx, "standup", RoomOptions{Type: "mcu", Role: signaling.RolePublisher}))
		r.srv.locked(func() { r.srv.sessions["alice"].deaf = true })
		joined := make(chan error, 1)
		go func() { joined <- alice.Join(r.ctx, "standup", RoomOptions{Role: signaling.RolePublisher}) }()
		time.Sleep(time.Second)
		r.must(carol.Join(r.ctx, "standup", RoomOptions{Role: signaling.RolePublisher}))
		r.srv.locked(func() {
			room.gone("bob", signaling.ReasonLeft)
			room.in["alice"].rtc(signaling.ActionRole, signaling.RTC{RoomID: "standup", UserID: "alice", Role: signaling.RoleSubscriber})
		})
		alice.none(t, eventEntered)
		alice.Drop()
		r.must(<-joined)
		alice.wait(t, 5*time.Second, eventRole, "user=alice", "role=subscriber")
		alice.order(t, "room.entered members=2 role=publisher", "room.joined user=carol members=3", "room.left user=bob members=2", "room.role user=alice")
		alice.none(t, eventViolation)
		r.srv.locked(func() {
			room.in["alice"].rtc(signaling.ActionEnded, signaling.RTC{RoomID: "standup", Reason: signaling.ReasonKicked})
		})
		alice.wait(t, time.Second, eventRoomEnded, "reason=kicked")
	})
}

// TestKickedBeforeTheAcknowledgement: who was let in and taken out while it was away
// learns both.
func TestKickedBeforeTheAcknowledgement(t *testing.T) {
	bubble(t, func(r *rig) {
		room := r.room("standup")
		alice := r.connected("alice")
		r.srv.locked(func() { r.srv.sessions["alice"].deaf = true })
		joined := make(chan error, 1)
		go func() {
			joined <- alice.Join(r.ctx, "standup", RoomOptions{Type: "mcu", Role: signaling.RolePublisher})
		}()
		time.Sleep(time.Second)
		r.srv.locked(func() {
			room.in["alice"].rtc(signaling.ActionEnded, signaling.RTC{RoomID: "standup", Reason: signaling.ReasonKicked})
		})
		alice.Drop()
		r.must(<-joined)
		alice.order(t, "room.entered", "room.ended reason=kicked")
		alice.none(t, eventViolation)
		if s := alice.State(); s.Room != "" {
			t.Errorf("state %+v", s)
		}
	})
}

// TestRoomSurvivesAResume: the session comes back in its room, or finds it gone.
func TestRoomSurvivesAResume(t *testing.T) {
	for kept, want := range map[bool]string{true: eventResumed, false: eventViolation} {
		bubble(t, func(r *rig) {
			r.room("standup")
			alice := r.connected("alice")
			r.must(alice.Join(r.ctx, "standup", RoomOptions{Type: "mcu", Role: signaling.RolePublisher}))
			if kept {
				r.srv.locked(func() {
					r.srv.in = &signaling.CallRef{RoomID: "standup", RoomType: "mcu", State: "active"}
				})
			}
			alice.Drop()
			alice.wait(t, 5*time.Second, eventResumed)
			alice.wait(t, time.Second, want)
			if s := alice.State(); (s.Room == "standup") != kept {
				t.Errorf("kept %v: state %+v", kept, s)
			}
		})
	}
}

// TestRoomAtLevel0: who comes and goes is said as join and leave, and the end as a
// leave of nobody else.
func TestRoomAtLevel0(t *testing.T) {
	bubble(t, func(r *rig) {
		r.srv.level0 = func(string) bool { return true }
		alice := r.connected("alice", atLevel(0))
		var offered signaling.RTC
		r.srv.intercept(func(_ *fakeSession, f signaling.Frame) bool {
			if f.Action == signaling.ActionOffer {
				r.must(f.Into(&offered))
			}
			return f.Type == signaling.TypeRTC
		})
		r.must(alice.Join(r.ctx, "stage", RoomOptions{Type: "broadcast", Role: signaling.RoleSubscriber}))
		alice.one(t, eventEntered, "type=broadcast", "role=subscriber")
		push := func(a signaling.Action, user string) {
			r.srv.locked(func() {
				r.srv.sessions["alice"].write(frame(signaling.TypeRTC, a, "", signaling.RTC{RoomID: "stage", UserID: user, Role: signaling.RolePublisher}))
			})
		}
		push(signaling.ActionJoin, "bob")
		alice.wait(t, time.Second, eventJoined, "user=bob")
		push(signaling.ActionLeave, "bob")
		alice.wait(t, time.Second, eventLeft, "user=bob")
		alice.none(t, eventRoomEnded)
		push(signaling.ActionLeave, "")
		alice.wait(t, time.Second, eventRoomEnded, "reason=dropped")
		r.srv.locked(func() {
			if got := directions(offered.SDP); got != "recvonly recvonly" {
				t.Errorf("alice offered %s", got)
			}
		})
	})
}

// TestNewsBeforeTheAcknowledgement: a client that was away when it was let in hears
// first who came after that, and then who was there before.
func TestNewsBeforeTheAcknowledgement(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		stage := r.room("stage")
		stage.late = []signaling.RTC{{UserID: "carol", Role: signaling.RoleSubscriber}}
		alice := r.connected("alice")
		r.must(alice.Join(r.ctx, "stage", RoomOptions{Type: "broadcast", Role: signaling.RolePublisher}))
		alice.one(t, eventEntered, "members=1")
		alice.one(t, eventJoined, "user=carol", "members=2")
	})
}

// TestRoomFrameInACall: a call has no members that come and go.
func TestRoomFrameInACall(t *testing.T) {
	bubble(t, func(r *rig) {
		alice, bob := r.connected("alice"), r.connected("bob")
		r.call(alice, bob)
		r.srv.locked(func() {
			r.srv.sessions["alice"].rtc(signaling.ActionJoined, signaling.RTC{CallID: "c-1", RoomID: "r-1", UserID: "carol"})
		})
		alice.wait(t, time.Second, eventViolation, "what=not_in_a_room", "action=joined")
	})
}
