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
	reasonDropped    = "dropped" // level 0: with its connection
)

// session is what the server knows the client by. At level 0 it is as old as
// its connection, and has no id.
type session struct {
	begun    bool
	id, user string
	token    string // to resume it with
	lastSeq  uint64 // of the pushes that were seen
	ice      iceServers

	told    uint64 // the last of them that the server was told of
	receipt *timer // tells it of the next ones

	expires time.Time // when the client's token runs out
	refresh *timer    // gets a newer one
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

// begin takes a new session. Whatever the last one had is over.
func (c *Client) begin(w signaling.Welcome) {
	s := session{id: w.SessionID, user: w.UserID, token: w.ResumeToken}
	s.ice.take(w.ICEServers, w.ICETTL)
	c.beginSession(s)
	c.tokenTTL(w.TokenTTL)
}

// beginSession goes on with a new session of either level.
func (c *Client) beginSession(s session) {
	if c.session.begun {
		c.endSession(reasonNotResumed)
	}
	s.begun = true
	c.session = s
	attrs := []slog.Attr{slog.Bool("resumed", false), slog.Int("level", c.link.level.number())}
	if s.id != "" {
		attrs = append(attrs, slog.String("session", s.id))
	}
	c.event(eventWelcome, attrs...)
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
	c.session.token, c.session.told = w.ResumeToken, c.session.lastSeq // which hello has told
	c.session.ice.take(w.ICEServers, w.ICETTL)
	c.link.resume = &resumption{attempts: c.link.backoff.attempts, gap: time.Since(c.link.down)}
	if w.Call != nil {
		c.link.resume.call, c.link.resume.room = w.Call.CallID, w.Call.RoomID
		c.recognize(w.Call)
	}
	if c.call != nil && c.call.state != callDialing { // else the server may not have heard of it yet
		c.link.resume.had = c.call
	}
	c.callEvent(c.call, eventWelcome, slog.String("session", w.SessionID), slog.Bool("resumed", true),
		slog.Int("level", c.link.level.number()))
	c.tokenTTL(w.TokenTTL)
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
	c.sessionEnded(reason)
	c.session.refresh.stop()
	c.session.receipt.stop()
	c.session = session{}
	c.link.resume = nil
	c.requests.fail(ErrSessionLost)
}

func (c *Client) sessionEnded(reason string) {
	attrs := []slog.Attr{slog.String("reason", reason), slog.Uint64("receipts", c.count.Receipts)}
	if c.session.id != "" {
		attrs = append(attrs, slog.String("session", c.session.id))
	}
	c.event(eventEnded, attrs...)
}

// ms is a duration as the event log writes it.
func ms(key string, d time.Duration) slog.Attr { return slog.Duration(key, d) }
