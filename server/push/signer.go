package push

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of a signed request, of https://www.standardwebhooks.com, for which
// there are libraries in most languages.
const (
	HeaderID        = "Webhook-Id"        // the same for every attempt of one notification
	HeaderTimestamp = "Webhook-Timestamp" // Unix seconds of this attempt
	HeaderSignature = "Webhook-Signature" // v1, and the base64 HMAC-SHA256 of id.timestamp.body
)

// minSecret is the shortest secret, in bytes, that Standard Webhooks allow.
const minSecret = 24

// Tolerance is how far the clocks of both sides may be apart.
const Tolerance = 5 * time.Minute

// Errors of Verify.
var (
	ErrSignature = errors.New("the signature is missing or wrong")
	ErrTimestamp = errors.New("the timestamp is missing or too far from now")
)

// Signer signs requests, so that a webhook can tell them from other people's.
type Signer struct{ key []byte }

// NewSigner makes a signer with a secret of at least 24 bytes: any text, or, as
// the libraries write it, whsec_ and base64.
func NewSigner(secret string) (*Signer, error) {
	key := []byte(secret)
	if coded, ok := strings.CutPrefix(secret, "whsec_"); ok {
		var err error
		if key, err = base64.StdEncoding.DecodeString(coded); err != nil {
			return nil, errors.New("push: the secret is not base64 after whsec_")
		}
	}
	if len(key) < minSecret {
		return nil, fmt.Errorf("push: the secret must have %d bytes or more", minSecret)
	}
	return &Signer{key}, nil
}

// Sign sets the headers of a request with this body.
func (s *Signer) Sign(h http.Header, id string, at time.Time, body []byte) {
	stamp := strconv.FormatInt(at.Unix(), 10)
	h.Set(HeaderID, id)
	h.Set(HeaderTimestamp, stamp)
	h.Set(HeaderSignature, "v1,"+s.sum(id, stamp, body))
}

// Verify tells whether a request with this body is the server's own, and a new
// one: one that was overheard is good for Tolerance only, and within that its id
// tells that it was seen.
func (s *Signer) Verify(h http.Header, body []byte, now time.Time) error {
	stamp := h.Get(HeaderTimestamp)
	unix, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || now.Sub(time.Unix(unix, 0)).Abs() > Tolerance {
		return ErrTimestamp
	}
	want := []byte("v1," + s.sum(h.Get(HeaderID), stamp, body))
	for _, got := range strings.Fields(h.Get(HeaderSignature)) { // several while a secret is replaced
		if hmac.Equal([]byte(got), want) {
			return nil
		}
	}
	return ErrSignature
}

func (s *Signer) sum(id, stamp string, body []byte) string {
	mac := hmac.New(sha256.New, s.key)
	fmt.Fprintf(mac, "%s.%s.", id, stamp)
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
