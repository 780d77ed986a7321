package simclient

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"

	"github.com/callbench/callbench/signaling"
)

// rememberedMessages is how many messages are remembered, to tell one that is
// delivered again. It is what a server remembers of a sender's.
const rememberedMessages = 256

// messages is what the client knows of IM messages.
type messages struct {
	sent uint64
	seen map[string]bool // by sender and id
	old  []string        // the same, the oldest first
}

// first tells whether a message was not seen before.
func (m *messages) first(key string) bool {
	if m.seen[key] {
		return false
	}
	if m.seen == nil {
		m.seen = make(map[string]bool)
	}
	m.seen[key] = true
	m.old = append(m.old, key)
	if len(m.old) > rememberedMessages {
		delete(m.seen, m.old[0])
		m.old = m.old[1:]
	}
	return true
}

// Message sends an IM message and returns when the server has taken it, or
// refused it with an *signaling.Error. It is repeated after a resume, with the
// same id.
func (c *Client) Message(ctx context.Context, to, text string) error {
	err := c.do(ctx, func(done func(error)) { c.sendMessage(to, text, done) })
	return c.wrap("message "+to, err)
}

func (c *Client) sendMessage(to, text string, done func(error)) {
	m := signaling.Message{MessageID: c.messageID(), To: to, Content: text}
	c.request(&request{done: func(f signaling.Frame, err error) {
		if err == nil {
			c.event(eventMessageSent, slog.String("to", to), slog.String("message", m.MessageID))
		}
		done(err)
	}}, signaling.TypeMessage, "", m)
}

// messageID names a message. User, device and a counter would not do: a device
// that is started again counts from 1 again, and only its session is another
// one.
func (c *Client) messageID() string {
	c.messages.sent++
	of := fnv.New64a()
	of.Write([]byte(c.cfg.User + "\x00" + c.cfg.Device + "\x00" + c.session.id))
	return fmt.Sprintf("m-%016x-%d", of.Sum64(), c.messages.sent)
}

// onMessage takes a message, once.
func (c *Client) onMessage(f signaling.Frame) {
	var m signaling.Message
	if err := f.Into(&m); err != nil || m.From == "" {
		c.violation(c.call, violationBadFrame, slog.String("type", string(f.Type)))
		return
	}
	attrs := []slog.Attr{slog.String("from", m.From), slog.String("to", m.To)}
	if m.MessageID != "" {
		attrs = append(attrs, slog.String("message", m.MessageID))
		if !c.messages.first(m.From + "\x00" + m.MessageID) {
			c.event(eventMessageAgain, attrs...)
			return
		}
	}
	attrs = append(attrs, slog.String("text", m.Content))
	if m.Call != nil {
		attrs = append(attrs, slog.String("call", m.Call.CallID), slog.String("outcome", string(m.Call.Outcome)),
			slog.Int("duration", m.Call.Duration))
	}
	c.event(eventMessage, attrs...)
}
