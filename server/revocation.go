package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/callbench/callbench/signaling"
)

// Revocation takes back one token, or all tokens of a user that were issued
// before a time. Exactly one of TokenID and User is set.
type Revocation struct {
	TokenID string    `json:"tokenId,omitempty"`
	User    string    `json:"user,omitempty"`
	Before  time.Time `json:"before,omitzero"` // with User; a token without iat is older than any time
	Until   time.Time `json:"until,omitzero"`  // when the last of these tokens runs out, after which it may be forgotten; zero is never
}

// Revocations remember what was revoked. They are asked for every token that is
// shown. An error of Revoked lets nobody in: the client is told to come again.
type Revocations interface {
	Revoke(ctx context.Context, r Revocation) error
	Revoked(ctx context.Context, who Identity) (bool, error)
}

// Covers reports whether the revocation is of this identity's token.
func (r Revocation) Covers(who Identity) bool {
	if r.TokenID != "" {
		return r.TokenID == who.TokenID
	}
	return r.User == who.User && who.Issued.Before(r.Before)
}

// ErrRevocation says that a Revocation is none: it names nobody, or more than one
// can mean.
var ErrRevocation = errors.New("not a revocation")

func (r Revocation) check() error {
	switch {
	case (r.TokenID == "") == (r.User == ""):
		return fmt.Errorf("%w: name either a token by tokenId or a user", ErrRevocation)
	case r.User != "" && r.Before.IsZero():
		return fmt.Errorf("%w: before says which of the user's tokens are meant, those that were issued before that time", ErrRevocation)
	case r.User == "" && !r.Before.IsZero():
		return fmt.Errorf("%w: before goes with user", ErrRevocation)
	case len(r.TokenID) > maxTokenID || len(r.User) > maxUser:
		return fmt.Errorf("%w: the id is too long", ErrRevocation)
	}
	return nil
}

// errRevoked says that a token was good and was taken back.
var errRevoked = errors.New("the token was revoked")

// Revoke remembers a revocation and ends the sessions that such a token holds:
// their connections are closed with 4403, and they cannot be resumed. It returns
// how many those were.
func (s *Server) Revoke(ctx context.Context, r Revocation) (ended int, err error) {
	if s.cfg.Revocations == nil {
		return 0, errors.New("revoke: this server has no Revocations")
	}
	if err := r.check(); err != nil {
		return 0, err
	}
	if err := s.cfg.Revocations.Revoke(ctx, r); err != nil {
		return 0, err
	}
	s.revoked.Add(1) // before looking: who enters now and is not seen looks again
	sessions, _ := s.users.everybody()
	for _, u := range sessions {
		if u.heldBy(r) {
			ended++
			u.end(causeRevoked)
		}
	}
	s.log.LogAttrs(ctx, slog.LevelWarn, "token.revoked", slog.String("user", r.User), slog.Time("before", r.Before), slog.Int("ended", ended))
	return ended, nil
}

// checkRevoked asks whether a token was taken back. Its error is a
// *signaling.Error if that cannot be said now.
func (s *Server) checkRevoked(ctx context.Context, who Identity) error {
	if s.cfg.Revocations == nil {
		return nil
	}
	revoked, err := s.cfg.Revocations.Revoked(ctx, who)
	switch {
	case err != nil:
		s.metrics.lost.WithLabelValues("revoked").Inc()
		s.log.LogAttrs(ctx, slog.LevelError, "state.failed", slog.String("operation", "revoked"), slog.String("user", who.User), slog.String("error", err.Error()))
		return signaling.Errorf(signaling.CodeInternal, "whether the token is good cannot be said now")
	case revoked:
		return errRevoked
	}
	return nil
}

// revokedMeanwhile ends a restored session whose token was revoked while no server
// had it. If nobody can say so it goes on.
func (s *Server) revokedMeanwhile(u *session) bool {
	u.mu.Lock()
	restored, proof := u.restored, u.proof
	u.mu.Unlock()
	if !restored {
		return false
	}
	ctx, cancel := s.storing()
	defer cancel()
	if !errors.Is(s.checkRevoked(ctx, proof), errRevoked) {
		return false
	}
	u.end(causeRevoked)
	return true
}

// heldBy reports whether the session's token is revoked by r.
func (u *session) heldBy(r Revocation) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return r.Covers(u.proof)
}

// reverify ends the session if its token was revoked after it was verified and
// before the session could be found by Revoke.
func (u *session) reverify(who Identity) {
	s := u.srv
	if s.cfg.Revocations == nil || s.revoked.Load() == who.epoch {
		return
	}
	ctx, cancel := s.storing()
	defer cancel()
	if s.checkRevoked(ctx, who) != nil {
		u.end(causeRevoked)
	}
}
