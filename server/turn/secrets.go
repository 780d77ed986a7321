package turn

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Secrets are what credentials are signed with: the newest signs, and for as
// long as a rotation lasts the one before it verifies too. The TURN server and
// whoever hands out its credentials hold the same ones. Its methods may be
// called from any goroutine.
type Secrets struct {
	mu   sync.RWMutex
	list []string // the newest first; one, or two during a rotation
}

// NewSecrets takes the newest secret, and the one before it if there is one.
func NewSecrets(newest string, before ...string) (*Secrets, error) {
	list := append([]string{newest}, before...)
	if len(list) > 2 {
		return nil, errors.New("turn: at most two secrets are valid, the newest and the one before it")
	}
	for _, s := range list {
		if s == "" {
			return nil, errors.New("turn: a secret is empty")
		}
	}
	return &Secrets{list: list}, nil
}

// RandomSecret makes a secret of 256 bits.
func RandomSecret() string { return rand.Text() + rand.Text() }

// Rotate signs with a new secret from now on. What the newest one so far has
// signed stays good; anything older is refused.
func (s *Secrets) Rotate(newest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = []string{newest, s.list[0]}
}

// Revoke signs with a new secret from now on and refuses whatever another one
// has signed, as after a leak.
func (s *Secrets) Revoke(newest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = []string{newest}
}

// Sign makes credentials that are good until expiry, in whole seconds
// (draft-uberti-behave-turn-rest-00, which Coturn's use-auth-secret implements).
func (s *Secrets) Sign(user string, expiry time.Time) (username, credential string) {
	username = strconv.FormatInt(expiry.Unix(), 10) + ":" + user
	s.mu.RLock()
	defer s.mu.RUnlock()
	return username, credentialOf(s.list[0], username)
}

// credentials lists what may stand beside a username: one for each secret.
func (s *Secrets) credentials(username string) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []string
	for _, secret := range s.list {
		all = append(all, credentialOf(secret, username))
	}
	return all
}

func credentialOf(secret, username string) string {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(username))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// parseUsername reads "<Unix seconds>:<user>".
func parseUsername(username string) (user string, expiry time.Time, ok bool) {
	seconds, user, found := strings.Cut(username, ":")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if !found || err != nil || user == "" {
		return "", time.Time{}, false
	}
	return user, time.Unix(n, 0), true
}
