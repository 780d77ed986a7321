package simclient

import (
	"log/slog"
	"time"

	"github.com/callbench/callbench/signaling"
)

// Why a session ended, where it is not an error code of the protocol.
const (
	reasonGaveUp     = "gave_up"
	reasonClosed     = "closed"
	reasonNotResumed = "not_resumed"
)

// session is what a level 1 server knows the client by. This file, request.go,
// ice.go and inOrder are all of the client that is not in level 0 of the protocol.
type session struct {
	id, user string
	token    string // to resume it with
	lastSeq  uint64 // of the pushes that were seen
	ice      iceServers
}

// sayHello sends hello: a new session's, or one that resumes the last.
func (c *Client) sayHello(sock *socket, token string) {
	hello := signaling.Hello{Version: signaling.Version, Token: token, Device: c.cfg.Device,
		Features: []string{signaling.FeatureResume}, Resume: c.session.token}
	if hello.Resume != "" {
		hello.LastSeq = c.session.lastSeq
	}
	f, err := signaling.New(signaling.TypeHello, "", hello)
	if err != nil {
		c.failure(nil, "say hello", err)
		return
	}
	f.ID = c.requests.newID()
	c.write(sock, f, false)
}

// welcomed begins or goes on with a session.
func (c *Client) welcomed(f signaling.Frame) {
	var w signaling.Welcome
	if err := f.Into(&w); err != nil || c.link.state != linkGreeting {
		c.violation(nil, violationWelcome, slog.String("session", w.SessionID))
		return
	}
	c.link.timer.stop()
	c.link.state = linkUp
	if w.Resumed && c.session.id != "" {
		c.resuming(w)
	} else {
		c.begin(w)
	}
	c.probe()
}

// begin takes a new session. Whatever the last one had is over.
func (c *Client) begin(w signaling.Welcome) {
	if c.session.id != "" {
		c.endSession(reasonNotResumed)
	}
	c.session = session{id: w.SessionID, user: w.UserID, token: w.ResumeToken}
	c.session.ice.take(w.ICEServers, w.ICETTL)
	c.event(eventWelcome, slog.String("session", w.SessionID), slog.Bool("resumed", false))
	if done := c.link.connect; done != nil {
		c.link.connect = nil
		done(nil)
	}
}

// resuming takes the old session. What was missed follows, and requests that
// were not answered are repeated behind it.
func (c *Client) resuming(w signaling.Welcome) {
	if w.SessionID != c.session.id {
		c.violation(c.call, violationSession, slog.String("session", w.SessionID))
	}
	c.session.token = w.ResumeToken
	c.session.ice.take(w.ICEServers, w.ICETTL)
	c.link.resume = &resumption{attempts: c.link.backoff.attempts, gap: time.Since(c.link.down)}
	if w.Call != nil {
		c.link.resume.call = w.Call.CallID
		c.recognize(w.Call)
	}
	c.link.resume.had = c.call
	c.callEvent(c.call, eventWelcome, slog.String("session", w.SessionID), slog.Bool("resumed", true))
	for _, r := range c.requests.pending {
		c.submit(r)
	}
}

// resumed goes on after everything missed has been replayed.
func (c *Client) resumed() {
	r := c.link.resume
	if r == nil {
		return
	}
	c.link.resume = nil
	c.callEvent(c.call, eventResumed, slog.String("session", c.session.id), slog.Int("attempts", r.attempts),
		slog.Int("replayed", r.replayed), ms("gap_ms", r.gap))
	c.checkCall(r)
}

// endSession drops what belongs to the session: the call and the requests.
func (c *Client) endSession(reason string) {
	if call := c.call; call != nil {
		c.finish(call, string(signaling.ReasonDropped), "")
	}
	c.event(eventEnded, slog.String("session", c.session.id), slog.String("reason", reason))
	c.session = session{}
	c.link.resume = nil
	c.requests.fail(ErrSessionLost)
}

// ms is a duration as the event log writes it.
func ms(key string, d time.Duration) slog.Attr { return slog.Duration(key, d) }
