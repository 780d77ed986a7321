package store_test

import (
	"testing"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/store"
)

func TestMemoryHistory(t *testing.T) {
	h, ctx := store.NewMemoryHistory(), t.Context()
	room := server.RoomHistory{RoomID: "r", Type: server.Room1v1, Creator: "alice", CreatedAt: at, CallID: "c"}
	must(t, h.RoomStarted(ctx, room))
	if got := h.Rooms(); len(got) != 1 || got[0] != room || got[0].Status() != "active" {
		t.Fatalf("rooms are %+v", got)
	}
	alice := server.MemberHistory{RoomID: "r", UserID: "alice", Role: server.RolePublisher, JoinedAt: at}
	must(t, h.MemberJoined(ctx, alice))
	if got := h.Members("r"); len(got) != 1 || got[0] != alice || got[0].Duration() != 0 {
		t.Fatalf("members are %+v", got)
	}
	alice.LeftAt = at.Add(time.Minute)
	must(t, h.MemberLeft(ctx, alice))
	if err := h.MemberLeft(ctx, alice); err == nil {
		t.Error("alice left twice")
	}
	again := server.MemberHistory{RoomID: "r", UserID: "alice", Role: server.RolePublisher, JoinedAt: at.Add(2 * time.Minute)}
	must(t, h.MemberJoined(ctx, again))
	again.LeftAt = again.JoinedAt.Add(time.Second)
	must(t, h.MemberLeft(ctx, again))
	if got := h.Members("r"); len(got) != 2 || got[0].Duration() != time.Minute || got[1].Duration() != time.Second {
		t.Errorf("members are %+v", got)
	}
	room.EndedAt, room.Reason = at.Add(time.Hour), "hangup"
	must(t, h.RoomEnded(ctx, room))
	if got := h.Rooms(); len(got) != 1 || got[0] != room || got[0].Status() != "ended" {
		t.Errorf("rooms are %+v", got)
	}
	room.RoomID = "other"
	if err := h.RoomEnded(ctx, room); err == nil {
		t.Error("a room ended that never started")
	}
	if got := h.Members("other"); len(got) != 0 {
		t.Errorf("members of another room are %+v", got)
	}
}
