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

// enters brings a user into a room and has it offer.
func enters(w *world, name string, room signaling.RTC) (*client, signaling.RTC) {
	w.t.Helper()
	c := w.join(name)
	return c, c.comesInto(room)
}

// comesInto joins and offers, and returns what the acknowledgement of join says.
func (c *client) comesInto(room signaling.RTC) signaling.RTC {
	c.w.t.Helper()
	in := c.rtc(signaling.ActionJoin, room)
	c.rtc(signaling.ActionOffer, signaling.RTC{RoomID: in.RoomID, SDP: sdpOffer})
	synctest.Wait()
	return in
}

func who(members []signaling.Member) string {
	var names []string
	for _, m := range members {
		names = append(names, m.UserID+"="+string(m.Role))
	}
	return strings.Join(names, " ")
}

// told lists what a client was told of a room's members.
func (c *client) told(kind string) (all []string) {
	for _, f := range c.got(kind) {
		var d signaling.RTC
		if err := f.Into(&d); err != nil {
			c.w.t.Fatal(err)
		}
		all = append(all, strings.Join(strings.Fields(fmt.Sprint(d.UserID, " ", d.Role, " ", d.Reason)), " "))
	}
	return all
}

func (c *client) wasTold(kind string, want ...string) {
	c.w.t.Helper()
	if got := c.told(kind); !slices.Equal(got, want) {
		c.w.t.Errorf("%s was told %s of %q, want %q", c.name, kind, got, want)
	}
}

var (
	mixed     = signaling.RTC{RoomID: "standup", RoomType: "mcu"}
	broadcast = signaling.RTC{RoomID: "stage", RoomType: "broadcast"}
)

func TestMixedRoom(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, in := enters(w, "alice", mixed)
		if in.RoomID != "standup" || in.RoomType != "mcu" || in.Role != server.RolePublisher || who(in.Members) != "alice=publisher" {
			t.Errorf("alice is in %+v", in)
		}
		bob, in := enters(w, "bob", signaling.RTC{RoomID: "standup"})
		if who(in.Members) != "alice=publisher bob=publisher" {
			t.Errorf("bob is in with %s", who(in.Members))
		}
		carol, in := enters(w, "carol", signaling.RTC{RoomID: "standup", Role: server.RoleSubscriber})
		if in.Role != server.RoleSubscriber || who(in.Members) != "alice=publisher bob=publisher carol=subscriber" {
			t.Errorf("carol is in as %s with %s", in.Role, who(in.Members))
		}
		alice.wasTold("rtc/joined", "bob publisher", "carol subscriber")
		for _, want := range []string{"p1.m1.h1>p1.e1", "p1.e1>p1.m1.h1", "p1.m1.h2>p1.e2", "p1.e2>p1.m1.h2", "p1.m1.h3>p1.e3"} {
			if w.journal.count("kms connect "+want) != 1 {
				t.Errorf("%s is not connected once:\n%s", want, strings.Join(w.journal.list(), "\n"))
			}
		}
		if w.journal.count("kms connect p1.e3") != 0 {
			t.Error("a subscriber is mixed")
		}
		fields, _ := w.state.Hash("rtc:room:standup:members")
		if fmt.Sprint(fields) != "map[alice:publisher bob:publisher carol:subscriber]" {
			t.Errorf("members in State are %v", fields)
		}
		if fields, _ := w.state.Hash("rtc:room:standup:state"); fields["roomType"] != "mcu" || fields["mediaStarted"] != "true" {
			t.Errorf("the room in State is %v", fields)
		}
		bob.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
		carol.wasTold("rtc/left", "bob left")
		bob.refused(signaling.CodeNoSuchRoom, signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
		alice.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
		carol.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
		synctest.Wait()
		rows := w.history.Rooms()
		if len(rows) != 1 || rows[0].Type != server.RoomMCU || rows[0].Creator != "alice" || rows[0].Status() != "ended" || len(w.history.Members("standup")) != 3 {
			t.Errorf("history is %+v, %+v", rows, w.history.Members("standup"))
		}
		alice.refused(signaling.CodeNoSuchRoom, signaling.ActionJoin, signaling.RTC{RoomID: "standup"})
	})
}

