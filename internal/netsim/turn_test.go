package netsim_test

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v5"
	"github.com/pion/webrtc/v4"

	"github.com/callbench/callbench/internal/netsim"
)

// newTURN runs a TURN server on a host, on UDP and TCP port 3478.
func newTURN(t *testing.T, h *netsim.Host) *turn.Server {
	t.Helper()
	udp, err := h.Net.ListenPacket("udp4", "0.0.0.0:3478")
	check(t, err)
	tcp, err := h.Net.ListenTCP("tcp4", &net.TCPAddr{Port: 3478})
	check(t, err)
	relay := &turn.RelayAddressGeneratorStatic{RelayAddress: net.IP(h.IP.AsSlice()), Address: h.IP.String(), Net: h.Net}
	s, err := turn.NewServer(turn.ServerConfig{
		Realm:             "callbench",
		LoggerFactory:     logging.NewDefaultLoggerFactory(),
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: udp, RelayAddressGenerator: relay}},
		ListenerConfigs:   []turn.ListenerConfig{{Listener: tcp, RelayAddressGenerator: relay}},
		AuthHandler: func(a *turn.RequestAttributes) (string, []byte, bool) {
			return a.Username, turn.GenerateAuthKey(a.Username, a.Realm, "secret"), true
		},
	})
	check(t, err)
	return s
}

// relayOnce returns the trace of a call in which alice may use the relay only.
func relayOnce(t *testing.T, url string) (trace string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &call{Topology: newTopology(t, netsim.TopologyConfig{Delay: 20 * time.Millisecond}), start: time.Now()}
		c.alice, c.bob = mustHost(t, c.Topology, "alice"), mustHost(t, c.Topology, "bob")
		relay := mustHost(t, c.Topology, "turn")
		server := newTURN(t, relay)
		c.a, c.b = c.peer(t, c.alice), c.peer(t, c.bob)
		check(t, c.a.SetConfiguration(webrtc.Configuration{
			ICETransportPolicy: webrtc.ICETransportPolicyRelay,
			ICEServers:         []webrtc.ICEServer{{URLs: []string{url}, Username: "alice", Credential: "secret"}},
		}))
		_, err := c.a.CreateDataChannel("d", nil)
		check(t, err)
		c.negotiate(t)
		time.Sleep(20 * time.Second)
		trace = c.trace()
		if relay.Link.Traffic().Out[netsim.DTLS].Packets == 0 {
			t.Errorf("no DTLS passed the relay")
		}
		c.close(t)
		check(t, server.Close())
	})
	return trace
}

// TestPionThroughTURN: a relay in the virtual world is found by its name, over
// UDP and over TCP, and connects at the same instants in every run.
func TestPionThroughTURN(t *testing.T) {
	for _, url := range []string{"turn:turn:3478?transport=udp", "turn:turn:3478?transport=tcp"} {
		t.Run(url, func(t *testing.T) {
			want := relayOnce(t, url)
			if strings.Count(want, "peer connected") != 2 {
				t.Fatalf("no connection:\n%s", want)
			}
			for range 4 {
				if got := relayOnce(t, url); got != want {
					t.Fatalf("another run differs:\n%s\n\nwant:\n%s", got, want)
				}
			}
		})
	}
}

// A host has no IPv6, and whoever asks for it learns that at once: a client of
// TURN would otherwise wait for an answer that cannot come.
func TestNoIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topology := newTopology(t, netsim.TopologyConfig{})
		h := mustHost(t, topology, "alice")
		if addr, err := h.Net.ResolveUDPAddr("udp6", h.IP.String()+":3478"); err == nil {
			t.Errorf("resolved to %v", addr)
		}
		if addr, err := h.Net.ResolveUDPAddr("udp4", "alice:3478"); err != nil || addr.IP.String() != h.IP.String() {
			t.Errorf("resolved to %v: %v", addr, err)
		}
		defer topology.Close()
		if c, err := h.Net.ListenPacket("udp6", "[::]:0"); err == nil {
			t.Errorf("listens at %v", c.LocalAddr())
		}
	})
}
