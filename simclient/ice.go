package simclient

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/signaling"
)

// iceMargin is how long before their end credentials count as run out: they
// were on their way for a while, and gathering takes its time.
const iceMargin = 5 * time.Second

// iceServers are what the server gave the session to use.
type iceServers struct {
	list  []signaling.ICEServer
	until time.Time // when their credentials run out; zero: never
	spent bool      // a leg got no relayed candidate from them
}

// take replaces them; ttl is in seconds, 0 if they are good for ever.
func (s *iceServers) take(list []signaling.ICEServer, ttl int) {
	*s = iceServers{list: list}
	if ttl > 0 {
		s.until = time.Now().Add(time.Duration(ttl) * time.Second)
	}
}

// stale tells whether fresh ones are needed before a PeerConnection is made.
func (s *iceServers) stale() bool {
	return len(s.list) > 0 && (s.spent || !s.until.IsZero() && !time.Now().Before(s.until.Add(-iceMargin)))
}

// withICE makes a leg with credentials that are good: at once, or when the
// server has sent fresh ones. If it refuses, the old ones have to do.
func (c *Client) withICE(k *call, start func()) {
	if !c.session.ice.stale() {
		start()
		return
	}
	leg := k.legs
	c.request(&request{call: k, done: func(f signaling.Frame, err error) {
		if err == nil {
			c.freshICE(k, f)
		}
		if c.call == k && k.legs == leg && k.media != nil {
			start()
		}
	}}, signaling.TypeTURN, "", nil)
}

// freshICE takes the answer to a turn request.
func (c *Client) freshICE(k *call, f signaling.Frame) {
	var fresh signaling.TURN
	if err := f.Into(&fresh); err != nil {
		c.violation(k, violationBadFrame, slog.String("error", err.Error()))
		return
	}
	c.session.ice.take(fresh.ICEServers, fresh.TTL)
	c.callEvent(k, eventICEServers, slog.Int("servers", len(fresh.ICEServers)), ms("ttl_ms", time.Duration(fresh.TTL)*time.Second))
}

// servers are what the next PeerConnection is to use.
func (c *Client) servers() []signaling.ICEServer {
	if len(c.session.ice.list) > 0 {
		return c.session.ice.list
	}
	return c.cfg.ICEServers
}

// configuration is the RTCConfiguration of a new PeerConnection.
func (c *Client) configuration() webrtc.Configuration {
	cfg := webrtc.Configuration{Certificates: []webrtc.Certificate{c.cert}}
	for _, s := range c.servers() {
		cfg.ICEServers = append(cfg.ICEServers, webrtc.ICEServer{URLs: s.URLs, Username: s.Username, Credential: s.Credential})
	}
	if c.cfg.Relay {
		cfg.ICETransportPolicy = webrtc.ICETransportPolicyRelay
	}
	return cfg
}

// relaysGathered looks at what a leg has gathered. Without a relayed candidate
// its credentials were refused, or the TURN server is gone; which of them ICE
// does not tell. So the next leg gets fresh ones. A client that needs the relay
// makes that leg now, once in a call: if fresh ones do not help, asking more
// often will not, and ICE failing brings the next leg.
func (c *Client) relaysGathered(l *leg) {
	if l.relayed > 0 || !slices.ContainsFunc(c.session.ice.list, hasTURN) {
		return
	}
	c.session.ice.spent = true
	if c.cfg.Relay && !l.call.anew {
		l.call.anew = true
		c.renew(l.call, signaling.ReasonICEFailed, c.cfg.User)
	}
}

func hasTURN(s signaling.ICEServer) bool {
	return slices.ContainsFunc(s.URLs, func(u string) bool { return strings.HasPrefix(u, "turn:") || strings.HasPrefix(u, "turns:") })
}