func TestBroadcastRoom(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, in := enters(w, "alice", broadcast)
		if in.Role != server.RolePublisher {
			t.Errorf("who makes the room is %s", in.Role)
		}
		bob, in := enters(w, "bob", broadcast)
		if in.Role != server.RoleSubscriber {
			t.Errorf("who comes later is %s", in.Role)
		}
		carol := w.join("carol")
		carol.refused(signaling.CodeBadState, signaling.ActionJoin, signaling.RTC{RoomID: "stage", Role: server.RolePublisher})
		carol.comesInto(broadcast)
		if w.journal.count("kms connect p1.e1>p1.e2") != 1 || w.journal.count("kms connect p1.e1>p1.e3") != 1 || w.journal.count("kms connect") != 2 {
			t.Errorf("what is connected is not alice with each of the others:\n%s", strings.Join(w.journal.list(), "\n"))
		}

		// Carol is on stage now.
		role := signaling.RTC{RoomID: "stage", UserID: "carol", Role: server.RolePublisher}
		bob.refused(signaling.CodeForbidden, signaling.ActionRole, role)
		bob.refused(signaling.CodeForbidden, signaling.ActionRole, signaling.RTC{RoomID: "stage", Role: server.RolePublisher})
		alice.rtc(signaling.ActionRole, role)
		synctest.Wait()
		bob.wasTold("rtc/role", "alice subscriber", "carol publisher")
		alice.wasTold("rtc/negotiate", "role_changed")
		carol.wasTold("rtc/negotiate", "role_changed")
		bob.wasTold("rtc/negotiate")
		for _, c := range []*client{alice, carol} {
			c.rtc(signaling.ActionOffer, signaling.RTC{RoomID: "stage", SDP: sdpOffer})
		}
		synctest.Wait()
		endpoint := func(user string) string {
			leg, _ := w.state.Hash("rtc:session:session-" + user + "-1")
			return leg["endpointId"]
		}
		for _, sink := range []string{endpoint("bob"), endpoint("alice")} {
			if w.journal.count("kms connect "+endpoint("carol")+">"+sink) != 1 {
				t.Errorf("carol is not heard at %s:\n%s", sink, strings.Join(w.journal.list(), "\n"))
			}
		}
		fields, _ := w.state.Hash("rtc:room:stage:members")
		if fmt.Sprint(fields) != "map[alice:subscriber bob:subscriber carol:publisher]" {
			t.Errorf("members in State are %v", fields)
		}
		if rows := w.history.Members("stage"); len(rows) != 5 {
			t.Errorf("stays in history are %+v", rows)
		}

		// The publisher leaves; the stage is free for who takes it.
		carol.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "stage"})
		bob.rtc(signaling.ActionRole, signaling.RTC{RoomID: "stage", Role: server.RolePublisher})
		for _, c := range []*client{alice, bob} {
			c.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "stage"})
		}
	})
}

// TestRosterFitsAFrame lists so many members that not all of them fit.
func TestRosterFitsAFrame(t *testing.T) {
	bubble(t, func(c *server.Config) {
		c.Limits.ConnectionsPerAddress = server.Unlimited
	}, func(t *testing.T, w *world) {
		name := func(n int) string { return fmt.Sprintf("%0110d", n) }
		var last signaling.RTC
		const many = 300
		for n := range many {
			c := w.join(name(n))
			last = c.rtc(signaling.ActionJoin, signaling.RTC{RoomID: "stage", RoomType: "broadcast"})
		}
		if last.Count != many || len(last.Members) == 0 || len(last.Members) >= many || last.Members[0].UserID != name(0) {
			t.Errorf("the last one is told of %d members, and of %d in all", len(last.Members), last.Count)
		}
	})
}

func TestKick(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, _ := enters(w, "alice", mixed)
		bob, _ := enters(w, "bob", mixed)
		carol, _ := enters(w, "carol", mixed)
		bob.refused(signaling.CodeForbidden, signaling.ActionKick, signaling.RTC{RoomID: "standup", UserID: "carol"})
		alice.refused(signaling.CodeUserUnavailable, signaling.ActionKick, signaling.RTC{RoomID: "standup", UserID: "dave"})
		alice.rtc(signaling.ActionKick, signaling.RTC{RoomID: "standup", UserID: "carol"})
		if d := carol.one("rtc/ended"); d.Reason != signaling.ReasonKicked || d.RoomID != "standup" {
			t.Errorf("carol was told %+v", d)
		}
		bob.wasTold("rtc/left", "carol kicked")
		carol.refused(signaling.CodeNoSuchRoom, signaling.ActionOffer, signaling.RTC{RoomID: "standup", SDP: sdpOffer})
		for _, c := range []*client{alice, bob} {
			c.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
		}
	})
}

