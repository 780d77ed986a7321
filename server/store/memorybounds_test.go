package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
)

// TestMemoryHistoryBounds fills a history: the oldest rows that have ended leave
// first, and what goes on stays, until there is nothing else.
func TestMemoryHistoryBounds(t *testing.T) {
	const most = 3
	h := &store.MemoryHistory{MaxRows: most}
	ctx, b := t.Context(), books{}
	at := func(i int) time.Duration { return time.Duration(i) * time.Minute }
	write := func(i int, ended bool) {
		t.Helper()
		id := fmt.Sprint("r", i)
		room, member, call := b.room(id), b.member("room", fmt.Sprint("user", i), at(i)), b.call(id, "alice", "bob", at(i))
		recording := server.RecordingHistory{RoomID: "room", File: id, StartedAt: member.JoinedAt}
		if ended {
			over := member.JoinedAt.Add(time.Second)
			room.EndedAt, member.LeftAt, call.EndedAt, recording.EndedAt = over, over, over, over
		}
		must(t, h.RoomStarted(ctx, room))
		must(t, h.MemberJoined(ctx, member))
		must(t, h.CallChanged(ctx, call))
		must(t, h.RecordingChanged(ctx, recording))
	}
	expect := func(want ...int) {
		t.Helper()
		var rooms, members, calls, recordings []string
		for _, r := range h.Rooms() {
			rooms = append(rooms, r.RoomID)
		}
		for _, m := range h.Members("room") {
			members = append(members, m.UserID)
		}
		for _, c := range h.Calls() {
			calls = append(calls, c.CallID)
		}
		files, err := h.Archive().Recordings(ctx, "room", everything)
		must(t, err)
		for _, f := range files {
			recordings = append(recordings, f.File)
		}
		var ids, users []string
		for _, i := range want {
			ids, users = append(ids, fmt.Sprint("r", i)), append(users, fmt.Sprint("user", i))
		}
		if !slices.Equal(rooms, ids) || !slices.Equal(members, users) || !slices.Equal(calls, ids) || !slices.Equal(recordings, ids) {
			t.Errorf("rooms %q, members %q, calls %q, recordings %q, want those of %v", rooms, members, calls, recordings, want)
		}
	}
	write(1, false)
	write(2, true)
	write(3, true)
	expect(1, 2, 3)
	write(4, false) // instead of 2
	expect(1, 3, 4)
	write(3, true) // is there
	write(5, false)
	expect(1, 4, 5)
	write(6, false) // nothing has ended
	expect(4, 5, 6)
}

// TestMemorySweeps has sessions come and never go: what has expired is not kept.
func TestMemorySweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m store.Memory
		for i := range 100_000 {
			must(t, m.PutSession(context.Background(), server.SessionRecord{SessionID: fmt.Sprint(i), UserID: "alice", TTL: time.Minute}))
			time.Sleep(time.Second)
		}
		if n := store.SizeOf(&m); n > 1200 {
			t.Errorf("%d hashes are there", n)
		}
	})
}
