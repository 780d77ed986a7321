package server

import (
	"context"
	"time"

	"github.com/callbench/callbench/signaling"
)

// History is the permanent record of rooms and who was in them: the tables
// rooms and room_members. Package store implements it.
type History interface {
	// RoomStarted adds a room with status active.
	RoomStarted(ctx context.Context, r RoomHistory) error
	// RoomEnded sets the room's EndedAt, Reason and status ended.
	RoomEnded(ctx context.Context, r RoomHistory) error
	// MemberJoined adds a member.
	MemberJoined(ctx context.Context, m MemberHistory) error
	// MemberLeft sets the member's LeftAt and duration.
	MemberLeft(ctx context.Context, m MemberHistory) error
}

// RoomHistory is a row of rooms. Its primary key is the store's business.
type RoomHistory struct {
	RoomID    string
	Type      RoomType
	Creator   string
	CreatedAt time.Time
	EndedAt   time.Time        // zero while the room is active
	CallID    string           // kept in the metadata
	Reason    signaling.Reason // why it ended; kept in the metadata
}

// Status is the room's status in the table: active or ended.
func (r RoomHistory) Status() string {
	if r.EndedAt.IsZero() {
		return "active"
	}
	return "ended"
}

// MemberHistory is a row of room_members.
type MemberHistory struct {
	RoomID   string
	UserID   string
	Role     Role
	JoinedAt time.Time
	LeftAt   time.Time // zero while the member is there
}

// Duration is how long the member was there, 0 as long as it is.
func (m MemberHistory) Duration() time.Duration {
	if m.LeftAt.IsZero() {
		return 0
	}
	return m.LeftAt.Sub(m.JoinedAt)
}
