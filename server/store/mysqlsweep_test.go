package store_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
	"github.com/callbench/callbench/signaling"
)

// TestServiceMySQLSweep leaves rooms of two nodes open. Those of one are ended when
// its server starts again, but for the ones that go on; the other's stay, and what
// has ended already.
func TestServiceMySQLSweep(t *testing.T) {
	dsn, dir := serviceDSN(t), t.TempDir()
	ctx, b := t.Context(), books{}
	m, err := store.OpenMySQL(ctx, store.MySQLConfig{DSN: dsn, Dir: dir})
	must(t, err)
	h := m.History()
	began := time.Now().Add(-time.Hour).Truncate(time.Millisecond).UTC()
	room := func(id, node string, created time.Time) server.RoomHistory {
		r := b.room(id)
		r.Node, r.CreatedAt, r.CallID = node, created, "call-"+id
		must(t, h.RoomStarted(ctx, r))
		must(t, h.MemberJoined(ctx, server.MemberHistory{RoomID: id, UserID: "alice", Role: server.RolePublisher, JoinedAt: created}))
		must(t, h.RecordingChanged(ctx, server.RecordingHistory{RoomID: id, File: id + created.String(), StartedAt: created, Status: "recording", Participants: []string{"alice"}}))
		must(t, h.CallChanged(ctx, server.CallHistory{CallID: r.CallID, RoomID: id, Caller: "alice", Callee: "bob", Node: node, StartedAt: created, AnsweredAt: created.Add(time.Second)}))
		return r
	}
	room("lost", "n1", began)
	kept := room("kept", "n1", began)
	room("other", "n2", began)
	again := room("standup", "n1", began) // yesterday's was lost, and today's goes on
	today := began.Add(time.Minute)
	room("standup", "n1", today)
	must(t, h.CallChanged(ctx, server.CallHistory{CallID: "rings", RoomID: "gone", Caller: "carol", Callee: "bob", Node: "n1", StartedAt: began}))
	over := room("over", "n1", began)
	over.EndedAt, over.Reason = began.Add(time.Minute), signaling.ReasonHangup
	must(t, h.RoomEnded(ctx, over))
	must(t, m.Close())

	died := time.Now().Add(-time.Minute).Truncate(time.Millisecond).UTC()
	must(t, os.Chtimes(filepath.Join(dir, "alive"), died, died))
	m = openMySQL(t, dsn, dir)
	h = m.History()
	record := func(r server.RoomHistory, created time.Time) server.RoomRecord {
		return server.RoomRecord{RoomID: r.RoomID, Type: r.Type, CreatedAt: created}
	}
	for range 2 { // once more changes nothing
		must(t, m.Sweep(ctx, "n1", []server.RoomRecord{record(kept, began), record(again, today)}))
		room("new", "n1", time.Now())
		drained(t, m)
	}
	db := look(t, dsn)
	for _, want := range []struct {
		room   string
		began  time.Time
		active bool
	}{{"lost", began, false}, {"kept", began, true}, {"other", began, true}, {"standup", began, false}, {"standup", today, true}} {
		ended := map[bool]int{false: 1, true: 0}[want.active]
		for query, args := range map[string][]any{
			"SELECT COUNT(*) FROM rooms WHERE roomId = ? AND createdTime = ? AND status = 'ended' AND endedTime = ? AND JSON_VALUE(metadata, '$.reason') = 'dropped'": {want.room, want.began, died},
			"SELECT COUNT(*) FROM room_members WHERE roomId = ? AND joinTime = ? AND leaveTime = ? AND duration >= 3400":                                              {want.room, want.began, died},
			"SELECT COUNT(*) FROM recordings WHERE roomId = ? AND startTime = ? AND endTime = ? AND status = 'failed' AND JSON_LENGTH(participants) = 1":              {want.room, want.began, died},
		} {
			if n := count(t, db, query, args...); n != ended {
				t.Errorf("%+v: %d: %s", want, n, query)
			}
		}
	}
	for call, ended := range map[string]int{"call-lost": 1, "call-kept": 0, "call-other": 0, "call-new": 0} {
		if n := count(t, db, "SELECT COUNT(*) FROM calls WHERE callId = ? AND endTime = ? AND reason = 'dropped' AND outcome = 'accepted' AND duration >= 3400", call, died); n != ended {
			t.Errorf("%s is ended %d times", call, n)
		}
	}
	if n := count(t, db, "SELECT COUNT(*) FROM calls JOIN participants USING (callId) WHERE callId = 'rings' AND endTime = ? AND reason = 'dropped' AND outcome = 'missed' AND role = 'callee' AND missed = 1", died); n != 1 {
		t.Error("the call that rang is not missed")
	}
	if n := count(t, db, "SELECT COUNT(*) FROM rooms WHERE roomId = 'over' AND JSON_VALUE(metadata, '$.reason') = 'hangup'"); n != 1 {
		t.Error("what had ended ends again")
	}
}
