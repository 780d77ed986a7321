package chromium

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/callbench/callbench/signaling"
)

// Connect opens the WebSocket and says hello.
func (c *Client) Connect(ctx context.Context) error { return c.do(ctx, "connect") }

// Call calls a user and returns when the server has made the call.
func (c *Client) Call(ctx context.Context, user string) error { return c.do(ctx, "call", user) }

// Accept answers the incoming call.
func (c *Client) Accept(ctx context.Context) error { return c.do(ctx, "accept") }

// Hangup leaves the call in whatever state.
func (c *Client) Hangup(ctx context.Context) error { return c.do(ctx, "hangup") }

// Reject declines the incoming call.
func (c *Client) Reject(ctx context.Context) error { return c.do(ctx, "reject") }

// Busy says that this device is in a call that the server does not know of.
func (c *Client) Busy(ctx context.Context) error { return c.do(ctx, "busy") }

// Cancel takes the outgoing call back before it is answered.
func (c *Client) Cancel(ctx context.Context) error { return c.do(ctx, "cancel") }

// Mute stops sending one kind of media, "audio" or "video", or goes on.
func (c *Client) Mute(ctx context.Context, kind string, on bool) error {
	return c.do(ctx, "setMuted", kind, on)
}

// Join comes into a room, and makes it if kind says of which type.
func (c *Client) Join(ctx context.Context, room, kind, role string) error {
	options := map[string]string{}
	if kind != "" {
		options["type"] = kind
	}
	if role != "" {
		options["role"] = role
	}
	return c.do(ctx, "join", room, options)
}

// Leave goes out of a room; "" is the one that the client is in.
func (c *Client) Leave(ctx context.Context, room string) error { return c.do(ctx, "leave", room) }

// SetRole gives a member of the room a role.
func (c *Client) SetRole(ctx context.Context, user, role string) error {
	return c.do(ctx, "setRole", user, role)
}

// Kick takes a member out of the room.
func (c *Client) Kick(ctx context.Context, user string) error { return c.do(ctx, "kick", user) }

// Record starts or stops recording the room or the call.
func (c *Client) Record(ctx context.Context, what string) error { return c.do(ctx, "record", what) }

// Message sends an IM message and returns when the server has taken it.
func (c *Client) Message(ctx context.Context, user, text string) error {
	return c.do(ctx, "message", user, text)
}

// AskPresence asks for a user's presence.
func (c *Client) AskPresence(ctx context.Context, user string) error {
	return c.do(ctx, "askPresence", user)
}

// SetPresence shows the user as "online" or "offline".
func (c *Client) SetPresence(ctx context.Context, status string) error {
	return c.do(ctx, "setPresence", status)
}

// RefreshToken shows a newer token in the middle of a session.
func (c *Client) RefreshToken(ctx context.Context) error { return c.do(ctx, "refreshToken") }

// AskHistory asks for a page of what is over; without What for the page behind
// the last one.
func (c *Client) AskHistory(ctx context.Context, q signaling.HistoryQuery) error {
	if q.What == "" {
		c.mu.Lock()
		q = c.asked
		c.mu.Unlock()
	}
	value, err := c.perform(ctx, "history", q)
	if err != nil {
		return err
	}
	var page signaling.HistoryPage
	if err := json.Unmarshal(value, &page); err != nil {
		return fmt.Errorf("%s: read the history's page: %w", c.cfg.User, err)
	}
	q.Cursor = page.Next
	c.mu.Lock()
	c.asked = q
	c.mu.Unlock()
	return nil
}

// Drop breaks the WebSocket's connection as a network does that goes away.
func (c *Client) Drop() { c.detour.drop() }

// Send puts a text message on the WebSocket, whatever it is.
func (c *Client) Send(frame []byte) error {
	_, err := c.evaluate(c.tab, "callbench.put", string(frame))
	return err
}

// SendBinary puts a binary message on the WebSocket.
func (c *Client) SendBinary(frame []byte) error {
	numbers := make([]int, len(frame))
	for i, b := range frame {
		numbers[i] = int(b)
	}
	_, err := c.evaluate(c.tab, "callbench.putBinary", numbers)
	return err
}

// Background puts the app into the background, where Electron goes on as before.
func (c *Client) Background() { c.log.Info("app.background") }

// Foreground brings it back.
func (c *Client) Foreground() { c.log.Info("app.foreground") }

// Sleep cannot be done: the browser's machine is this one. Scripts are refused it.
func (c *Client) Sleep(time.Duration) {
	c.log.Info("client.failure", "doing", "sleep", "error", "the machine of a browser cannot sleep by itself")
}
