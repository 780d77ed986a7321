package server

import (
	"context"
	"time"

	"github.com/callbench/callbench/signaling"
)

// History is the permanent record of rooms, who was in them, calls and
// recordings. A row that is written again changes nothing but what it says
// anew: nothing is doubled, and what is known of a row is never forgotten, so
// that a write whose answer was lost may be repeated. Package store implements
// it.
type History interface {
	RoomRecorder
	// CallChanged adds the call, or what is known of it by now.
	CallChanged(ctx context.Context, c CallHistory) error
	// RecordingChanged adds the recording, or what is known of it by now.
	RecordingChanged(ctx context.Context, r RecordingHistory) error
}

// RoomRecorder writes the tables rooms and room_members.
type RoomRecorder interface {
	// RoomStarted adds a room with status active. RoomID and CreatedAt name the
	// row: a conference may be opened again under its name.
	RoomStarted(ctx context.Context, r RoomHistory) error
	// RoomEnded sets the room's EndedAt, Reason and status ended.
	RoomEnded(ctx context.Context, r RoomHistory) error
	// MemberJoined adds a member. RoomID, UserID and JoinedAt name the row.
	MemberJoined(ctx context.Context, m MemberHistory) error
	// MemberLeft sets the member's LeftAt, duration, and the role that it had
	// last.
	MemberLeft(ctx context.Context, m MemberHistory) error
}

// Sweeper ends in the history what was left open: with a server and State what it had
// going on is lost, and nobody else will ever say that it is over.
type Sweeper interface {
	// Sweep ends the rooms of a node that began before now and are not kept, with
	// their members, calls and recordings. The reason is dropped, and the time is
	// the last at which the node is known to have been there.
	Sweep(ctx context.Context, node string, kept []RoomRecord) error
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
	Node      string           // the server instance that the room is on; kept in the metadata
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

// CallHistory is a row of calls, with its two participants. CallID names it.
// What is zero is not known yet.
type CallHistory struct {
	CallID     string
	RoomID     string // "" for a call that never had a room
	Caller     string
	Callee     string
	Node       string // the server instance that the call was on
	StartedAt  time.Time
	RingingAt  time.Time // when a device of the callee said that it rings
	AnsweredAt time.Time
	EndedAt    time.Time
	Reason     signaling.Reason // why it ended, or the code of the error that refused it
	Outcome    signaling.Outcome
}

// Duration is how long the two could talk, as the conversation tells it: 0 if it was
// not answered, has not ended, or failed before the answer had its media.
func (c CallHistory) Duration() time.Duration {
	if c.AnsweredAt.IsZero() || c.EndedAt.IsZero() || c.Outcome == signaling.OutcomeFailed {
		return 0
	}
	return c.EndedAt.Sub(c.AnsweredAt)
}

// Missed reports whether the callee has missed the call: it ended and it was
// neither accepted nor declined.
func (c CallHistory) Missed() bool {
	switch c.Outcome {
	case signaling.OutcomeMissed, signaling.OutcomeCancelled, signaling.OutcomeBusy:
		return true
	}
	return false
}

// RecordingHistory is a row of recordings. File names it.
type RecordingHistory struct {
	RecordingID  string // the name of File without folder and extension
	RoomID       string
	File         string    // its path below the media server's folder of recordings, or its URI
	StartedAt    time.Time // zero: now
	EndedAt      time.Time // zero while it is being made
	FileSize     int64     // bytes; 0 if it is not known
	Participants []string
	Status       string // as the push recording says it
}

// Duration is how long was recorded, 0 as long as it is.
func (r RecordingHistory) Duration() time.Duration {
	if r.StartedAt.IsZero() || r.EndedAt.IsZero() {
		return 0
	}
	return r.EndedAt.Sub(r.StartedAt)
}

// Archive reads what History wrote. Rows of a list have an order that new rows
// do not change: who reads on behind a row misses none of those that were there
// and gets none twice. Package store implements it.
type Archive interface {
	// Calls lists the calls that the user was called in or made, the latest
	// first; with missedOnly those that it has missed. A call without a room is
	// its callee's alone.
	Calls(ctx context.Context, user string, missedOnly bool, p Page) ([]CallHistory, error)
	// Members lists who was in the room, in the order in which they came.
	Members(ctx context.Context, roomID string, p Page) ([]MemberHistory, error)
	// Recordings lists the room's recordings, the oldest first.
	Recordings(ctx context.Context, roomID string, p Page) ([]RecordingHistory, error)
	// WasMember reports whether the user is or was in the room.
	WasMember(ctx context.Context, roomID, user string) (bool, error)
}

// Page is a part of a list: at most Limit rows, behind the row that After names.
type Page struct {
	After Place // the zero Place is before the first row
	Limit int
	// Of is a user: only the room's meetings that it was in are read, of Members and
	// Recordings. Empty: all. A conference's name may be used for another meeting.
	Of string
}

// Place is where a row is in its list: by its time, to the millisecond, and
// among rows of the same by its id. The time is StartedAt of a call or
// recording and JoinedAt of a member, the id CallID, UserID, or File of a
// recording.
type Place struct {
	At time.Time
	ID string
}
