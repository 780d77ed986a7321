package store

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/callbench/callbench/server"
)

// MemoryRows is how many rows of a kind a history in memory has at most.
const MemoryRows = 10_000

// MemoryHistory is a server.History in memory. Its zero value is ready to use. When
// it has as many rows of a kind as it may, the oldest that has ended gives way to a
// new one, and if none has, the oldest.
type MemoryHistory struct {
	MaxRows int // of each kind: rooms, members, calls, recordings; 0 is MemoryRows

	mu         sync.Mutex
	rooms      []server.RoomHistory
	members    []server.MemberHistory
	calls      []server.CallHistory
	recordings []server.RecordingHistory
}

// NewMemoryHistory makes an empty history.
func NewMemoryHistory() *MemoryHistory { return new(MemoryHistory) }

// Rooms is a copy of all rooms, in the order in which they started.
func (h *MemoryHistory) Rooms() []server.RoomHistory {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.rooms)
}

// Members is a copy of all members of a room, in the order in which they
// joined.
func (h *MemoryHistory) Members(roomID string) (members []server.MemberHistory) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.members {
		if m.RoomID == roomID {
			members = append(members, m)
		}
	}
	return members
}

// Calls is a copy of all calls, in the order in which they were first told of.
func (h *MemoryHistory) Calls() []server.CallHistory {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}

// RoomStarted implements server.History.
func (h *MemoryHistory) RoomStarted(_ context.Context, r server.RoomHistory) error {
	h.putRoom(r)
	return nil
}

// RoomEnded implements server.History.
func (h *MemoryHistory) RoomEnded(_ context.Context, r server.RoomHistory) error {
	h.putRoom(r)
	return nil
}

func (h *MemoryHistory) putRoom(r server.RoomHistory) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.rooms, func(o server.RoomHistory) bool {
		return o.RoomID == r.RoomID && o.CreatedAt.UnixMilli() == r.CreatedAt.UnixMilli()
	})
	if i < 0 {
		h.rooms = grow(h.rooms, r, h.MaxRows, func(o server.RoomHistory) bool { return !o.EndedAt.IsZero() })
		return
	}
	if o := &h.rooms[i]; !r.EndedAt.IsZero() {
		o.EndedAt, o.Reason = r.EndedAt, r.Reason
	}
}

// MemberJoined implements server.History.
func (h *MemoryHistory) MemberJoined(_ context.Context, m server.MemberHistory) error {
	h.putMember(m)
	return nil
}

// MemberLeft implements server.History.
func (h *MemoryHistory) MemberLeft(_ context.Context, m server.MemberHistory) error {
	h.putMember(m)
	return nil
}

// putMember adds or changes a row. A user may have been in the room more than
// once.
func (h *MemoryHistory) putMember(m server.MemberHistory) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.members, func(o server.MemberHistory) bool {
		return o.RoomID == m.RoomID && o.UserID == m.UserID && o.JoinedAt.UnixMilli() == m.JoinedAt.UnixMilli()
	})
	if i < 0 {
		h.members = grow(h.members, m, h.MaxRows, func(o server.MemberHistory) bool { return !o.LeftAt.IsZero() })
		return
	}
	if o := &h.members[i]; !m.LeftAt.IsZero() {
		o.LeftAt, o.Role = m.LeftAt, m.Role
	}
}

// CallChanged implements server.History.
func (h *MemoryHistory) CallChanged(_ context.Context, c server.CallHistory) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.calls, func(o server.CallHistory) bool { return o.CallID == c.CallID })
	if i < 0 {
		h.calls = grow(h.calls, c, h.MaxRows, func(o server.CallHistory) bool { return !o.EndedAt.IsZero() })
		return nil
	}
	o := &h.calls[i]
	learn(&o.RoomID, c.RoomID)
	learn(&o.Node, c.Node)
	learn(&o.Reason, c.Reason)
	learn(&o.Outcome, c.Outcome)
	learnTime(&o.RingingAt, c.RingingAt)
	learnTime(&o.AnsweredAt, c.AnsweredAt)
	learnTime(&o.EndedAt, c.EndedAt)
	return nil
}

// grow adds a row to those of a kind, of which there are at most so many.
func grow[T any](rows []T, row T, most int, ended func(T) bool) []T {
	if len(rows) >= cmp.Or(most, MemoryRows) {
		i := max(0, slices.IndexFunc(rows, ended))
		rows = slices.Delete(rows, i, i+1)
	}
	return append(rows, row)
}

// learn replaces what is known by what is said anew, if it says anything.
func learn[T comparable](known *T, said T) {
	if said != *new(T) {
		*known = said
	}
}

