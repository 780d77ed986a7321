package server

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/callbench/callbench/signaling"
)

// Restore goes on with the rooms that the server of this name had when it was
// killed, as State knows them. Their members have ResumeWindow to come back, and
// until they do they are away for the others. What History says goes on and State knows
// nothing of has ended. It is called before clients come in, and returns when it is known what the media server still has. Sessions of who is in
// no room are restored when their clients come.
func (s *Server) Restore(ctx context.Context) error {
	rooms, err := s.cfg.State.Rooms(ctx, s.cfg.Node)
	if err != nil {
		return fmt.Errorf("restore rooms: %w", err)
	}
	var all sync.WaitGroup
	var kept []RoomRecord
	for _, r := range rooms {
		v := &revival{RoomSnapshot: r, srv: s, done: all.Done}
		all.Add(1)
		switch {
		case r.Type == Room1v1 && len(r.Members) > 0:
			kept = append(kept, r.RoomRecord)
			v.call()
		case r.Type == RoomMCU, r.Type == RoomBroadcast:
			kept = append(kept, r.RoomRecord)
			v.conference()
		default: // State has lost what it was
			v.done()
			s.log.Warn("room.swept", "room", r.RoomID)
			if err := s.cfg.State.CloseRoom(ctx, r); err != nil {
				return fmt.Errorf("sweep room %s: %w", r.RoomID, err)
			}
		}
	}
	all.Wait()
	if s.cfg.Sweeper == nil {
		return nil
	}
	if err := s.cfg.Sweeper.Sweep(ctx, s.cfg.Node, kept); err != nil {
		return fmt.Errorf("end what was left open in the history: %w", err)
	}
	return nil
}

// restore finds in State a session that this server had when it was killed. Only who
// knows its resume token learns whether there is one.
func (s *Server) restore(id, secret string) *session {
	ctx, cancel := s.storing()
	defer cancel()
	r, ok, err := s.cfg.State.GetSession(ctx, id)
	if err != nil {
		s.metrics.lost.WithLabelValues("get session").Inc()
		s.log.Error("state.failed", "session", id, "operation", "get session", "error", err.Error())
		return nil
	}
	if !ok || s.mender.isDead(id) || !s.resumable(r) || !same(secret, r.Secret) && !same(secret, r.Before) {
		return nil
	}
	return s.adopt(r)
}

// resumable reports whether a session of State's may be resumed here. Level 0 cannot
// resume.
func (s *Server) resumable(r SessionRecord) bool { return r.Node == s.cfg.Node && r.Level > level0 }

// adopt makes a session known that another server had, detached as it is now. It is
// nil if the server closes.
func (s *Server) adopt(r SessionRecord) *session {
	u := &session{srv: s, id: r.SessionID, user: r.UserID, device: r.Device, level: r.Level, since: r.ConnectedAt,
		secret: r.Secret, before: r.Before, expires: r.Expires, restored: true,
		proof: Identity{User: r.UserID, Expires: r.Expires, TokenID: r.TokenID, Issued: r.Issued}}
	u.sent.last = r.Received
	u.mu.Lock()
	defer u.mu.Unlock()
	known, ok := s.users.adopt(u)
	if !ok || known != u {
		return known
	}
	u.timer = time.AfterFunc(s.cfg.ResumeWindow, func() { u.expire(0) })
	u.log("session.restored")
	return u
}

// adopt is add for a session that may have been adopted a moment ago: then it
// returns that.
func (d *directory) adopt(u *session) (known *session, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if known := d.byID[u.id]; known != nil {
		return known, true
	}
	if d.closed {
		return nil, false
	}
	d.admit(u)
	return u, true
}

// revival is a room on its way back.
type revival struct {
	RoomSnapshot
	srv  *Server
	lost []*session // of members that cannot come back
	done func()     // it is back
}

// session is that of a member. One that cannot come back has ended.
func (v *revival) session(m MemberSnapshot) *session {
	i := slices.IndexFunc(v.Sessions, func(r SessionRecord) bool { return r.SessionID == m.SessionID })
	if i >= 0 && !m.Left && v.srv.resumable(v.Sessions[i]) && !expired(v.Sessions[i].Expires) {
		if u := v.srv.adopt(v.Sessions[i]); u != nil {
			return u
		}
	}
	u := &session{srv: v.srv, id: m.SessionID, user: m.UserID, level: level1, ended: true, released: true}
	if !m.Left {
		v.lost = append(v.lost, u)
	}
	return u
}

// fill gives a room what every room has, and its members.
func (v *revival) fill(r *room, h host) {
	r.host, r.callID, r.created, r.opened, r.flowing = h, v.CallID, v.CreatedAt, true, v.Media.Started
	for _, m := range v.Members {
		n := r.add(v.session(m), m.Role)
		n.joined, n.invited, n.told, n.left, n.gone = m.JoinedAt, m.Invited, m.Told, m.Left, m.Left
		n.away = !m.Left
	}
}

