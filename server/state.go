package server

import (
	"context"
	"errors"
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
	SnapshotState
	LegState
}

// SessionState keeps ws:session:{sessionId}.
type SessionState interface {
	// PutSession writes the session's record, prolongs it by r.TTL, prolongs
	// the record of its leg, if there is one, by LegTTL, and what holds its user
	// for a room by r.TTL. It is ErrStateLost if the record is Known and was
	// not there.
	PutSession(ctx context.Context, r SessionRecord) error
	// GetSession reads a session's record, without its TTL. ok is false if there
	// is none.
	GetSession(ctx context.Context, sessionID string) (r SessionRecord, ok bool, err error)
	// DropSession removes the record.
	DropSession(ctx context.Context, sessionID string) error
}

// PresenceState keeps user:{userId}:presence and tells user:{userId}:status.
type PresenceState interface {
	// PutPresence stores a change, gives it the next version of this user's
	// presence, higher than that of p too, and publishes it with that, in one step:
	// the versions on the channel grow and the stored one is the last of them.
	PutPresence(ctx context.Context, p signaling.State) (version uint64, err error)
	// GetPresence reads what was stored last. A user of whom nothing is stored
	// is offline, and its version is 0.
	GetPresence(ctx context.Context, user string) (signaling.State, error)
}

// RoomState keeps rtc:room:{roomId}:state and rtc:room:{roomId}:members, and
// rtc:user:{userId}, which says which room holds a user. Each change is made
// whole or not at all, whoever else makes one at the same moment. One that an
// earlier change of another instance rules out is refused with an error that
// Refused knows, and has changed nothing.
type RoomState interface {
	// OpenRoom writes the room with its snapshot, its first member and that
	// member's leg, and holds the member and the room's Invited for it. A user that a
	// room of another node holds makes it a *UserBusyError. What the room's own node
	// held is taken over: a node knows in which room its users are.
	OpenRoom(ctx context.Context, r RoomSnapshot, m MemberRecord, l LegRecord) error
	// JoinRoom adds a member and its leg; the session's earlier leg is forgotten.
	// Of a user's sessions the first one wins: ErrJoinedElsewhere for any other.
	// It is a *UserBusyError as above, ErrRoomFull if Limit members are there,
	// ErrPublisherThere for a second publisher of a broadcast, and ErrRoomGone
	// if the last member has left or State has lost the room.
	JoinRoom(ctx context.Context, r RoomSnapshot, m MemberRecord, l LegRecord) error
	// PutRole gives a member another role. In a broadcast a new publisher makes
	// the old one a subscriber in the same step.
	PutRole(ctx context.Context, r RoomSnapshot, m MemberRecord) error
	// LeaveRoom removes a member, what holds it, and its leg if the session is not
	// in another room by now. The last one takes the room with it, for everybody
	// but its own node: what that needs to finish stays until CloseRoom.
	LeaveRoom(ctx context.Context, m MemberRecord) error
	// CloseRoom removes what is left of the room.
	CloseRoom(ctx context.Context, r RoomSnapshot) error
}

// SnapshotState keeps rtc:room:{roomId}:snapshot and rtc:node:{node}:rooms: what a
// server needs to go on with the rooms of one that was killed.
type SnapshotState interface {
	// SaveRoom writes the snapshot, and sets users free that the room holds no more.
	SaveRoom(ctx context.Context, r RoomSnapshot, free ...string) error
	// PutRoomMedia writes whether media flows in the room, and where it is
	// recorded. A room that was closed stays so.
	PutRoomMedia(ctx context.Context, r RoomMedia) error
	// KeepRoom writes again what State has lost of the room, of this member and of
	// its leg, as CheckLeg has found out.
	KeepRoom(ctx context.Context, r RoomSnapshot, m MemberRecord, l LegRecord) error
	// MendRoom writes the room whose members are those of the snapshot, and holds
	// them for it, except for those that a room of another node holds. Legs it
	// leaves as they are.
	MendRoom(ctx context.Context, r RoomSnapshot) error
	// Rooms lists the rooms of a node that were not closed, in the order of their
	// ids, with the legs and sessions of their members.
	Rooms(ctx context.Context, node string) ([]RoomSnapshot, error)
}

