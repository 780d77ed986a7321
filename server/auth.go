package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Identity is who the bearer of a token is, and until when the token proves it.
// A zero Expires is never.
type Identity struct {
	User    string
	Expires time.Time
}

// Auth says who the bearer of a token is. An error means that the token proves
// nothing; the client is told only that it is unauthorized.
type Auth func(ctx context.Context, token string) (Identity, error)

// maxUser is the longest user id, in bytes. User ids become Redis keys and
// columns of 128 characters.
const maxUser = 128

// JWT is an Auth for JSON Web Tokens signed with HS256. The token's sub is the
// user, and it must have an exp. Several secrets may be valid while they are
// being rotated.
func JWT(secrets ...[]byte) Auth {
	parser := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithExpirationRequired())
	keys := jwt.VerificationKeySet{}
	for _, s := range secrets {
		keys.Keys = append(keys.Keys, s)
	}
	return func(_ context.Context, token string) (Identity, error) {
		var claims jwt.RegisteredClaims
		_, err := parser.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return keys, nil })
		if err != nil {
			return Identity{}, fmt.Errorf("verify token: %w", err)
		}
		if claims.Subject == "" || len(claims.Subject) > maxUser {
			return Identity{}, errors.New("verify token: sub is missing or too long")
		}
		return Identity{claims.Subject, claims.ExpiresAt.Time}, nil
	}
}

// identify verifies a token, which may take as long as Auth does.
func (s *Server) identify(token string) (Identity, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.HelloTimeout)
	defer cancel()
	who, err := s.cfg.Auth(ctx, token)
	if err == nil && expired(who.Expires) {
		err = errors.New("the token has run out")
	}
	return who, err
}

// expired reports whether an Identity's Expires has come.
func expired(at time.Time) bool { return !at.IsZero() && !time.Now().Before(at) }

// outlives reports whether a token that expires at a is good for longer than
// one that expires at b.
func outlives(a, b time.Time) bool { return !b.IsZero() && (a.IsZero() || a.After(b)) }

// ttl is how long a token that is good is good still, in whole seconds and at
// least one: zero stands for one that never runs out.
func ttl(at time.Time) int {
	if at.IsZero() {
		return 0
	}
	return max(1, seconds(time.Until(at)))
}
