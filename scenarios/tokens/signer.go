package tokens

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// signer signs tokens with the secret that the login service signs with (HS256).
type signer struct {
	secret           []byte
	issuer, audience string
}

const envJWTSecret = "CALLBENCH_JWT_SECRET"

func openSigner(cfg Config) (*signer, error) {
	s := &signer{secret: []byte(cfg.Getenv(envJWTSecret)), issuer: cfg.Getenv("CALLBENCH_JWT_ISSUER"), audience: cfg.Getenv("CALLBENCH_JWT_AUDIENCE")}
	if len(s.secret) == 0 {
		return nil, fmt.Errorf("jwt: needs the secret that tokens are signed with (HS256), in %s", envJWTSecret)
	}
	return s, nil
}

// life is how long a good token lives.
const life = time.Hour

// Token implements Source.
func (s *signer) Token(_ context.Context, user, _ string) (string, error) {
	return s.sign(s.secret, user, life)
}

// Forge implements Forger.
func (s *signer) Forge(user, kind string) (string, error) {
	switch kind {
	case "wrong":
		return s.sign([]byte("somebody else's secret, which proves nothing"), user, life)
	case "expired":
		return s.sign(s.secret, user, -time.Minute)
	}
	d, err := time.ParseDuration(kind)
	if err != nil {
		return "", fmt.Errorf("a token cannot be %q", kind)
	}
	return s.sign(s.secret, user, d)
}

func (s *signer) sign(secret []byte, user string, life time.Duration) (string, error) {
	now := time.Now()
	claims := jwt.RegisteredClaims{Subject: user, ID: rand.Text(), Issuer: s.issuer, IssuedAt: jwt.NewNumericDate(now.Add(min(life, 0))), ExpiresAt: jwt.NewNumericDate(now.Add(life))}
	if s.audience != "" {
		claims.Audience = jwt.ClaimStrings{s.audience}
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
}
