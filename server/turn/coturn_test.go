package turn_test

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// coturn is a Coturn that a test has started.
type coturn struct {
	relay
	mu  sync.Mutex
	log bytes.Buffer
}

func (c *coturn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.Write(b)
}

// said is what Coturn has logged.
func (c *coturn) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.String()
}

// newCoturn starts Debian's turnserver on loopback with the configuration for
// production, in which only addresses, ports and secrets are replaced, and one
// line is added that no production may have: peers on loopback are possible at
// all, because the tests have no other. denied-peer-ip still denies them.
func newCoturn(t *testing.T) *coturn {
	t.Helper()
	path := os.Getenv("CALLBENCH_TURNSERVER")
	if path == "" {
		found, err := exec.LookPath("turnserver")
		if err != nil {
			t.Skip("no Coturn: install the package coturn, or set CALLBENCH_TURNSERVER to its turnserver")
		}
		path = found
	}
	port := freePort(t)
	dir := t.TempDir()
	config := filepath.Join(dir, "turnserver.conf")
	check(t, os.WriteFile(config, []byte(testConfig(t, port)), 0o600))
	c := &coturn{relay: relay{network: "udp", addr: net.JoinHostPort("127.0.0.1", port)}}
	cmd := exec.Command(path, "-c", config, "--pidfile", filepath.Join(dir, "turnserver.pid"), "--db", filepath.Join(dir, "turndb"))
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, c, c
	check(t, cmd.Start())
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err == nil {
			kill := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
			defer kill.Stop()
		}
		cmd.Wait()
		if t.Failed() {
			t.Logf("coturn:\n%s", c.said())
		}
	})
	c.await(t)
	return c
}

// await waits until Coturn listens on UDP and TCP: it opens TCP last.
func (c *coturn) await(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", c.addr)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("coturn does not listen: %v\n%s", err, c.said())
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	check(t, err)
	return port
}

func testConfig(t *testing.T, port string) string {
	t.Helper()
	raw, err := os.ReadFile("../../deploy/coturn/turnserver.conf")
	check(t, err)
	config := string(raw)
	for was, is := range map[string]string{
		"listening-ip=192.0.2.1":           "listening-ip=127.0.0.1",
		"relay-ip=192.0.2.1":               "relay-ip=127.0.0.1",
		"listening-port=3478":              "listening-port=" + port,
		"allowed-peer-ip=192.0.2.10":       "allowed-peer-ip=127.0.0.1",
		"static-auth-secret=NEWEST-SECRET": "static-auth-secret=newest",
		"static-auth-secret=SECRET-BEFORE": "static-auth-secret=before",
	} {
		if strings.Count(config, "\n"+was+"\n") != 1 {
			t.Fatalf("the configuration has not one line %s", was)
		}
		config = strings.Replace(config, "\n"+was+"\n", "\n"+is+"\n", 1)
	}
	return config + "allow-loopback-peers\n"
}

// TestServiceCoturn holds Coturn, configured as in production, to what the
// embedded server does.
func TestServiceCoturn(t *testing.T) {
	c := newCoturn(t)
	t.Run("udp", func(t *testing.T) { behaviours(t, c.relay) })
	c = newCoturn(t)
	t.Run("tcp", func(t *testing.T) { behaviours(t, relay{network: "tcp", addr: c.addr}) })
	for _, warning := range regexp.MustCompile(`(?i).*(bad configuration|unknown|unrecognized|CONFIG ERROR).*`).FindAllString(c.said(), -1) {
		t.Errorf("coturn warns: %s", warning)
	}
}
