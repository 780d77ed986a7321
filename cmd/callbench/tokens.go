package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/keys"
)

// tokenFlags say which tokens `callbench serve` takes.
type tokenFlags struct {
	Secret   string        `env:"CALLBENCH_SECRET" help:"Secret that tokens are signed with (HS256), 32 bytes or more; random if not given."`
	Keys     string        `env:"CALLBENCH_KEYS" placeholder:"FILE" help:"Keys that tokens are signed with: a JSON Web Key Set, or public keys in PEM. It is read again when it changed."`
	Audience string        `env:"CALLBENCH_AUDIENCE" help:"What the aud of tokens must have; if not given, it may be any."`
	Issuer   string        `env:"CALLBENCH_ISSUER" help:"What the iss of tokens must be; if not given, it may be any."`
	Leeway   time.Duration `env:"CALLBENCH_LEEWAY" default:"5s" help:"By how much the clocks of server and login service may differ."`
}

// minSecret is what RFC 7518 §3.2 asks for HS256.
const minSecret = 32

func (f *tokenFlags) check() error {
	switch {
	case f.Secret == "":
		f.Secret = rand.Text() + rand.Text()
	case len(f.Secret) < minSecret:
		return fmt.Errorf("-secret must have %d bytes or more (RFC 7518 §3.2); `openssl rand -base64 32` makes one", minSecret)
	}
	if f.Leeway < 0 || f.Leeway > time.Hour {
		return errors.New("-leeway must be between 0s and 1h")
	}
	return nil
}

// auth takes tokens that the secret or a key of the file signed.
func (f *tokenFlags) auth(log *slog.Logger) (server.Auth, error) {
	own, err := keys.Secret("", []byte(f.Secret))
	if err != nil {
		return nil, fmt.Errorf("-secret: %w", err)
	}
	ring := keyRing{own: []server.Key{own}}
	if f.Keys != "" {
		if ring.file, err = keys.Open(f.Keys, log); err != nil {
			return nil, fmt.Errorf("-keys: %w", err)
		}
	}
	return server.JWTConfig{Keys: ring, Audience: f.Audience, Issuer: f.Issuer, Leeway: f.Leeway}.Auth(), nil
}

// keyRing is the secret and what the key file holds at the moment.
type keyRing struct {
	own  []server.Key
	file *keys.File
}

// Keys implements server.Keys.
func (r keyRing) Keys() []server.Key {
	if r.file == nil {
		return r.own
	}
	return append(r.own[:len(r.own):len(r.own)], r.file.Keys()...)
}

// token is one for a demo user.
func (f *tokenFlags) token(user string, life time.Duration) (string, error) {
	now := time.Now()
	claims := jwt.RegisteredClaims{Subject: user, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(life)), Issuer: f.Issuer}
	if f.Audience != "" {
		claims.Audience = jwt.ClaimStrings{f.Audience}
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(f.Secret))
}
