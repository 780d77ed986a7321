package turn

import (
	"time"

	"github.com/callbench/callbench/signaling"
)

// DefaultTTL is how long credentials are good. They are needed from the moment
// they arrive until the client has made its allocation, which then outlives
// them; five minutes cover the ringing (60 s), a slow network and clocks that
// differ, and make little of a credential that leaks. LiveKit uses the same.
const DefaultTTL = 5 * time.Minute

// Issuer hands out ICE servers with credentials for TURN servers that hold the
// same secrets: the embedded one or Coturn.
type Issuer struct {
	URLs    []string // such as turn:192.0.2.1:3478?transport=udp (RFC 7065)
	Secrets *Secrets
	TTL     time.Duration // DefaultTTL if zero; whole seconds
}

// ICE gives a user's ICE servers and how long their credentials are good. It
// is a server.Config.ICE.
func (i *Issuer) ICE(user string) ([]signaling.ICEServer, time.Duration) {
	ttl := i.TTL
	if ttl == 0 {
		ttl = DefaultTTL
	}
	username, credential := i.Secrets.Sign(user, time.Now().Add(ttl))
	return []signaling.ICEServer{{URLs: i.URLs, Username: username, Credential: credential}}, ttl
}
