package server

import (
	"errors"
	"log/slog"
	"net/netip"
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
	if err := r.mayWait(); err != nil {
		return err
	}
	r.state.Do(func() {
		if err := r.refresh(in.Token); err != nil {
			r.failLater(err)
		}
	})
	return nil
}

// refresh does a request with a newer token. It runs on the session's queue.
func (r request) refresh(token string) error {
	who, err := r.srv.identify(token)
	if err != nil {
		r.log("token.refused", slog.String("error", err.Error()))
		return refusal(err, "the token is not valid")
	}
	left, ok := r.renew(who)
	if !ok {
		return signaling.Errorf(signaling.CodeForbidden, "the token is of another user")
	}
	r.ack(signaling.TokenTTL{TokenTTL: left})
	r.reverify(who)
	return nil
}

// failLater refuses a token, late if the client's address has shown other bad
// ones.
func (r request) failLater(err error) {
	if signaling.AsError(err).Code == signaling.CodeUnauthorized {
		if wait := r.srv.penalty(r.address()); wait > 0 {
			time.AfterFunc(wait, func() { r.fail(err) })
			return
		}
	}
	r.fail(err)
}

// address is where the session's client is, or was last.
func (u *session) address() netip.Addr {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.last.from
}

// refusal is what the bearer of a token that proves nothing is told: unauthorized,
// unless nobody could say whether the token is good.
func refusal(err error, message string) *signaling.Error {
	var wire *signaling.Error
	if errors.As(err, &wire) {
		return wire
	}
	return signaling.Errorf(signaling.CodeUnauthorized, "%s", message)
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
		u.expires, u.proof = who.Expires, who
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
