package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Identity is who the bearer of a token is, and until when the token proves it.
// A zero Expires is never. TokenID and Issued are what a revocation goes by;
// without Issued a token counts as older than any.
type Identity struct {
	User    string
	Expires time.Time
	TokenID string    // jti; may be empty
	Issued  time.Time // iat; may be zero

	epoch uint64 // of the server's revocations, before it was asked whether the token is revoked
}

// Auth says who the bearer of a token is. An error means that the token proves
// nothing; the client is told only that it is unauthorized.
type Auth func(ctx context.Context, token string) (Identity, error)

// maxUser is the longest user id, in bytes. User ids become Redis keys and
// columns of 128 characters.
const maxUser = 128

// maxTokenID is the longest id of a token, in bytes. It becomes a Redis key.
const maxTokenID = 128

// Key is a key that tokens may be signed with. It verifies one algorithm: a
// token that names another is not tried with it, so that nobody can have a
// public key taken for a shared secret.
type Key struct {
	ID        string // the kid that tokens name it by; a key without one is tried for every token
	Algorithm string // HS256, RS256, ES256 (RFC 7518), EdDSA (RFC 8037) and their like
	Verify    any    // []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// Keys are the keys that are good at the moment. They are asked for each token,
// so that keys can be rotated while the server runs. Package keys reads them from
// a file.
type Keys interface {
	Keys() []Key
}

// JWTConfig says which JSON Web Tokens are good. Keys must be set.
type JWTConfig struct {
	Keys     Keys
	Audience string        // that aud must have; "" takes any
	Issuer   string        // that iss must be; "" takes any
	Leeway   time.Duration // by how much clocks may differ, for exp, nbf and iat
}

// JWT is an Auth for JSON Web Tokens signed with HS256. The token's sub is the
// user, and it must have an exp. Several secrets may be valid while they are
// being rotated.
func JWT(secrets ...[]byte) Auth {
	var keys fixedKeys
	for _, s := range secrets {
		keys = append(keys, Key{Algorithm: jwt.SigningMethodHS256.Alg(), Verify: s})
	}
	return JWTConfig{Keys: keys}.Auth()
}

type fixedKeys []Key

func (k fixedKeys) Keys() []Key { return k }

// Auth takes tokens whose sub is a user, that have an exp, and that one of the
// keys signed.
func (c JWTConfig) Auth() Auth {
	options := []jwt.ParserOption{jwt.WithExpirationRequired(), jwt.WithLeeway(c.Leeway), jwt.WithIssuedAt()}
	if c.Audience != "" {
		options = append(options, jwt.WithAudience(c.Audience))
	}
	if c.Issuer != "" {
		options = append(options, jwt.WithIssuer(c.Issuer))
	}
	parser := jwt.NewParser(options...)
	return func(_ context.Context, token string) (Identity, error) {
		var claims jwt.RegisteredClaims
		if _, err := parser.ParseWithClaims(token, &claims, c.find); err != nil {
			return Identity{}, fmt.Errorf("verify token: %w", err)
		}
		return c.identity(claims)
	}
}

// find gives the keys that may have signed a token.
func (c JWTConfig) find(t *jwt.Token) (any, error) {
	kid, _ := t.Header["kid"].(string)
	var set jwt.VerificationKeySet
	for _, k := range c.Keys.Keys() {
		if k.Algorithm == t.Method.Alg() && (k.ID == "" || kid == "" || k.ID == kid) {
			set.Keys = append(set.Keys, k.Verify)
		}
	}
	if len(set.Keys) == 0 {
		return nil, fmt.Errorf("no key %q for %s", kid, t.Method.Alg())
	}
	return set, nil
}

func (c JWTConfig) identity(claims jwt.RegisteredClaims) (Identity, error) {
	if claims.Subject == "" || len(claims.Subject) > maxUser {
		return Identity{}, errors.New("verify token: sub is missing or too long")
	}
	if len(claims.ID) > maxTokenID {
		return Identity{}, errors.New("verify token: jti is too long")
	}
	who := Identity{User: claims.Subject, Expires: claims.ExpiresAt.Add(c.Leeway), TokenID: claims.ID}
	if claims.IssuedAt != nil {
		who.Issued = claims.IssuedAt.Time
	}
	return who, nil
}

// identify verifies a token, which may take as long as Auth does.
func (s *Server) identify(token string) (Identity, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.HelloTimeout)
	defer cancel()
	epoch := s.revoked.Load()
	who, err := s.cfg.Auth(ctx, token)
	who.epoch = epoch
	switch {
	case err != nil:
		return who, err
	case expired(who.Expires):
		return who, errors.New("the token has run out")
	}
	return who, s.checkRevoked(ctx, who)
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
