package turn_test

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pion "github.com/pion/turn/v5"

	"github.com/callbench/callbench/internal/netsim"
	"github.com/callbench/callbench/server/turn"
)

// events keeps what a server logs, in lines.
type events struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (e *events) Write(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.buf.Write(b)
}

func (e *events) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.buf.String()
}

func (e *events) logger() *slog.Logger { return slog.New(slog.NewTextHandler(e, nil)) }

func secrets(t *testing.T) *turn.Secrets {
	t.Helper()
	s, err := turn.NewSecrets("newest", "before")
	check(t, err)
	return s
}

// loopback starts an embedded server on loopback, on UDP and TCP.
func loopback(t *testing.T, cfg turn.Config) (*turn.Server, relay, relay) {
	t.Helper()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	check(t, err)
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	check(t, err)
	cfg.PacketConn, cfg.Listener = udp, tcp
	cfg.Relay = &pion.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"}
	cfg.Peers = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	if cfg.Secrets == nil {
		cfg.Secrets = secrets(t)
	}
	s, err := turn.New(cfg)
	check(t, err)
	return s, relay{network: "udp", addr: udp.LocalAddr().String()}, relay{network: "tcp", addr: tcp.Addr().String()}
}

// The embedded server behaves as Coturn does, over UDP and over TCP.
func TestBehaviours(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			log := new(events)
			s, udp, tcp := loopback(t, turn.Config{Log: log.logger()})
			behaviours(t, map[string]relay{"udp": udp, "tcp": tcp}[network])
			check(t, s.Close())
			if left := s.Allocations(); len(left) != 0 {
				t.Errorf("left: %+v", left)
			}
			for _, want := range []string{"msg=turn.allocated user=alice client=127.0.0.1:", "protocol=" + network, "msg=turn.released user=alice",
				"msg=turn.refused user=alice", "code=401 cause=expired", "code=401 cause=wrong", "code=401 cause=malformed",
				"code=403 peer=127.0.0.2", "msg=turn.refused user=carol", `code=486 cause="user quota"`} {
				if !strings.Contains(log.String(), want) {
					t.Errorf("no %q in the log", want)
				}
			}
			_, credential := credentials(t, "newest", "alice", time.Minute)
			if strings.Contains(log.String(), credential) || strings.Contains(log.String(), "newest") {
				t.Error("the log holds credentials")
			}
		})
	}
}

func TestTotalQuota(t *testing.T) {
	s, udp, tcp := loopback(t, turn.Config{TotalQuota: 2})
	defer s.Close()
	for i, r := range []relay{udp, tcp, udp} {
		username, credential := credentials(t, "newest", []string{"a", "b", "c"}[i], time.Minute)
		_, _, err := r.allocate(t, username, credential)
		if over := i == 2; over != (err != nil) || over && !strings.Contains(err.Error(), "486") {
			t.Errorf("allocation %d: %v", i+1, err)
		}
	}
	if got := s.Allocations(); len(got) != 2 || got[0].User != "a" || got[1].User != "b" || got[1].Protocol != "tcp" {
		t.Errorf("%+v", got)
	}
}

// A TCP connection that ends takes its allocation with it.
func TestConnectionEnds(t *testing.T) {
	s, _, tcp := loopback(t, turn.Config{})
	defer s.Close()
	username, credential := credentials(t, "newest", "alice", time.Minute)
	conn, err := net.Dial("tcp", tcp.addr)
	check(t, err)
	c, err := pion.NewClient(&pion.ClientConfig{Conn: pion.NewSTUNConn(conn), TURNServerAddr: tcp.addr, Username: username, Password: credential})
	check(t, err)
	defer c.Close()
	check(t, c.Listen())
	_, err = c.Allocate()
	check(t, err)
	conn.Close()
	for ctx := t.Context(); len(s.Allocations()) > 0; time.Sleep(time.Millisecond) {
		check(t, ctx.Err())
	}
}

func TestConfig(t *testing.T) {
	if _, err := turn.New(turn.Config{}); err == nil {
		t.Error("a server without anything")
	}
	if _, err := turn.NewSecrets("a", "b", "c"); err == nil {
		t.Error("three secrets")
	}
	if _, err := turn.NewSecrets(""); err == nil {
		t.Error("an empty secret")
	}
}

// bubble runs f with a server on a network in memory.
func bubble(t *testing.T, cfg turn.Config, f func(t *testing.T, s *turn.Server, net *netsim.Topology)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		net, err := netsim.NewTopology(netsim.TopologyConfig{Delay: 10 * time.Millisecond})
		check(t, err)
		host, err := net.Host("turn")
		check(t, err)
		cfg.PacketConn, err = host.Net.ListenPacket("udp4", host.IP.String()+":3478")
		check(t, err)
		cfg.Relay = &pion.RelayAddressGeneratorStatic{RelayAddress: host.IP.AsSlice(), Address: host.IP.String(), Net: host.Net}
		s, err := turn.New(cfg)
		check(t, err)
		f(t, s, net)
		check(t, s.Close())
		check(t, net.Close())
	})
}

