package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/callbench/callbench/server"
)

// MemoryRevocations is a server.Revocations in memory, for one instance: a
// restart forgets them. Its zero value is ready to use. What has run out is
// removed when something is revoked.
type MemoryRevocations struct {
	mu     sync.Mutex
	tokens map[string]time.Time         // until when, by token id
	users  map[string]server.Revocation // by user
}

// Revoke implements server.Revocations. Of several for a user the latest Before
// and the latest Until count.
func (m *MemoryRevocations) Revoke(_ context.Context, r server.Revocation) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(time.Now())
	if r.TokenID != "" {
		if m.tokens == nil {
			m.tokens = make(map[string]time.Time)
		}
		old, known := m.tokens[r.TokenID]
		m.tokens[r.TokenID] = later(old, r.Until, known)
		return nil
	}
	if m.users == nil {
		m.users = make(map[string]server.Revocation)
	}
	if old, known := m.users[r.User]; known {
		r.Until = later(old.Until, r.Until, true)
		if old.Before.After(r.Before) {
			r.Before = old.Before
		}
	}
	m.users[r.User] = r
	return nil
}

// later is the later of two ends, of which zero is never.
func later(old, now time.Time, known bool) time.Time {
	if known && (old.IsZero() || !now.IsZero() && old.After(now)) {
		return old
	}
	return now
}

// Revoked implements server.Revocations.
func (m *MemoryRevocations) Revoked(_ context.Context, who server.Identity) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.tokens[who.TokenID]; ok && who.TokenID != "" {
		return true, nil
	}
	r, ok := m.users[who.User]
	return ok && r.Covers(who), nil
}

// forget removes what has run out. m.mu is held.
func (m *MemoryRevocations) forget(now time.Time) {
	over := func(until time.Time) bool { return !until.IsZero() && now.After(until) }
	for id, until := range m.tokens {
		if over(until) {
			delete(m.tokens, id)
		}
	}
	for user, r := range m.users {
		if over(r.Until) {
			delete(m.users, user)
		}
	}
}

func revokedTokenKey(id string) string  { return "auth:revoked:token:" + id }
func revokedUserKey(user string) string { return "auth:revoked:user:" + user }

// revoke keeps the larger of two times, and of two ends the later, where none is
// the latest. KEYS[1]; ARGV: time in ms, end in ms or 0.
var revoke = redis.NewScript(`
local old = tonumber(redis.call('GET', KEYS[1]) or '-1')
local ttl = redis.call('PTTL', KEYS[1])
redis.call('SET', KEYS[1], math.max(old, tonumber(ARGV[1])))
local left = tonumber(ARGV[2])
if left > 0 and ttl ~= -1 then redis.call('PEXPIRE', KEYS[1], math.max(left, ttl)) end
return 1`)

// Revoke implements server.Revocations, for all instances and over restarts.
func (r *Redis) Revoke(ctx context.Context, v server.Revocation) error {
	key, at := revokedTokenKey(v.TokenID), int64(1)
	if v.User != "" {
		key, at = revokedUserKey(v.User), v.Before.UnixMilli()
	}
	left := int64(0)
	if !v.Until.IsZero() {
		if left = time.Until(v.Until).Milliseconds(); left <= 0 {
			return nil // such tokens have run out
		}
	}
	if err := revoke.Run(ctx, r.client, []string{key}, at, left).Err(); err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	return nil
}

// Revoked implements server.Revocations, in one round trip.
func (r *Redis) Revoked(ctx context.Context, who server.Identity) (bool, error) {
	pipe := r.client.Pipeline()
	user := pipe.Get(ctx, revokedUserKey(who.User))
	token := pipe.Exists(ctx, revokedTokenKey(who.TokenID))
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return false, fmt.Errorf("revoked: %w", err)
	}
	if token.Val() > 0 && who.TokenID != "" {
		return true, nil
	}
	if user.Val() == "" {
		return false, nil
	}
	before, err := strconv.ParseInt(user.Val(), 10, 64)
	if err != nil {
		return false, fmt.Errorf("revoked: %q is no time", user.Val())
	}
	return who.Issued.IsZero() || who.Issued.UnixMilli() < before, nil
}
