package kmsmock

import (
	"maps"
	"slices"
	"strings"
)

// A session is a set of references to objects. It is known to the server from
// the first object it touches until it is closed or collected; its websocket
// connection plays no part in that.
type session struct {
	id    string
	inUse bool // cleared by each collection, set by each sign of life
	refs  map[string]*mediaObject
	// subs are the session's subscriptions, by object and subscription id.
	subs map[string]map[string]*subscription
}

// find returns a live object by id, as any session may.
func (s *Server) find(id string) (*mediaObject, error) {
	if strings.HasPrefix(id, newRef) && len(id) > len(newRef) {
		return nil, failf(40109, "MEDIA_OBJECT_NOT_FOUND_TRANSACTION_NO_COMMIT",
			"Object '%s' not found. Possibly using a transactional object without committing the transaction.", id)
	}
	o := s.objects[id]
	if o == nil || (len(o.holders) == 0 && o != s.manager) {
		return nil, errNotFound(id)
	}
	return o, nil
}

// touch finds an object and makes the session hold it and its parents.
func (s *Server) touch(sessionID, id string) (*mediaObject, error) {
	o, err := s.find(id)
	if err == nil {
		s.hold(sessionID, o)
	}
	return o, err
}

func (s *Server) hold(sessionID string, o *mediaObject) {
	ses := s.sessions[sessionID]
	if ses == nil {
		ses = &session{id: sessionID, refs: map[string]*mediaObject{}, subs: map[string]map[string]*subscription{}}
		s.sessions[sessionID] = ses
	}
	ses.inUse = true
	for ; o != nil; o = o.parent {
		ses.refs[o.id] = o
		o.holders[sessionID] = true
	}
}

// keepAlive marks a session as in use; one that the server does not know is an error.
func (s *Server) keepAlive(sessionID string) error {
	ses := s.sessions[sessionID]
	if ses == nil {
		return errSession()
	}
	ses.inUse = true
	return nil
}

// drop takes away one session's reference to an object and its children.
// Objects that nobody holds any more die, children first.
func (s *Server) drop(sessionID string, o *mediaObject) {
	if ses := s.sessions[sessionID]; ses != nil {
		delete(ses.refs, o.id)
		for _, sub := range ses.subs[o.id] {
			o.unsubscribe(sub)
		}
		delete(ses.subs, o.id)
	}
	for _, child := range o.sortedChildren() {
		s.drop(sessionID, child)
	}
	delete(o.holders, sessionID)
	if len(o.holders) == 0 && o != s.manager {
		s.bury(o)
	}
}

// release takes an object away from every session.
func (s *Server) release(o *mediaObject) {
	if o == s.manager { // which stays, and what its subscribers asked for
		return
	}
	for _, id := range slices.Sorted(maps.Keys(o.holders)) {
		s.drop(id, o)
	}
}

// bury removes an object that nobody holds. What it has running is stopped
// outside the lock, by a goroutine that Close waits for.
func (s *Server) bury(o *mediaObject) {
	if o.dead {
		return
	}
	o.dead = true
	if s.faults.KeepReleased {
		return
	}
	s.destroy(o)
}

// destroy ends an object for good.
func (s *Server) destroy(o *mediaObject) {
	delete(s.objects, o.id)
	delete(s.recorderFaults, o.id)
	if o.parent != nil {
		delete(o.parent.children, o.id)
	}
	stop := func() {}
	if o.impl != nil {
		stop = o.impl.release()
	}
	s.logObject("kms.object.released", o)
	s.emitDestroyed(o)
	s.spawn(stop)
}

// closeSession forgets a session: its references are dropped or, with
// release, the objects are released for everybody.
func (s *Server) closeSession(id string, release bool) {
	ses := s.sessions[id]
	if ses == nil {
		return
	}
	if ses.refs[managerID] != nil { // a session is not told of what ends with it
		s.drop(id, s.manager)
	}
	for _, oid := range slices.Sorted(maps.Keys(ses.refs)) {
		o := ses.refs[oid]
		switch {
		case o == nil:
		case release:
			s.release(o)
		default:
			s.drop(id, o)
		}
	}
	delete(s.sessions, id)
}

// collect is one garbage collection: a session that gave no sign of life since
// the one before is closed.
func (s *Server) collect() {
	for _, id := range slices.Sorted(maps.Keys(s.sessions)) {
		ses := s.sessions[id]
		if ses == nil {
			continue
		}
		if ses.inUse {
			ses.inUse = false
			continue
		}
		s.log.Info("kms.session.collected", "session", id)
		s.closeSession(id, false)
	}
}

// keepConnected marks the sessions of open connections, which the server does
// by itself four times in each collection period.
func (s *Server) keepConnected() {
	for _, ses := range s.sessions {
		if s.bound[ses.id] != nil {
			ses.inUse = true
		}
	}
}
