package server

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/callbench/callbench/signaling"
)

// directory knows who is there and who is in a call or a conference. It decides in
// one place that a user is in one room at most. A call that is ending is nobody's any
// more: its members are free for others, and their sessions keep it in ending
// until they have left it too.
type directory struct {
	mu     sync.Mutex
	closed bool
	byID   map[string]*session
	byUser map[string][]*session // the newest last
	in     map[string]*room      // by user
	rooms  map[*room]struct{}    // that have not ended
	named  map[string]*venue     // conferences by their ids
	made   map[string]int        // conferences, by the user that made them
	begun  uint64                // sessions so far
}

func (d *directory) init() {
	d.byID = make(map[string]*session)
	d.byUser = make(map[string][]*session)
	d.in = make(map[string]*room)
	d.rooms = make(map[*room]struct{})
	d.named = make(map[string]*venue)
	d.made = make(map[string]int)
}

// add makes a session known. It returns false when the server closes. A user's
// first session is its coming, and its last one's end its going.
func (d *directory) add(s *session) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.admit(s)
	return true
}

// admit is add; d.mu is held.
func (d *directory) admit(s *session) {
	s.srv.work.Add(1)
	d.begun++
	s.number = d.begun
	d.byID[s.id] = s
	d.byUser[s.user] = append(d.byUser[s.user], s)
	if len(d.byUser[s.user]) == 1 {
		s.srv.came(s.user, s.since)
	}
	if in := d.in[s.user]; in != nil {
		if c, ok := in.host.(*call); ok { // which may ring
			c.queue.Do(func() { c.arrived(s) })
		}
	}
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

// replaced are the sessions that a new one ends: those of the same user that
// its device had before, and the one that it names. Only older ones: two that a
// device begins at the same time must not end each other.
func (d *directory) replaced(s *session, named string) (old []*session) {
	for _, o := range d.sessions(s.user) {
		if o.number < s.number && (o.id == named || s.device != "" && o.device == s.device) {
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

// engagement is why a call could not be: one of the two is in another room, or is
// not there.
type engagement struct {
	callee bool  // it is the callee
	in     *room // nil if it is not there
	err    error
}

// engage puts both users into the call, the callee with all its devices, or
// neither if one is in a room already. It returns nil if it did. A callee without
// a device can be called if Push may wake one.
func (d *directory) engage(c *call) *engagement {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return &engagement{err: signaling.Errorf(signaling.CodeGoingAway, "the server shuts down")}
	}
	if err := d.full(c.srv); err != nil {
		return &engagement{true, nil, err}
	}
	busy := signaling.Errorf(signaling.CodeBusy, "one of the two is in a call")
	switch from := c.caller.session; {
	case d.byID[from.id] != from: // it ended a moment ago
		return &engagement{false, nil, unavailable()}
	case d.in[from.user] != nil:
		return &engagement{false, d.in[from.user], busy}
	case d.in[c.to] != nil:
		return &engagement{true, d.in[c.to], busy}
	case len(d.byUser[c.to]) == 0 && c.srv.cfg.Push == nil:
		return &engagement{true, nil, unavailable()}
	}
	for _, u := range d.byUser[c.to] {
		c.add(u, RolePublisher)
	}
	d.in[c.caller.user], d.in[c.to] = c.room, c.room
	for _, m := range c.members {
		m.session.room.Store(c.room)
		c.before = append(c.before, m.session.ending...)
	}
	d.keep(c.room)
	return nil
}

// keep makes a room known until it is over. d.mu is held.
func (d *directory) keep(r *room) {
	d.rooms[r] = struct{}{}
	if r.kind != Room1v1 {
		d.made[r.creator]++
	}
	r.srv.work.Add(1)
}

// release sets the members of a call free for others because it ends.
func (d *directory) release(r *room) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free(r)
}

// free is release; d.mu is held.
func (d *directory) free(r *room) {
	if c, ok := r.host.(*call); ok && d.in[c.to] == r { // of whom no device may be there
		delete(d.in, c.to)
	}
	for _, m := range r.members {
		if d.in[m.user] == r {
			delete(d.in, m.user)
		}
		if m.session.room.CompareAndSwap(r, nil) {
			m.session.ending = append(m.session.ending, r)
		}
	}
}

// leave takes a session out of a call, which thereby ends if it was in it, and
// hands the call what the session asked for. Both in one step: whoever is engaged
// with one of the members after that finds on the call's queue that it ends.
func (d *directory) leave(u *session, r *room, f func()) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if u.room.Load() == r {
		if c, ok := r.host.(*call); ok && c.leaver == nil {
			c.leaver = u
		}
		d.free(r)
	}
	d.part(u, r)
	return r.queue.Do(f)
}

// part makes a session forget a room that it has left.
func (d *directory) part(u *session, r *room) {
	u.ending = slices.DeleteFunc(u.ending, func(o *room) bool { return o == r })
}

// depart is told that a member has left its room or was taken out.
func (d *directory) depart(m *member, r *room) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.in[m.user] == r {
		delete(d.in, m.user)
	}
	m.session.room.CompareAndSwap(r, nil)
	d.part(m.session, r)
}