// visitor is a TURN client on a network in memory.
func visitor(t *testing.T, net *netsim.Topology, name string, s *turn.Secrets, ttl time.Duration) (*pion.Client, func()) {
	t.Helper()
	h, err := net.Host(name)
	check(t, err)
	conn, err := h.Net.ListenPacket("udp4", h.IP.String()+":0")
	check(t, err)
	username, credential := s.Sign(name, time.Now().Add(ttl))
	c, err := pion.NewClient(&pion.ClientConfig{Conn: conn, Net: h.Net, TURNServerAddr: "turn:3478", Username: username, Password: credential})
	check(t, err)
	check(t, c.Listen())
	return c, func() {
		c.Close()
		conn.Close()
	}
}

// A call must not end because its credentials do: an allocation is kept alive
// and opened to peers with the credentials that it was made with, however old
// they and their secret are. A new one is not made with them.
func TestAllocationOutlivesCredentials(t *testing.T) {
	keys := secrets(t)
	bubble(t, turn.Config{Secrets: keys, Peers: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}, func(t *testing.T, s *turn.Server, net *netsim.Topology) {
		c, done := visitor(t, net, "alice", keys, 5*time.Second)
		defer done()
		relayed, err := c.Allocate()
		check(t, err)
		keys.Revoke("other")
		time.Sleep(time.Hour)
		if n := len(s.Allocations()); n != 1 {
			t.Fatalf("%d allocations after an hour", n)
		}
		check(t, c.CreatePermission(relayed.LocalAddr()))
		check(t, relayed.Close())
		synctest.Wait()
		time.Sleep(time.Second)
		if got := s.Allocations(); len(got) != 0 {
			t.Errorf("not released: %+v", got)
		}
		if _, err := c.Allocate(); err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("made anew: %v, want 401", err)
		}
	})
}

// An allocation whose client is gone ends with its lifetime.
func TestLifetime(t *testing.T) {
	keys := secrets(t)
	bubble(t, turn.Config{Secrets: keys, Lifetime: time.Minute}, func(t *testing.T, s *turn.Server, net *netsim.Topology) {
		c, done := visitor(t, net, "alice", keys, time.Minute)
		defer done()
		relayed, err := c.Allocate()
		check(t, err)
		alice, err := net.Host("alice")
		check(t, err)
		alice.Link.Cut()
		time.Sleep(59 * time.Second)
		if n := len(s.Allocations()); n != 1 {
			t.Errorf("%d allocations before the lifetime ended", n)
		}
		time.Sleep(2 * time.Second)
		if n := len(s.Allocations()); n != 0 {
			t.Errorf("%d allocations after the lifetime ended", n)
		}
		relayed.Close()
	})
}

// A server that is closed ends what it holds, and leaves nothing running: the
// bubble would not end.
func TestCloseEndsAllocations(t *testing.T) {
	keys, log := secrets(t), new(events)
	bubble(t, turn.Config{Secrets: keys, Log: log.logger()}, func(t *testing.T, s *turn.Server, net *netsim.Topology) {
		c, done := visitor(t, net, "alice", keys, time.Minute)
		defer done()
		relayed, err := c.Allocate()
		check(t, err)
		check(t, s.Close())
		if n := strings.Count(log.String(), "turn.released"); n != 1 {
			t.Errorf("%d released:\n%s", n, log)
		}
		relayed.Close()
	})
}

func TestRotation(t *testing.T) {
	keys, err := turn.NewSecrets("first")
	check(t, err)
	for _, step := range []struct {
		secret string
		good   []string
	}{{"second", []string{"first", "second"}}, {"third", []string{"second", "third"}}} {
		keys.Rotate(step.secret)
		bubble(t, turn.Config{Secrets: keys}, func(t *testing.T, _ *turn.Server, net *netsim.Topology) {
			for _, secret := range []string{"first", "second", "third"} {
				one, err := turn.NewSecrets(secret)
				check(t, err)
				c, done := visitor(t, net, secret, one, time.Minute)
				relayed, err := c.Allocate()
				if want := strings.Contains(strings.Join(step.good, " "), secret); want != (err == nil) {
					t.Errorf("after %s, signed with %s: %v", step.secret, secret, err)
				}
				if err == nil {
					relayed.Close()
				}
				done()
			}
		})
	}
}

func TestIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys, err := turn.NewSecrets("north")
		check(t, err)
		issuer := turn.Issuer{URLs: []string{"turn:192.0.2.1:3478"}, Secrets: keys}
		servers, ttl := issuer.ICE("alice")
		// printf 946685100:alice | openssl sha1 -hmac north -binary | base64
		if len(servers) != 1 || servers[0].Username != "946685100:alice" || servers[0].Credential != "Edr7IuZU6pwapa0+0p58uD7fnWE=" || ttl != turn.DefaultTTL {
			t.Errorf("%+v for %v", servers, ttl)
		}
	})
}
