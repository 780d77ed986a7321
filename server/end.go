package server

import (
	"context"
	"time"

	"github.com/callbench/callbench/signaling"
)

// leave is step 27, or 31: a member hangs up, cancels, declines, or confirms
// that the call is over. In a call that is ending all of these words confirm.
func (c *call) leave(r request) {
	m := c.asking(r)
	if m == nil || c.at() != stateEnding && !c.mayEnd(m, r.frame.Action) {
		r.fail(c.wrongState(m))
		return
	}
	if c.dialing() {
		c.later = append(c.later, func() { c.leave(r) })
		return
	}
	if c.at() != stateEnding {
		c.begin(c.reasonOf(m, r.frame.Action), m)
	}
	c.depart(m, func() { c.settle(func() { r.ack(nil); c.announce() }) })
}

// mayEnd reports whether the member may end the call with this word. The caller
// may cancel a call that was answered in the same moment; the callee that has
// answered declines no more.
func (c *call) mayEnd(m *member, a signaling.Action) bool {
	switch a {
	case signaling.ActionCancel:
		return m == c.caller
	case signaling.ActionReject, signaling.ActionBusy:
		return m == c.callee && c.at() == stateRinging
	}
	return true
}

// reasonOf is why the call ends if this member leaves now, with this word.
func (c *call) reasonOf(m *member, a signaling.Action) signaling.Reason {
	switch at := c.at(); {
	case at != stateDialing && at != stateRinging:
		return signaling.ReasonHangup
	case m == c.caller:
		return signaling.ReasonCancelled
	case a == signaling.ActionBusy:
		return signaling.ReasonBusy
	default:
		return signaling.ReasonDeclined
	}
}

// gone is told that a member's session has ended.
func (c *call) gone(u *session) {
	if c.dialing() {
		c.later = append(c.later, func() { c.gone(u) })
		return
	}
	m := c.memberOf(u)
	if m == nil {
		return
	}
	if c.at() != stateEnding {
		c.end(signaling.ReasonDropped, m)
		return
	}
	c.depart(m, func() { c.settle(c.announce) })
}

// end ends the call on the server's own account: by is the member that was
// lost, nil if both are still there.
func (c *call) end(reason signaling.Reason, by *member) {
	switch {
	case c.at() == stateEnding, c.at() == stateEnded:
		return
	case c.dialing():
		c.later = append(c.later, func() { c.end(reason, by) })
		return
	}
	c.begin(reason, by)
	if by == nil {
		c.announce()
		return
	}
	c.depart(by, func() { c.settle(c.announce) })
}

// begin moves the call to ending. This is the instant that History and the
// conversation know as its end, and from now on its members may be in others.
func (c *call) begin(reason signaling.Reason, by *member) {
	c.reason, c.endedBy, c.endedAt, c.became = reason, by, time.Now(), c.outcome(reason, by)
	c.move(stateEnding)
	c.srv.users.release(c)
	for _, m := range c.members {
		if !m.invited && m != by {
			c.depart(m, func() {})
		}
	}
}

// shutdown ends the call without waiting for anybody. It may be called by
// anybody.
func (c *call) shutdown() {
	c.queue.Do(func() {
		c.hurry = true
		if c.at() == stateEnding {
			c.tell()
			return
		}
		c.end(signaling.ReasonDropped, nil)
	})
}

// announce tells the members, and the conversation.
func (c *call) announce() {
	c.tell()
	c.post()
}

// tell is step 30: every member that is still there is told once that the call
// is over, and has ConfirmTimeout to confirm.
func (c *call) tell() {
	if c.at() != stateEnding {
		return
	}
	data := c.ref()
	data.Reason = c.reason
	if c.endedBy != nil {
		data.UserID = c.endedBy.user
	}
	for _, m := range c.members {
		if !m.left && !m.told {
			m.told = true
			c.log.Info("call.ended", "user", m.user, "session", m.session.id, "reason", string(c.reason))
			c.push(m, signaling.ActionEnded, data)
		}
	}
	switch {
	case c.hurry:
		c.giveUp()
	case c.timer == nil:
		c.after(c.srv.cfg.ConfirmTimeout, c.giveUp)
	}
}

// hasten tells the end of a call whose members are in another one already, even
// if who left is not out yet, and continues.
func (c *call) hasten(then func()) {
	if c.dialing() {
		c.later = append(c.later, func() { c.hasten(then) })
		return
	}
	c.tell()
	then()
}

// giveUp takes out every member that has not confirmed.
func (c *call) giveUp() {
	for _, m := range c.members {
		if !m.left {
			c.log.Info("call.unconfirmed", "user", m.user, "session", m.session.id)
			c.depart(m, func() { c.settle(nil) })
		}
	}
}

// depart takes a member out: step 28 and 29, or 32. Its endpoint is released
// and its leaving written down; then the continuation runs.
func (c *call) depart(m *member, then func()) {
	m.left = true
	c.srv.users.depart(m, c)
	c.releaseLeg(m, func() {
		if m.joined.IsZero() {
			c.departed(m, then)
			return
		}
		record, row := m.record(), m.history(c.endedAt)
		c.save("leave room", func(ctx context.Context) error { return c.srv.cfg.State.LeaveRoom(ctx, record) }, func() { c.departed(m, then) })
		c.save("record leave", func(ctx context.Context) error { return c.srv.cfg.History.MemberLeft(ctx, row) }, nil)
	})
}

func (c *call) departed(m *member, then func()) {
	m.gone = true
	then()
}

// settle runs the continuation, after steps 33 and 34 if nobody is left.
func (c *call) settle(then func()) {
	if then == nil {
		then = func() {}
	}
	if !c.empty() || c.closing {
		then()
		return
	}
	c.closing = true
	c.do("release pipeline", nil, func(ctx context.Context) error {
		if c.pipeline == nil {
			return nil
		}
		return c.pipeline.Release(ctx)
	}, func(error) { c.closeRoom(then) })
}

func (c *call) closeRoom(then func()) {
	if !c.opened {
		c.over(then)
		return
	}
	row := RoomHistory{RoomID: c.room.id, Type: c.kind, Creator: c.creator, CreatedAt: c.created, EndedAt: c.endedAt, CallID: c.id, Reason: c.reason}
	c.save("close room", func(ctx context.Context) error { return c.srv.cfg.State.CloseRoom(ctx, row.RoomID) }, nil)
	c.save("record end", func(ctx context.Context) error { return c.srv.cfg.History.RoomEnded(ctx, row) }, func() { c.over(then) })
}

func (c *call) over(then func()) {
	c.move(stateEnded)
	c.srv.metrics.ended.WithLabelValues(string(c.reason)).Inc()
	c.srv.users.over(c)
	then()
	c.post()
}