// TestRoomRefuses is what a room does not allow.
func TestRoomRefuses(t *testing.T) {
	bubble(t, func(c *server.Config) { c.Limits.MixedMembers = 2 }, func(t *testing.T, w *world) {
		alice, _ := enters(w, "alice", mixed)
		bob := w.join("bob")
		bob.refused(signaling.CodeNoSuchRoom, signaling.ActionJoin, signaling.RTC{RoomID: "nowhere"})
		bob.refused(signaling.CodeBadData, signaling.ActionJoin, signaling.RTC{RoomID: "../etc", RoomType: "mcu"})
		bob.refused(signaling.CodeBadData, signaling.ActionJoin, signaling.RTC{RoomID: "x", RoomType: "1v1"})
		bob.refused(signaling.CodeBadData, signaling.ActionJoin, signaling.RTC{RoomID: "x", RoomType: "mcu", Role: "boss"})
		bob.refused(signaling.CodeBadState, signaling.ActionJoin, signaling.RTC{RoomID: "standup", RoomType: "broadcast"})
		bob.refused(signaling.CodeNoSuchRoom, signaling.ActionOffer, signaling.RTC{RoomID: "standup", SDP: sdpOffer})
		bob.refused(signaling.CodeBadState, signaling.ActionCancel, bob.comesInto(mixed))
		carol := w.join("carol")
		carol.refused(signaling.CodeRoomFull, signaling.ActionJoin, mixed)
		carol.refused(signaling.CodeBusy, signaling.ActionCall, signaling.RTC{TargetUser: "alice"})
		alice.refused(signaling.CodeBusy, signaling.ActionJoin, broadcast)
		alice.refused(signaling.CodeBusy, signaling.ActionCall, signaling.RTC{TargetUser: "carol"})
		again := alice.rtc(signaling.ActionJoin, mixed) // who is in stays in
		if who(again.Members) != "alice=publisher bob=publisher" {
			t.Errorf("alice is in with %s", who(again.Members))
		}
		alice.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
		bob.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
		synctest.Wait()
		if left := w.media.left(); len(left) != 0 {
			t.Errorf("the media server has %q", left)
		}
	})
}

// TestLeaveAndComeBack leaves and comes back in one breath, into the same room and
// into another.
func TestLeaveAndComeBack(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, _ := enters(w, "alice", mixed)
		bob, _ := enters(w, "bob", mixed)
		w.media.set(func(m *fakeMedia) { m.delay["release endpoint"] = time.Second })
		for range 3 {
			alice.send(signaling.TypeRTC, signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
			alice.comesInto(mixed)
		}
		alice.send(signaling.TypeRTC, signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
		if in := alice.comesInto(broadcast); in.RoomID != "stage" {
			t.Errorf("alice is in %+v", in)
		}
		bob.wasTold("rtc/joined", "alice publisher", "alice publisher", "alice publisher")
		bob.wasTold("rtc/left", "alice left", "alice left", "alice left", "alice left")
		bob.send(signaling.TypeRTC, signaling.ActionLeave, signaling.RTC{RoomID: "standup"}) // the last one
		bob.comesInto(mixed)
		w.media.set(func(m *fakeMedia) { m.delay["release pipeline"] = time.Second })
		bob.send(signaling.TypeRTC, signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
		time.Sleep(1500 * time.Millisecond) // the pipeline is being released
		bob.comesInto(mixed)
		alice.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "stage"})
		bob.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
		synctest.Wait()
		if rows := w.history.Rooms(); len(rows) != 3 || slices.ContainsFunc(rows, func(r server.RoomHistory) bool { return r.Status() != "ended" }) {
			t.Errorf("rooms in history are %+v", rows)
		}
	})
}

