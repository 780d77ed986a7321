package simclient

import (
	"log/slog"
	"slices"

	"github.com/callbench/callbench/signaling"
)

// onRTC takes a push about a call.
func (c *Client) onRTC(action signaling.Action, rtc signaling.RTC) {
	k := c.call
	if k == nil || !k.is(rtc) {
		c.stray(action, rtc)
		return
	}
	if k.state == callLeaving && action != signaling.ActionEnded {
		return // it was sent before the server knew
	}
	switch action {
	case signaling.ActionRinging:
		c.onRinging(k, rtc)
	case signaling.ActionAnswer:
		c.onAnswer(k, rtc)
	case signaling.ActionCandidate:
		c.onCandidate(k, rtc)
	case signaling.ActionEnded:
		c.onEnded(k, rtc)
	case signaling.ActionNegotiate:
		c.onNegotiate(k, rtc)
	case signaling.ActionReconnecting:
		c.callEvent(k, eventPeerReconnecting, slog.String("user", rtc.UserID))
	case signaling.ActionReconnected:
		c.callEvent(k, eventPeerReconnected, slog.String("user", rtc.UserID))
	default:
		c.violation(k, violationUnknownType, slog.String("type", string(signaling.TypeRTC)), slog.String("action", string(action)))
	}
}

// is tells whether a frame is about this call: by its call id, and by its room
// if it has none.
func (k *call) is(rtc signaling.RTC) bool {
	if rtc.CallID == "" || k.id == "" {
		return rtc.RoomID != "" && rtc.RoomID == k.room
	}
	return rtc.CallID == k.id
}

// stray takes a push about a call that is not the current one.
func (c *Client) stray(action signaling.Action, rtc signaling.RTC) {
	of := []slog.Attr{slog.String("call", rtc.CallID), slog.String("action", string(action))}
	switch {
	case slices.Contains(c.over, rtc.CallID):
		if action == signaling.ActionEnded {
			c.violation(nil, violationEndedTwice, append(of, slog.String("reason", string(rtc.Reason)))...)
		}
	case c.call != nil && c.call.state == callDialing && c.link.resume != nil:
		// The acknowledgement was lost with the last connection; the replay comes before
		// the repeated request's.
		c.identify(c.call, rtc.CallID, rtc.RoomID)
		c.onRTC(action, rtc)
	default:
		c.violation(nil, violationUnknownCall, of...)
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

// onEnded ends the call and confirms, unless this side has left too.
func (c *Client) onEnded(k *call, rtc signaling.RTC) {
	left := k.state == callLeaving
	c.finish(k, string(rtc.Reason), rtc.UserID)
	if !left {
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
