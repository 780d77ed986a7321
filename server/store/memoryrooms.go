package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/callbench/callbench/server"
)

// Rooms in memory are changed as the scripts of Redis do it.

// OpenRoom implements server.RoomState.
func (m *Memory) OpenRoom(_ context.Context, r server.RoomSnapshot, first server.MemberRecord, l server.LegRecord) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, user := range append([]string{first.UserID}, r.Invited...) {
		if m.busy(r, user) {
			return fmt.Errorf("open room: %w", &server.UserBusyError{UserID: user})
		}
	}
	m.set(roomKey(r.RoomID), 0, roomFields(r)...)
	for _, user := range r.Invited {
		m.hold(r, user)
	}
	return m.enter(r, first, l)
}

// busy reports whether a room of another node holds the user; m.mu is held.
func (m *Memory) busy(r server.RoomSnapshot, user string) bool {
	held := m.get(userKey(user))
	return held != nil && held["roomId"] != r.RoomID && held["node"] != r.Node
}

func (m *Memory) hold(r server.RoomSnapshot, user string, fields ...string) {
	delete(m.hashes, userKey(user))
	m.set(userKey(user), r.Hold, append(fields, "roomId", r.RoomID, "node", r.Node)...)
}

func (m *Memory) enter(r server.RoomSnapshot, who server.MemberRecord, l server.LegRecord) error {
	m.set(membersKey(r.RoomID), 0, who.UserID, string(who.Role))
	delete(m.hashes, legKey(l.SessionID)) // that of an earlier room
	m.set(legKey(l.SessionID), server.LegTTL, legFields(l)...)
	m.hold(r, who.UserID, "sessionId", who.SessionID)
	return m.writeSnapshot(r)
}

func (m *Memory) writeSnapshot(r server.RoomSnapshot) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write snapshot of room %s: %w", r.RoomID, err)
	}
	m.set(snapshotKey(r.RoomID), 0, "snapshot", string(text))
	m.set(nodeKey(r.Node), 0, r.RoomID, r.Node)
	return nil
}

// JoinRoom implements server.RoomState.
func (m *Memory) JoinRoom(_ context.Context, r server.RoomSnapshot, who server.MemberRecord, l server.LegRecord) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	members, held := m.get(membersKey(r.RoomID)), m.get(userKey(who.UserID))
	_, in := members[who.UserID]
	switch {
	case m.get(roomKey(r.RoomID)) == nil:
		return fmt.Errorf("join room: %w", server.ErrRoomGone)
	case m.busy(r, who.UserID):
		return fmt.Errorf("join room: %w", &server.UserBusyError{UserID: who.UserID})
	case held["roomId"] == r.RoomID && held["sessionId"] != "" && held["sessionId"] != who.SessionID:
		return fmt.Errorf("join room: %w", server.ErrJoinedElsewhere)
	case r.Limit > 0 && !in && len(members) >= r.Limit:
		return fmt.Errorf("join room: %w", server.ErrRoomFull)
	case m.published(r.RoomID, who) != "":
		return fmt.Errorf("join room: %w", server.ErrPublisherThere)
	}
	return m.enter(r, who, l)
}

// published is the other publisher of a broadcast, if this member is to be one;
// m.mu is held.
func (m *Memory) published(roomID string, who server.MemberRecord) string {
	if who.Role != server.RolePublisher || m.get(roomKey(roomID))["roomType"] != string(server.RoomBroadcast) {
		return ""
	}
	for user, role := range m.get(membersKey(roomID)) {
		if user != who.UserID && role == string(server.RolePublisher) {
			return user
		}
	}
	return ""
}

// PutRole implements server.RoomState.
func (m *Memory) PutRole(_ context.Context, r server.RoomSnapshot, who server.MemberRecord) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	members := m.get(membersKey(r.RoomID))
	if _, in := members[who.UserID]; !in {
		return fmt.Errorf("role of a member: %w", server.ErrRoomGone)
	}
	if old := m.published(r.RoomID, who); old != "" {
		members[old] = string(server.RoleSubscriber)
	}
	members[who.UserID] = string(who.Role)
	return m.writeSnapshot(r)
}

// LeaveRoom implements server.RoomState.
func (m *Memory) LeaveRoom(_ context.Context, r server.MemberRecord) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.get(legKey(r.SessionID))["roomId"] == r.RoomID {
		delete(m.hashes, legKey(r.SessionID))
	}
	held := m.get(userKey(r.UserID))
	if held["roomId"] == r.RoomID && (held["sessionId"] == "" || held["sessionId"] == r.SessionID) {
		delete(m.hashes, userKey(r.UserID))
	}
	m.unset(membersKey(r.RoomID), r.UserID)
	if m.get(membersKey(r.RoomID)) == nil {
		delete(m.hashes, roomKey(r.RoomID))
	}
	return nil
}

