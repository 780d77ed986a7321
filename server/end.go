package server

import (
	"context"
	"time"

	"github.com/callbench/callbench/signaling"
)

// leave is step 27, or 31: a member hangs up, cancels, declines, or confirms
// that the call is over. In a call that is ending all of these words confirm, and
// so they do for a device whose call another one answered.
func (c *call) leave(r request) {
	m := c.asking(r)
	switch {
	case c.elsewhere(m), c.rings(m) && r.frame.Action == signaling.ActionBusy && c.othersRing(m):
		c.withdraw(m)
		r.ack(nil)
		return
	case m == nil || c.at() != stateEnding && !c.mayEnd(m, r.frame.Action):
		r.fail(c.wrongState(m))
		return
	case c.dialing():
		c.later = append(c.later, func() { c.leave(r) })
		return
	}
	if c.at() != stateEnding {
		c.begin(c.reasonOf(m, r.frame.Action), m)
	}
	c.out(m, func() { c.settle(func() { r.ack(nil); c.announce() }) })
	c.tellSoon()
}

// mayEnd reports whether the member may end the call with this word. The caller
// may cancel a call that was answered in the same moment; the callee that has
// answered declines no more.
func (c *call) mayEnd(m *member, a signaling.Action) bool {
	switch a {
	case signaling.ActionCancel:
		return m == c.caller
	case signaling.ActionReject, signaling.ActionBusy:
		return c.rings(m)
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
	switch {
	case m == nil:
	case c.elsewhere(m), m != c.caller && c.at() <= stateRinging && (c.othersRing(m) || c.mayWake()):
		c.withdraw(m)
	case c.at() == stateRinging && !time.Now().Before(c.expires): // the ring timer runs out in this instant
		c.end(signaling.ReasonNoAnswer, nil)
		c.out(m, func() { c.settle(nil) })
	case c.at() != stateEnding:
		c.end(signaling.ReasonDropped, m)
	default:
		c.out(m, func() { c.settle(c.announce) })
	}
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
	c.out(by, func() { c.settle(c.announce) })
	c.tellSoon()
}

// tellSoon tells the end at once where a file is being completed: who left is not out
// before that.
func (c *call) tellSoon() {
	if c.recording != nil {
		c.tell()
	}
}

// begin moves the call to ending. This is the instant that History and the
// conversation know as its end, and from now on its members may be in others.
func (c *call) begin(reason signaling.Reason, by *member) {
	c.reason, c.endedBy, c.endedAt, c.became = reason, by, c.now(), c.outcome(reason, by)
	c.move(stateEnding)
	c.silence(reason)
	c.srv.users.release(c.room)
	c.endRecording(func() {})
	if !c.posted { // another instance was faster, and has the callee's row
		c.recordCall()
	}
	c.setFree()
	for _, m := range c.members {
		if !m.invited && m != by {
			c.out(m, func() {})
		}
	}
}

// setFree has State know that the call ends, and holds its members no more.
func (c *call) setFree() {
	if !c.opened {
		return
	}
	s, users := c.snapshot(), []string{c.caller.user, c.to}
	state, invited := c.srv.cfg.State, MemberRecord{RoomID: c.id, UserID: c.to} // members are set free when they leave
	c.record("end room", func(ctx context.Context) error { return state.SaveRoom(ctx, s, users...) }, func() {
		c.srv.owes(debt{"end room", func(ctx context.Context) error { return state.LeaveRoom(ctx, invited) }})
	}, nil)
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
	for _, m := range c.members {
		if !m.left && !m.told {
			c.tellEnd(m, c.reasonFor(m))
		}
	}
	switch {
	case c.hurry:
		c.giveUp()
	case c.timer == nil:
		c.after(c.srv.cfg.ConfirmTimeout, c.giveUp)
	}
}

// tellEnd tells a member why the call is over for it.
func (c *call) tellEnd(m *member, reason signaling.Reason) {
	data := c.ref()
	data.Reason = reason
	if c.endedBy != nil {
		data.UserID = c.endedBy.user
	}
	m.told = true
	c.log.Info("call.ended", "user", m.user, "session", m.session.id, "reason", string(reason))
	c.push(m, signaling.ActionEnded, data)
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
			c.out(m, func() { c.settle(nil) })
		}
	}
}

// out takes a member out, and continues.
func (c *call) out(m *member, then func()) {
	c.depart(m, func() time.Time { return c.endedAt }, then)
}

// ended implements host.
func (c *call) ended() bool { return c.at() == stateEnded }

// mediaFailed implements host: a call is no call without either's media.
func (c *call) mediaFailed(*member) { c.end(signaling.ReasonMediaFailed, nil) }

// endsWith implements host.
func (c *call) endsWith(last *member) bool {
	if c.at() != stateEnding || c.recording != nil {
		return false
	}
	for _, m := range c.members {
		if m != last && !m.gone {
			return false
		}
	}
	return true
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
	row := c.history()
	row.EndedAt, row.Reason = c.endedAt, c.reason
	c.endRecording(func() {
		c.releasePipeline(func() { c.close(row, func() { c.over(then) }) })
	})
}

func (c *call) over(then func()) {
	c.move(stateEnded)
	c.srv.metrics.ended.WithLabelValues(string(c.reason)).Inc()
	for _, m := range c.members {
		if !m.left { // another device answered, and this one has not confirmed that
			c.withdraw(m)
		}
	}
	c.srv.users.over(c.room)
	then()
	c.post()
}
