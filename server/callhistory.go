package server

import (
	"context"
	"time"

	"github.com/callbench/callbench/signaling"
)

// row is what is known of the call by now.
func (c *call) row() CallHistory {
	return CallHistory{CallID: c.callID, RoomID: c.id, Caller: c.caller.user, Callee: c.to, Node: c.srv.cfg.Node, StartedAt: c.created,
		RingingAt: c.rungAt, AnsweredAt: c.answeredAt, EndedAt: c.endedAt, Reason: c.reason, Outcome: c.became}
}

// recordCall writes down what is known of the call by now.
func (c *call) recordCall() {
	row := c.row()
	c.save("record call", func(ctx context.Context) error { return c.srv.cfg.History.CallChanged(ctx, row) }, nil)
}

// recordMissed writes down a call that was refused, for this reason, because the
// callee was not there or in another. It has no room, so that it is known to the
// callee alone: the caller must not learn from a list who blocks it. It is called on
// the queue of the callee's postbox.
func (s *Server) recordMissed(from, to, callID string, reason signaling.Code, at time.Time) {
	ctx, cancel := s.storing()
	defer cancel()
	err := s.cfg.History.CallChanged(ctx, CallHistory{CallID: callID, Caller: from, Callee: to, Node: s.cfg.Node, StartedAt: at, EndedAt: at,
		Reason: signaling.Reason(reason), Outcome: signaling.OutcomeMissed})
	if err != nil {
		s.metrics.lost.WithLabelValues("record call").Inc()
		s.log.Error("state.failed", "call", callID, "operation", "record call", "error", err.Error())
	}
}
