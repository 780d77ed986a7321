package simclient

import (
	"log/slog"

	"github.com/callbench/callbench/signaling"
)

// receive takes one message off a socket: the one place that every frame
// passes.
func (c *Client) receive(sock *socket, b []byte) {
	if sock != c.link.sock || c.link.state == linkClosed {
		return
	}
	c.count.Received++
	f, err := signaling.Decode(b)
	if err != nil {
		c.violation(c.call, violationBadFrame, slog.String("error", err.Error()), slog.Int("size", len(b)))
		return
	}
	var rtc signaling.RTC
	if f.Type == signaling.TypeRTC {
		if err := f.Into(&rtc); err != nil {
			c.violation(c.call, violationBadFrame, slog.String("error", err.Error()), slog.Int("size", len(b)))
			return
		}
	}
	c.logReceived(f, rtc, len(b))
	if c.link.level.inOrder(f) {
		c.route(f, rtc)
	}
}

func (c *Client) route(f signaling.Frame, rtc signaling.RTC) {
	switch f.Type {
	case signaling.TypeWelcome:
		c.link.level.welcomed(f)
	case signaling.TypeAck, signaling.TypeError:
		c.link.level.answered(f)
	case signaling.TypeInvite:
		c.invited(f)
	case signaling.TypeRTC:
		c.link.level.onRTC(f.Action, rtc)
	case signaling.TypeMessage:
		c.onMessage(f)
	case signaling.TypeState:
		c.onState(f)
	default:
		c.violation(c.call, violationUnknownType, slog.String("type", string(f.Type)), slog.String("action", string(f.Action)))
	}
}

func (c *Client) logReceived(f signaling.Frame, rtc signaling.RTC, size int) {
	if !c.log.Enabled(c.ctx, slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{slog.String("type", string(f.Type)), slog.String("action", string(f.Action)), slog.Int("size", size)}
	if f.Seq != 0 {
		attrs = append(attrs, slog.Uint64("seq", f.Seq))
	}
	for _, a := range [...]struct{ key, value string }{{"request", f.ID}, {"call", rtc.CallID}, {"room", rtc.RoomID},
		{"user", rtc.UserID}, {"reason", string(rtc.Reason)}} {
		if a.value != "" {
			attrs = append(attrs, slog.String(a.key, a.value))
		}
	}
	if rtc.SDP != "" {
		attrs = append(attrs, slog.Int("sdp_size", len(rtc.SDP)))
	}
	if f.Type == signaling.TypeError {
		var e signaling.Error
		if f.Into(&e) == nil {
			attrs = append(attrs, slog.String("code", string(e.Code)))
		}
	}
	c.log.LogAttrs(c.ctx, slog.LevelDebug, eventReceived, attrs...)
}
