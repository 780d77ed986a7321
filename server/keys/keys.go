// Package keys reads the keys that tokens are verified with: JSON Web Key Sets
// (RFC 7517, RFC 8037) and PEM files of public keys and certificates. A file is
// read again when it changed, so keys are rotated by replacing it.
package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/callbench/callbench/server"
)

// Smallest keys: RFC 7518 §3.2 wants as many bits as the hash has, §3.3 wants 2048.
const (
	minSecret = 32   // bytes
	minRSA    = 2048 // bits
)

// Secret is a key that is shared with who issues the tokens, of 32 bytes or more.
// Its id may be empty.
func Secret(id string, secret []byte) (server.Key, error) {
	if len(secret) < minSecret {
		return server.Key{}, fmt.Errorf("a secret has %d bytes, and must have %d or more (RFC 7518 §3.2)", len(secret), minSecret)
	}
	return server.Key{ID: id, Algorithm: "HS256", Verify: secret}, nil
}

// Parse reads a key set: JSON if it begins with a brace, PEM otherwise. Every
// key has one algorithm, the one that it names or the usual one of its kind:
// RS256, ES256, ES384, ES512, EdDSA, and HS256 for a secret, which PEM cannot hold.
func Parse(text []byte) ([]server.Key, error) {
	var keys []server.Key
	var err error
	if text = bytes.TrimSpace(text); bytes.HasPrefix(text, []byte("{")) {
		keys, err = parseJWKS(text)
	} else {
		keys, err = parsePEM(text)
	}
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, errors.New("no key in it: it holds neither a JSON Web Key Set nor PEM blocks of public keys")
	}
	return keys, distinct(keys)
}

// distinct refuses two keys of one id: which of them is meant would be a guess.
func distinct(keys []server.Key) error {
	seen := map[string]bool{}
	for _, k := range keys {
		if k.ID != "" && seen[k.ID] {
			return fmt.Errorf("two keys are called %q", k.ID)
		}
		seen[k.ID] = true
	}
	return nil
}

// parsePEM reads the blocks of a PEM text. A block's header kid is the key's id.
func parsePEM(text []byte) (keys []server.Key, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		public, err := publicKey(block)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", len(keys)+1, err)
		}
		k, err := asymmetric(block.Headers["kid"], "", public)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", len(keys)+1, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func publicKey(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return c.PublicKey, nil
	}
	return nil, fmt.Errorf("it is a %s, and must be a PUBLIC KEY or a CERTIFICATE", block.Type)
}

// asymmetric is a public key with the algorithm that it is for; alg "" stands for
// the usual one.
func asymmetric(id, alg string, public any) (server.Key, error) {
	algorithms, err := algorithmsOf(public)
	if err != nil {
		return server.Key{}, err
	}
	if alg == "" {
		alg = algorithms[0]
	}
	for _, a := range algorithms {
		if a == alg {
			return server.Key{ID: id, Algorithm: alg, Verify: public}, nil
		}
	}
	return server.Key{}, fmt.Errorf("alg is %q, and this kind of key is for %v", alg, algorithms)
}

// algorithmsOf are those that a key can verify, the usual one first.
func algorithmsOf(public any) ([]string, error) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSA {
			return nil, fmt.Errorf("an RSA key has %d bits, and must have %d or more (RFC 7518 §3.3)", k.N.BitLen(), minRSA)
		}
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, nil
	case *ecdsa.PublicKey:
		if a := ofCurve(k.Curve); a != "" {
			return []string{a}, nil
		}
		return nil, fmt.Errorf("curve %s is none of P-256, P-384 and P-521", k.Curve.Params().Name)
	case ed25519.PublicKey:
		return []string{"EdDSA"}, nil
	}
	return nil, fmt.Errorf("a %T verifies no tokens", public)
}

func ofCurve(c elliptic.Curve) string {
	switch c {
	case elliptic.P256():
		return "ES256"
	case elliptic.P384():
		return "ES384"
	case elliptic.P521():
		return "ES512"
	}
	return ""
}