// What another instance's change may refuse.
var (
	ErrJoinedElsewhere = errors.New("another session of the user is in the room")
	ErrRoomFull        = errors.New("the room is full")
	ErrPublisherThere  = errors.New("the broadcast has a publisher")
	ErrRoomGone        = errors.New("the room is not there")
)

// UserBusyError says that a room of another instance holds a user.
type UserBusyError struct{ UserID string }

// Error implements error.
func (e *UserBusyError) Error() string {
	return "user " + e.UserID + " is in a room of another instance"
}

// Refused reports whether State has refused a change, and not failed to make it.
func Refused(err error) bool {
	if busy := new(UserBusyError); errors.As(err, &busy) {
		return true
	}
	for _, refusal := range []error{ErrJoinedElsewhere, ErrRoomFull, ErrPublisherThere, ErrRoomGone} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// LegState keeps rtc:session:{sessionId}.
type LegState interface {
	// SaveLeg writes the record's fields that are not empty, or all if it is Fresh,
	// and prolongs it by LegTTL.
	SaveLeg(ctx context.Context, l LegRecord) error
	// LegConnected writes the leg's ConnectedAt.
	LegConnected(ctx context.Context, l LegRecord) error
	// CheckLeg reads whether State has a member's leg, the member and what holds it
	// and who was invited, and the room, which a node decides on: it is ErrStateLost
	// if not. The room was heard of then. It costs the same in a large room and in a
	// small one.
	CheckLeg(ctx context.Context, node string, m MemberRecord, invited ...string) error
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
	Known       bool          // State was given it before

	// What a server needs to resume the session of one that was killed.
	Node     string // the instance that has the session
	Device   string
	Level    int
	Secret   string    // hex of the SHA-256 of the resume token's secret
	Before   string    // that of the token before it, as long as that is good too
	Expires  time.Time // when the session's own token runs out; zero is never
	TokenID  string    // of the token that holds the session
	Issued   time.Time // when that was issued
	Received uint64    // the last push that the client said it has
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

// RoomSnapshot is all that another server needs to go on with a room when its own
// was killed. It holds no SDP: that is in the legs.
type RoomSnapshot struct {
	RoomRecord
	Node    string        // the instance that decides on the room
	Limit   int           `json:",omitempty"` // how many members may be in it; 0 is any number
	Invited []string      `json:",omitempty"` // users that it holds beside its members
	Hold    time.Duration // how long they are held without a sign of life

	Creator    string
	CallID     string             `json:",omitempty"`
	Callee     string             `json:",omitempty"` // who is called
	State      string             `json:",omitempty"` // of a call, as docs/calls.md names it
	PipelineID string             `json:",omitempty"`
	RingUntil  time.Time          `json:",omitzero"` // of a call that rings
	AnsweredAt time.Time          `json:",omitzero"`
	EndedAt    time.Time          `json:",omitzero"` // of a call that ends
	Reason     signaling.Reason   `json:",omitempty"`
	Outcome    signaling.Outcome  `json:",omitempty"`
	EndedBy    string             `json:",omitempty"` // the user who left first
	HeardAt    time.Time          `json:",omitzero"`  // when its server last wrote of it, or looked after it
	Media      RoomMedia          `json:",omitzero"`
	Recording  *RecordingSnapshot `json:",omitempty"`
	Members    []MemberSnapshot
	Legs       []LegRecord     `json:"-"` // filled in by Rooms, as Sessions is
	Sessions   []SessionRecord `json:"-"` // of members and who was invited
}

// RecordingSnapshot is the recording of a room that is being made.
type RecordingSnapshot struct {
	ID           string
	Path         string
	StartedAt    time.Time `json:",omitzero"`
	Participants []string
}

// MemberSnapshot is a member of a RoomSnapshot, or who was invited to be one.
type MemberSnapshot struct {
	UserID    string
	SessionID string
	Role      Role
	JoinedAt  time.Time `json:",omitzero"`  // zero before it came in
	Invited   bool      `json:",omitempty"` // it knows of the room
	Told      bool      `json:",omitempty"` // it was told the end
	Left      bool      `json:",omitempty"` // it left
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
	Fresh       bool      // nothing of the leg before it holds any more
}
