package server

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/callbench/callbench/signaling"
)

// callState is where a 1v1 call stands. The numbers are the steps of the design
// document that it covers.
//
//	dialing ──> ringing ──> accepting ──> active ──> ending ──> ended
//	  3–6        7–10         11–14       15–26      27–34
//
// Every state but ended may go to ending. A call that is ending holds nobody:
// its members may be in others, while who was told of the end confirms.
// docs/calls.md has the table of what every event does in every state.
type callState int32

const (
	stateDialing   callState = iota // the caller's pipeline and endpoint are being made
	stateRinging                    // the callee was invited
	stateAccepting                  // the callee said yes; its endpoint is being made
	stateActive                     // legs may be negotiated
	stateEnding                     // somebody left; the others are told and confirm
	stateEnded                      // nothing is left
)

func (s callState) String() string {
	return [...]string{"dialing", "ringing", "accepting", "active", "ending", "ended"}[s]
}

// call is one attempt of two users to talk: the host of a room of its own, on
// whose queue everything in it belongs. While it rings, every device of the
// callee's is a member; ring.go has what that means.
type call struct {
	*room
	caller     *member
	to         string       // the user that is called
	callee     *member      // its device that answered; nil before
	before     []*room      // what the two have not left when this call begins
	state      atomic.Int32 // a callState, written on the queue only
	answeredAt time.Time    // when the callee said yes
	connected  bool         // both legs have been connected
	endedAt    time.Time    // when the call came to its end; what follows is clearing up
	reason     signaling.Reason
	became     signaling.Outcome
	endedBy    *member // who left first; nil if the server ended the call
	timer      *time.Timer
	expires    time.Time              // when the ringing ends
	rungAt     time.Time              // when the first device said that it rings
	leaver     *session               // who left first, as the connections know; the directory's
	woken      bool                   // Push was asked to wake devices
	hush       func(signaling.Reason) // has Push tell those that they need not ring; nil if there is nothing to tell
	dialed     bool                   // dialing has come to its end, well or not
	posted     bool                   // the conversation was told what became of the call
	hurry      bool                   // the server shuts down: nobody is waited for
	closing    bool                   // the room is being closed
	later      []func()               // what came while dialing
}

// newCall makes a call that nobody knows yet.
func newCall(from *session, to string) *call {
	s := from.srv
	callID := s.cfg.NewID("call", from.user)
	c := &call{room: newRoom(s, s.cfg.NewID("room", from.user), from.user, Room1v1), to: to}
	c.host, c.callID = c, callID
	c.log = s.log.With("call", c.callID, "room", c.id)
	c.caller = c.add(from, RolePublisher)
	c.caller.invited = true
	return c
}

func (c *call) at() callState { return callState(c.state.Load()) }

func (c *call) move(to callState) {
	from := c.at()
	c.state.Store(int32(to))
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	attrs := []any{"from", from.String(), "to", to.String()}
	if c.reason != "" {
		attrs = append(attrs, "reason", string(c.reason))
	}
	c.log.Info("call.state", attrs...)
}

// after runs f on the queue when the call has been in its present state for d.
func (c *call) after(d time.Duration, f func()) {
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		c.queue.Do(func() {
			if c.timer == t {
				f()
			}
		})
	})
	c.timer = t
}

// refFor describes the call to a session that came back. To one that is in it no
// more, because another device answered, it is over. It may be called by anybody.
func (c *call) refFor(u *session) *signaling.CallRef {
	peer, at := c.caller.user, c.at()
	if c.caller.session == u {
		peer = c.to
	}
	if u.room.Load() != c.room {
		at = max(at, stateEnding)
	}
	return &signaling.CallRef{CallID: c.callID, RoomID: c.id, Peer: peer, State: at.String()}
}

// peer is the other one of the two who talk; nil if nobody has answered yet.
func (c *call) peer(of *member) *member {
	if of == c.caller {
		return c.callee
	}
	return c.caller
}

// start begins the call when the earlier calls of both, which are ending, have
// told them so: nobody hears of a new call before it has heard of the old one's
// end.
func (c *call) start(r request) {
	c.log.Info("call.start", "session", r.id, "user", c.caller.user, "request", r.frame.ID, "callee", c.to)
	c.trail.add(r.user, partyServer, "rtc/call of "+c.to)
	before := c.before
	c.before = nil // nobody needs them any more
	c.waitFor(before, func() { c.dial(r) })
}

// dial is steps 3 to 6: the room, its pipeline and the caller's endpoint.
func (c *call) dial(r request) {
	c.makeCall(c.caller, party(c.caller, r), func(err error) { c.opens(r, err) })
}

// opens writes the room down and then invites the callee, unless the call has
// come to its end before.
func (c *call) opens(r request, err error) {
	if err != nil {
		c.stillborn(r, err)
		return
	}
	c.caller.joined = time.Now()
	c.enroll(c.caller, func(refusal error) {
		if refusal != nil {
			c.heldElsewhere(r, refusal)
			return
		}
		c.recordCall()
		r.ack(c.ref())
		c.runLater()
		if c.at() == stateDialing {
			c.invite()
		}
	})
}

// stillborn ends a call that the media server refused before it began.
func (c *call) stillborn(r request, err error) {
	r.fail(mediaError(err))
	c.miscarry(signaling.ReasonMediaFailed)
}

