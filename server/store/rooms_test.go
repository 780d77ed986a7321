package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/callbench/callbench/server"
)

// roomAt is a room of a node, with who it is for.
func (p place) roomAt(node, id string, invited ...string) server.RoomSnapshot {
	r := p.room()
	r.Node, r.RoomID = p.run+node, p.run+id
	for _, u := range invited {
		r.Invited = append(r.Invited, p.run+u)
	}
	return r
}

// in is a member of a room by a session of its own, named by both.
func (p place) in(r server.RoomSnapshot, user, device string, role server.Role) (server.MemberRecord, server.LegRecord) {
	m := server.MemberRecord{RoomID: r.RoomID, SessionID: p.run + "s-" + user + device, UserID: p.run + user, Role: role}
	return m, server.LegRecord{SessionID: m.SessionID, UserID: m.UserID, RoomID: r.RoomID, EndpointID: "e-" + user + device}
}

func (p place) open(ctx context.Context, s server.State, r server.RoomSnapshot, user string) error {
	m, l := p.in(r, user, "", server.RolePublisher)
	return s.OpenRoom(ctx, r, m, l)
}

func (p place) join(ctx context.Context, s server.State, r server.RoomSnapshot, user, device string, role server.Role) error {
	m, l := p.in(r, user, device, role)
	return s.JoinRoom(ctx, r, m, l)
}

func (p place) leave(ctx context.Context, s server.State, r server.RoomSnapshot, user, device string) error {
	m, _ := p.in(r, user, device, "")
	return s.LeaveRoom(ctx, m)
}

// refuses fails unless the error is this refusal, and nothing changed.
func (p place) refuses(t *testing.T, want error, change func() error) {
	t.Helper()
	before := p.everything()
	err := change()
	if !errors.Is(err, want) && !sameUser(err, want) || !server.Refused(err) {
		t.Errorf("error is %v, want %v", err, want)
	}
	if diff := cmp.Diff(before, p.everything()); diff != "" {
		t.Errorf("a change that was refused (%v) changed: %s", want, diff)
	}
}

func sameUser(err, want error) bool {
	var got, busy *server.UserBusyError
	return errors.As(err, &got) && errors.As(want, &busy) && *got == *busy
}

// everything is what is stored, without how long it lives.
func (p place) everything() map[string]map[string]string {
	all := make(map[string]map[string]string)
	for _, k := range p.keys() {
		fields, _ := p.hash(k)
		all[k] = maps.Clone(fields)
	}
	return all
}

