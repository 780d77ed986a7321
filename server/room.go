package server

import (
	"time"
)

// room is where the members of a call meet: its id, its kind and its pipeline.
type room struct {
	id       string
	kind     RoomType
	creator  string
	created  time.Time
	pipeline Pipeline // nil until it is made
	opened   bool     // State and History know the room
	members  []*member
}

// member is a party of a call. The callee is one from the start, and in the
// room once it has accepted.
type member struct {
	room    *room
	user    string
	session *session
	role    Role
	joined  time.Time   // when it came into the room; zero before
	invited bool        // it knows of the call, so it must be told the end
	told    bool        // it was
	left    bool        // it left, or was taken out
	gone    bool        // its endpoint is released and everything written down
	away    bool        // its connection is down
	leg     *leg        // nil before it is made
	retries int         // legs made anew since media last connected
	offers  []time.Time // the latest ones
}

func newRoom(id, creator string, kind RoomType) *room {
	return &room{id: id, creator: creator, kind: kind, created: time.Now()}
}

// add makes a session a party of the room.
func (r *room) add(u *session, role Role) *member {
	m := &member{room: r, user: u.user, session: u, role: role}
	r.members = append(r.members, m)
	return m
}

// memberOf is the member whose session this is, or nil. One that has left is
// none.
func (r *room) memberOf(u *session) *member {
	for _, m := range r.members {
		if m.session == u && !m.left {
			return m
		}
	}
	return nil
}

// peer is the other member of a room for two.
func (r *room) peer(of *member) *member {
	for _, m := range r.members {
		if m != of {
			return m
		}
	}
	return nil
}

// empty reports whether every member is gone.
func (r *room) empty() bool {
	for _, m := range r.members {
		if !m.gone {
			return false
		}
	}
	return true
}

func (r *room) record() RoomRecord {
	return RoomRecord{RoomID: r.id, Type: r.kind, CreatedAt: r.created}
}

func (m *member) record() MemberRecord {
	return MemberRecord{RoomID: m.room.id, SessionID: m.session.id, UserID: m.user, Role: m.role}
}

// history is the member's row, as it is when it leaves at that time.
func (m *member) history(left time.Time) MemberHistory {
	return MemberHistory{RoomID: m.room.id, UserID: m.user, Role: m.role, JoinedAt: m.joined, LeftAt: left}
}