// venue is a conference's name, as long as there is anything of it.
type venue struct {
	conference *conference
	taken      int // by who is in, comes in or has not left altogether; none is the conference's end
}

// conference finds the room of a conference by its id, nil if there is none.
func (d *directory) conference(id string) *room {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.named[id]; p != nil && p.taken > 0 {
		return p.conference.room
	}
	return nil
}

// reserve keeps a conference from ending, and makes it if there is none and its
// type is given. One that ends makes way for a new one.
func (d *directory) reserve(u *session, id string, kind RoomType) (*conference, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.named[id]
	switch {
	case d.closed:
		return nil, signaling.Errorf(signaling.CodeGoingAway, "the server shuts down")
	case p != nil && p.taken > 0 && kind != "" && p.conference.kind != kind:
		return nil, signaling.Errorf(signaling.CodeBadState, "the room is of type %s", p.conference.kind)
	case p != nil && p.taken > 0:
		p.taken++
		return p.conference, nil
	case d.isCall(id):
		return nil, noSuchCall()
	case kind == "":
		return nil, signaling.Errorf(signaling.CodeNoSuchRoom, "there is no such room")
	}
	if err := d.full(u.srv); err != nil {
		return nil, err
	}
	if n := u.srv.cfg.Limits.RoomsPerUser; d.made[u.user] >= n {
		return nil, u.srv.exceeded(limitRoomsPerUser, "more than %d rooms that one user has made", n)
	}
	c := newConference(u.srv, id, u.user, kind)
	if p != nil {
		c.before = p.conference.room
		if next := c.before.created.Add(time.Millisecond); c.created.Before(next) { // its rows are told apart by when it began
			c.created = next
		}
	}
	d.named[id] = &venue{c, 1}
	d.keep(c.room)
	return c, nil
}

// full refuses one more room if there are as many as may be. d.mu is held.
func (d *directory) full(s *Server) error {
	if n := s.cfg.Limits.Rooms; len(d.rooms) >= n {
		return s.exceeded(limitRooms, "more than %d rooms", n)
	}
	return nil
}

// isCall reports whether the id is of a call's room. d.mu is held.
func (d *directory) isCall(id string) bool {
	for r := range d.rooms {
		if r.id == id && r.kind == Room1v1 {
			return true
		}
	}
	return false
}

// vacate gives back what reserve gave, and reports whether nobody has anything of
// the conference any more: it must end.
func (d *directory) vacate(r *room) (last bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.named[r.id]
	p.taken--
	return p.taken == 0
}

// claim puts a session into a conference, and returns those rooms that it has not
// left yet. If its user is in another room, that is returned with the error.
func (d *directory) claim(u *session, r *room) (before []*room, in *room, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byID[u.id] != u { // it ended a moment ago
		return nil, nil, unavailable()
	}
	if in := d.in[u.user]; in != nil {
		return nil, in, signaling.Errorf(signaling.CodeBusy, "you are in a call or a room already")
	}
	d.in[u.user] = r
	u.room.Store(r)
	return slices.Clone(u.ending), nil, nil
}

// roomsOf lists the rooms that a session has not left: the one that it is in,
// then those that are ending, the oldest first.
func (d *directory) roomsOf(u *session) (rooms []*room) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := u.room.Load(); r != nil {
		rooms = append(rooms, r)
	}
	return append(rooms, u.ending...)
}

// over forgets a room that has ended.
func (d *directory) over(r *room) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.rooms, r)
	if r.kind != Room1v1 {
		if d.made[r.creator]--; d.made[r.creator] == 0 {
			delete(d.made, r.creator)
		}
	}
	if p := d.named[r.id]; p != nil && p.conference.room == r {
		delete(d.named, r.id)
	}
}

// close refuses everything from now on and returns what there is.
func (d *directory) close() (sessions []*session, rooms []*room) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return d.list()
}

// everybody lists the sessions and rooms that there are.
func (d *directory) everybody() (sessions []*session, rooms []*room) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.list()
}

// list is everybody, in the order of their ids: two runs that end alike end them
// in the same order. d.mu is held.
func (d *directory) list() (sessions []*session, rooms []*room) {
	for _, s := range d.byID {
		sessions = append(sessions, s)
	}
	for r := range d.rooms {
		rooms = append(rooms, r)
	}
	slices.SortFunc(sessions, func(a, b *session) int { return strings.Compare(a.id, b.id) })
	slices.SortFunc(rooms, func(a, b *room) int { return strings.Compare(a.id, b.id) })
	return sessions, rooms
}
