package server

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"log/slog"
	"strings"
	"time"

	"github.com/callbench/callbench/signaling"
)

// features are what this server can do, as welcome lists them.
func (s *Server) features() []string {
	list := []string{signaling.FeatureResume, signaling.FeatureCallID, signaling.FeatureAck, signaling.FeatureRooms}
	if s.cfg.Recordings != nil {
		list = append(list, signaling.FeatureRecord)
	}
	if s.cfg.Archive != nil {
		list = append(list, signaling.FeatureHistory)
	}
	if s.cfg.ICE != nil {
		list = append(list, signaling.FeatureTURN)
	}
	return list
}

// maxDevice is the longest device id, in bytes.
const maxDevice = 128

// welcome answers hello: it resumes the session that the client names, or begins
// a new one. A token in hello counts before one in the header.
func (s *Server) welcome(c *conn, f signaling.Frame) *signaling.Error {
	var h signaling.Hello
	if err := f.Into(&h); err != nil {
		return signaling.AsError(err)
	}
	if h.Version != signaling.Version {
		return signaling.Errorf(signaling.CodeVersion, "this server speaks version %d", signaling.Version)
	}
	if len(h.Device) > maxDevice {
		return signaling.Errorf(signaling.CodeBadData, "device is longer than %d bytes", maxDevice)
	}
	who, refused := c.who, c.refused
	c.who, c.refused = nil, nil // not needed any more, and not to be kept
	if h.Token != "" {
		who, refused = c.identify(h.Token, "the token is not valid")
	}
	if h.Resume != "" && s.resume(c, f.ID, h, who) {
		return nil
	}
	switch {
	case who != nil:
		return s.enter(c, f.ID, h, *who)
	case refused != nil && refused.Code != signaling.CodeUnauthorized:
		return refused
	}
	return signaling.Errorf(signaling.CodeUnauthorized, "no valid token, and no session that can be resumed without one")
}

// resume gives the session that the client names to this connection. It returns
// false if the resume token is spent, pushes that the client has not seen are
// lost, or the session's own token has run out and the client shows no newer one.
func (s *Server) resume(c *conn, id string, h signaling.Hello, who *Identity) bool {
	sessionID, secret, _ := cutLast(h.Resume, ".")
	u := s.users.session(sessionID)
	if u == nil {
		u = s.restore(sessionID, secret)
	}
	if u == nil {
		s.metrics.resumes.WithLabelValues(resumeUnknown).Inc()
		return false
	}
	if s.revokedMeanwhile(u) {
		s.metrics.resumes.WithLabelValues(resumeToken).Inc()
		return false
	}
	acked, ok := u.resume(c, id, secret, h.LastSeq, who)
	if !ok {
		return false
	}
	for _, f := range acked {
		f()
	}
	if who != nil {
		u.reverify(*who)
	}
	return true
}

// cutLast is strings.Cut at the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// enter begins a new session of level 1 for the bearer of a token. The sessions
// that it replaces are over: those that the device had before, and one that the
// client names but cannot resume, as welcome's resumed:false says. They end
// when the new one is there, so that the user is online all the time.
func (s *Server) enter(c *conn, id string, h signaling.Hello, who Identity) *signaling.Error {
	u := newSession(s, who.User, h.Device)
	u.expires, u.proof = who.Expires, who
	named, _, _ := cutLast(h.Resume, ".")
	if wire := u.startWithin(c, id, named); wire != nil {
		return wire
	}
	for _, old := range s.users.replaced(u, named) {
		old.end(causeReplaced)
	}
	u.reverify(who)
	return nil
}

// enter0 begins a session of level 0 for the bearer of the header's token.
func (s *Server) enter0(c *conn) *signaling.Error {
	who := *c.who
	u := newSession(s, who.User, "")
	u.level, u.proof = level0, who
	c.who = nil
	if wire := u.startWithin(c, "", ""); wire != nil {
		return wire
	}
	u.reverify(who)
	return nil
}

// newSession makes a session of level 1 that nobody knows yet.
func newSession(s *Server, user, device string) *session {
	return &session{srv: s, id: s.cfg.NewID("session", user), user: user, device: device, level: level1, since: time.Now()}
}

// start makes a new session known and gives it its first connection. That is one
// step: what is pushed to it comes behind its welcome. It returns false when the
// server closes.
func (u *session) start(c *conn, id string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.srv.users.add(u) {
		return false
	}
	u.log("session.start", slog.String("device", u.device), slog.Int("level", u.level))
	u.srv.metrics.opened(u.level)
	u.put(u.since)
	u.attach(c)
	if u.level > level0 {
		u.sendWelcome(c, id, u.newToken(), false)
	}
	u.begin()
	return true
}

