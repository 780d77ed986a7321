package turn_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pion/logging"
	pion "github.com/pion/turn/v5"

	"github.com/callbench/callbench/server/turn"
)

// relay is a TURN server under test: the embedded one or Coturn. Both hold the
// secrets "newest" and "before", allow the peer 127.0.0.1 and no other of
// 127.0.0.0/8, and a user has 12 allocations.
type relay struct {
	network, addr string
	whole         *testing.T // at whose end clients' sockets are closed; nil: with the test that opened them
}

const userQuota = 12

// credentials are those of a user for five minutes, signed with a secret.
func credentials(t *testing.T, secret, user string, ttl time.Duration) (username, credential string) {
	t.Helper()
	s, err := turn.NewSecrets(secret)
	if err != nil {
		t.Fatal(err)
	}
	return s.Sign(user, time.Now().Add(ttl))
}

// client is a TURN client on loopback, closed with the test.
func (r relay) client(t *testing.T, username, credential string) *pion.Client {
	t.Helper()
	var conn net.PacketConn
	cfg := &pion.ClientConfig{Username: username, Password: credential, TURNServerAddr: r.addr}
	if r.network == "tcp" {
		c, err := net.Dial("tcp", r.addr)
		check(t, err)
		conn = pion.NewSTUNConn(c)
	} else {
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		check(t, err)
		conn = c
	}
	quiet := logging.NewDefaultLoggerFactory()
	quiet.DefaultLogLevel = logging.LogLevelDisabled
	cfg.Conn, cfg.LoggerFactory = conn, quiet
	c, err := pion.NewClient(cfg)
	check(t, err)
	check(t, c.Listen())
	whole := t
	if r.whole != nil {
		whole = r.whole
	}
	whole.Cleanup(func() {
		c.Close()
		conn.Close()
	})
	return c
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// allocate makes an allocation, which ends with the test.
func (r relay) allocate(t *testing.T, username, credential string) (net.PacketConn, *pion.Client, error) {
	t.Helper()
	c := r.client(t, username, credential)
	relayed, err := c.Allocate()
	if err == nil {
		t.Cleanup(func() { relayed.Close() })
	}
	return relayed, c, err
}

// behaviours are what this product relies on in any TURN server.
func behaviours(t *testing.T, r relay) {
	// Coturn remembers for a minute as whom a socket has failed, and answers 437 to
	// another user who gets the same port.
	r.whole = t
	t.Run("both secrets are accepted", func(t *testing.T) {
		for _, secret := range []string{"newest", "before"} {
			username, credential := credentials(t, secret, "alice", time.Minute)
			if _, _, err := r.allocate(t, username, credential); err != nil {
				t.Errorf("signed with %s: %v", secret, err)
			}
		}
	})
	t.Run("others are refused", func(t *testing.T) { refused(t, r) })
	t.Run("peers", func(t *testing.T) { peers(t, r) })
	t.Run("user quota", func(t *testing.T) { quota(t, r) })
}

func refused(t *testing.T, r relay) {
	wrong, wrongCredential := credentials(t, "another", "alice", time.Minute)
	expired, expiredCredential := credentials(t, "newest", "alice", -time.Minute)
	good, goodCredential := credentials(t, "newest", "alice", time.Minute)
	for name, c := range map[string][2]string{
		"wrong secret":       {wrong, wrongCredential},
		"expired":            {expired, expiredCredential},
		"of another user":    {strings.Replace(good, "alice", "bob", 1), goodCredential},
		"of a later time":    {"9" + good, goodCredential},
		"no time":            {"alice", "secret"},
		"nothing but a time": {"4000000000", "secret"},
	} {
		if _, _, err := r.allocate(t, c[0], c[1]); err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("%s: %v, want error 401", name, err)
		}
	}
}

func peers(t *testing.T, r relay) {
	username, credential := credentials(t, "newest", "carol", time.Minute)
	relayed, client, err := r.allocate(t, username, credential)
	check(t, err)
	peer, err := net.ListenPacket("udp4", "127.0.0.1:0")
	check(t, err)
	defer peer.Close()
	_, err = relayed.WriteTo([]byte("hello"), peer.LocalAddr())
	check(t, err)
	buf := make([]byte, 64)
	check(t, peer.SetReadDeadline(time.Now().Add(10*time.Second)))
	n, from, err := peer.ReadFrom(buf)
	check(t, err)
	if string(buf[:n]) != "hello" || from.String() != relayed.LocalAddr().String() {
		t.Errorf("the peer got %q from %v, want hello from the relay %v", buf[:n], from, relayed.LocalAddr())
	}
	if err := client.CreatePermission(&net.UDPAddr{IP: net.IPv4(9, 9, 9, 9), Port: 443}); err != nil {
		t.Errorf("a public peer: %v", err)
	}
	for _, ip := range []string{"127.0.0.2", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"} {
		err := client.CreatePermission(&net.UDPAddr{IP: net.ParseIP(ip), Port: 80})
		if err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("peer %s: %v, want error 403", ip, err)
		}
	}
}

func quota(t *testing.T, r relay) {
	username, credential := credentials(t, "newest", "dave", time.Minute)
	for i := range userQuota {
		if _, _, err := r.allocate(t, username, credential); err != nil {
			t.Fatalf("allocation %d: %v", i+1, err)
		}
	}
	later, laterCredential := credentials(t, "newest", "dave", 2*time.Minute)
	if _, _, err := r.allocate(t, later, laterCredential); err == nil || !strings.Contains(err.Error(), "486") {
		t.Errorf("one more, with credentials of their own: %v, want error 486", err)
	}
	other, otherCredential := credentials(t, "newest", "erin", time.Minute)
	if _, _, err := r.allocate(t, other, otherCredential); err != nil {
		t.Errorf("another user: %v", err)
	}
}
