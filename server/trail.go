package server

import (
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxSteps is how many steps a room remembers: the latest.
const maxSteps = 200

// The parties of a room beside its users.
const (
	partyServer = "server"
	partyMedia  = "media server"
)

// trail is what happened in a room, for people who want to know: who said what to
// whom, without SDPs, candidates and tokens. Its zero value is ready to use.
type trail struct {
	mu    sync.Mutex
	steps []step // a ring once it has maxSteps
	next  int    // the oldest of the ring
	lost  int    // steps that are not remembered any more
}

// step is one word of one party to another.
type step struct {
	at       time.Time
	from, to string
	what     string
	times    int // in a row
}

// add notes a step. One that repeats the last is counted.
func (t *trail) add(from, to, what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last := t.last(); last != nil && last.from == from && last.to == to && last.what == what {
		last.times++
		return
	}
	s := step{time.Now(), from, to, what, 1}
	if len(t.steps) < maxSteps {
		t.steps = append(t.steps, s)
		return
	}
	t.steps[t.next] = s
	t.next = (t.next + 1) % maxSteps
	t.lost++
}

// last is the latest step, nil if there is none. t.mu is held.
func (t *trail) last() *step {
	switch {
	case len(t.steps) == 0:
		return nil
	case t.next > 0:
		return &t.steps[t.next-1]
	}
	return &t.steps[len(t.steps)-1]
}

// list is what is remembered, the oldest first, and how much is not.
func (t *trail) list() (steps []step, lost int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append(append(steps, t.steps[t.next:]...), t.steps[:t.next]...), t.lost
}

// heard notes a request about the room.
func (r *room) heard(from request) { r.trail.add(from.user, partyServer, from.frame.Kind()) }

// observed notes an event of a member's endpoint.
func (r *room) observed(m *member, e MediaEvent) {
	words := []string{e.Kind.String()}
	for _, w := range []string{e.Medium, strings.ToLower(e.State)} {
		if w != "" {
			words = append(words, w)
		}
	}
	if e.Component > 1 {
		words = append(words, "(component "+strconv.Itoa(e.Component)+")")
	}
	r.trail.add(partyMedia, partyServer, strings.Join(append(words, "of", m.user), " "))
}
