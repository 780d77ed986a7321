package turn_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	pion "github.com/pion/turn/v5"

	"github.com/callbench/callbench/internal/netsim"
	"github.com/callbench/callbench/server/turn"
)

// tcpBubble runs f with a server that clients reach over TCP, on a network in
// memory.
func tcpBubble(t *testing.T, cfg turn.Config, f func(t *testing.T, s *turn.Server, alice *netsim.Host)) {
	t.Helper()
	tcpBubbleOn(t, cfg, func(l net.Listener) net.Listener { return l }, f)
}

// tcpBubbleOn does the same with a listener of its own making.
func tcpBubbleOn(t *testing.T, cfg turn.Config, wrap func(net.Listener) net.Listener, f func(t *testing.T, s *turn.Server, alice *netsim.Host)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		topology, err := netsim.NewTopology(netsim.TopologyConfig{Delay: 10 * time.Millisecond})
		check(t, err)
		host, err := topology.Host("turn")
		check(t, err)
		alice, err := topology.Host("alice")
		check(t, err)
		listener, err := host.Listen(":3478")
		check(t, err)
		cfg.Listener = wrap(listener)
		cfg.Relay = &pion.RelayAddressGeneratorStatic{RelayAddress: host.IP.AsSlice(), Address: host.IP.String(), Net: host.Net}
		s, err := turn.New(cfg)
		check(t, err)
		f(t, s, alice)
		check(t, s.Close())
		check(t, topology.Close())
	})
}

func dial(t *testing.T, h *netsim.Host) net.Conn {
	t.Helper()
	c, err := h.Dial(t.Context(), "tcp", "turn:3478")
	check(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// ends reads until the other side closes, at most for d.
func ends(t *testing.T, c net.Conn, d time.Duration) bool {
	t.Helper()
	check(t, c.SetReadDeadline(time.Now().Add(d)))
	_, err := io.Copy(io.Discard, c)
	return err == nil || !strings.Contains(err.Error(), "timeout")
}

// A TCP connection that does not come to an allocation is closed after a while,
// whether it says nothing or something else; one with an allocation stays.
func TestUnusedConnections(t *testing.T) {
	keys := secrets(t)
	tcpBubble(t, turn.Config{Secrets: keys}, func(t *testing.T, s *turn.Server, alice *netsim.Host) {
		silent, loud, used := dial(t, alice), dial(t, alice), dial(t, alice)
		_, err := loud.Write([]byte("GET / HTTP/1.1\r\nHost: turn\r\n\r\n"))
		check(t, err)
		username, credential := keys.Sign("alice", time.Now().Add(time.Minute))
		c, err := pion.NewClient(&pion.ClientConfig{Conn: pion.NewSTUNConn(used), Net: alice.Net, TURNServerAddr: "turn:3478", Username: username, Password: credential})
		check(t, err)
		defer c.Close()
		check(t, c.Listen())
		relayed, err := c.Allocate()
		check(t, err)
		if ends(t, silent, 29*time.Second) {
			t.Error("closed before its time")
		}
		for name, conn := range map[string]net.Conn{"silent": silent, "loud": loud} {
			if !ends(t, conn, 5*time.Second) {
				t.Errorf("the %s connection is still open", name)
			}
		}
		time.Sleep(time.Hour)
		if n := len(s.Allocations()); n != 1 {
			t.Errorf("%d allocations", n)
		}
		check(t, relayed.Close())
	})
}

// tired is a listener that fails a few times first, as one does when there are no
// file descriptors left.
type tired struct {
	net.Listener
	left int
}

func (l *tired) Accept() (net.Conn, error) {
	if l.left > 0 {
		l.left--
		return nil, errors.New("too many open files")
	}
	return l.Listener.Accept()
}

// What keeps the server from accepting for a while does not for ever.
func TestAcceptsAgain(t *testing.T) {
	log := new(events)
	wrap := func(l net.Listener) net.Listener { return &tired{l, 3} }
	tcpBubbleOn(t, turn.Config{Secrets: secrets(t), Log: log.logger()}, wrap, func(t *testing.T, _ *turn.Server, alice *netsim.Host) {
		time.Sleep(time.Second)
		c := dial(t, alice)
		if _, err := c.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil || !ends(t, c, time.Minute) {
			t.Errorf("nobody looks at the connection (%v)", err)
		}
		if n := strings.Count(log.String(), "too many open files"); n != 3 {
			t.Errorf("logged %d times:\n%s", n, log)
		}
	})
}

func TestMaxConns(t *testing.T) {
	log := new(events)
	tcpBubble(t, turn.Config{Secrets: secrets(t), MaxConns: 2, Log: log.logger()}, func(t *testing.T, _ *turn.Server, alice *netsim.Host) {
		first, second, third := dial(t, alice), dial(t, alice), dial(t, alice)
		if !ends(t, third, time.Second) || ends(t, first, time.Second) || ends(t, second, time.Second) {
			t.Error("not the third of two was closed")
		}
		check(t, first.Close())
		time.Sleep(time.Second)
		if ends(t, dial(t, alice), time.Second) {
			t.Error("one that may be there again was closed")
		}
		if !strings.Contains(log.String(), `code=508 cause="too many connections"`) {
			t.Errorf("log:\n%s", log)
		}
	})
}

// Datagrams that are no STUN do not disturb the server.
func TestGarbage(t *testing.T) {
	s, udp, _ := loopback(t, turn.Config{})
	defer s.Close()
	c, err := net.Dial("udp4", udp.addr)
	check(t, err)
	defer c.Close()
	for _, b := range []string{"", "x", strings.Repeat("\xff", 1600), "\x00\x03\x00\x08!\x12\xa4Baaaaaaaaaaaa", "\x40\x00\xff\xff"} {
		_, err := c.Write([]byte(b))
		check(t, err)
	}
	username, credential := credentials(t, "newest", "alice", time.Minute)
	if _, _, err := udp.allocate(t, username, credential); err != nil {
		t.Error(err)
	}
}