// heldElsewhere ends a call, one of whose parties is in a room of another instance,
// as if it were in one of this.
func (c *call) heldElsewhere(r request, refusal error) {
	r.fail(signaling.Errorf(signaling.CodeBusy, "one of the two is in a call"))
	if busy := new(UserBusyError); errors.As(refusal, &busy) && busy.UserID == c.to {
		c.srv.missed(c.caller.user, c.to, c.callID, signaling.CodeBusy)
	}
	c.posted, c.caller.joined = true, time.Time{}
	c.miscarry(signaling.ReasonBusy)
}

// miscarry ends a call that nobody but its caller has heard of.
func (c *call) miscarry(reason signaling.Reason) {
	c.begin(reason, nil)
	c.out(c.caller, func() { c.settle(nil) })
	c.runLater()
}

// dialing reports whether the call cannot end yet: what would end it waits in
// later.
func (c *call) dialing() bool { return c.at() == stateDialing && !c.dialed }

// runLater does what had to wait for the caller's endpoint.
func (c *call) runLater() {
	c.dialed = true
	later := c.later
	c.later = nil
	for _, f := range later {
		f()
	}
}

// hold implements host: who is in a call knows it.
func (c *call) hold(request, func()) bool { return false }

// asking is the member that a request comes from, nil if it is in the call no
// more. A callee that was not invited yet knows of no call.
func (c *call) asking(r request) *member {
	if m := c.memberOf(r.session); m != nil && m.invited {
		return m
	}
	return nil
}

// ringing forwards that a device of the callee's rings, the first time.
func (c *call) ringing(r request) {
	m := c.asking(r)
	if !c.rings(m) {
		r.fail(c.wrongState(m))
		return
	}
	r.ack(nil)
	if c.rungAt.IsZero() {
		c.rungAt = time.Now()
		c.recordCall()
		data := c.ref()
		data.UserID = m.user
		c.push(c.caller, signaling.ActionRinging, data)
	}
}

// accept is steps 9 to 14: the callee comes in by the device that answers first,
// and gets its endpoint. The others need not ring any more.
func (c *call) accept(r request) {
	m := c.asking(r)
	if !c.rings(m) {
		r.fail(c.wrongState(m))
		return
	}
	if !c.srv.users.win(c, m) {
		r.fail(signaling.Errorf(signaling.CodeBadState, "the call is ending"))
		return
	}
	c.answeredAt, c.callee = time.Now(), m
	c.srv.metrics.phase(phaseRing, c.expires.Add(-c.srv.cfg.RingTimeout))
	c.move(stateAccepting)
	c.dismiss()
	c.newLeg(m, nil, func(err error) { c.accepted(r, m, err) })
}

func (c *call) accepted(r request, m *member, err error) {
	switch {
	case c.at() != stateAccepting:
		r.fail(c.wrongState(nil))
		return
	case err != nil:
		r.fail(mediaError(err))
		c.end(signaling.ReasonMediaFailed, nil)
		return
	}
	m.joined = time.Now()
	c.enroll(m, func(refusal error) {
		switch {
		case c.at() != stateAccepting:
			r.fail(c.wrongState(nil))
		case refusal != nil:
			r.fail(signaling.Errorf(signaling.CodeBusy, "the user is in a call elsewhere"))
			m.joined, c.answeredAt = time.Time{}, time.Time{}
			c.end(signaling.ReasonBusy, m)
		default:
			c.activate(r, m)
		}
	})
	c.recordCall()
}

// join is the design document's general way into a room. Into that of a call
// that rings it is the callee's yes; who is in already stays.
func (c *call) join(r request) {
	m := c.asking(r)
	switch at := c.at(); {
	case c.rings(m):
		c.accept(r)
	case m != nil && !m.told && at == stateActive, m == c.caller && (at == stateRinging || at == stateAccepting):
		r.ack(nil)
	default:
		r.fail(c.wrongState(m))
	}
}

// activate tells the caller that it may send its offer, and begins with that of
// the callee if it came right behind its answer.
func (c *call) activate(r request, m *member) {
	c.move(stateActive)
	r.ack(nil)
	data := c.ref()
	data.UserID = m.user
	c.push(c.caller, signaling.ActionAnswer, data)
	for _, m := range []*member{c.caller, c.callee} {
		if m.away {
			c.tellConnection(m)
		}
	}
	if l := m.leg; l.offer != nil {
		c.negotiate(l)
	}
}

// wrongState is why a request cannot be done now; m is who asked, nil if it is
// in the call no more.
func (c *call) wrongState(m *member) error {
	switch {
	case m == nil:
		return noSuchCall()
	case c.elsewhere(m):
		return signaling.Errorf(signaling.CodeBadState, "another device has answered the call")
	}
	return signaling.Errorf(signaling.CodeBadState, "the call is %s", c.at())
}

func noSuchCall() error { return signaling.Errorf(signaling.CodeNoSuchCall, "there is no such call") }

// connection notes that a member's connection dropped or came back, and tells
// the other one. If no device of the callee's is connected that rings, others
// are woken.
func (c *call) connection(u *session, up bool) {
	m := c.memberOf(u)
	if m == nil || m.away != up {
		return
	}
	m.away = !up
	switch {
	case c.at() == stateRinging:
		c.wake()
	case c.at() == stateActive && !m.told:
		c.tellConnection(m)
	}
}

func (c *call) tellConnection(m *member) {
	action := signaling.ActionReconnected
	if m.away {
		action = signaling.ActionReconnecting
	}
	if peer := c.peer(m); peer != nil && !peer.left {
		data := c.ref()
		data.UserID = m.user
		c.push(peer, action, data)
	}
}
