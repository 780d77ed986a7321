package server

import (
	"context"
	"time"

	"github.com/callbench/callbench/signaling"
)

// State is the shared memory of all server instances, Redis in production. It
// describes what is; the server itself decides on what it holds in its own
// memory, so a failing State costs no call. A slow one delays calls: the ack of
// call and the invitation come after OpenRoom, that of answer after JoinRoom, and
// that of leave after LeaveRoom or the last History, so that who reads State finds
// what it was told of. Each waits for the writes before it, each of which may take
// StoreTimeout, and goes on even if they failed. Each method is
// one round trip. Package store implements it.
type State interface {
	SessionState
	PresenceState
	RoomState
	LegState
}

// SessionState keeps ws:session:{sessionId}.
type SessionState interface {
	// PutSession writes the session's record, prolongs it by r.TTL, and
	// prolongs the record of its leg, if there is one, by LegTTL.
	PutSession(ctx context.Context, r SessionRecord) error
	// DropSession removes the record.
	DropSession(ctx context.Context, sessionID string) error
}

// PresenceState keeps user:{userId}:presence and tells user:{userId}:status.
type PresenceState interface {
	// PutPresence stores a change, gives it the next version of this user's
	// presence, whatever p says, and publishes it with that, in one step: the
	// versions on the channel grow and the stored one is the last of them.
	PutPresence(ctx context.Context, p signaling.State) (version uint64, err error)
	// GetPresence reads what was stored last. A user of whom nothing is stored
	// is offline, and its version is 0.
	GetPresence(ctx context.Context, user string) (signaling.State, error)
}

// RoomState keeps rtc:room:{roomId}:state and rtc:room:{roomId}:members.
type RoomState interface {
	// OpenRoom writes the room, its first member and that member's leg.
	OpenRoom(ctx context.Context, r RoomRecord, m MemberRecord, l LegRecord) error
	// JoinRoom adds a member and its leg. The session's earlier leg is forgotten.
	JoinRoom(ctx context.Context, m MemberRecord, l LegRecord) error
	// LeaveRoom removes a member, and its leg if the session is not in another
	// room by now.
	LeaveRoom(ctx context.Context, m MemberRecord) error
	// PutRole writes a member's new role.
	PutRole(ctx context.Context, m MemberRecord) error
	// PutRoomMedia writes whether media flows in the room, and where it is
	// recorded. A room that was closed stays so.
	PutRoomMedia(ctx context.Context, r RoomMedia) error
	// CloseRoom removes the room.
	CloseRoom(ctx context.Context, roomID string) error
}

// LegState keeps rtc:session:{sessionId}.
type LegState interface {
	// SaveLeg writes the record's fields that are not empty and prolongs it by
	// LegTTL.
	SaveLeg(ctx context.Context, l LegRecord) error
	// LegConnected writes the leg's ConnectedAt.
	LegConnected(ctx context.Context, l LegRecord) error
}

// LegTTL is how long rtc:session:{sessionId} lives without being prolonged, as
// the design document says. Calls may last longer: the heartbeat prolongs it.
const LegTTL = 3600 * time.Second

// SessionRecord is a connection's session.
type SessionRecord struct {
	SessionID   string
	UserID      string
	ConnectedAt time.Time
	HeartbeatAt time.Time     // the last sign of life
	TTL         time.Duration // until the record goes without another heartbeat
}

// RoomType is one of the design document's kinds of rooms.
type RoomType string

// The types of rooms.
const (
	Room1v1       RoomType = "1v1"       // the room of a call between two
	RoomMCU       RoomType = "mcu"       // a conference whose publishers are mixed for all
	RoomBroadcast RoomType = "broadcast" // one publisher, whom the subscribers hear
)

// RoomRecord is a room that exists.
type RoomRecord struct {
	RoomID    string
	Type      RoomType
	CreatedAt time.Time
}

// Role is what a member does in a room.
type Role = signaling.Role

// The roles of members.
const (
	RolePublisher  = signaling.RolePublisher
	RoleSubscriber = signaling.RoleSubscriber
)

// RoomMedia is what changes of a room while it lasts.
type RoomMedia struct {
	RoomID        string
	Started       bool   // media of a member flows into the room
	RecordingPath string // of the recording that is being made; empty if there is none
}

// MemberRecord is a user in a room.
type MemberRecord struct {
	RoomID    string
	SessionID string
	UserID    string
	Role      Role
}

// LegRecord is a member's side of the media.
type LegRecord struct {
	SessionID   string
	UserID      string
	RoomID      string
	EndpointID  string
	SDPOffer    string
	SDPAnswer   string
	ConnectedAt time.Time // zero until media connected
}
