package server

import (
	"log/slog"
	"time"

	"github.com/callbench/callbench/signaling"
)

// handleToken takes a newer token of the session's user. Auth may have to wait
// for somebody, so it is asked on the session's queue.
func handleToken(r request) error {
	var in signaling.Token
	if err := r.frame.Into(&in); err != nil {
		return err
	}
	if in.Token == "" {
		return signaling.Errorf(signaling.CodeBadData, "token is missing")
	}
	r.state.Do(func() {
		who, err := r.srv.identify(in.Token)
		if err != nil {
			r.log("token.refused", slog.String("error", err.Error()))
			r.fail(signaling.Errorf(signaling.CodeUnauthorized, "the token is not valid"))
			return
		}
		left, ok := r.renew(who)
		if !ok {
			r.fail(signaling.Errorf(signaling.CodeForbidden, "the token is of another user"))
			return
		}
		r.ack(signaling.TokenTTL{TokenTTL: left})
	})
	return nil
}

// renew lets the session live as long as this token, if that is longer, and
// returns how many seconds that is: lapse will see it. ok is false for a token
// of another user.
func (u *session) renew(who Identity) (left int, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.prolong(who) {
		return 0, false
	}
	u.log("session.token", slog.Int("ttl", ttl(u.expires)))
	return ttl(u.expires), true
}

// prolong is renew for who holds u.mu.
func (u *session) prolong(who Identity) bool {
	if who.User != u.user {
		return false
	}
	if outlives(who.Expires, u.expires) {
		u.expires = who.Expires
	}
	return true
}

// watchToken has the connection closed when the session's token runs out.
// u.mu is held, and the session has a connection.
func (u *session) watchToken() {
	u.stopTimer()
	if !u.expires.IsZero() {
		u.timer = time.AfterFunc(time.Until(u.expires), u.lapse)
	}
}

// lapse closes the connection of a session whose token has run out; the session
// can be resumed with a newer one. Time is left if a newer token came while the
// timer ran, or the wall clock was set back.
func (u *session) lapse() {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.ended || u.conn == nil:
	case expired(u.expires):
		u.conn.fail("", signaling.Errorf(signaling.CodeTokenExpired, "the token ran out and no newer one came"))
	default:
		u.watchToken()
	}
}

func (u *session) stopTimer() {
	if u.timer != nil {
		u.timer.Stop()
		u.timer = nil
	}
}
