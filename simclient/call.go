package simclient

import (
	"errors"
	"log/slog"
	"slices"

	"github.com/callbench/callbench/signaling"
)

// callState says where the client's call stands.
type callState string

const (
	callDialing   callState = "dialing"  // asked for, not acknowledged
	callOutgoing  callState = "outgoing" // the server has invited the callee
	callRinging   callState = "ringing"  // the callee's device rings
	callIncoming  callState = "incoming"
	callAccepting callState = "accepting" // accepted here, not acknowledged
	callAccepted  callState = "accepted"  // media is being set up
	callConnected callState = "connected"
	callLeaving   callState = "leaving" // hung up here, not acknowledged
)

// leaving is a wish to leave a call: how, and who waits for it.
type leaving struct {
	action signaling.Action
	done   func(error)
}

// rememberedCalls is how many calls that ended are remembered, to tell what
// comes late from what was never there.
const rememberedCalls = 16

// endedCall is what is remembered of a call that ended.
type endedCall struct {
	name string // as call.name has it
	owed bool   // the server's end of it is to be confirmed if it comes
}

// ended finds a call that ended, by its name; nil if none is remembered.
func (c *Client) ended(name string) *endedCall {
	if i := slices.IndexFunc(c.over, func(e endedCall) bool { return e.name == name }); i >= 0 {
		return &c.over[i]
	}
	return nil
}

// call is the call that the client is in, or the room: of those it is in one.
type call struct {
	id, room string
	peer     string
	in       *stay // in a room of several members; nil in a call
	outgoing bool
	state    callState
	known    bool // the log tells of it
	answered bool

	quit   *leaving // who waits to leave a call that is still callDialing
	left   string   // the reason of a call that is callLeaving
	blamed bool     // an error frame ended it: the server's own end, if there is one, is still to come
	renew  bool     // its leg must be made anew once the signaling connection is known to live

	leg    *leg
	legs   int
	anew   bool   // a leg was made anew because the one before got no relayed candidate
	offers []*leg // sent and not answered yet, the oldest first
	media  *mediaFlow
}

func (k *call) ref() signaling.RTC { return signaling.RTC{RoomID: k.room, CallID: k.id} }

// name is what the log calls the call: by its id, or at level 0 by its room.
// The server may not have told either yet.
func (k *call) name() string {
	if k.id != "" {
		return k.id
	}
	return k.room
}

// mark is what the call's media is marked with. Both parties know the room,
// whatever level each of them speaks.
func (k *call) mark() string {
	if k.room != "" {
		return k.room
	}
	return k.id
}

// leaveReason is what the server will call it if the client leaves now.
func (k *call) leaveReason() signaling.Reason {
	switch {
	case k.answered:
		return signaling.ReasonHangup
	case k.outgoing:
		return signaling.ReasonCancelled
	default:
		return signaling.ReasonDeclined
	}
}

// startCall sends a call request even if there is a call: refusing it is the
// server's business.
func (c *Client) startCall(target string, done func(error)) {
	k := &call{peer: target, outgoing: true, state: callDialing}
	if c.call == nil && c.session.begun {
		c.call = k
	}
	failed := func(err error) {
		if c.call == k {
			c.finish(k, string(signaling.AsError(err).Code), "")
		}
	}
	late := func(err error) {
		if !k.answered {
			k.blamed = true
			failed(err)
		}
	}
	c.request(&request{late: late, done: func(f signaling.Frame, err error) {
		if err == nil {
			err = c.called(k, f)
		} else {
			failed(err)
		}
		k.finishLeaving(err)
		done(err)
	}}, signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: target})
}

// called takes the acknowledgement of a call.
func (c *Client) called(k *call, f signaling.Frame) error {
	var ref signaling.RTC
	if err := f.Into(&ref); err != nil {
		return err
	}
	named := ref.CallID != "" || ref.RoomID != ""
	switch {
	case named && c.ended(ref.CallID) != nil: // it ended before its acknowledgement came
	case c.call != nil && c.call != k:
		if named {
			c.violation(c.call, violationSecondCall, slog.String("room", ref.RoomID))
		}
	default:
		c.call = k
		c.identify(k, ref.CallID, ref.RoomID)
	}
	return nil
}

