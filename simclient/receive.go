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
	if c.inOrder(f) {
		c.route(f, rtc)
	}
}

func (c *Client) route(f signaling.Frame, rtc signaling.RTC) {
	switch f.Type {
	case signaling.TypeWelcome:
		c.welcomed(f)
	case signaling.TypeAck, signaling.TypeError:
		c.answered(f)
	case signaling.TypeInvite:
		c.invited(f)
	case signaling.TypeRTC:
		c.onRTC(f.Action, rtc)
	case signaling.TypeMessage, signaling.TypeState: // logged, and nothing depends on them
	default:
		c.violation(c.call, violationUnknownType, slog.String("type", string(f.Type)), slog.String("action", string(f.Action)))
	}
}

// inOrder follows the numbers of pushes. It returns false for one that was
// seen before.
func (c *Client) inOrder(f signaling.Frame) bool {
	switch f.Type {
	case signaling.TypeRTC, signaling.TypeInvite, signaling.TypeMessage, signaling.TypeState:
	default:
		return true
	}
	kind := []slog.Attr{slog.String("type", string(f.Type)), slog.String("action", string(f.Action))}
	if f.Seq == 0 {
		c.violation(c.call, violationNoSeq, kind...)
		return true
	}
	if f.Seq <= c.session.lastSeq {
		c.count.Duplicates++
		c.callEvent(c.call, eventDuplicate, append(kind, slog.Uint64("seq", f.Seq))...)
		return false
	}
	if expected := c.session.lastSeq + 1; f.Seq != expected {
		c.count.Missing += f.Seq - expected
		c.violation(c.call, violationSeqGap, slog.Uint64("seq", f.Seq), slog.Uint64("expected", expected))
	}
	c.session.lastSeq = f.Seq
	if c.link.resume != nil {
		c.link.resume.replayed++
	}
	return true
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
