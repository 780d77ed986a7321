package simclient

import (
	"log/slog"

	"github.com/callbench/callbench/signaling"
)

// pushed takes a push about the current call.
func (c *Client) pushed(k *call, action signaling.Action, rtc signaling.RTC) {
	if k.state == callLeaving && action != signaling.ActionEnded {
		return // it was sent before the server knew
	}
	switch action {
	case signaling.ActionRinging:
		c.onRinging(k, rtc)
	case signaling.ActionAnswer:
		c.onAnswer(k, rtc)
	case signaling.ActionCandidate:
		c.onCandidates(k, rtc)
	case signaling.ActionEnded:
		c.onEnded(k, rtc)
	case signaling.ActionNegotiate:
		c.onNegotiate(k, rtc)
	case signaling.ActionReconnecting:
		c.callEvent(k, eventPeerReconnecting, slog.String("user", rtc.UserID))
	case signaling.ActionReconnected:
		c.callEvent(k, eventPeerReconnected, slog.String("user", rtc.UserID))
	case signaling.ActionRecording:
		c.onRecording(k, rtc)
	case signaling.ActionJoined, signaling.ActionLeft, signaling.ActionRole:
		c.ofRoom(k, action, rtc)
	default:
		c.violation(k, violationUnknownType, slog.String("type", string(signaling.TypeRTC)), slog.String("action", string(action)))
	}
}

func (c *Client) onRinging(k *call, rtc signaling.RTC) {
	if k.state == callOutgoing {
		k.state = callRinging
	}
	c.callEvent(k, eventRinging, slog.String("user", rtc.UserID))
}

// onAnswer takes either of the two answers: the callee's, which has no SDP, and
// the media server's.
func (c *Client) onAnswer(k *call, rtc signaling.RTC) {
	switch {
	case rtc.SDP != "":
		c.onSDPAnswer(k, rtc.SDP)
	case k.outgoing && !k.answered:
		c.accepted(k, rtc.UserID)
	default:
		c.violation(k, violationAcceptedTwice, slog.String("user", rtc.UserID))
	}
}

// ofRoom takes a push that only a room of several members has.
func (c *Client) ofRoom(k *call, action signaling.Action, rtc signaling.RTC) {
	switch {
	case k.in == nil:
		c.violation(k, violationNoRoom, slog.String("action", string(action)))
	case k.state == callDialing: // the acknowledgement, which says who was in before, was missed and comes again
		k.in.early = append(k.in.early, func() { c.ofRoom(k, action, rtc) })
	case action == signaling.ActionJoined:
		c.onJoined(k, rtc)
	case action == signaling.ActionLeft:
		c.onLeft(k, rtc)
	default:
		c.onRole(k, rtc)
	}
}

// onEnded ends the call and confirms, unless this side has left too. Nobody waits
// for a member of a room of several to confirm.
func (c *Client) onEnded(k *call, rtc signaling.RTC) {
	if k.in != nil && k.state == callDialing { // it was let in, as the acknowledgement will say that was missed
		k.in.early = append(k.in.early, func() { c.onEnded(k, rtc) })
		return
	}
	left := k.state == callLeaving
	c.finish(k, string(rtc.Reason), rtc.UserID)
	if !left && k.in == nil {
		c.tell(k, signaling.ActionLeave, k.ref())
	}
}

func (c *Client) onNegotiate(k *call, rtc signaling.RTC) {
	if !k.answered {
		c.violation(k, violationAnswer, slog.String("reason", string(rtc.Reason)))
		return
	}
	c.renew(k, rtc.Reason, "server")
}