// identify names a call that the server made. That is learned from the
// acknowledgement, or after a resume from what comes before it. At level 0 the
// names come later.
func (c *Client) identify(k *call, id, room string) {
	if k.state != callDialing {
		if k.id != id {
			c.violation(k, violationOtherCall, slog.String("to", id))
		}
		return
	}
	k.id, k.room, k.state, k.known = id, room, callOutgoing, true
	attrs := []slog.Attr{slog.String("to", k.peer)}
	if room != "" {
		attrs = append(attrs, slog.String("room", room))
	}
	c.callEvent(k, eventOutgoing, attrs...)
	if quit := k.quit; quit != nil {
		k.quit = nil
		c.leave(k, quit.action, quit.done)
	}
}

// recognize compares the call that a resumed session is in with this side's.
func (c *Client) recognize(ref *signaling.CallRef) {
	if k := c.call; k != nil && k.state == callDialing && k.in == nil && k.peer == ref.Peer {
		c.identify(k, ref.CallID, ref.RoomID)
	}
}

// checkCall compares the call that there was when the session was resumed with
// the one that the server named, once everything missed is known.
func (c *Client) checkCall(r *resumption) {
	k := c.call
	if k == nil || k != r.had || k.state == callDialing || k.state == callLeaving || k.id == r.call && (k.in == nil || k.room == r.room) {
		return
	}
	c.violation(k, violationCallLost)
	c.finish(k, string(signaling.ReasonDropped), "")
}

// invited takes an invitation.
func (c *Client) invited(f signaling.Frame) {
	var inv signaling.Invite
	if err := f.Into(&inv); err != nil {
		c.violation(nil, violationBadFrame, slog.String("error", err.Error()))
		return
	}
	switch k := c.call; {
	case k == nil:
	case k.id != "" && k.id == inv.CallID: // a server that was started again asks once more
		return
	case (k.name() == "" || k.in != nil && k.state == callDialing) && k.state != callLeaving: // will be refused: the server had made the other one before
		c.finish(k, string(signaling.CodeBusy), "")
	case k.state == callLeaving: // was left, or there would be no invitation
		c.finish(k, k.left, c.cfg.User)
	default:
		c.violation(k, violationBusyInvite, slog.String("room", inv.RoomID), slog.String("from", inv.From))
		return
	}
	c.call = &call{id: inv.CallID, room: inv.RoomID, peer: inv.From, state: callIncoming, known: true}
	c.callEvent(c.call, eventIncoming, slog.String("room", inv.RoomID), slog.String("from", inv.From))
	if !c.cfg.ManualRing && inv.Expire > 0 { // else it is too late, and the end is on its way
		c.tell(c.call, signaling.ActionRinging, c.call.ref())
	}
}

func (c *Client) ring(done func(error)) {
	if c.call == nil || c.call.state != callIncoming {
		done(ErrNoCall)
		return
	}
	c.ask(c.call, signaling.ActionRinging, c.call.ref(), done)
}

func (c *Client) accept(done func(error)) {
	k := c.call
	if k == nil || k.state != callIncoming {
		done(ErrNoCall)
		return
	}
	c.acceptBy(k, signaling.ActionAnswer, k.ref(), done)
}

// acceptBy accepts the incoming call in one of the two ways that there are.
func (c *Client) acceptBy(k *call, action signaling.Action, data signaling.RTC, done func(error)) {
	k.state = callAccepting
	c.request(&request{call: k, late: func(err error) {
		if c.call == k {
			k.blamed = true
			c.finish(k, string(signaling.AsError(err).Code), "")
		}
	}, done: func(_ signaling.Frame, err error) {
		switch {
		case c.call != k || k.state != callAccepting: // ended or left meanwhile
		case err != nil:
			k.state = callIncoming
		default:
			c.accepted(k, c.cfg.User)
		}
		done(err)
	}}, signaling.TypeRTC, action, data)
}

