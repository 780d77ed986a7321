package server

import (
	"sync"

	"github.com/callbench/callbench/signaling"
)

// seats are the sessions that begin at the moment, by user: they count before the
// directory knows them, so that many that begin at once are not too many. The
// zero value is ready to use.
type seats struct {
	mu sync.Mutex
	by map[string]int
}

// startWithin starts a session if its user may have one more. Those that it
// replaces do not count, and a detached one gives way to it.
func (u *session) startWithin(c *conn, id, named string) *signaling.Error {
	if wire := u.takeSeat(named); wire != nil {
		return wire
	}
	defer u.srv.entering.free(u.user)
	if !u.start(c, id) {
		return signaling.Errorf(signaling.CodeGoingAway, "the server shuts down")
	}
	return nil
}

// takeSeat refuses the session if its user has too many, and ends the oldest
// detached one if that is all that is in its way.
func (u *session) takeSeat(named string) *signaling.Error {
	l, seats := u.srv.cfg.Limits, &u.srv.entering
	seats.mu.Lock()
	defer seats.mu.Unlock()
	open, detached := u.siblings(named)
	open += seats.by[u.user]
	switch {
	case open >= l.ConnectionsPerUser:
		return u.srv.exceeded(limitConnectionsPerUser, "more than %d connections of one user", l.ConnectionsPerUser)
	case open+len(detached) < l.SessionsPerUser:
	case len(detached) == 0:
		return u.srv.exceeded(limitSessionsPerUser, "more than %d sessions of one user", l.SessionsPerUser)
	default:
		u.srv.metrics.limits.WithLabelValues(limitSessionsPerUser).Inc()
		detached[0].end(causeCrowded)
	}
	if seats.by == nil {
		seats.by = make(map[string]int)
	}
	seats.by[u.user]++
	return nil
}

// siblings are the sessions of the user that stay when this one begins: how many
// are open, and those that are detached, the oldest first.
func (u *session) siblings(named string) (open int, detached []*session) {
	for _, o := range u.srv.users.sessions(u.user) {
		switch {
		case o.id == named || u.device != "" && o.device == u.device:
		case o.attached():
			open++
		default:
			detached = append(detached, o)
		}
	}
	return open, detached
}

// free ends what takeSeat began.
func (s *seats) free(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by[user]--; s.by[user] <= 0 {
		delete(s.by, user)
	}
}
