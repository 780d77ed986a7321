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

// rememberedCalls is how many calls that ended are remembered, to tell what
// comes late from what was never there.
const rememberedCalls = 16

// call is the call that the client is in.
type call struct {
	id, room string
	peer     string
	outgoing bool
	state    callState
	answered bool

	hangup func(error) // who waits to leave a call that is still callDialing
	left   string      // the reason of a call that is callLeaving
	renew  bool        // its leg must be made anew once the signaling connection is known to live

	leg    *leg
	legs   int
	anew   bool   // a leg was made anew because the one before got no relayed candidate
	offers []*leg // sent and not answered yet, the oldest first
	media  *mediaFlow
}

func (k *call) ref() signaling.RTC { return signaling.RTC{RoomID: k.room, CallID: k.id} }

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
	if c.call == nil && c.session.id != "" {
		c.call = k
	}
	c.request(&request{done: func(f signaling.Frame, err error) {
		switch {
		case err == nil:
			err = c.called(k, f)
		case c.call == k:
			c.finish(k, string(signaling.AsError(err).Code), "")
		}
		k.finishHangup(err)
		done(err)
	}}, signaling.TypeRTC, signaling.ActionCall, signaling.RTC{TargetUser: target})
}

// called takes the acknowledgement of a call.
func (c *Client) called(k *call, f signaling.Frame) error {
	var ref signaling.RTC
	if err := f.Into(&ref); err != nil {
		return err
	}
	switch {
	case slices.Contains(c.over, ref.CallID): // it ended before its acknowledgement came
	case c.call != nil && c.call != k:
		c.violation(c.call, violationSecondCall, slog.String("room", ref.RoomID))
	default:
		c.call = k
		c.identify(k, ref.CallID, ref.RoomID)
	}
	return nil
}

// identify names a call that the server made. That is learned from the
// acknowledgement, or after a resume from what comes before it.
func (c *Client) identify(k *call, id, room string) {
	if k.id != "" {
		if k.id != id {
			c.violation(k, violationOtherCall, slog.String("to", id))
		}
		return
	}
	k.id, k.room, k.state = id, room, callOutgoing
	c.callEvent(k, eventOutgoing, slog.String("room", room), slog.String("to", k.peer))
	if done := k.hangup; done != nil {
		k.hangup = nil
		c.leave(k, done)
	}
}

// recognize compares the call that a resumed session is in with this side's.
func (c *Client) recognize(ref *signaling.CallRef) {
	if k := c.call; k != nil && k.state == callDialing && k.peer == ref.Peer {
		c.identify(k, ref.CallID, ref.RoomID)
	}
}

// checkCall compares the call that there was when the session was resumed with
// the one that the server named, once everything missed is known.
func (c *Client) checkCall(r *resumption) {
	k := c.call
	if k == nil || k != r.had || k.state == callDialing || k.state == callLeaving || k.id == r.call {
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
	case k.state == callDialing: // will be refused: the server had made the other one before
	case k.state == callLeaving: // was left, or there would be no invitation
		c.finish(k, k.left, c.cfg.User)
	default:
		c.violation(k, violationBusyInvite, slog.String("room", inv.RoomID), slog.String("from", inv.From))
		return
	}
	c.call = &call{id: inv.CallID, room: inv.RoomID, peer: inv.From, state: callIncoming}
	c.callEvent(c.call, eventIncoming, slog.String("room", inv.RoomID), slog.String("from", inv.From))
	if !c.cfg.ManualRing {
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
	k.state = callAccepting
	c.ask(k, signaling.ActionAnswer, k.ref(), func(err error) {
		switch {
		case c.call != k || k.state != callAccepting: // ended or left meanwhile
		case err != nil:
			k.state = callIncoming
		default:
			c.accepted(k, c.cfg.User)
		}
		done(err)
	})
}

// accepted sets up media, on either side.
func (c *Client) accepted(k *call, by string) {
	k.answered, k.state = true, callAccepted
	c.callEvent(k, eventAccepted, slog.String("user", by))
	m, err := c.newMediaFlow(k)
	if err != nil {
		c.failure(k, "prepare media", err)
		return
	}
	k.media = m
	c.newLeg(k)
}

func (c *Client) hangup(done func(error)) {
	k := c.call
	switch {
	case k == nil || k.state == callLeaving || k.hangup != nil:
		done(ErrNoCall)
	case k.state == callDialing:
		k.hangup = done // as soon as the call has an id
	default:
		c.leave(k, done)
	}
}

// finishHangup tells who waits to leave a call that never came to be.
func (k *call) finishHangup(err error) {
	if k.hangup != nil {
		k.hangup(err)
		k.hangup = nil
	}
}

// leave stops media at once and tells the server.
func (c *Client) leave(k *call, done func(error)) {
	k.left = string(k.leaveReason())
	k.state = callLeaving
	c.stopMedia(k)
	c.ask(k, signaling.ActionLeave, k.ref(), func(err error) {
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
	if k.id == "" {
		return // there never was a call, as its request will tell
	}
	c.over = append(c.over, k.id)
	if len(c.over) > rememberedCalls {
		c.over = slices.Delete(c.over, 0, 1)
	}
	attrs := []slog.Attr{slog.String("reason", reason)}
	if by != "" {
		attrs = append(attrs, slog.String("by", by))
	}
	c.callEvent(k, eventCallEnded, attrs...)
}
