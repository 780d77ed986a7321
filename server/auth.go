package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// Auth says who the bearer of a token is. An error means that the token proves
// nothing; the client is told only that it is unauthorized.
type Auth func(ctx context.Context, token string) (user string, err error)

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
	return func(_ context.Context, token string) (string, error) {
		var claims jwt.RegisteredClaims
		_, err := parser.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return keys, nil })
		if err != nil {
			return "", fmt.Errorf("verify token: %w", err)
		}
		if claims.Subject == "" || len(claims.Subject) > maxUser {
			return "", errors.New("verify token: sub is missing or too long")
		}
		return claims.Subject, nil
	}
}
