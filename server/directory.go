package server

import (
	"slices"
	"sync"
	"time"

	"github.com/callbench/callbench/signaling"
)

// directory knows who is there and who is in a call. It decides in one place
// that a user is in one call at most.
type directory struct {
	mu     sync.Mutex
	closed bool
	byID   map[string]*session
	byUser map[string][]*session // the newest last
	inCall map[string]*call      // by user
}

func (d *directory) init() {
	d.byID = make(map[string]*session)
	d.byUser = make(map[string][]*session)
	d.inCall = make(map[string]*call)
}

// add makes a session known. It returns false when the server closes. A user's
// first session is its coming, and its last one's end its going.
func (d *directory) add(s *session) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	s.srv.work.Add(1)
	d.byID[s.id] = s
	d.byUser[s.user] = append(d.byUser[s.user], s)
	if len(d.byUser[s.user]) == 1 {
		s.srv.came(s.user, s.since)
	}
	return true
}

// remove forgets a session.
func (d *directory) remove(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.byID, s.id)
	rest := slices.DeleteFunc(d.byUser[s.user], func(o *session) bool { return o == s })
	if len(rest) == 0 {
		delete(d.byUser, s.user)
		s.srv.went(s.user, time.Now())
		return
	}
	d.byUser[s.user] = rest
}

// renew makes a session that came back the user's newest.
func (d *directory) renew(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.byUser[s.user]
	if i := slices.Index(all, s); i >= 0 {
		d.byUser[s.user] = append(slices.Delete(all, i, i+1), s)
	}
}

// replaced are the sessions that a new one ends: those of the same user that
// its device had before, and the one that it names.
func (d *directory) replaced(s *session, named string) (old []*session) {
	for _, o := range d.sessions(s.user) {
		if o != s && (o.id == named || s.device != "" && o.device == s.device) {
			old = append(old, o)
		}
	}
	return old
}

// session finds a session by its id.
func (d *directory) session(id string) *session {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.byID[id]
}

// sessions lists a user's sessions, detached ones too, the newest last.
func (d *directory) sessions(user string) []*session {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.byUser[user])
}

// others lists the other sessions of a session's user.
func (d *directory) others(s *session) (others []*session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range d.byUser[s.user] {
		if o != s {
			others = append(others, o)
		}
	}
	return others
}

// reach is the session that a call to the user goes to: the newest that is
// connected, or else the newest that may still be resumed.
func (d *directory) reach(user string) *session {
	all := d.sessions(user)
	for _, s := range slices.Backward(all) {
		if s.attached() {
			return s
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

// engage puts both users into the call, or neither if one is in a call already.
func (d *directory) engage(c *call) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return signaling.Errorf(signaling.CodeGoingAway, "the server shuts down")
	}
	for _, m := range c.members {
		if d.byID[m.session.id] != m.session { // it ended a moment ago
			return unavailable()
		}
		if d.inCall[m.user] != nil {
			return signaling.Errorf(signaling.CodeBusy, "one of the two is in a call")
		}
	}
	for _, m := range c.members {
		d.inCall[m.user] = c
		m.session.call.Store(c)
	}
	c.srv.work.Add(1)
	return nil
}

// disengage takes a member out of its call; it may then be in another.
func (d *directory) disengage(m *member, c *call) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inCall[m.user] == c {
		delete(d.inCall, m.user)
	}
	m.session.call.CompareAndSwap(c, nil)
}

// close refuses everything from now on and returns what there is.
func (d *directory) close() (sessions []*session, calls []*call) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, s := range d.byID {
		sessions = append(sessions, s)
	}
	seen := make(map[*call]bool)
	for _, c := range d.inCall {
		if !seen[c] {
			seen[c] = true
			calls = append(calls, c)
		}
	}
	return sessions, calls
}
