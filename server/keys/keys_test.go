package keys_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/callbench/callbench/server"
	"github.com/callbench/callbench/server/keys"
)

// signer is a private key with how its tokens name it.
type signer struct {
	kid     string
	method  jwt.SigningMethod
	private any
}

func (s signer) token(t *testing.T) string {
	t.Helper()
	tok := jwt.NewWithClaims(s.method, jwt.RegisteredClaims{Subject: "alice", ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour))})
	if s.kid != "" {
		tok.Header["kid"] = s.kid
	}
	text, err := tok.SignedString(s.private)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// pair makes a key of a kind, and the members of its JWK.
func pair(t *testing.T, kind string) (private any, public any, method jwt.SigningMethod, members string) {
	t.Helper()
	switch kind {
	case "RSA":
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		return k, &k.PublicKey, jwt.SigningMethodRS256, fmt.Sprintf(`"kty":"RSA","n":%q,"e":"AQAB"`, b64(k.N.Bytes()))
	case "EC":
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		point, err := k.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return k, &k.PublicKey, jwt.SigningMethodES256, fmt.Sprintf(`"kty":"EC","crv":"P-256","x":%q,"y":%q`, b64(point[1:33]), b64(point[33:]))
	case "OKP":
		pub, k, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k, pub, jwt.SigningMethodEdDSA, fmt.Sprintf(`"kty":"OKP","crv":"Ed25519","x":%q`, b64(pub))
	}
	secret := bytes.Repeat([]byte("0123456789abcdef"), 2)
	return secret, nil, jwt.SigningMethodHS256, fmt.Sprintf(`"kty":"oct","k":%q`, b64(secret))
}

type fixed []server.Key

func (f fixed) Keys() []server.Key { return f }

func verify(k server.Keys, token string) error {
	_, err := server.JWTConfig{Keys: k}.Auth()(context.Background(), token)
	return err
}

func TestKeysOfEveryKind(t *testing.T) {
	for _, kind := range []string{"RSA", "EC", "OKP", "oct"} {
		private, public, method, members := pair(t, kind)
		s := signer{"k1", method, private}
		set, err := keys.Parse([]byte(`{"keys":[{"kid":"k1","use":"sig",` + members + `},{"kid":"k2","use":"enc","kty":"RSA"}]}`))
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if err := verify(fixed(set), s.token(t)); err != nil {
			t.Errorf("%s from a key set: %v", kind, err)
		}
		s.kid = "another"
		if err := verify(fixed(set), s.token(t)); err == nil {
			t.Errorf("%s: a token of another key id is good", kind)
		}
		if public == nil {
			continue
		}
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		for _, headers := range []map[string]string{nil, {"kid": "another"}} {
			set, err = keys.Parse(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Headers: headers, Bytes: der}))
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			if err := verify(fixed(set), s.token(t)); err != nil {
				t.Errorf("%s from PEM: %v", kind, err)
			}
		}
	}
}

// A public key is nobody's secret: whoever signs with its text as one is refused,
// and so is a token that asks for no signature.
func TestAlgorithmIsTheKeys(t *testing.T) {
	_, public, _, members := pair(t, "RSA")
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	set, err := keys.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]signer{
		"the PEM text as a secret": {"", jwt.SigningMethodHS256, text},
		"no signature":             {"", jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType},
	} {
		if err := verify(fixed(set), s.token(t)); err == nil {
			t.Errorf("%s is good", name)
		}
	}
	private, _, _, _ := pair(t, "RSA")
	if err := verify(fixed(set), signer{"", jwt.SigningMethodRS256, private}.token(t)); err == nil {
		t.Error("another key's token is good")
	}
	if _, err := keys.Parse([]byte(`{"keys":[{"alg":"HS256",` + members + `}]}`)); err == nil {
		t.Error("a public key for HS256 is taken")
	}
}

func TestParseRefuses(t *testing.T) {
	ec, _, _, _ := pair(t, "EC")
	der, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(der), E: 65537})
	if err != nil {
		t.Fatal(err)
	}
	_, _, _, okp := pair(t, "OKP")
	for want, text := range map[string]string{
		"no key in it":          "hello",
		"must be a PUBLIC KEY":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"2048 or more":          string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: weak})),
		"not a JSON Web":        `{"keys":`,
		"no key":                `{"keys":[]}`,
		"32 or more":            `{"keys":[{"kty":"oct","k":"c2hvcnQ"}]}`,
		"private key":           `{"keys":[{"kty":"EC","crv":"P-256","d":"AA"}]}`,
		"no point":              `{"keys":[{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}]}`,
		"must be Ed25519":       `{"keys":[{"kty":"OKP","crv":"X25519","x":"AAAA"}]}`,
		"must be RSA, EC, OKP":  `{"keys":[{"kty":"magic"}]}`,
		"n is missing":          `{"keys":[{"kty":"RSA"}]}`,
		"no exponent":           `{"keys":[{"kty":"RSA","n":"AQAB","e":"AA"}]}`,
		"two keys are called":   `{"keys":[{"kid":"a",` + okp + `},{"kid":"a",` + okp + `}]}`,
		"is for HS256, HS384 o": `{"keys":[{"kty":"oct","alg":"RS256","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}`,
	} {
		if _, err := keys.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}

// A key set that is replaced counts at once; one that is spoilt, or gone for a
// moment, locks nobody out and is told of once.
func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	write := func(text string) {
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	oldKey, _, method, oldMembers := pair(t, "OKP")
	newKey, _, _, newMembers := pair(t, "OKP")
	older, newer := signer{"old", method, oldKey}, signer{"new", method, newKey}
	oldJWK, newJWK := `{"kid":"old",`+oldMembers+`}`, `{"kid":"new",`+newMembers+`}`
	write(`{"keys":[` + oldJWK + `]}`)
	var log bytes.Buffer
	f, err := keys.Open(path, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	good := func(when string, older_, newer_ bool) {
		t.Helper()
		for name, c := range map[string]struct {
			err  error
			want bool
		}{"old": {verify(f, older.token(t)), older_}, "new": {verify(f, newer.token(t)), newer_}} {
			if (c.err == nil) != c.want {
				t.Errorf("%s, the %s key: %v", when, name, c.err)
			}
		}
	}
	good("at first", true, false)
	write(`{"keys":[` + oldJWK + `,` + newJWK + `]}`)
	good("with both", true, true)
	write(`{"keys":[` + newJWK + `]}`)
	good("at last", false, true)
	write(`{"keys":[`)
	good("spoilt", false, true)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	good("gone", false, true)
	write(`{"keys":[` + oldJWK + `]}`)
	good("back", true, false)
	if n := strings.Count(log.String(), "msg=keys.failed"); n != 2 {
		t.Errorf("two mistakes were told %d times:\n%s", n, log.String())
	}
	if strings.Contains(log.String(), oldMembers) {
		t.Error("the log has a key")
	}
	if _, err := keys.Open(filepath.Join(t.TempDir(), "none"), nil); err == nil {
		t.Error("a file that is not there is opened")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}]}`))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := keys.Parse(text)
		for _, k := range set {
			if err == nil && (k.Algorithm == "" || k.Verify == nil) {
				t.Errorf("%q gives %+v", text, k)
			}
		}
	})
}