func learnTime(known *time.Time, said time.Time) {
	if !said.IsZero() {
		*known = said
	}
}

// RecordingChanged implements server.History.
func (h *MemoryHistory) RecordingChanged(_ context.Context, r server.RecordingHistory) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.Participants = slices.Clone(r.Participants)
	if r.StartedAt.IsZero() {
		r.StartedAt = time.Now() // the row has a place in the list from now on
	}
	i := slices.IndexFunc(h.recordings, func(o server.RecordingHistory) bool { return o.File == r.File })
	if i < 0 {
		h.recordings = grow(h.recordings, r, h.MaxRows, func(o server.RecordingHistory) bool { return !o.EndedAt.IsZero() })
		return nil
	}
	o := &h.recordings[i]
	learn(&o.FileSize, r.FileSize)
	learn(&o.Status, r.Status)
	o.StartedAt = r.StartedAt
	learnTime(&o.EndedAt, r.EndedAt)
	if len(r.Participants) > 0 {
		o.Participants = r.Participants
	}
	return nil
}

// Archive reads the history.
func (h *MemoryHistory) Archive() server.Archive { return memoryArchive{h} }

type memoryArchive struct{ h *MemoryHistory }

// Calls implements server.Archive.
func (a memoryArchive) Calls(_ context.Context, user string, missedOnly bool, p server.Page) ([]server.CallHistory, error) {
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	place := func(c server.CallHistory) server.Place { return server.Place{At: c.StartedAt, ID: c.CallID} }
	latestFirst := func(a, b server.Place) int { return comparePlaces(b, a) }
	return page(a.h.calls, p, place, latestFirst, func(c server.CallHistory) bool {
		if missedOnly {
			return c.Callee == user && c.Missed()
		}
		return c.Callee == user || c.Caller == user && c.RoomID != ""
	}), nil
}

// Members implements server.Archive.
func (a memoryArchive) Members(_ context.Context, roomID string, p server.Page) ([]server.MemberHistory, error) {
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	place := func(m server.MemberHistory) server.Place { return server.Place{At: m.JoinedAt, ID: m.UserID} }
	return page(a.h.members, p, place, comparePlaces, func(m server.MemberHistory) bool {
		return m.RoomID == roomID && (p.Of == "" || a.h.met(p.Of, roomID, m.JoinedAt))
	}), nil
}

// Recordings implements server.Archive.
func (a memoryArchive) Recordings(_ context.Context, roomID string, p server.Page) ([]server.RecordingHistory, error) {
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	place := func(r server.RecordingHistory) server.Place { return server.Place{At: r.StartedAt, ID: r.File} }
	return page(a.h.recordings, p, place, comparePlaces, func(r server.RecordingHistory) bool {
		return r.RoomID == roomID && (p.Of == "" || a.h.met(p.Of, roomID, r.StartedAt))
	}), nil
}

// met reports whether a user was in the meeting of a room that was then: no room of
// that name began between one of its stays and that time. h.mu is held.
func (h *MemoryHistory) met(user, roomID string, at time.Time) bool {
	return slices.ContainsFunc(h.members, func(me server.MemberHistory) bool {
		from, to := me.JoinedAt.UnixMilli(), at.UnixMilli()
		if from > to {
			from, to = to, from
		}
		return me.RoomID == roomID && me.UserID == user && !slices.ContainsFunc(h.rooms, func(r server.RoomHistory) bool {
			begun := r.CreatedAt.UnixMilli()
			return r.RoomID == roomID && begun > from && begun <= to
		})
	})
}

// WasMember implements server.Archive.
func (a memoryArchive) WasMember(_ context.Context, roomID, user string) (bool, error) {
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	return slices.ContainsFunc(a.h.members, func(m server.MemberHistory) bool { return m.RoomID == roomID && m.UserID == user }), nil
}

// page picks a part of the rows that are wanted, in their order.
func page[T any](rows []T, p server.Page, place func(T) server.Place, order func(a, b server.Place) int, wanted func(T) bool) (part []T) {
	for _, r := range rows {
		if wanted(r) && (p.After == server.Place{} || order(place(r), p.After) > 0) {
			part = append(part, r)
		}
	}
	slices.SortFunc(part, func(a, b T) int { return order(place(a), place(b)) })
	return part[:min(len(part), p.Limit)]
}

func comparePlaces(a, b server.Place) int {
	return cmp.Or(cmp.Compare(a.At.UnixMilli(), b.At.UnixMilli()), strings.Compare(a.ID, b.ID))
}
