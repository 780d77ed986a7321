package server

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"log/slog"
	"strings"
	"time"

	"github.com/callbench/callbench/signaling"
)

// features are what this server can do, as welcome lists them.
func features() []string {
	return []string{signaling.FeatureResume, signaling.FeatureCallID, signaling.FeatureAck}
}

// welcome answers the first frame of a connection: it resumes the session that
// the client names, or begins a new one.
func (s *Server) welcome(c *conn, f signaling.Frame) *signaling.Error {
	var h signaling.Hello
	if f.Type != signaling.TypeHello {
		return signaling.Errorf(signaling.CodeHelloRequired, "the first frame is %s, not hello", f.Kind())
	}
	if err := f.Into(&h); err != nil {
		return signaling.AsError(err)
	}
	if h.Version != signaling.Version {
		return signaling.Errorf(signaling.CodeVersion, "this server speaks version %d", signaling.Version)
	}
	if h.Token == "" {
		h.Token = c.bearer
	}
	c.bearer = "" // not needed any more, and not to be kept
	if h.Resume != "" && s.resume(c, f.ID, h) {
		return nil
	}
	return s.enter(c, f.ID, h)
}

// resume gives the session that the client names to this connection. It returns
// false if the token is spent, or pushes that the client has
// not seen are lost.
func (s *Server) resume(c *conn, id string, h signaling.Hello) bool {
	sessionID, secret, _ := cutLast(h.Resume, ".")
	u := s.users.session(sessionID)
	return u != nil && u.resume(c, id, secret, h.LastSeq)
}

// cutLast is strings.Cut at the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// enter begins a new session for the bearer of the token. A session of the same
// user that it names but cannot resume is over, as welcome's resumed:false says.
func (s *Server) enter(c *conn, id string, h signaling.Hello) *signaling.Error {
	if h.Token == "" {
		return signaling.Errorf(signaling.CodeUnauthorized, "no token, and no session to resume")
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.HelloTimeout)
	defer cancel()
	user, err := s.cfg.Auth(ctx, h.Token)
	if err != nil {
		s.log.Warn("session.refused", "error", err.Error())
		return signaling.Errorf(signaling.CodeUnauthorized, "the token is not valid")
	}
	if sessionID, _, ok := cutLast(h.Resume, "."); ok {
		if old := s.users.session(sessionID); old != nil && old.user == user {
			old.end(causeReplaced)
		}
	}
	u := newSession(s, user, h.Device)
	if !s.users.add(u) {
		return signaling.Errorf(signaling.CodeGoingAway, "the server shuts down")
	}
	u.start(c, id)
	return nil
}

// newSession makes a session that nobody knows yet.
func newSession(s *Server, user, device string) *session {
	return &session{srv: s, id: s.cfg.NewID("session", user), user: user, device: device, since: time.Now()}
}

// start gives a new session its first connection.
func (u *session) start(c *conn, id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.log("session.start", slog.String("device", u.device))
	u.put(u.since)
	u.attach(c, id, false, nil)
	u.begin()
}

// resume gives a session a new connection and closes the old one, if it still
// seems alive.
func (u *session) resume(c *conn, id, secret string, lastSeq uint64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended || !u.knows(secret) {
		return false
	}
	missed, ok := u.sent.after(lastSeq)
	if !ok {
		return false
	}
	u.receive(lastSeq)
	old := u.conn
	u.log("session.resume", slog.Int("replayed", len(missed)), slog.Bool("moved", old != nil))
	if old != nil {
		old.fail("", signaling.Errorf(signaling.CodeSuperseded, "the session was resumed on another connection"))
	} else {
		u.expiry.Stop()
		u.put(time.Now())
		if call := u.call.Load(); call != nil {
			call.queue.Do(func() { call.connection(u, true) })
		}
	}
	u.attach(c, id, true, missed)
	return true
}

// knows reports whether the secret is of the session's latest resume token, or
// of the one before as long as the latest connection has not shown that its
// welcome arrived: that, and the token in it, may have been lost. u.mu is held.
func (u *session) knows(secret string) bool {
	same := func(s string) bool { return subtle.ConstantTimeCompare([]byte(secret), []byte(s)) == 1 }
	return same(u.secret) || u.before != "" && same(u.before) && !u.last.welcomed()
}

// attach welcomes a client to the session on this connection, with a new resume
// token, and sends what it missed. u.mu is held.
func (u *session) attach(c *conn, id string, resumed bool, missed [][]byte) {
	u.before, u.secret, u.last = u.secret, rand.Text(), c
	cfg := &u.srv.cfg
	w := signaling.Welcome{
		Version: signaling.Version, Features: features(), SessionID: u.id, UserID: u.user,
		ResumeToken: u.id + "." + u.secret, Resumed: resumed,
		Heartbeat: seconds(cfg.Heartbeat), Timeout: seconds(cfg.Timeout), ResumeWindow: seconds(cfg.ResumeWindow),
	}
	if call := u.call.Load(); call != nil && resumed {
		w.Call = call.refFor(u)
	}
	u.conn = c
	c.begin(u)
	if b, err := encode(signaling.Frame{Type: signaling.TypeWelcome, ID: id}, w); err == nil {
		c.welcome(b, resumed, missed)
	}
}

func seconds(d time.Duration) int { return int(d / time.Second) }
