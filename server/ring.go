package server

import (
	"time"

	"github.com/callbench/callbench/signaling"
)

// invite is steps 7 and 8: every device of the callee's rings.
func (c *call) invite() {
	c.move(stateRinging)
	c.expires = time.Now().Add(c.srv.cfg.RingTimeout)
	for _, m := range c.members {
		if m != c.caller && !m.left {
			c.ring(m)
		}
	}
	c.wake()
	c.after(c.srv.cfg.RingTimeout, func() { c.end(signaling.ReasonNoAnswer, nil) })
}

// ring invites a device for as long as the call rings still.
func (c *call) ring(m *member) {
	m.invited = true
	m.session.push(signaling.TypeInvite, "", signaling.Invite{
		RoomID: c.id, CallID: c.callID, From: c.caller.user, Expire: wholeSeconds(time.Until(c.expires))})
}

// wholeSeconds is how long something is good still, and not 0 before that is over.
func wholeSeconds(d time.Duration) int { return max(0, seconds(d+time.Second-1)) }

// arrived is told that the callee or the caller has another session. A device of
// the callee's rings as the others do.
func (c *call) arrived(u *session) {
	if u.user != c.to || c.at() > stateRinging {
		return
	}
	m := c.srv.users.invite(c.room, u)
	if m != nil && c.at() == stateRinging {
		c.ring(m)
	}
}

// rings reports whether this member is a device that may answer now.
func (c *call) rings(m *member) bool {
	return m != nil && m != c.caller && c.at() == stateRinging
}

// elsewhere reports whether this member is a device whose call another one has
// answered. It was told so, is free, and has nothing to say but that it knows.
func (c *call) elsewhere(m *member) bool {
	return m != nil && m.told && c.at() < stateEnding
}

// othersRing reports whether the callee has another device that rings, or will
// when dialing is over.
func (c *call) othersRing(but *member) bool {
	for _, m := range c.members {
		if m != but && m != c.caller && !m.left {
			return true
		}
	}
	return false
}

// dismiss tells all devices but the one that has answered that it has. They have
// ConfirmTimeout to confirm, and nobody waits for that.
func (c *call) dismiss() {
	c.silence(signaling.ReasonAnsweredElsewhere)
	for _, m := range c.members {
		if m == c.caller || m == c.callee || m.left {
			continue
		}
		m.gone = true // it has no part in the room, whose end does not wait for it
		c.tellEnd(m, signaling.ReasonAnsweredElsewhere)
		time.AfterFunc(c.srv.cfg.ConfirmTimeout, func() {
			c.queue.Do(func() {
				if c.elsewhere(m) && !m.left {
					c.withdraw(m)
				}
			})
		})
	}
}

// withdraw takes out a device by which the callee is not in the call, which goes
// on.
func (c *call) withdraw(m *member) {
	m.left, m.gone = true, true
	c.srv.users.withdraw(m)
	if c.at() == stateRinging {
		c.wake()
	}
}

// reasonFor is why the call is over for a member: a device of who declined it is
// told that this was another one.
func (c *call) reasonFor(m *member) signaling.Reason {
	if c.reason == signaling.ReasonDeclined && m != c.caller {
		return signaling.ReasonDeclinedElsewhere
	}
	return c.reason
}

// invite makes a session a member of a call that its user is called by, unless
// that or the session has ended.
func (d *directory) invite(r *room, u *session) *member {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byID[u.id] != u || d.in[u.user] != r {
		return nil
	}
	u.room.Store(r)
	return r.add(u, RolePublisher)
}

// win decides that the callee is in the call by this member alone, and sets its
// other devices free. It does not if one of those has left the call, and thereby
// declined it, a moment ago.
func (d *directory) win(c *call, by *member) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if u := c.leaver; u != nil && u != by.session && u.user == by.user {
		return false
	}
	for _, m := range c.members {
		if m != by && m != c.caller && m.session.room.CompareAndSwap(c.room, nil) {
			m.session.ending = append(m.session.ending, c.room)
		}
	}
	return true
}

// withdraw is told that a device has no part in its user's call any more.
func (d *directory) withdraw(m *member) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m.session.room.CompareAndSwap(m.room, nil)
	d.part(m.session, m.room)
}