// call goes on with a call where it stood.
func (v *revival) call() {
	c := &call{room: newRoom(v.srv, v.RoomID, v.Creator, v.Type), to: v.Callee, expires: v.RingUntil, answeredAt: v.AnsweredAt,
		endedAt: v.EndedAt, reason: v.Reason, became: v.Outcome, dialed: true}
	c.log = v.srv.log.With("call", v.CallID, "room", v.RoomID)
	v.fill(c.room, c)
	c.caller = c.members[0]
	at := stateRinging
	for _, m := range c.members[1:] {
		switch {
		case !m.joined.IsZero():
			c.callee = m
		case v.State != stateRinging.String(): // another device has answered
			m.left, m.gone = true, true
		}
		if m.user == v.EndedBy {
			c.endedBy = m
		}
	}
	if c.caller.user == v.EndedBy {
		c.endedBy = c.caller
	}
	switch {
	case v.State == stateEnding.String():
		at = stateEnding
	case c.callee != nil:
		at = stateActive
	}
	c.state.Store(int32(at))
	v.srv.users.revive(c.room, at != stateEnding)
	c.log.Info("call.restored", "state", at.String(), "lost", len(v.lost))
	c.queue.Do(func() { c.goOn(v, at) })
}

// goOn does what is due in the state that the call is in.
func (c *call) goOn(v *revival, at callState) {
	v.again(c.room)
	c.recordCall()
	switch at {
	case stateRinging:
		for _, m := range c.members[1:] { // who knows of the call ignores it
			if !m.left {
				c.ring(m)
			}
		}
		c.wake() // the notification may be lost, and so may the server that knew of it
		c.watchRinging()
		c.after(time.Until(c.expires), func() { c.end(signaling.ReasonNoAnswer, nil) })
	case stateActive:
		c.tellConnection(c.caller)
		c.tellConnection(c.callee)
	}
	c.takeOver(v, func() {
		if at == stateEnding {
			c.announce()
			c.settle(nil)
		}
		v.back(c.room)
	})
}

// back ends the restoration of a room: who cannot come back is out of it, since it was
// last heard of.
func (v *revival) back(r *room) {
	r.lastHeard = v.heardAt()
	for _, u := range v.lost {
		r.host.gone(u)
	}
	if len(r.within()) > 0 {
		r.lastHeard = time.Time{}
	}
	v.done()
}

// heardAt is when the room was last heard of, as far as is known.
func (v *revival) heardAt() time.Time {
	at := v.HeardAt
	for _, m := range v.Members {
		if m.JoinedAt.After(at) {
			at = m.JoinedAt
		}
	}
	if at.IsZero() {
		return time.Now()
	}
	return at
}

// conference goes on with a conference.
func (v *revival) conference() {
	c := newConference(v.srv, v.RoomID, v.Creator, v.Type)
	c.begun, c.made = true, true
	v.Members = slices.DeleteFunc(v.Members, func(m MemberSnapshot) bool { return m.Left || m.JoinedAt.IsZero() })
	v.fill(c.room, c)
	v.srv.users.revive(c.room, true)
	c.log.Info("room.restored", "members", len(c.members), "lost", len(v.lost))
	c.queue.Do(func() {
		v.again(c.room)
		for _, m := range c.members {
			data := m.about()
			data.Role = ""
			c.tell(m, signaling.ActionReconnecting, data)
		}
		c.takeOver(v, func() {
			v.back(c.room)
			if len(v.Members) == 0 { // it was about to end
				c.vacate(func() {})
			}
		})
	})
}

// again writes down once more what may not have come to be written, and that a
// recording was lost with the server that made it.
func (v *revival) again(r *room) {
	history := v.srv.cfg.History
	started := r.history()
	r.save("record room", func(ctx context.Context) error { return history.RoomStarted(ctx, started) }, nil)
	for _, m := range r.members {
		if joined := m.history(time.Time{}); !m.joined.IsZero() && !m.left {
			r.save("record member", func(ctx context.Context) error { return history.MemberJoined(ctx, joined) }, nil)
		}
	}
	rec := v.RoomSnapshot.Recording
	if rec == nil {
		return
	}
	old := &recording{room: r, id: rec.ID, path: rec.Path, startedAt: rec.StartedAt, users: rec.Participants, state: signaling.RecordingFailed}
	row := old.row()
	row.EndedAt = v.heardAt()
	old.tell(row)
	r.saveMedia()
	r.saveSnapshot()
}

// revive makes a restored room known. If it holds its members, they are in no other.
func (d *directory) revive(r *room, holds bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keep(r)
	in := 0
	for _, m := range r.members {
		switch {
		case m.left:
		case holds:
			d.in[m.user] = r
			m.session.room.Store(r)
			in++
		default:
			m.session.ending = append(m.session.ending, r)
		}
	}
	switch h := r.host.(type) {
	case *call:
		if holds {
			d.in[h.to] = r
		}
	case *conference:
		d.named[r.id] = &venue{h, max(in, 1)}
	}
}