// join comes into a room: by accepting, if it is the ringing call's. One that the
// client is in already is the server's to judge.
func (c *Client) join(room string, o RoomOptions, done func(error)) {
	k := c.call
	if room == "" && k != nil {
		room = k.room
	}
	switch {
	case room == "":
		done(ErrNoCall)
	case k != nil && k.state == callIncoming && k.room == room:
		c.acceptBy(k, signaling.ActionJoin, signaling.RTC{RoomID: room}, done)
	case k != nil && k.room == room:
		c.ask(k, signaling.ActionJoin, signaling.RTC{RoomID: room, RoomType: o.Type, Role: o.Role}, done)
	default:
		c.enter(room, o, done)
	}
}

// accepted sets up media, on either side.
func (c *Client) accepted(k *call, by string) {
	k.answered, k.state = true, callAccepted
	c.callEvent(k, eventAccepted, slog.String("user", by))
	c.startMedia(k)
}

// startMedia makes the first leg.
func (c *Client) startMedia(k *call) {
	k.media = newMediaFlow(c, k)
	c.newLeg(k)
}

// quit leaves the call by leave, reject, busy or cancel.
func (c *Client) quit(action signaling.Action, done func(error)) {
	k := c.call
	switch {
	case k == nil || k.state == callLeaving || k.quit != nil:
		done(ErrNoCall)
	case k.state == callDialing:
		k.quit = &leaving{action, done} // as soon as the server has made the call
	case !k.leftBy(action):
		c.tryLeaving(k, action, done)
	default:
		c.leave(k, action, done)
	}
}

// leftBy tells whether the call, as far as this side knows, may be left so.
func (k *call) leftBy(action signaling.Action) bool {
	switch action {
	case signaling.ActionReject, signaling.ActionBusy:
		return k.state == callIncoming
	case signaling.ActionCancel:
		return k.outgoing && !k.answered
	default:
		return true
	}
}

// tryLeaving lets the server judge what makes no sense on this side: the call
// goes on unless the server agrees.
func (c *Client) tryLeaving(k *call, action signaling.Action, done func(error)) {
	c.ask(k, action, k.ref(), func(err error) {
		if err == nil && c.call == k {
			c.finish(k, string(k.leaveReason()), c.cfg.User)
		}
		done(err)
	})
}

// finishLeaving tells who waits to leave a call that never came to be.
func (k *call) finishLeaving(err error) {
	if k.quit != nil {
		k.quit.done(err)
		k.quit = nil
	}
}

// leave stops media at once and tells the server.
func (c *Client) leave(k *call, action signaling.Action, done func(error)) {
	k.left = string(k.leaveReason())
	if action == signaling.ActionBusy {
		k.left = string(signaling.ReasonBusy)
	}
	c.leaveBecause(k, action, done)
}

// leaveBecause leaves for the reason that k.left says.
func (c *Client) leaveBecause(k *call, action signaling.Action, done func(error)) {
	k.state = callLeaving
	c.stopMedia(k)
	c.ask(k, action, k.ref(), func(err error) {
		if c.call == k {
			c.finish(k, k.left, c.cfg.User)
		} else if !errors.Is(err, ErrSessionLost) {
			err = nil // the other side was faster, and the call is over as it should be
		}
		done(err)
	})
}

// finish ends the call at this side.
func (c *Client) finish(k *call, reason, by string) {
	c.stopMedia(k)
	c.call = nil
	if !k.known {
		return // there never was a call, as its request will tell
	}
	if k.name() != "" || k.state == callLeaving {
		c.over = append(c.over, endedCall{name: k.name(), owed: k.blamed})
	}
	if len(c.over) > rememberedCalls {
		c.over = slices.Delete(c.over, 0, 1)
	}
	attrs := []slog.Attr{slog.String("reason", reason), slog.Int("level", c.link.level.number())}
	if by != "" {
		attrs = append(attrs, slog.String("by", by))
	}
	if k.in != nil {
		c.callEvent(k, eventRoomEnded, attrs...)
		return
	}
	c.callEvent(k, eventCallEnded, attrs...)
}
