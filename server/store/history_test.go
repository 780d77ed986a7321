package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/signaling"
)

// books is a History with what reads it. All ids that the suite uses begin with run.
type books struct {
	server.History
	server.Archive
	run   string
	rooms func(t *testing.T) []server.RoomHistory // the suite's, in the order in which they started
	ready func(t *testing.T)                      // returns when what was written can be read
}

// historySuite is what every History and Archive must do.
var historySuite = map[string]func(*testing.T, books){
	"room":        testHistoryRoom,
	"room again":  testHistoryRoomAgain,
	"members":     testHistoryMembers,
	"calls":       testHistoryCalls,
	"missed":      testHistoryMissed,
	"recordings":  testHistoryRecordings,
	"again":       testHistoryAgain,
	"exact names": testHistoryNames,
	"pages":       testHistoryPages,
}

func runHistorySuite(t *testing.T, open func(t *testing.T) books) {
	for name, test := range historySuite {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func TestMemoryHistory(t *testing.T) {
	runHistorySuite(t, func(t *testing.T) books {
		h := store.NewMemoryHistory()
		return books{h, h.Archive(), "", func(*testing.T) []server.RoomHistory { return h.Rooms() }, func(*testing.T) {}}
	})
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

var everything = server.Page{Limit: 100}

func (b books) calls(t *testing.T, user string, missedOnly bool) []server.CallHistory {
	t.Helper()
	b.ready(t)
	calls, err := b.Calls(t.Context(), b.run+user, missedOnly, everything)
	must(t, err)
	return calls
}

func (b books) members(t *testing.T, room string) []server.MemberHistory {
	t.Helper()
	b.ready(t)
	members, err := b.Members(t.Context(), b.run+room, everything)
	must(t, err)
	return members
}

func (b books) recordings(t *testing.T, room string) []server.RecordingHistory {
	t.Helper()
	b.ready(t)
	recordings, err := b.Recordings(t.Context(), b.run+room, everything)
	must(t, err)
	return recordings
}

func (b books) room(id string) server.RoomHistory {
	return server.RoomHistory{RoomID: b.run + id, Type: server.Room1v1, Creator: b.run + "alice", CreatedAt: at, CallID: b.run + "c"}
}

func (b books) member(room, user string, joined time.Duration) server.MemberHistory {
	return server.MemberHistory{RoomID: b.run + room, UserID: b.run + user, Role: server.RolePublisher, JoinedAt: at.Add(joined)}
}

func (b books) call(id, caller, callee string, started time.Duration) server.CallHistory {
	return server.CallHistory{CallID: b.run + id, RoomID: b.run + "r-" + id, Caller: b.run + caller, Callee: b.run + callee, Node: "n-1", StartedAt: at.Add(started)}
}

func testHistoryRoom(t *testing.T, b books) {
	ctx, room := t.Context(), b.room("r")
	must(t, b.RoomStarted(ctx, room))
	if got := b.rooms(t); len(got) != 1 || got[0].Status() != "active" {
		t.Fatalf("rooms are %+v", got)
	}
	same(t, "the room", b.rooms(t)[0], room)
	room.EndedAt, room.Reason = at.Add(time.Hour), "hangup"
	must(t, b.RoomEnded(ctx, room))
	same(t, "the room at its end", b.rooms(t), []server.RoomHistory{room})
	other := b.room("other") // its start was lost
	other.CreatedAt, other.EndedAt = at.Add(time.Minute), at.Add(time.Hour)
	must(t, b.RoomEnded(ctx, other))
	same(t, "both rooms", b.rooms(t), []server.RoomHistory{room, other})
}

// testHistoryRoomAgain opens two rooms of one name, one after the other: a conference's
// name is its members', who meet in it every day.
func testHistoryRoomAgain(t *testing.T, b books) {
	ctx, monday := t.Context(), b.room("standup")
	monday.Type, monday.CallID = server.RoomMCU, ""
	tuesday := monday
	tuesday.CreatedAt = at.Add(24 * time.Hour)
	for _, room := range []*server.RoomHistory{&monday, &tuesday} {
		must(t, b.RoomStarted(ctx, *room))
		room.EndedAt, room.Reason = room.CreatedAt.Add(time.Hour), signaling.ReasonLeft
		must(t, b.RoomEnded(ctx, *room))
		must(t, b.RoomEnded(ctx, *room))
	}
	same(t, "both rooms", b.rooms(t), []server.RoomHistory{monday, tuesday})

	stays := map[string]time.Duration{"alice": 0, "bob": time.Minute, "carol": 24 * time.Hour, "dave": 24*time.Hour + time.Minute}
	for _, user := range []string{"alice", "bob", "carol", "dave"} {
		must(t, b.MemberJoined(ctx, b.member("standup", user, stays[user])))
	}
	for day := range 2 {
		must(t, b.RecordingChanged(ctx, server.RecordingHistory{RecordingID: fmt.Sprint("rec", day), RoomID: b.run + "standup",
			File: fmt.Sprintf("file:///r/%sstandup/rec%d.webm", b.run, day), StartedAt: at.Add(time.Duration(day)*24*time.Hour + 2*time.Minute), Status: "ready"}))
	}
	b.ready(t)
	for user, want := range map[string]string{"alice": "alice bob rec0", "bob": "alice bob rec0", "carol": "carol dave rec1", "dave": "carol dave rec1", "eve": ""} {
		own := everything
		own.Of = b.run + user
		members, err := b.Members(ctx, b.run+"standup", own)
		must(t, err)
		recordings, err := b.Recordings(ctx, b.run+"standup", own)
		must(t, err)
		var got []string
		for _, m := range members {
			got = append(got, strings.TrimPrefix(m.UserID, b.run))
		}
		for _, r := range recordings {
			got = append(got, r.RecordingID)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s reads %q of the room, want %q", user, got, want)
		}
	}
}

func testHistoryMembers(t *testing.T, b books) {
	ctx := t.Context()
	alice, bob := b.member("r", "alice", 0), b.member("r", "bob", time.Second)
	for _, m := range []server.MemberHistory{alice, bob, b.member("r2", "carol", 0)} {
		must(t, b.MemberJoined(ctx, m))
	}
	same(t, "both are there", b.members(t, "r"), []server.MemberHistory{alice, bob})
	alice.LeftAt, alice.Role = at.Add(time.Minute), server.RoleSubscriber
	must(t, b.MemberLeft(ctx, alice))
	again := b.member("r", "alice", 2*time.Minute)
	must(t, b.MemberJoined(ctx, again))
	again.LeftAt = again.JoinedAt.Add(time.Second)
	must(t, b.MemberLeft(ctx, again))
	same(t, "alice came twice", b.members(t, "r"), []server.MemberHistory{alice, bob, again})
	same(t, "nobody was in another", b.members(t, "other"), []server.MemberHistory(nil))
	for user, want := range map[string]bool{"alice": true, "bob": true, "carol": false, "": false} {
		got, err := b.WasMember(ctx, b.run+"r", b.run+user)
		must(t, err)
		if got != want {
			t.Errorf("%q was a member: %v", user, got)
		}
	}
}

func testHistoryCalls(t *testing.T, b books) {
	ctx, c := t.Context(), b.call("1", "alice", "bob", 0)
	must(t, b.CallChanged(ctx, c))
	same(t, "it began", b.calls(t, "alice", false), []server.CallHistory{c})
	c.RingingAt = at.Add(time.Second)
	must(t, b.CallChanged(ctx, c))
	c.AnsweredAt = at.Add(3 * time.Second)
	must(t, b.CallChanged(ctx, c))
	same(t, "it was answered", b.calls(t, "bob", false), []server.CallHistory{c})
	c.EndedAt, c.Reason, c.Outcome = at.Add(68*time.Second), "hangup", "accepted"
	must(t, b.CallChanged(ctx, c))
	later := b.call("2", "bob", "carol", time.Millisecond)
	must(t, b.CallChanged(ctx, later))
	refused := b.call("3", "bob", "carol", time.Second)
	refused.RoomID = "" // it never was: the callee alone knows of it
	must(t, b.CallChanged(ctx, refused))
	same(t, "alice's", b.calls(t, "alice", false), []server.CallHistory{c})
	same(t, "bob's, the latest first", b.calls(t, "bob", false), []server.CallHistory{later, c})
	same(t, "carol's", b.calls(t, "carol", false), []server.CallHistory{refused, later})
	same(t, "nobody's", b.calls(t, "dave", false), []server.CallHistory(nil))
	if got := b.calls(t, "alice", false)[0].Duration(); got != 65*time.Second {
		t.Errorf("they talked for %v", got)
	}
}

func testHistoryMissed(t *testing.T, b books) {
	var missed []server.CallHistory
	for n, o := range []struct {
		outcome string
		missed  bool
	}{{"accepted", false}, {"declined", false}, {"cancelled", true}, {"missed", true}, {"busy", true}, {"failed", false}, {"", false}} {
		c := b.call(fmt.Sprint(n), "alice", "bob", time.Duration(n)*time.Second)
		must(t, b.CallChanged(t.Context(), c))
		if o.outcome != "" {
			c.Outcome, c.EndedAt = signaling.Outcome(o.outcome), c.StartedAt.Add(time.Second)
			must(t, b.CallChanged(t.Context(), c))
		}
		if o.missed {
			missed = append([]server.CallHistory{c}, missed...)
		}
	}
	same(t, "bob missed", b.calls(t, "bob", true), missed)
	same(t, "who calls misses nothing", b.calls(t, "alice", true), []server.CallHistory(nil))
}

func testHistoryRecordings(t *testing.T, b books) {
	r := server.RecordingHistory{RecordingID: b.run + "rec-1", RoomID: b.run + "r", File: b.run + "rec-1.webm", StartedAt: at,
		Participants: []string{"alice", "bob"}, Status: "recording"}
	must(t, b.RecordingChanged(t.Context(), r))
	same(t, "it began", b.recordings(t, "r"), []server.RecordingHistory{r})
	r.EndedAt, r.FileSize, r.Status, r.Participants = at.Add(10*time.Second), 123456, "ready", []string{"alice", "bob", "carol"}
	must(t, b.RecordingChanged(t.Context(), r))
	next := server.RecordingHistory{RecordingID: b.run + "rec-2", RoomID: b.run + "r", File: b.run + "rec-2.webm", StartedAt: at.Add(time.Minute), Status: "failed"}
	must(t, b.RecordingChanged(t.Context(), next))
	same(t, "both", b.recordings(t, "r"), []server.RecordingHistory{r, next})
	same(t, "another room's", b.recordings(t, "r2"), []server.RecordingHistory(nil))
}

// testHistoryAgain writes everything once more, older states last: nothing is
// doubled and nothing forgotten.
func testHistoryAgain(t *testing.T, b books) {
	ctx := t.Context()
	room, ended := b.room("r"), b.room("r")
	ended.EndedAt, ended.Reason = at.Add(time.Minute), "hangup"
	member, left := b.member("r", "alice", 0), b.member("r", "alice", 0)
	left.LeftAt, left.Role = at.Add(time.Minute), server.RoleSubscriber
	call, over := b.call("1", "alice", "bob", 0), b.call("1", "alice", "bob", 0)
	over.RingingAt, over.AnsweredAt, over.EndedAt = at.Add(time.Second), at.Add(2*time.Second), at.Add(time.Minute)
	over.Reason, over.Outcome = "hangup", "accepted"
	recording := server.RecordingHistory{RecordingID: b.run + "rec", RoomID: room.RoomID, File: b.run + "rec", StartedAt: at, Status: "recording"}
	ready := recording
	ready.EndedAt, ready.FileSize, ready.Status, ready.Participants = at.Add(time.Second), 1, "ready", []string{"alice"}
	for range 2 {
		must(t, b.RoomStarted(ctx, room))
		must(t, b.RoomEnded(ctx, ended))
		must(t, b.MemberJoined(ctx, member))
		must(t, b.MemberLeft(ctx, left))
		must(t, b.CallChanged(ctx, call))
		must(t, b.CallChanged(ctx, over))
		must(t, b.RecordingChanged(ctx, recording))
		must(t, b.RecordingChanged(ctx, ready))
	}
	must(t, b.RoomStarted(ctx, room))
	must(t, b.MemberJoined(ctx, member))
	must(t, b.CallChanged(ctx, call))
	same(t, "room", b.rooms(t), []server.RoomHistory{ended})
	same(t, "member", b.members(t, "r"), []server.MemberHistory{left})
	same(t, "call", b.calls(t, "bob", false), []server.CallHistory{over})
	same(t, "recording", b.recordings(t, "r"), []server.RecordingHistory{ready})
}

// testHistoryNames has users whose names a careless comparison takes for one.
func testHistoryNames(t *testing.T, b books) {
	names := []string{"alice", "Alice", "alice ", "alicé", "alice\t", "álice"}
	for n, name := range names {
		must(t, b.CallChanged(t.Context(), b.call(fmt.Sprint(n), name, "bob", time.Duration(n)*time.Second)))
		must(t, b.MemberJoined(t.Context(), b.member("r", name, 0)))
	}
	for n, name := range names {
		if got := b.calls(t, name, false); len(got) != 1 || got[0].CallID != b.run+fmt.Sprint(n) || got[0].Caller != b.run+name {
			t.Errorf("calls of %q are %+v", name, got)
		}
	}
	if got := b.members(t, "r"); len(got) != len(names) {
		t.Errorf("members are %+v", got)
	}
}

// testHistoryPages reads in parts while rows come, some at the same instant.
func testHistoryPages(t *testing.T, b books) {
	ctx := t.Context()
	var want []string
	for n := range 7 {
		c := b.call(fmt.Sprint("c", n), "alice", "bob", time.Duration(n/2)*time.Second) // two at a time
		must(t, b.CallChanged(ctx, c))
		must(t, b.MemberJoined(ctx, b.member("r", fmt.Sprint("u", n), time.Duration(n/2)*time.Second)))
		want = append(want, c.CallID)
	}
	slices.Reverse(want)
	var got []string
	for p := (server.Page{Limit: 3}); len(got) <= len(want); {
		b.ready(t)
		calls, err := b.Calls(ctx, b.run+"alice", false, p)
		must(t, err)
		if len(calls) == 0 {
			break
		}
		for _, c := range calls {
			got = append(got, c.CallID)
			p.After = server.Place{At: c.StartedAt, ID: c.CallID}
		}
		must(t, b.CallChanged(ctx, b.call(fmt.Sprint("new", len(got)), "alice", "bob", time.Hour)))
	}
	same(t, "the calls", got, want)

	members := func(p server.Page) (ids []string) {
		b.ready(t)
		rows, err := b.Members(ctx, b.run+"r", p)
		must(t, err)
		for _, m := range rows {
			ids = append(ids, m.UserID[len(b.run):])
		}
		return ids
	}
	same(t, "the first members", members(server.Page{Limit: 4}), []string{"u0", "u1", "u2", "u3"})
	same(t, "the next", members(server.Page{After: server.Place{At: at.Add(time.Second), ID: b.run + "u2"}, Limit: 2}), []string{"u3", "u4"})
	same(t, "behind the last", members(server.Page{After: server.Place{At: at.Add(3 * time.Second), ID: b.run + "u6"}, Limit: 2}), []string(nil))
}
