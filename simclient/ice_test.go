package simclient

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/turn/v5"

	relay "github.com/callbench/callbench/server/turn"
	"github.com/callbench/callbench/signaling"
)

// withTURN gives the network a TURN server, and the fake server its credentials.
func (r *rig) withTURN(ttl time.Duration) (*relay.Server, *relay.Secrets) {
	r.t.Helper()
	keys, err := relay.NewSecrets("first")
	r.must(err)
	host := r.host("turn")
	conn, err := host.Net.ListenPacket("udp4", host.IP.String()+":3478")
	r.must(err)
	s, err := relay.New(relay.Config{PacketConn: conn, Secrets: keys,
		Relay: &turn.RelayAddressGeneratorStatic{RelayAddress: net.IP(host.IP.AsSlice()), Address: host.IP.String(), Net: host.Net},
		Peers: []netip.Prefix{netip.PrefixFrom(r.host("kms").IP, 32)}})
	r.must(err)
	r.t.Cleanup(func() { s.Close() })
	issuer := &relay.Issuer{URLs: []string{"turn:turn:3478?transport=udp"}, Secrets: keys, TTL: ttl}
	r.srv.ice = issuer.ICE
	return s, keys
}

func relayOnly(c *Config) { c.Relay = true }

// A client with the policy relay uses the servers of its welcome and no
// candidate but theirs. A client without it has them beside its own.
func TestRelay(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		s, _ := r.withTURN(time.Minute)
		alice, bob := r.connected("alice", relayOnly), r.connected("bob")
		r.call(alice, bob)
		alice.wait(t, 5*time.Second, eventConnected)
		time.Sleep(2 * time.Second)
		alice.one(t, eventGathered, "candidates=1", "relay=1")
		bob.one(t, eventGathered, "candidates=3", "relay=1")
		alice.one(t, eventPair, "local_type=relay")
		bob.one(t, eventPair, "local_type=host")
		alice.one(t, eventFlow, "media=video", "state=flowing")
		if took := alice.one(t, eventConnected).at - alice.one(t, eventAccepted).at; took > time.Second {
			t.Errorf("a relayed pair was held back: connected %v after the answer", took)
		}
		if n := len(s.Allocations()); n != 2 {
			t.Errorf("%d allocations", n)
		}
		r.must(alice.Hangup(r.ctx))
		time.Sleep(time.Second)
		if left := s.Allocations(); len(left) > 0 {
			t.Errorf("left: %+v", left)
		}
		if n := r.srv.count("alice turn"); n != 0 {
			t.Errorf("asked %d times for credentials that were good", n)
		}
	})
}

// Before a leg is made with credentials that have run out, or are about to, the
// client asks for fresh ones, and makes the leg with those.
func TestStaleCredentials(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		r.withTURN(20 * time.Second)
		alice, bob := r.connected("alice", relayOnly), r.connected("bob")
		time.Sleep(16 * time.Second)
		r.call(alice, bob)
		alice.wait(t, 5*time.Second, eventConnected)
		alice.order(t, "signal.sent type=turn", "ice.servers servers=1 ttl_ms=20s", "signal.sent action=offer", "ice.gathered relay=1")
		alice.one(t, eventICEServers)
		time.Sleep(time.Minute) // the call outlives them
		bob.none(t, eventFlow, "state=silent")
		r.must(alice.Hangup(r.ctx))
	})
}

// A call that ends while the client waits for fresh credentials makes no leg.
func TestEndedWhileAsking(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		r.withTURN(10 * time.Second)
		alice, bob := r.connected("alice", relayOnly), r.connected("bob")
		var asked string
		r.srv.intercept(func(s *fakeSession, f signaling.Frame) bool {
			if f.Type == signaling.TypeTURN && s.user == "alice" {
				asked = f.ID
				return true
			}
			return false
		})
		time.Sleep(9 * time.Second)
		r.call(alice, bob)
		time.Sleep(time.Second)
		r.must(alice.Hangup(r.ctx))
		r.srv.locked(func() {
			s := r.srv.sessions["alice"]
			s.write(s.answer(signaling.Frame{Type: signaling.TypeTURN, ID: asked}))
		})
		time.Sleep(time.Second)
		alice.one(t, eventICEServers)
		alice.none(t, eventGathered)
		alice.none(t, eventFailure)
	})
}

// Credentials that the TURN server refuses are replaced. A client that needs
// the relay makes its leg anew with the fresh ones at once; another goes on
// without and has fresh ones for its next leg.
func TestRefusedCredentials(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		_, keys := r.withTURN(time.Hour)
		alice, bob := r.connected("alice", relayOnly), r.connected("bob")
		keys.Revoke("second")
		r.call(alice, bob)
		alice.wait(t, 5*time.Second, eventConnected, "leg=2")
		alice.order(t, "ice.gathered candidates=0 relay=0 leg=1", "call.negotiate reason=ice_failed from=alice leg=2", "signal.sent type=turn",
			"ice.servers", "ice.gathered relay=1 leg=2", "ice.pair local_type=relay leg=2")
		bob.wait(t, time.Second, eventConnected, "leg=1")
		bob.one(t, eventGathered, "relay=0")
		bob.none(t, eventNegotiate)
		r.must(alice.Hangup(r.ctx))
		time.Sleep(time.Second)
		r.must(bob.Call(r.ctx, "alice"))
		alice.wait(t, time.Second, eventIncoming)
		r.must(alice.Accept(r.ctx))
		bob.wait(t, 5*time.Second, eventConnected, "leg=1", "call=c-2")
		bob.order(t, "signal.sent type=turn", "ice.servers", "ice.gathered relay=1")
		r.must(bob.Hangup(r.ctx))
	})
}

// If fresh credentials do not help either, the client asks again when ICE has
// failed, and not sooner.
func TestNoRelayAtAll(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		s, _ := r.withTURN(time.Hour)
		alice, bob := r.connected("alice", relayOnly), r.connected("bob")
		r.must(s.Close())
		r.call(alice, bob)
		time.Sleep(25 * time.Second)
		if n := r.srv.count("alice rtc/offer"); n != 2 {
			t.Errorf("%d offers", n)
		}
		alice.none(t, eventConnected)
		r.must(alice.Hangup(r.ctx))
	})
}

// Where the server gives no ICE servers, those of the Config are used.
func TestConfiguredICEServers(t *testing.T) {
	bubble(t, func(r *rig) {
		r.withMedia()
		_, keys := r.withTURN(time.Hour)
		r.srv.ice = nil
		username, credential := keys.Sign("alice", time.Now().Add(time.Hour))
		alice := r.connected("alice", relayOnly, func(c *Config) {
			c.ICEServers = []signaling.ICEServer{{URLs: []string{"turn:turn:3478"}, Username: username, Credential: credential}}
		})
		bob := r.connected("bob")
		r.call(alice, bob)
		alice.wait(t, 5*time.Second, eventConnected)
		alice.one(t, eventPair, "local_type=relay")
		bob.one(t, eventGathered, "relay=0")
		r.must(alice.Hangup(r.ctx))
	})
}