// resume gives a session a new connection and closes the old one, if it still
// seems alive. What the client has by now counts as acknowledged.
func (u *session) resume(c *conn, id, secret string, lastSeq uint64, who *Identity) (acked []func(), ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	outcome := u.resumable(secret, lastSeq, who)
	u.srv.metrics.resumes.WithLabelValues(outcome).Inc()
	if outcome != resumed {
		return nil, false
	}
	acked, _ = u.sent.upTo(lastSeq)
	old := u.conn
	u.srv.metrics.sessions.WithLabelValues("resumed").Inc()
	u.log("session.resume", slog.Int("replayed", len(u.sent.kept)), slog.Bool("moved", old != nil))
	if old != nil {
		old.fail("", signaling.Errorf(signaling.CodeSuperseded, "the session was resumed on another connection"))
	} else if r := u.room.Load(); r != nil {
		r.queue.Do(func() { r.host.connection(u, true) })
	}
	u.before = hashed(secret)
	token := u.newToken()
	u.put(time.Now())
	u.attach(c)
	u.sendWelcome(c, id, token, true)
	u.retell()
	if u.restored {
		u.restored = false
		u.begin()
	}
	return acked, true
}

// covers reports whether everything that the client has not seen can be sent again.
// What another server sent is not kept; a client that goes on from what it has seen
// of that misses stored messages only, which come anyway, and news of its room, which
// welcome has. The numbers go on where the client is. u.mu is held.
func (u *session) covers(lastSeq uint64) bool {
	if !u.restored {
		return u.sent.covers(lastSeq)
	}
	if lastSeq < u.sent.last {
		return false
	}
	u.sent.last = lastSeq
	return true
}

// newToken gives the session a new resume token. What is kept of it proves it and
// does not give it away. u.mu is held.
func (u *session) newToken() string {
	secret := rand.Text()
	u.secret = hashed(secret)
	return u.id + "." + secret
}

func hashed(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// What becomes of a client's wish to resume a session.
const (
	resumed       = "resumed"
	resumeUnknown = "unknown" // there is no such session any more
	resumeSpent   = "spent"   // the resume token was used, or is none
	resumeMissed  = "missed"  // pushes that the client has not seen are not kept any more
	resumeToken   = "token"   // the session's token has run out, or the client is another user
)

// resumable is what becomes of a wish to resume the session now. u.mu is held.
func (u *session) resumable(secret string, lastSeq uint64, who *Identity) string {
	switch {
	case u.ended:
		return resumeUnknown
	case !u.knows(secret):
		return resumeSpent
	case !u.covers(lastSeq):
		return resumeMissed
	case !u.mayResume(who):
		return resumeToken
	}
	return resumed
}

// mayResume reports whether the session may go on: with the token that it has,
// or with the newer one that the client shows. u.mu is held.
func (u *session) mayResume(who *Identity) bool {
	if who != nil && !u.prolong(*who) {
		return false
	}
	return !expired(u.expires)
}

// knows reports whether the secret is of the session's latest resume token, or
// of the one before as long as the latest connection has not shown that its
// welcome arrived: that, and the token in it, may have been lost. u.mu is held.
func (u *session) knows(secret string) bool {
	return same(secret, u.secret) || same(secret, u.before) && !u.heard()
}

// heard reports whether the latest connection has shown that its welcome arrived.
// u.mu is held.
func (u *session) heard() bool { return u.last != nil && u.last.welcomed() }

// same reports whether the secret is the one that this is the hash of.
func same(secret, hash string) bool {
	return subtle.ConstantTimeCompare([]byte(hashed(secret)), []byte(hash)) == 1
}

// attach gives the session its connection. u.mu is held.
func (u *session) attach(c *conn) {
	u.conn, u.last = c, c
	u.watchToken()
	c.begin(u)
}

// sendWelcome welcomes a client to the session, with a new resume token, and
// sends what it missed. u.mu is held.
func (u *session) sendWelcome(c *conn, id, token string, resumed bool) {
	cfg := &u.srv.cfg
	w := signaling.Welcome{
		Version: signaling.Version, Features: u.srv.features(), SessionID: u.id, UserID: u.user,
		ResumeToken: token, Resumed: resumed,
		Heartbeat: seconds(cfg.Heartbeat), Timeout: seconds(cfg.Timeout), ResumeWindow: seconds(cfg.ResumeWindow),
		TokenTTL: ttl(u.expires),
	}
	if rooms := u.srv.users.roomsOf(u); len(rooms) > 0 && resumed {
		w.Call = rooms[0].host.refFor(u)
	}
	ice := u.iceServers()
	w.ICEServers, w.ICETTL = ice.ICEServers, ice.TTL
	if b, err := encode(signaling.Frame{Type: signaling.TypeWelcome, ID: id}, w); err == nil {
		c.welcome(b, resumed, u.sent.frames())
	}
}

func seconds(d time.Duration) int { return int(d / time.Second) }
