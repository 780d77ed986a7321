package server_test

import (
	"context"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// guardedState is a State whose every request goes through do, which decides what
// becomes of it.
type guardedState struct {
	server.State
	do func(ctx context.Context, request func() error) error
}

func (s guardedState) PutSession(ctx context.Context, r server.SessionRecord) error {
	return s.do(ctx, func() error { return s.State.PutSession(ctx, r) })
}

func (s guardedState) GetSession(ctx context.Context, id string) (r server.SessionRecord, ok bool, err error) {
	err = s.do(ctx, func() error { r, ok, err = s.State.GetSession(ctx, id); return err })
	return r, ok, err
}

func (s guardedState) DropSession(ctx context.Context, id string) error {
	return s.do(ctx, func() error { return s.State.DropSession(ctx, id) })
}

func (s guardedState) PutPresence(ctx context.Context, p signaling.State) (version uint64, err error) {
	err = s.do(ctx, func() error { version, err = s.State.PutPresence(ctx, p); return err })
	return version, err
}

func (s guardedState) GetPresence(ctx context.Context, user string) (p signaling.State, err error) {
	err = s.do(ctx, func() error { p, err = s.State.GetPresence(ctx, user); return err })
	return p, err
}

func (s guardedState) OpenRoom(ctx context.Context, r server.RoomSnapshot, m server.MemberRecord, l server.LegRecord) error {
	return s.do(ctx, func() error { return s.State.OpenRoom(ctx, r, m, l) })
}

func (s guardedState) JoinRoom(ctx context.Context, r server.RoomSnapshot, m server.MemberRecord, l server.LegRecord) error {
	return s.do(ctx, func() error { return s.State.JoinRoom(ctx, r, m, l) })
}

func (s guardedState) PutRole(ctx context.Context, r server.RoomSnapshot, m server.MemberRecord) error {
	return s.do(ctx, func() error { return s.State.PutRole(ctx, r, m) })
}

func (s guardedState) LeaveRoom(ctx context.Context, m server.MemberRecord) error {
	return s.do(ctx, func() error { return s.State.LeaveRoom(ctx, m) })
}

func (s guardedState) CloseRoom(ctx context.Context, r server.RoomSnapshot) error {
	return s.do(ctx, func() error { return s.State.CloseRoom(ctx, r) })
}

func (s guardedState) SaveRoom(ctx context.Context, r server.RoomSnapshot, free ...string) error {
	return s.do(ctx, func() error { return s.State.SaveRoom(ctx, r, free...) })
}

func (s guardedState) PutRoomMedia(ctx context.Context, m server.RoomMedia) error {
	return s.do(ctx, func() error { return s.State.PutRoomMedia(ctx, m) })
}

func (s guardedState) CheckLeg(ctx context.Context, node string, m server.MemberRecord, invited ...string) error {
	return s.do(ctx, func() error { return s.State.CheckLeg(ctx, node, m, invited...) })
}
func (s guardedState) KeepRoom(ctx context.Context, r server.RoomSnapshot, m server.MemberRecord, l server.LegRecord) error {
	return s.do(ctx, func() error { return s.State.KeepRoom(ctx, r, m, l) })
}

func (s guardedState) MendRoom(ctx context.Context, r server.RoomSnapshot) error {
	return s.do(ctx, func() error { return s.State.MendRoom(ctx, r) })
}

func (s guardedState) Rooms(ctx context.Context, node string) (rooms []server.RoomSnapshot, err error) {
	err = s.do(ctx, func() error { rooms, err = s.State.Rooms(ctx, node); return err })
	return rooms, err
}

func (s guardedState) SaveLeg(ctx context.Context, l server.LegRecord) error {
	return s.do(ctx, func() error { return s.State.SaveLeg(ctx, l) })
}

func (s guardedState) LegConnected(ctx context.Context, l server.LegRecord) error {
	return s.do(ctx, func() error { return s.State.LegConnected(ctx, l) })
}