// TestRefusedWhileItEnds is refused in a room that ends, and so is in none: whoever
// comes next waits for the end all the same.
func TestRefusedWhileItEnds(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, _ := enters(w, "alice", mixed)
		bob, _ := enters(w, "bob", broadcast)
		carol := w.join("carol")
		w.media.set(func(m *fakeMedia) { m.delay["release pipeline"] = time.Second })
		alice.send(signaling.TypeRTC, signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
		time.Sleep(100 * time.Millisecond)
		bob.send(signaling.TypeRTC, signaling.ActionJoin, mixed)
		time.Sleep(100 * time.Millisecond)
		carol.send(signaling.TypeRTC, signaling.ActionJoin, mixed)
		time.Sleep(5 * time.Second)
		fields, _ := w.state.Hash("rtc:room:standup:state")
		members, _ := w.state.Hash("rtc:room:standup:members")
		if fields["roomType"] != "mcu" || members["carol"] != "publisher" {
			t.Errorf("State has %v with %v", fields, members)
		}
		carol.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
		bob.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "stage"})
	})
}

// TestRoomAndNetwork drops and loses members.
func TestRoomAndNetwork(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, _ := enters(w, "alice", broadcast)
		bob, welcome := w.enter("bob")
		bob.comesInto(broadcast)
		bob.drop()
		synctest.Wait()
		alice.wasTold("rtc/reconnecting", "bob")
		back, again := w.rejoin(bob, welcome.ResumeToken)
		if again.Call == nil || again.Call.RoomID != "stage" || again.Call.RoomType != "broadcast" {
			t.Errorf("bob came back to %+v", again.Call)
		}
		synctest.Wait()
		alice.wasTold("rtc/reconnected", "bob")
		back.drop()
		time.Sleep(2 * time.Minute)
		alice.wasTold("rtc/left", "bob dropped")
		alice.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "stage"})
	})
}

// TestRoomRevived loses the media server: in a new pipeline everybody is asked for
// an offer, and where none can be made the room ends with the reason.
func TestRoomRevived(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, _ := enters(w, "alice", mixed)
		bob, _ := enters(w, "bob", mixed)
		lose := func(ids ...string) {
			for _, id := range ids {
				w.media.endpoint(id).on(server.MediaEvent{Kind: server.MediaLost, Detail: "gone"})
			}
			synctest.Wait()
		}
		lose("p1.e1", "p1.e2")
		for _, c := range []*client{alice, bob} {
			c.wasTold("rtc/negotiate", "media_restarted")
			c.rtc(signaling.ActionOffer, signaling.RTC{RoomID: "standup", SDP: sdpOffer})
		}
		synctest.Wait()
		if left := w.media.left(); slices.ContainsFunc(left, func(id string) bool { return strings.HasPrefix(id, "p1") }) || len(left) != 6 {
			t.Errorf("the media server has %q", left)
		}
		w.media.set(func(m *fakeMedia) { m.fail["create pipeline"] = errors.New("no") })
		lose("p2.e1", "p2.e2")
		for _, c := range []*client{alice, bob} {
			if d := c.one("rtc/ended"); d.Reason != signaling.ReasonMediaFailed {
				t.Errorf("%s was told %+v", c.name, d)
			}
		}
		time.Sleep(time.Minute)
		if rows := w.history.Rooms(); len(rows) != 1 || rows[0].Reason != signaling.ReasonMediaFailed {
			t.Errorf("history is %+v", rows)
		}
	})
}

// TestRoomWithoutMedia lets the media server fail as the room begins.
func TestRoomWithoutMedia(t *testing.T) {
	for _, op := range []string{"create pipeline", "create mixer", "create endpoint", "create port", "connect"} {
		t.Run(op, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, w *world) {
				w.media.set(func(m *fakeMedia) { m.fail[op] = errors.New("no") })
				alice := w.join("alice")
				alice.refused(signaling.CodeMediaFailed, signaling.ActionJoin, mixed)
				synctest.Wait()
				w.media.set(func(m *fakeMedia) { clear(m.fail) })
				alice.comesInto(mixed)
				alice.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
			})
		})
	}
}

