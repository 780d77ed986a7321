package server

import "time"

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
