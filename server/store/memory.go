// Package store keeps what package server must remember: State in memory or in
// Redis; History, Inbox and Relations in memory.
package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/signaling"
)

// Memory is a server.State that one process keeps for itself, with the same
// keys, fields and times to live as Redis. Its zero value is ready to use.
type Memory struct {
	mu      sync.Mutex
	hashes  map[string]hash
	sweep   int // how many hashes there may be before those that have expired are removed
	publish []func(user string, state signaling.State)
}

type hash struct {
	fields  map[string]string
	expires time.Time // zero: never
}

// Watch calls f for every presence that is published from now on. f must be
// quick and must not use the Memory.
func (m *Memory) Watch(f func(user string, state signaling.State)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.publish = append(m.publish, f)
}

// Keys lists the keys that exist now, sorted.
func (m *Memory) Keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	return slices.Sorted(maps.Keys(m.hashes))
}

// leastSweep is how many hashes there may be at least before a look for expired ones.
const leastSweep = 1024

// expire removes what has expired; m.mu is held.
func (m *Memory) expire() {
	maps.DeleteFunc(m.hashes, func(_ string, h hash) bool { return h.expired() })
}

// Hash is a copy of a key's fields, and how long it has left: 0 for ever. It is
// nil if there is no such key.
func (m *Memory) Hash(key string) (fields map[string]string, left time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.hashes[key]
	if !ok || h.expired() {
		return nil, 0
	}
	if !h.expires.IsZero() {
		left = time.Until(h.expires)
	}
	return maps.Clone(h.fields), left
}

func (h hash) expired() bool { return !h.expires.IsZero() && !time.Now().Before(h.expires) }

// set adds fields to a key, and gives it a time to live if that is not 0; m.mu
// is held.
func (m *Memory) set(key string, ttl time.Duration, fields ...string) {
	h, ok := m.hashes[key]
	if !ok || h.expired() {
		h = hash{fields: make(map[string]string)}
	}
	for i := 0; i < len(fields); i += 2 {
		h.fields[fields[i]] = fields[i+1]
	}
	if ttl > 0 {
		h.expires = time.Now().Add(ttl)
	}
	if m.hashes == nil {
		m.hashes = make(map[string]hash)
	}
	m.hashes[key] = h
	if len(m.hashes) > max(m.sweep, leastSweep) {
		m.expire()
		m.sweep = 2 * len(m.hashes)
	}
}

// get are the fields of a key, nil if there is none; m.mu is held.
func (m *Memory) get(key string) map[string]string {
	if h := m.hashes[key]; !h.expired() {
		return h.fields
	}
	return nil
}

// prolong gives an existing key a new time to live; m.mu is held.
func (m *Memory) prolong(key string, ttl time.Duration) {
	if h, ok := m.hashes[key]; ok && !h.expired() {
		h.expires = time.Now().Add(ttl)
		m.hashes[key] = h
	}
}

// PutSession implements server.SessionState.
func (m *Memory) PutSession(_ context.Context, r server.SessionRecord) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	lost := r.Known && m.get(sessionKey(r.SessionID)) == nil
	m.set(sessionKey(r.SessionID), r.TTL, sessionFields(r)...)
	m.prolong(legKey(r.SessionID), server.LegTTL)
	m.prolong(userKey(r.UserID), r.TTL)
	if lost {
		return fmt.Errorf("put session: %w", server.ErrStateLost)
	}
	return nil
}

// GetSession implements server.SessionState.
func (m *Memory) GetSession(_ context.Context, sessionID string) (server.SessionRecord, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fields := m.get(sessionKey(sessionID))
	if fields == nil {
		return server.SessionRecord{}, false, nil
	}
	r, err := readSession(sessionID, fields)
	return r, err == nil, err
}

// DropSession implements server.SessionState.
func (m *Memory) DropSession(_ context.Context, sessionID string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.hashes, sessionKey(sessionID))
	return nil
}

// PutPresence implements server.PresenceState.
func (m *Memory) PutPresence(_ context.Context, p signaling.State) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := presenceKey(p.UserID)
	stored, err := readPresence(p.UserID, m.hashes[key].fields)
	if err != nil {
		return 0, fmt.Errorf("put presence: %w", err)
	}
	p.Version = max(stored.Version, p.Version) + 1
	m.set(key, 0, append(presenceFields(p), presenceVersion, strconv.FormatUint(p.Version, 10))...)
	for _, f := range m.publish {
		f(p.UserID, p)
	}
	return p.Version, nil
}

// GetPresence implements server.PresenceState.
func (m *Memory) GetPresence(_ context.Context, user string) (signaling.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return readPresence(user, m.hashes[presenceKey(user)].fields)
}

// PutRoomMedia implements server.RoomState.
func (m *Memory) PutRoomMedia(_ context.Context, r server.RoomMedia) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.hashes[roomKey(r.RoomID)]; ok {
		m.set(roomKey(r.RoomID), 0, mediaFields(r)...)
	}
	return nil
}

// SaveLeg implements server.LegState.
func (m *Memory) SaveLeg(_ context.Context, l server.LegRecord) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.Fresh {
		delete(m.hashes, legKey(l.SessionID))
	}
	m.set(legKey(l.SessionID), server.LegTTL, legFields(l)...)
	return nil
}

// LegConnected implements server.LegState.
func (m *Memory) LegConnected(_ context.Context, l server.LegRecord) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set(legKey(l.SessionID), server.LegTTL, legFields(l)...)
	return nil
}