// TestTwoComeAtOnce lets two into a room in the same moment: each hears of the other
// once, by its own acknowledgement or by the other's coming.
func TestTwoComeAtOnce(t *testing.T) {
	slow := func(c *server.Config) { c.State = slowRooms{c.State, 2 * time.Millisecond, 2 * time.Millisecond} }
	bubble(t, slow, func(t *testing.T, w *world) {
		alice, bob := w.join("alice"), w.join("bob")
		asked := map[*client]string{alice: alice.send(signaling.TypeRTC, signaling.ActionJoin, mixed), bob: bob.send(signaling.TypeRTC, signaling.ActionJoin, mixed)}
		time.Sleep(time.Second)
		for c, other := range map[*client]string{alice: "bob", bob: "alice"} {
			var ack signaling.RTC
			if f, ok := c.answer(asked[c]); !ok || f.Into(&ack) != nil {
				t.Fatalf("%s was not let in", c.name)
			}
			heard := len(c.told("rtc/joined"))
			if slices.ContainsFunc(ack.Members, func(m signaling.Member) bool { return m.UserID == other }) {
				heard++
			}
			if heard != 1 {
				t.Errorf("%s heard %d times that %s is in", c.name, heard, other)
			}
		}
		alice.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
		bob.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
	})
}

// TestComesFromACallThatEnds comes into a room right when the other one has hung up,
// while the media server is slow: the call's end is told first.
func TestComesFromACallThatEnds(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob := w.join("alice"), w.join("bob")
		ref := bob.rtc(signaling.ActionCall, signaling.RTC{TargetUser: "alice"})
		w.media.set(func(m *fakeMedia) { m.delay["release endpoint"] = 2 * time.Second })
		bob.send(signaling.TypeRTC, signaling.ActionCancel, ref)
		synctest.Wait()
		alice.rtc(signaling.ActionJoin, mixed)
		w.journal.inOrder(t, "alice<- rtc/ended cancelled", "alice<- ack")
		alice.rtc(signaling.ActionLeave, ref)
		alice.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
	})
}

// TestLossWhileSomebodyComes loses the endpoint of one that is being let into a room:
// it is refused, nothing of it stays, and whoever is in goes on.
func TestLossWhileSomebodyComes(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob := w.join("alice"), w.join("bob")
		alice.comesInto(mixed)
		w.media.set(func(m *fakeMedia) { m.delay["connect"] = 2 * time.Second })
		asked := bob.send(signaling.TypeRTC, signaling.ActionJoin, mixed)
		synctest.Wait()
		w.media.set(func(m *fakeMedia) { m.delay["connect"] = 0 })
		w.media.endpoint("p1.e2").on(server.MediaEvent{Kind: server.MediaLost, Detail: "gone"})
		time.Sleep(10 * time.Second)
		answer, _ := bob.answer(asked)
		bob.isError(signaling.CodeMediaFailed, answer)
		if fields, _ := w.state.Hash("rtc:session:session-bob-1"); len(fields) > 0 {
			t.Errorf("State has %v of bob", fields)
		}
		alice.one("rtc/negotiate")
		alice.rtc(signaling.ActionOffer, signaling.RTC{RoomID: "standup", SDP: sdpOffer})
		bob.rtc(signaling.ActionJoin, mixed)
		bob.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
		alice.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
	})
}

// TestComesWhileMediaIsMadeAnew comes into a room, and takes another role there, while
// its pipeline is made anew.
func TestComesWhileMediaIsMadeAnew(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		alice, bob := w.join("alice"), w.join("bob")
		alice.comesInto(mixed)
		w.media.set(func(m *fakeMedia) { m.delay["create pipeline"] = 2 * time.Second })
		w.media.endpoint("p1.e1").on(server.MediaEvent{Kind: server.MediaLost, Detail: "gone"})
		alice.rtc(signaling.ActionRole, signaling.RTC{RoomID: "standup", Role: server.RoleSubscriber})
		bob.comesInto(mixed)
		alice.rtc(signaling.ActionOffer, signaling.RTC{RoomID: "standup", SDP: sdpOffer})
		synctest.Wait()
		if left, want := w.media.left(), []string{"p2", "p2.e1", "p2.e2", "p2.m1", "p2.m1.h1", "p2.m1.h2"}; !slices.Equal(left, want) {
			t.Errorf("the media server has %q, want %q", left, want)
		}
		for _, c := range []*client{alice, bob} {
			c.rtc(signaling.ActionLeave, signaling.RTC{RoomID: "standup"})
		}
	})
}
