package store

import (
	"maps"
	"slices"
	"sync"
)

// MemoryRelations are server.Relations in memory, which may be changed at any
// time. Its zero value knows nobody.
type MemoryRelations struct {
	mu       sync.RWMutex
	known    map[string]bool
	contacts map[string]map[string]bool // both ways
	blocked  map[string]map[string]bool // by who blocks
}

// Know makes users known.
func (r *MemoryRelations) Know(users ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = make(map[string]bool)
	}
	for _, u := range users {
		r.known[u] = true
	}
}

// Befriend makes two users each other's contacts, and known.
func (r *MemoryRelations) Befriend(a, b string) {
	r.Know(a, b)
	r.link(a, b)
}

// link makes two users each other's contacts.
func (r *MemoryRelations) link(a, b string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.contacts = link(link(r.contacts, a, b), b, a)
}

// Unfriend ends what Befriend began.
func (r *MemoryRelations) Unfriend(a, b string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.contacts[a], b)
	delete(r.contacts[b], a)
}

// Block has a user not be reached by another.
func (r *MemoryRelations) Block(user, other string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blocked = link(r.blocked, user, other)
}

// Unblock ends what Block began.
func (r *MemoryRelations) Unblock(user, other string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.blocked[user], other)
}

func link(all map[string]map[string]bool, from, to string) map[string]map[string]bool {
	if all == nil {
		all = make(map[string]map[string]bool)
	}
	if all[from] == nil {
		all[from] = make(map[string]bool)
	}
	all[from][to] = true
	return all
}

// Reaches implements server.Relations.
func (r *MemoryRelations) Reaches(from, to string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.known[to] && !r.blocked[to][from]
}

// Contacts implements server.Relations. They are sorted.
func (r *MemoryRelations) Contacts(user string) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.contacts[user]))
}