// unset removes a field, and a key with its last one, as Redis does; m.mu is held.
func (m *Memory) unset(key, field string) {
	if h, ok := m.hashes[key]; ok {
		delete(h.fields, field)
		if len(h.fields) == 0 {
			delete(m.hashes, key)
		}
	}
}

// CloseRoom implements server.RoomState.
func (m *Memory) CloseRoom(_ context.Context, r server.RoomSnapshot) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range []string{roomKey(r.RoomID), membersKey(r.RoomID), snapshotKey(r.RoomID)} {
		delete(m.hashes, key)
	}
	m.unset(nodeKey(r.Node), r.RoomID)
	return nil
}

// SaveRoom implements server.SnapshotState.
func (m *Memory) SaveRoom(_ context.Context, r server.RoomSnapshot, free ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, user := range free {
		if m.get(userKey(user))["roomId"] == r.RoomID {
			delete(m.hashes, userKey(user))
		}
	}
	return m.writeSnapshot(r)
}

// KeepRoom implements server.SnapshotState.
func (m *Memory) KeepRoom(_ context.Context, r server.RoomSnapshot, who server.MemberRecord, l server.LegRecord) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.get(roomKey(r.RoomID)) == nil {
		m.set(roomKey(r.RoomID), 0, roomFields(r)...)
	}
	if _, in := m.get(membersKey(r.RoomID))[who.UserID]; !in {
		m.set(membersKey(r.RoomID), 0, who.UserID, string(who.Role))
	}
	if m.get(legKey(l.SessionID)) == nil {
		m.set(legKey(l.SessionID), server.LegTTL, legFields(l)...)
	}
	if m.get(userKey(who.UserID)) == nil {
		m.hold(r, who.UserID, "sessionId", who.SessionID)
	}
	for _, user := range r.Invited {
		if m.get(userKey(user)) == nil {
			m.hold(r, user)
		}
	}
	return m.writeSnapshot(r)
}

// CheckLeg implements server.LegState.
func (m *Memory) CheckLeg(_ context.Context, node string, who server.MemberRecord, invited ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, in := m.get(membersKey(who.RoomID))[who.UserID]
	_, decided := m.get(nodeKey(node))[who.RoomID]
	there := in && decided
	if m.get(snapshotKey(who.RoomID)) != nil {
		m.set(snapshotKey(who.RoomID), 0, heardTime, millis(time.Now()))
	}
	for _, key := range []string{roomKey(who.RoomID), snapshotKey(who.RoomID), legKey(who.SessionID), userKey(who.UserID)} {
		there = there && m.get(key) != nil
	}
	for _, u := range invited {
		there = there && m.get(userKey(u)) != nil
	}
	if !there {
		return fmt.Errorf("check leg: %w", server.ErrStateLost)
	}
	return nil
}

// MendRoom implements server.SnapshotState.
func (m *Memory) MendRoom(_ context.Context, r server.RoomSnapshot) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.hashes, membersKey(r.RoomID))
	m.set(roomKey(r.RoomID), 0, roomFields(r)...)
	for _, who := range r.Members {
		if who.Left || who.JoinedAt.IsZero() {
			continue
		}
		m.set(membersKey(r.RoomID), 0, who.UserID, string(who.Role))
		if !m.busy(r, who.UserID) {
			m.hold(r, who.UserID, "sessionId", who.SessionID)
		}
	}
	return m.writeSnapshot(r)
}

// Rooms implements server.SnapshotState.
func (m *Memory) Rooms(_ context.Context, node string) (rooms []server.RoomSnapshot, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(m.get(nodeKey(node)))) {
		s, err := readRoom(node, id, m.get(snapshotKey(id))["snapshot"], m.get(snapshotKey(id))[heardTime], m.get(membersKey(id)), m.get(roomKey(id)))
		if err != nil {
			return nil, err
		}
		for _, member := range s.Members {
			if leg, ok := readLeg(member.SessionID, m.get(legKey(member.SessionID))); ok && leg.RoomID == id {
				s.Legs = append(s.Legs, leg)
			}
			if fields := m.get(sessionKey(member.SessionID)); fields != nil {
				session, err := readSession(member.SessionID, fields)
				if err != nil {
					return nil, err
				}
				s.Sessions = append(s.Sessions, session)
			}
		}
		rooms = append(rooms, s)
	}
	return rooms, nil
}

// Lose forgets everything, as a Redis does that is flushed.
func (m *Memory) Lose() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hashes = make(map[string]hash)
}
