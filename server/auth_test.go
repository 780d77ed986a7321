package server_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/callbench/callbench/server"
)

type keyRing []server.Key

func (k keyRing) Keys() []server.Key { return k }

func signed(t *testing.T, claims jwt.RegisteredClaims) string {
	t.Helper()
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestJWT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		at := func(d time.Duration) *jwt.NumericDate { return jwt.NewNumericDate(now.Add(d)) }
		auth := server.JWTConfig{Keys: keyRing{{Algorithm: "HS256", Verify: secret}}, Audience: "calls", Issuer: "login", Leeway: 10 * time.Second}.Auth()
		good := jwt.RegisteredClaims{Subject: "alice", Audience: jwt.ClaimStrings{"mail", "calls"}, Issuer: "login", ID: "t-1",
			ExpiresAt: at(time.Minute), IssuedAt: at(0), NotBefore: at(0)}
		who, err := auth(context.Background(), signed(t, good))
		want := server.Identity{User: "alice", TokenID: "t-1", Issued: now, Expires: now.Add(70 * time.Second)}
		if err != nil || !who.Expires.Equal(want.Expires) || !who.Issued.Equal(want.Issued) || who.User != want.User || who.TokenID != want.TokenID {
			t.Errorf("got %+v, %v", who, err)
		}
		for name, c := range map[string]struct {
			change func(*jwt.RegisteredClaims)
			good   bool
		}{
			"no sub":             {func(c *jwt.RegisteredClaims) { c.Subject = "" }, false},
			"a long sub":         {func(c *jwt.RegisteredClaims) { c.Subject = strings.Repeat("a", 129) }, false},
			"a long jti":         {func(c *jwt.RegisteredClaims) { c.ID = strings.Repeat("a", 129) }, false},
			"no jti":             {func(c *jwt.RegisteredClaims) { c.ID = "" }, true},
			"another audience":   {func(c *jwt.RegisteredClaims) { c.Audience = jwt.ClaimStrings{"mail"} }, false},
			"no audience":        {func(c *jwt.RegisteredClaims) { c.Audience = nil }, false},
			"another issuer":     {func(c *jwt.RegisteredClaims) { c.Issuer = "me" }, false},
			"no exp":             {func(c *jwt.RegisteredClaims) { c.ExpiresAt = nil }, false},
			"just run out":       {func(c *jwt.RegisteredClaims) { c.ExpiresAt = at(-9 * time.Second) }, true},
			"run out":            {func(c *jwt.RegisteredClaims) { c.ExpiresAt = at(-10 * time.Second) }, false},
			"good in a moment":   {func(c *jwt.RegisteredClaims) { c.NotBefore = at(10 * time.Second) }, true},
			"good later":         {func(c *jwt.RegisteredClaims) { c.NotBefore = at(11 * time.Second) }, false},
			"issued in a moment": {func(c *jwt.RegisteredClaims) { c.IssuedAt = at(10 * time.Second) }, true},
			"issued tomorrow":    {func(c *jwt.RegisteredClaims) { c.IssuedAt = at(24 * time.Hour) }, false},
		} {
			claims := good
			c.change(&claims)
			if _, err := auth(context.Background(), signed(t, claims)); (err == nil) != c.good {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
