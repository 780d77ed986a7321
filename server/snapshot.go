package server

import (
	"context"
	"errors"
	"slices"
	"time"
)

// snapshot is what there is to know of every room.
func (r *room) snapshot() RoomSnapshot {
	cfg := &r.srv.cfg
	s := RoomSnapshot{RoomRecord: RoomRecord{RoomID: r.id, Type: r.kind, CreatedAt: r.created}, Node: cfg.Node,
		Hold: cfg.Timeout + cfg.ResumeWindow, Creator: r.creator, CallID: r.callID}
	s.Media, s.HeardAt = r.media(), time.Now()
	if r.kind != Room1v1 {
		s.Limit = cfg.Limits.members(r.kind)
	}
	if rec := r.recording; rec != nil {
		s.Recording = &RecordingSnapshot{ID: rec.id, Path: rec.path, StartedAt: rec.startedAt, Participants: slices.Clone(rec.users)}
	}
	if r.pipeline != nil {
		s.PipelineID = r.pipeline.ID()
	}
	for _, m := range r.members {
		// Who is being let into a conference is in it for another server, and asks again.
		knows := m.invited || r.kind != Room1v1 && !m.joined.IsZero()
		s.Members = append(s.Members, MemberSnapshot{UserID: m.user, SessionID: m.session.id, Role: m.role,
			JoinedAt: m.joined, Invited: knows, Told: m.told, Left: m.left})
	}
	return s
}

// snapshot is the call as another server would go on with it. An answer whose
// endpoint is still being made has not come: the call rings, and the callee, which
// was told nothing, answers again.
func (c *call) snapshot() RoomSnapshot {
	s := c.room.snapshot()
	at := c.at()
	if at == stateDialing || at == stateAccepting && c.callee.joined.IsZero() {
		at = stateRinging
	} else if at == stateAccepting {
		at = stateActive
	}
	s.State, s.RingUntil, s.AnsweredAt, s.EndedAt = at.String(), c.expires, c.answeredAt, c.endedAt
	s.Reason, s.Outcome, s.Callee = c.reason, c.became, c.to
	if s.RingUntil.IsZero() {
		s.RingUntil = time.Now().Add(c.srv.cfg.RingTimeout)
	}
	if c.endedBy != nil {
		s.EndedBy = c.endedBy.user
	}
	if at == stateRinging {
		s.Invited = []string{c.to}
	}
	return s
}

// saveSnapshot writes down what another server must know of a room that is open.
func (r *room) saveSnapshot() {
	if !r.opened {
		return
	}
	s := r.host.snapshot()
	r.write("save room", func(ctx context.Context) error { return r.srv.cfg.State.SaveRoom(ctx, s) }, nil)
}

// keep finds out whether State has lost something of a member, and writes that again.
// Its heartbeat does that, so it must not cost more in a larger room.
func (r *room) keep(u *session) {
	m := r.kept(u)
	if m == nil {
		return
	}
	record, node, lost := m.record(), r.srv.cfg.Node, false
	var invited []string
	if r.kind == Room1v1 {
		invited = r.host.snapshot().Invited
	}
	r.write("check leg", func(ctx context.Context) error {
		err := r.srv.cfg.State.CheckLeg(ctx, node, record, invited...)
		if lost = errors.Is(err, ErrStateLost); lost {
			return nil
		}
		return err
	}, func() {
		if lost {
			r.log.Warn("state.lost", "user", u.user, "session", u.id)
			r.rewrite(u)
		}
	})
}

// rewrite writes again what State has lost of a member and of the room.
func (r *room) rewrite(u *session) {
	m := r.kept(u)
	if m == nil {
		return
	}
	s, record, leg := r.host.snapshot(), m.record(), m.leg.record()
	r.write("keep room", func(ctx context.Context) error { return r.srv.cfg.State.KeepRoom(ctx, s, record, leg) }, nil)
}

// kept is the member that a session is of the room, nil if State has nothing of it.
func (r *room) kept(u *session) *member {
	m := r.memberOf(u)
	if m == nil || m.joined.IsZero() || m.leg == nil || !r.opened {
		return nil
	}
	return m
}
