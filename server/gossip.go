package server

import (
	"log/slog"

	"github.com/callbench/callbench/signaling"
)

// gossip are the presences that wait until a session may be told: while it is
// detached, before it has what is stored for it, and while its client reads slowly.
// Of each user only the newest waits, so that nobody is disconnected, and no
// session is lost, because others come and go. Nothing else is ever left out: a
// client that does not read what it must be told is disconnected, and gets it when
// it resumes.
type gossip struct {
	newest map[string]signaling.State
	order  []string // of users, as the first that waits came
}

// add keeps a presence, in the place of an older one of its user.
func (g *gossip) add(st signaling.State) {
	if g.newest == nil {
		g.newest = make(map[string]signaling.State)
	}
	if _, waits := g.newest[st.UserID]; !waits {
		g.order = append(g.order, st.UserID)
	}
	g.newest[st.UserID] = st
}

// next takes the one that waits longest. ok is false if none waits.
func (g *gossip) next() (st signaling.State, ok bool) {
	if len(g.order) == 0 {
		return st, false
	}
	st = g.newest[g.order[0]]
	delete(g.newest, g.order[0])
	if g.order = g.order[1:]; len(g.order) == 0 {
		g.newest, g.order = nil, nil
	}
	return st, true
}

// tell pushes a presence when the session may hear it, unless it was told of it: a
// contact may come at the same moment as the session.
func (u *session) tell(st signaling.State) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if st.Version != 0 && u.told[st.UserID] >= st.Version {
		return
	}
	if u.told == nil {
		u.told = make(map[string]uint64)
	}
	u.told[st.UserID] = st.Version
	u.gossip.add(st)
	u.retell()
}

// retell pushes presences that wait, as long as the client keeps up. u.mu is held.
func (u *session) retell() {
	for u.mayHear() {
		st, ok := u.gossip.next()
		if !ok {
			break
		}
		f, err := signaling.New(signaling.TypeState, "", st)
		if err != nil { // a state always can be encoded
			u.logAt(slog.LevelError, "session.failed", slog.String("error", err.Error()))
			continue
		}
		u.emit(f, nil)
	}
	u.gossiping.Store(len(u.gossip.order) > 0)
	if len(u.gossip.order) > 0 && u.mayHear() { // the writer caught up before it could know that some wait
		u.retell()
	}
}

// mayHear reports whether the client keeps up. u.mu is held.
func (u *session) mayHear() bool {
	return u.released && u.conn != nil && u.conn.depth() < u.srv.gossipBehind()
}

// gossipBehind is how many frames may wait for a client before it is not told of
// presences one by one any more: a quarter of those that may wait at all.
func (s *Server) gossipBehind() int { return max(1, s.cfg.MaxQueue/4) }

// caughtUp is told, by the writer, that the client has read all that waited.
func (u *session) caughtUp() {
	if !u.gossiping.Load() {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.retell()
}
