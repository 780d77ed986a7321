package simclient

import (
	"context"
	"log/slog"

	"github.com/callbench/callbench/signaling"
)

// rememberedUsers is of how many users the version of their presence is
// remembered.
const rememberedUsers = 4096

// AskPresence asks for a user's presence. It returns when the answer is there, or
// was refused with an *signaling.Error; the log tells it. At level 0 the answer
// comes later.
func (c *Client) AskPresence(ctx context.Context, user string) error {
	err := c.do(ctx, func(done func(error)) {
		c.request(&request{done: func(f signaling.Frame, err error) {
			if err == nil && f.Type == signaling.TypeAck {
				c.onState(f)
			}
			done(err)
		}}, signaling.TypeState, "", signaling.State{UserID: user})
	})
	return c.wrap("ask for the presence of "+user, err)
}

// SetPresence shows the client's user as "online" or "offline" to others,
// whatever its connections say. It returns when the server has taken it.
func (c *Client) SetPresence(ctx context.Context, status string) error {
	err := c.do(ctx, func(done func(error)) {
		c.request(&request{done: func(_ signaling.Frame, err error) { done(err) }},
			signaling.TypeState, "", signaling.State{Status: signaling.Status(status)})
	})
	return c.wrap("be "+status, err)
}

// onState takes a presence, unless a newer one is known. The same one may come
// again, as the answer to a question or with a new session.
func (c *Client) onState(f signaling.Frame) {
	var s signaling.State
	if err := f.Into(&s); err != nil || s.UserID == "" || s.Status == "" {
		c.violation(c.call, violationBadFrame, slog.String("type", string(f.Type)))
		return
	}
	attrs := []slog.Attr{slog.String("user", s.UserID), slog.String("status", string(s.Status))}
	if s.LastSeen != 0 {
		attrs = append(attrs, slog.Int64("last_seen", s.LastSeen))
	}
	if s.Version != 0 {
		attrs = append(attrs, slog.Uint64("version", s.Version))
		if known := c.presence[s.UserID]; s.Version < known {
			c.event(eventPresenceStale, append(attrs, slog.Uint64("known", known))...)
			return
		}
		if len(c.presence) >= rememberedUsers {
			clear(c.presence)
		}
		c.presence[s.UserID] = s.Version
	}
	c.event(eventPresence, attrs...)
}