func (p place) empty(t *testing.T) {
	t.Helper()
	if left := p.keys(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func testClaims(t *testing.T, p place) {
	ctx := t.Context()
	first := p.roomAt("n1", "r1", "bob")
	must(t, p.open(ctx, p, first, "alice"))
	key := func(user string) string { return "rtc:user:" + p.run + user }
	p.expect(t, key("alice"), 150*time.Second, map[string]string{"roomId": first.RoomID, "node": first.Node, "sessionId": p.run + "s-alice"})
	p.expect(t, key("bob"), 150*time.Second, map[string]string{"roomId": first.RoomID, "node": first.Node})

	// Another node may have neither; its own node knows better.
	bob, carol := &server.UserBusyError{UserID: p.run + "bob"}, &server.UserBusyError{UserID: p.run + "alice"}
	p.refuses(t, bob, func() error { return p.open(ctx, p, p.roomAt("n2", "r2", "bob"), "carol") })
	p.refuses(t, carol, func() error { return p.open(ctx, p, p.roomAt("n2", "r2", "carol"), "alice") })
	other := p.roomAt("n2", "r3")
	must(t, p.open(ctx, p, other, "dave"))
	p.refuses(t, bob, func() error { return p.join(ctx, p, other, "bob", "", server.RolePublisher) })
	must(t, p.open(ctx, p, p.roomAt("n1", "r4"), "alice"))

	// The old room leaves alone what it holds no more.
	must(t, p.leave(ctx, p, first, "alice", ""))
	must(t, p.SaveRoom(ctx, first, p.run+"alice", p.run+"bob"))
	p.expect(t, key("alice"), 150*time.Second, map[string]string{"roomId": p.run + "r4", "node": first.Node, "sessionId": p.run + "s-alice"})
	p.expect(t, key("bob"), 0, nil)
	p.refuses(t, server.ErrRoomGone, func() error { return p.join(ctx, p, first, "erin", "", server.RolePublisher) })
	must(t, p.CloseRoom(ctx, first))

	session := p.session("alice")
	session.TTL = 20 * time.Second
	must(t, p.PutSession(ctx, session)) // a heartbeat prolongs the claim
	p.expect(t, key("alice"), 20*time.Second, map[string]string{"roomId": p.run + "r4", "node": first.Node, "sessionId": p.run + "s-alice"})
	must(t, p.DropSession(ctx, session.SessionID))
	for id, user := range map[string]string{"r3": "dave", "r4": "alice"} {
		node := map[string]string{"r3": "n2", "r4": "n1"}[id]
		must(t, p.leave(ctx, p, p.roomAt(node, id), user, ""))
		must(t, p.CloseRoom(ctx, p.roomAt(node, id)))
	}
	p.empty(t)
}

func testRoles(t *testing.T, p place) {
	ctx := t.Context()
	r := p.roomAt("n1", "r1")
	r.Type, r.Limit = server.RoomBroadcast, 3
	members := "rtc:room:" + r.RoomID + ":members"
	must(t, p.open(ctx, p, r, "alice"))
	p.refuses(t, server.ErrPublisherThere, func() error { return p.join(ctx, p, r, "bob", "", server.RolePublisher) })
	must(t, p.join(ctx, p, r, "bob", "", server.RoleSubscriber))
	must(t, p.join(ctx, p, r, "bob", "", server.RoleSubscriber)) // the same once more
	p.refuses(t, server.ErrJoinedElsewhere, func() error { return p.join(ctx, p, r, "bob", "-tablet", server.RoleSubscriber) })
	must(t, p.join(ctx, p, r, "carol", "", server.RoleSubscriber))
	p.refuses(t, server.ErrRoomFull, func() error { return p.join(ctx, p, r, "dave", "", server.RoleSubscriber) })
	bob, _ := p.in(r, "bob", "", server.RolePublisher)
	must(t, p.PutRole(ctx, r, bob))
	p.expect(t, members, 0, map[string]string{p.run + "alice": "subscriber", p.run + "bob": "publisher", p.run + "carol": "subscriber"})
	dave, _ := p.in(r, "dave", "", server.RolePublisher)
	p.refuses(t, server.ErrRoomGone, func() error { return p.PutRole(ctx, r, dave) })
	for _, user := range []string{"alice", "bob", "carol"} {
		must(t, p.leave(ctx, p, r, user, ""))
	}
	must(t, p.CloseRoom(ctx, r))
	p.empty(t)
}

// testKeepRoom loses all of a room, and parts of it: each comes back as it was.
func testKeepRoom(t *testing.T, p place) {
	ctx := t.Context()
	r := p.roomAt("n1", "r1", "bob")
	must(t, p.open(ctx, p, r, "alice"))
	m, l := p.in(r, "alice", "", server.RolePublisher)
	whole := p.everything()
	has := func(node string, want bool) {
		t.Helper()
		if err := p.CheckLeg(ctx, node, m, p.run+"bob"); (err == nil) != want || !want && !errors.Is(err, server.ErrStateLost) {
			t.Errorf("check leg: %v", err)
		}
	}
	has(r.Node, true)
	has("n2", false)
	must(t, p.SaveRoom(ctx, r, p.run+"bob"))
	has(r.Node, false)
	must(t, p.KeepRoom(ctx, r, m, l))
	has(r.Node, true)
	must(t, p.leave(ctx, p, r, "alice", ""))
	has(r.Node, false)
	must(t, p.SaveRoom(ctx, r, p.run+"bob"))
	must(t, p.CloseRoom(ctx, r))
	p.empty(t)
	must(t, p.KeepRoom(ctx, r, m, l))
	if diff := cmp.Diff(whole, p.everything()); diff != "" {
		t.Errorf("what came back: %s", diff)
	}
	// What is there stays, except for the snapshot, which is newer.
	must(t, p.LegConnected(ctx, server.LegRecord{SessionID: l.SessionID, UserID: l.UserID, RoomID: r.RoomID, ConnectedAt: at}))
	whole = p.everything()
	must(t, p.KeepRoom(ctx, r, m, l))
	if diff := cmp.Diff(whole, p.everything()); diff != "" {
		t.Errorf("what was there changed: %s", diff)
	}
	must(t, p.leave(ctx, p, r, "alice", ""))
	must(t, p.SaveRoom(ctx, r, p.run+"bob"))
	must(t, p.CloseRoom(ctx, r))
	p.empty(t)
}

// testMendRoom has a room of which State knows who left meanwhile, and not who came.
func testMendRoom(t *testing.T, p place) {
	ctx := t.Context()
	r := p.roomAt("n1", "r1")
	must(t, p.open(ctx, p, r, "alice"))
	must(t, p.join(ctx, p, r, "bob", "", server.RoleSubscriber))
	must(t, p.open(ctx, p, p.roomAt("n2", "r2"), "dave"))
	for i, user := range []string{"alice", "carol", "dave", "erin"} {
		m := server.MemberSnapshot{UserID: p.run + user, SessionID: p.run + "s-" + user, Role: server.RolePublisher, JoinedAt: at, Left: i == 0}
		if user == "erin" { // was not answered yet
			m.JoinedAt = time.Time{}
		}
		r.Members = append(r.Members, m)
	}
	r.Media.Started = true
	must(t, p.MendRoom(ctx, r))
	p.expect(t, "rtc:room:"+r.RoomID+":members", 0, map[string]string{p.run + "carol": "publisher", p.run + "dave": "publisher"})
	p.expect(t, "rtc:room:"+r.RoomID+":state", 0, map[string]string{"roomType": "1v1", "createdTime": "1700000000123", "mediaStarted": "true", "recordingPath": ""})
	p.expect(t, "rtc:user:"+p.run+"carol", 150*time.Second, map[string]string{"roomId": r.RoomID, "node": r.Node, "sessionId": p.run + "s-carol"})
	p.expect(t, "rtc:user:"+p.run+"dave", 150*time.Second, map[string]string{"roomId": p.run + "r2", "node": p.run + "n2", "sessionId": p.run + "s-dave"})
	for _, user := range []string{"alice", "bob", "carol", "dave"} {
		must(t, p.leave(ctx, p, r, user, ""))
	}
	must(t, p.CloseRoom(ctx, r))
	must(t, p.leave(ctx, p, p.roomAt("n2", "r2"), "dave", ""))
	must(t, p.CloseRoom(ctx, p.roomAt("n2", "r2")))
	p.empty(t)
}

func testSnapshots(t *testing.T, p place) {
	ctx := t.Context()
	for _, id := range []string{"r2", "r1"} {
		r := p.roomAt("n1", id, "bob"+id)
		r.CallID, r.State, r.PipelineID, r.RingUntil = "c-"+id, "ringing", "p-"+id, at.Add(time.Minute)
		r.Members = []server.MemberSnapshot{{UserID: p.run + "alice" + id, SessionID: p.run + "s-alice" + id, Role: server.RolePublisher, JoinedAt: at, Invited: true},
			{UserID: p.run + "bob" + id, SessionID: p.run + "s-bob" + id, Role: server.RolePublisher}}
		must(t, p.open(ctx, p, r, "alice"+id))
	}
	must(t, p.PutSession(ctx, p.session("alicer1")))
	must(t, p.PutRoomMedia(ctx, server.RoomMedia{RoomID: p.run + "r1", Started: true, RecordingPath: "file:///r"}))
	must(t, p.open(ctx, p, p.roomAt("n2", "r3"), "carol"))
	must(t, p.leave(ctx, p, p.roomAt("n1", "r2"), "alicer2", ""))
	rooms, err := p.Rooms(ctx, p.run+"n1")
	must(t, err)
	if len(rooms) != 2 {
		t.Fatalf("%d rooms: %+v", len(rooms), rooms)
	}
	r := rooms[0]
	if r.RoomID != p.run+"r1" || r.Node != p.run+"n1" || r.State != "ringing" || r.PipelineID != "p-r1" || !r.RingUntil.Equal(at.Add(time.Minute)) || r.Members[0].Left || r.Members[1].Left {
		t.Errorf("room is %+v", r)
	}
	if len(r.Legs) != 1 || r.Legs[0].EndpointID != "e-alicer1" || r.Legs[0].RoomID != r.RoomID {
		t.Errorf("its legs are %+v", r.Legs)
	}
	if !r.Media.Started || r.Media.RecordingPath != "file:///r" {
		t.Errorf("its media are %+v", r.Media)
	}
	if len(r.Sessions) != 1 || r.Sessions[0].SessionID != p.run+"s-alicer1" || r.Sessions[0].UserID != p.run+"alicer1" {
		t.Errorf("its sessions are %+v", r.Sessions)
	}
	must(t, p.DropSession(ctx, p.run+"s-alicer1"))
	if r := rooms[1]; r.RoomID != p.run+"r2" || !r.Members[0].Left || r.Members[1].Left || len(r.Legs) != 0 {
		t.Errorf("the room that alice left is %+v", r)
	}
	if rooms, err := p.Rooms(ctx, p.run+"nobody"); err != nil || len(rooms) != 0 {
		t.Errorf("a node that is none has %+v, %v", rooms, err)
	}
	for id, user := range map[string]string{"r1": "alicer1", "r3": "carol"} {
		must(t, p.leave(ctx, p, p.roomAt("", id), user, ""))
	}
	for id, node := range map[string]string{"r1": "n1", "r2": "n1", "r3": "n2"} {
		r := p.roomAt(node, id)
		must(t, p.SaveRoom(ctx, r, p.run+"bob"+id))
		must(t, p.CloseRoom(ctx, r))
	}
	p.empty(t)
}

// instances are clients of the store, each of a node of its own.
func (p place) instances(n int) (list []server.State) {
	for range n {
		list = append(list, p.more())
	}
	return list
}

// testGlareRaces has users who call each other from many instances, round after
// round: each is in one call at most, and whenever somebody is refused the one
// who is in its way has been made.
func testGlareRaces(t *testing.T, p place) {
	const rounds, users = 25, 6
	nodes := p.instances(users)
	for round := range rounds {
		var made atomic.Int64
		var all sync.WaitGroup
		won := make([]bool, users)
		for i, s := range nodes {
			all.Go(func() { // user i calls user i+1
				r := p.roomAt(fmt.Sprint("n", i), fmt.Sprintf("r%d-%d", round, i), fmt.Sprint("u", (i+1)%users))
				err := p.open(t.Context(), s, r, fmt.Sprint("u", i))
				if won[i] = err == nil; won[i] {
					made.Add(1)
				} else if !server.Refused(err) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := made.Load(); n < users/3 || n > users/2 {
			t.Fatalf("of %d calls in a circle %d were made", users, n)
		}
		for i := range users {
			if won[i] && won[(i+1)%users] {
				t.Fatalf("user %d was called and made a call", (i+1)%users)
			}
			if !won[i] && !won[(i+1)%users] && !won[(i+users-1)%users] {
				t.Fatalf("the call of user %d was refused, and nobody was in its way", i)
			}
		}
		for i, s := range nodes {
			r := p.roomAt(fmt.Sprint("n", i), fmt.Sprintf("r%d-%d", round, i))
			if won[i] {
				must(t, s.SaveRoom(t.Context(), r, p.run+fmt.Sprint("u", (i+1)%users)))
				must(t, p.leave(t.Context(), s, r, fmt.Sprint("u", i), ""))
				must(t, s.CloseRoom(t.Context(), r))
			}
		}
		p.empty(t)
	}
}

// testAnswerRaces has all devices of a callee answer at once, on as many
// instances: the first wins.
func testAnswerRaces(t *testing.T, p place) {
	const rounds, devices = 25, 8
	nodes := p.instances(devices)
	for round := range rounds {
		r := p.roomAt("n", fmt.Sprint("r", round), "bob")
		must(t, p.open(t.Context(), p, r, "alice"))
		var all sync.WaitGroup
		var winner, winners atomic.Int64
		for i, s := range nodes {
			all.Go(func() {
				switch err := p.join(t.Context(), s, r, "bob", fmt.Sprint(i), server.RolePublisher); {
				case err == nil:
					winner.Store(int64(i))
					winners.Add(1)
				case !errors.Is(err, server.ErrJoinedElsewhere):
					t.Error(err)
				}
			})
		}
		all.Wait()
		if winners.Load() != 1 {
			t.Fatalf("%d devices won", winners.Load())
		}
		if held, _ := p.hash("rtc:user:" + p.run + "bob"); held["sessionId"] != p.run+fmt.Sprint("s-bob", winner.Load()) {
			t.Fatalf("bob is held by %q, the winner is %d", held, winner.Load())
		}
		for i, s := range nodes { // those who lost change nothing by going
			if int64(i) != winner.Load() {
				must(t, s.DropSession(t.Context(), p.run+fmt.Sprint("s-bob", i)))
			}
		}
		must(t, p.leave(t.Context(), p, r, "alice", ""))
		must(t, p.leave(t.Context(), p, r, "bob", fmt.Sprint(winner.Load())))
		must(t, p.CloseRoom(t.Context(), r))
		p.empty(t)
	}
}

// testJoinRaces has many come into a broadcast and go, some as its publisher, from
// several instances: there are never more than the limit nor two publishers. Then
// the host goes too: the last one out takes the room along, and nobody is in one
// that is gone.
func testJoinRaces(t *testing.T, p place) {
	const users, limit = 12, 5
	nodes := p.instances(4)
	r := p.roomAt("n", "r")
	r.Type, r.Limit = server.RoomBroadcast, limit
	host, leg := p.in(r, "host", "", server.RoleSubscriber)
	must(t, p.OpenRoom(t.Context(), r, host, leg))
	c := &crowd{place: p, room: r}
	c.inside.Add(1)
	for _, hostGoes := range []bool{false, true} {
		var all sync.WaitGroup
		for i := range users {
			all.Go(func() { c.comeAndGo(t, nodes[i%len(nodes)], i) })
		}
		if hostGoes {
			c.inside.Add(-1)
			must(t, p.LeaveRoom(t.Context(), host))
		}
		all.Wait()
	}
	if c.came.Load() < users {
		t.Errorf("%d have come in at all", c.came.Load())
	}
	must(t, p.CloseRoom(t.Context(), r))
	p.empty(t)
}

// crowd counts who is in a room: not before they are, and not when they go.
type crowd struct {
	place
	room                     server.RoomSnapshot
	came, inside, publishers atomic.Int64
}

func (c *crowd) comeAndGo(t *testing.T, s server.State, i int) {
	user := fmt.Sprint("u", i)
	for n := range 15 {
		role, publisher := server.RoleSubscriber, int64(0)
		if (i+n)%3 == 0 {
			role, publisher = server.RolePublisher, 1
		}
		err := c.join(t.Context(), s, c.room, user, "", role)
		if err != nil {
			if !server.Refused(err) {
				t.Error(err)
			}
			continue
		}
		c.came.Add(1)
		if in := c.inside.Add(1); in > int64(c.room.Limit) {
			t.Errorf("%d are in", in)
		}
		if all := c.publishers.Add(publisher); all > 1 {
			t.Errorf("there are %d publishers", all)
		}
		if fields, _ := c.hash("rtc:room:" + c.room.RoomID + ":state"); fields == nil {
			t.Error("somebody is in a room that is gone")
		}
		c.publishers.Add(-publisher)
		c.inside.Add(-1)
		if err := c.leave(t.Context(), s, c.room, user, ""); err != nil {
			t.Error(err)
		}
	}
}
