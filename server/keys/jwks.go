package keys

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"

	"github.com/callbench/callbench/server"
)

// jwk is a JSON Web Key: what RFC 7517 §4 gives to all kinds, and the members of
// RFC 7518 §6 and RFC 8037 §2.
type jwk struct {
	Kty, Kid, Alg, Use string
	N, E               string // RSA
	Crv, X, Y          string // EC and OKP
	K                  string // oct
	D                  string // the private half, which has no business here
}

// parseJWKS reads a key set, or a single key. Keys for encryption are left out.
func parseJWKS(text []byte) (keys []server.Key, err error) {
	var set struct {
		jwk
		Keys []jwk
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("not a JSON Web Key Set: %w", err)
	}
	if set.Kty != "" {
		set.Keys = append(set.Keys, set.jwk)
	}
	for i, k := range set.Keys {
		if k.Use != "" && k.Use != "sig" {
			continue
		}
		key, err := k.key()
		if err != nil {
			return nil, fmt.Errorf("key %d (kid %q): %w", i+1, k.Kid, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (k jwk) key() (server.Key, error) {
	switch {
	case k.Kty == "oct":
		return k.secret()
	case k.D != "":
		return server.Key{}, errors.New("it holds a private key: give the public one, which is the same without d, p, q, dp, dq, qi")
	}
	public, err := k.public()
	if err != nil {
		return server.Key{}, err
	}
	return asymmetric(k.Kid, k.Alg, public)
}

func (k jwk) secret() (server.Key, error) {
	secret, err := part("k", k.K)
	if err != nil {
		return server.Key{}, err
	}
	key, err := Secret(k.Kid, secret)
	switch k.Alg {
	case "", "HS256":
	case "HS384", "HS512":
		key.Algorithm = k.Alg
	default:
		return server.Key{}, fmt.Errorf("alg is %q, and a secret is for HS256, HS384 or HS512", k.Alg)
	}
	return key, err
}

func (k jwk) public() (any, error) {
	switch k.Kty {
	case "RSA":
		return k.rsa()
	case "EC":
		return k.ec()
	case "OKP":
		return k.ed25519()
	}
	return nil, fmt.Errorf("kty is %q, and must be RSA, EC, OKP or oct", k.Kty)
}

func (k jwk) rsa() (any, error) {
	n, err := part("n", k.N)
	if err != nil {
		return nil, err
	}
	e, err := part("e", k.E)
	if err != nil {
		return nil, err
	}
	exponent := new(big.Int).SetBytes(e)
	if !exponent.IsInt64() || exponent.Int64() > math.MaxInt32 || exponent.Int64() < 3 || exponent.Bit(0) == 0 {
		return nil, errors.New("e is no exponent of RSA")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}, nil
}

func (k jwk) ec() (any, error) {
	curves := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}
	curve := curves[k.Crv]
	if curve == nil {
		return nil, fmt.Errorf("crv is %q, and must be P-256, P-384 or P-521", k.Crv)
	}
	x, err := part("x", k.X)
	if err != nil {
		return nil, err
	}
	y, err := part("y", k.Y)
	if err != nil {
		return nil, err
	}
	point := append([]byte{4}, append(x, y...)...) // SEC 1 §2.3.3, uncompressed
	public, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, fmt.Errorf("x and y are no point of %s: %w", k.Crv, err)
	}
	return public, nil
}

func (k jwk) ed25519() (any, error) {
	if k.Crv != "Ed25519" {
		return nil, fmt.Errorf("crv is %q, and must be Ed25519", k.Crv)
	}
	x, err := part("x", k.X)
	if err == nil && len(x) != ed25519.PublicKeySize {
		err = fmt.Errorf("x has %d bytes, and must have %d", len(x), ed25519.PublicKeySize)
	}
	return ed25519.PublicKey(x), err
}

// part decodes a member. Its text is not quoted: it may be a secret.
func part(name, text string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) == 0 {
		return nil, fmt.Errorf("%s is missing or not base64url without padding", name)
	}
	return b, nil
}
